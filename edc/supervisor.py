"""Lives and deaths: what is built, in which order it starts and stops, what is tried again.

    start   spool ─► deliver (one for each event type) ─► control socket, HTTP ─► feeds
    stop    feeds ─► deliver: last chunk, last batch ─► servers ─► spool

The last stage starts first and the first stops first, so that no stage ever writes to one that is
gone. A feed that fails is tried again by itself, or given up by itself; a disk that fails an fsync
ends the daemon.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from edc import markets
from edc.adapters import PollAdapter, WebsocketAdapter
from edc.config import Feed, Settings
from edc.control import ControlServer
from edc.deadletters import DeadLetters
from edc.deliver import Deliver
from edc.errors import EdcError, Fatal, Retriable, Unwritten
from edc.events import EVENT_TYPES
from edc.ingest import Ingest
from edc.lake import Lake
from edc.ledger import Ledger
from edc.metrics import DaemonCollector, FeedStats, LaneStats, Rate
from edc.queues import Queue
from edc.retry import Backoff, pause
from edc.server import HttpServer
from edc.sinks import Written
from edc.sinks.parquet import ParquetSink
from edc.spool import Spool
from edc.times import SECOND
from edc.transport import Transport
from edc.transport.poll import PollTransport
from edc.transport.websocket import Timing, WebsocketTransport

log = logging.getLogger(__name__)

_HEALTHY_AFTER = 30.0
"""Seconds of data after which the next failure is a new one."""
_FEEDS_STOP_WITHIN = 4.0
_MOST_CRASHES = 5


@dataclass(frozen=True, slots=True)
class Times:
    """What tests shorten. Seconds."""

    socket: Timing = field(default_factory=Timing)
    first_delay: float = 1.0
    longest_delay: float = 60.0
    healthy_after: float = _HEALTHY_AFTER
    ledger: float = 1.0


class FeedRunner:
    """One feed: a transport made anew for each connection, and the back-off between them."""

    def __init__(self, feed: Feed, ingest: Ingest, times: Times, *, once: bool) -> None:
        self.feed = feed
        self.ingest = ingest
        self.stats = ingest.stats
        self.rate = Rate()
        self._times = times
        self._once = once

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the feed alive until told to stop, or until it cannot go on. Raises nothing."""
        backoff = Backoff(self._times.first_delay, self._times.longest_delay)
        crashes = 0
        while not stopping.is_set():
            self._state("connecting")
            started, data_before = time.monotonic(), self.stats.data_frames
            try:
                await self._transport().run(self.ingest, stopping)
                break
            except Fatal as error:
                self._give_up(error)
                return
            except Retriable as error:
                failure = error
            except Exception as error:
                crashes += 1
                if crashes >= _MOST_CRASHES:
                    log.exception("feed crashed", extra=self._fields())
                    self._give_up(Fatal(f"crashed {crashes} times: {error!r}", "report this"))
                    return
                failure = Retriable("crashed", f"{type(error).__name__}: {error}")
                log.warning("feed crashed", exc_info=error, extra=self._fields())
            lived = time.monotonic() - started
            if lived >= self._times.healthy_after and self.stats.data_frames > data_before:
                backoff.reset()
                crashes = 0
            if self._once:
                self._give_up(failure)
                return
            await self._wait(failure, backoff, stopping)
        self.ingest.finish()
        self._state("stopped")

    async def _wait(self, failure: Retriable, backoff: Backoff, stopping: asyncio.Event) -> None:
        delay = failure.after if failure.after is not None else backoff.next_delay()
        self.stats.disconnects[failure.reason] += 1
        self.ingest.silent(failure.reason)
        self._state("waiting", f"{failure}")
        log.warning(
            "feed %s: %s; next try in %.1f s", self.feed.name, failure, delay, extra=self._fields()
        )
        await pause(stopping, delay)

    def _give_up(self, error: EdcError) -> None:
        self.ingest.silent("failed")
        self.ingest.finish()
        self._state("failed", str(error))
        log.error("feed %s stopped: %s", self.feed.name, error, extra=self._fields())

    def _transport(self) -> Transport:
        if self.feed.channel.kind == "poll":
            return PollTransport(cast("PollAdapter", self.feed.adapter), once=self._once)
        return WebsocketTransport(
            cast("WebsocketAdapter", self.feed.adapter),
            lambda: any(markets.is_open(kind, time.time_ns()) for kind in self.feed.asset_types),
            self._times.socket,
        )

    def _state(self, state: str, problem: str = "") -> None:
        self.stats.state, self.stats.problem = state, problem

    def _fields(self) -> dict[str, object]:
        return {"feed": self.feed.name, "vendor": self.feed.vendor, "epoch": self.stats.epoch}


@dataclass(slots=True)
class Outcome:
    """How a run ended: `failed` maps the feeds that stopped to their last words."""

    written: dict[str, LaneStats]
    failed: dict[str, str]
    all_failed: bool


class Supervisor:
    """The daemon, but for signals and printing.

    `stop` is the only way to end it from outside; the returned task-free `run` does all the rest.
    """

    def __init__(
        self,
        settings: Settings,
        feeds: Sequence[Feed],
        *,
        once: bool = False,
        duration: float | None = None,
        times: Times | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.settings = settings
        self.started_ns = now_ns()
        self._duration = duration
        self._times = times or Times()
        storage = settings.storage
        self.spool = Spool(storage.path, storage.instance)
        lake = Lake(storage.path, storage.timezone, storage.partition, storage.instance, now_ns)
        self.queues = {
            kind: Queue(kind, settings.queue.capacity, settings.queue.policy(kind))
            for kind in EVENT_TYPES
        }
        sink = ParquetSink(lake)
        self.lanes = {
            kind: Deliver(
                queue,
                self.spool,
                sink,
                timezone=storage.timezone,
                interval=settings.spool.interval,
                max_rows=settings.batch.max_rows,
                max_age=settings.batch.max_age,
            )
            for kind, queue in self.queues.items()
        }
        self._ledger = Ledger(self.queues["gap"], now_ns)
        letters = DeadLetters(storage.path)
        self.feeds = [
            FeedRunner(feed, self._ingest(feed, letters), self._times, once=once) for feed in feeds
        ]
        self._stopping = asyncio.Event()
        self._collector = DaemonCollector(
            lambda: [runner.stats for runner in self.feeds],
            self.queues,
            {kind: lane.stats for kind, lane in self.lanes.items()},
        )

    def _ingest(self, feed: Feed, letters: DeadLetters) -> Ingest:
        stats = FeedStats(feed.name, feed.vendor, feed.source)
        return Ingest(feed.adapter, stats, self.queues, letters, self._ledger)

    def stop(self) -> None:
        """Begin the orderly end: close sockets, drain, flush."""
        self._stopping.set()

    async def run(self) -> Outcome:
        """Record until stopped. Raises ConfigError, InstanceHeld, DiskFailed or Unwritten."""
        self.spool.open()
        try:
            for kind, lane in self.lanes.items():
                if rows := lane.recover():
                    log.info("recovering %d %s rows from the spool", rows, kind)
            lanes_stop = asyncio.Event()
            try:
                async with asyncio.TaskGroup() as tasks:
                    for kind, lane in self.lanes.items():
                        tasks.create_task(lane.spool(lanes_stop), name=f"spool {kind}")
                        tasks.create_task(lane.batch(lanes_stop), name=f"batch {kind}")
                    async with self._servers():
                        await self._run_feeds()
                        lanes_stop.set()
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from None
            await self._last_flush()
        finally:
            self.spool.close()
        return self._outcome()

    def _servers(self) -> "_Servers":
        control = ControlServer(
            self.spool.folder / "control.sock", {"flush": self._flushed, "status": self._status}
        )
        http = HttpServer(self.settings.server.listen, self._collector, self._readiness)
        return _Servers(control, http)

    async def _run_feeds(self) -> None:
        """Start the feeds; return when all have ended, told to or not."""
        tasks = [
            asyncio.create_task(runner.run(self._stopping), name=f"feed {runner.feed.name}")
            for runner in self.feeds
        ]
        helper = asyncio.create_task(self._tick(), name="ticker")
        stop = asyncio.create_task(pause(self._stopping, self._duration), name="stop")
        try:
            await self._until_ended(tasks, stop)
            if not all(task.done() for task in tasks):
                log.info("stopping: closing connections")
            self._stopping.set()
            if tasks:
                await asyncio.wait(tasks, timeout=_FEEDS_STOP_WITHIN)
        finally:
            for task in (*tasks, helper, stop):
                task.cancel()
            await asyncio.gather(*tasks, helper, stop, return_exceptions=True)
            self._ledger.settle()

    async def _until_ended(self, feeds: list[asyncio.Task[None]], stop: asyncio.Task[None]) -> None:
        """Return when `stop` has, or all feeds have."""
        left: set[asyncio.Task[None]] = {*feeds, stop}
        while not stop.done() and left != {stop}:
            _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)

    async def _tick(self) -> None:
        """Once in a while: rates for people, losses for the ledger."""
        while True:
            await asyncio.sleep(self._times.ledger)
            self._ledger.settle()
            for runner in self.feeds:
                runner.rate.sample(runner.stats.event_count)

    async def flush(self) -> dict[str, Written]:
        """Bring everything received so far into the lake. Raises OSError, after trying it all."""
        written: dict[str, Written] = {}
        problem: OSError | None = None
        for kind, lane in self.lanes.items():
            try:
                written[kind] = await lane.flush()
            except OSError as error:
                problem = error
        if problem is not None:
            raise problem
        return written

    async def _last_flush(self) -> None:
        try:
            await self.flush()
        except OSError as error:
            lost = sum(lane.in_memory for lane in self.lanes.values())
            raise Unwritten(error, lost) from error

    async def _flushed(self) -> Mapping[str, object]:
        self._ledger.settle()
        return flush_report(await self.flush())

    async def _status(self) -> Mapping[str, object]:
        return self.status()

    def status(self) -> dict[str, object]:
        """What `edc status` shows; times are ns since the epoch."""
        feeds: list[dict[str, object]] = []
        for runner in self.feeds:
            stats = runner.stats
            lag = stats.last_received_ns - stats.last_event_ns
            feeds.append(
                {
                    "feed": stats.feed,
                    "vendor": stats.vendor,
                    "source": stats.source,
                    "state": stats.state,
                    "problem": stats.problem,
                    "rate": round(runner.rate.value, 1),
                    "events": dict(stats.events),
                    "frames": stats.frames,
                    "skipped": dict(stats.skipped),
                    "connects": stats.connects,
                    "disconnects": dict(stats.disconnects),
                    "last_received": stats.last_received_ns or None,
                    "last_event": stats.last_event_ns or None,
                    "lag_seconds": lag / SECOND if stats.last_event_ns else None,
                }
            )
        tables = {
            kind: {
                "queued": len(self.queues[kind]),
                "capacity": self.queues[kind].capacity,
                "dropped": self.queues[kind].dropped,
                "spooled": lane.stats.rows_pending,
                "written": lane.stats.rows_written,
                "duplicates": lane.stats.duplicates,
                "files": lane.stats.files_written,
                "last_flush": lane.stats.last_flush_ns or None,
                "last_file": lane.stats.last_file or None,
                "errors": lane.stats.spool_errors + lane.stats.sink_errors,
            }
            for kind, lane in self.lanes.items()
        }
        return {
            "instance": self.settings.storage.instance,
            "path": str(self.settings.storage.path),
            "started": self.started_ns,
            "now": time.time_ns(),
            "feeds": feeds,
            "tables": tables,
        }

    def _readiness(self) -> dict[str, bool]:
        """Each check by name. A feed is ready while it delivers, or its market is closed."""
        now = time.time_ns()
        checks = {
            f"feed {runner.feed.name}": runner.stats.state == "live"
            or not any(markets.is_open(kind, now) for kind in runner.feed.asset_types)
            for runner in self.feeds
        }
        for kind, queue in self.queues.items():
            checks[f"queue {kind}"] = len(queue) < queue.capacity
        return checks

    def _outcome(self) -> Outcome:
        failed = {
            runner.feed.name: runner.stats.problem
            for runner in self.feeds
            if runner.stats.state == "failed"
        }
        return Outcome(
            {kind: lane.stats for kind, lane in self.lanes.items()},
            failed,
            bool(failed) and len(failed) == len(self.feeds),
        )


class _Servers:
    """The control socket and the HTTP server, started and stopped together."""

    def __init__(self, control: ControlServer, http: HttpServer) -> None:
        self._control, self._http = control, http

    async def __aenter__(self) -> None:
        await self._control.start()
        try:
            await self._http.start()
        except BaseException:
            await self._control.stop()
            raise

    async def __aexit__(self, *exc: object) -> None:
        await self._http.stop()
        await self._control.stop()


def recover(settings: Settings) -> dict[str, Written]:
    """Without a daemon: bring what the spool holds into the lake. Raises InstanceHeld."""

    async def work() -> dict[str, Written]:
        supervisor = Supervisor(settings, [])
        supervisor.spool.open()
        try:
            for lane in supervisor.lanes.values():
                lane.recover()
            return await supervisor.flush()
        finally:
            supervisor.spool.close()

    return asyncio.run(work())


def flush_report(written: Mapping[str, Written]) -> dict[str, object]:
    """What a flush did, for people's and machines' eyes."""
    return {
        kind: {
            "rows": each.rows,
            "duplicates": each.duplicates,
            "files": [str(Path(file)) for file in each.files],
        }
        for kind, each in written.items()
    }
