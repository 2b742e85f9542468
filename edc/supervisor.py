"""Lives and deaths: in which order what `parts` has made starts and stops.

    start   spool ─► deliver (one for each event type) ─► control socket, HTTP ─► feeds
    stop    feeds ─► deliver: last chunk, last batch ─► servers ─► spool

The last stage starts first and the first stops first, so that no stage ever writes to one that is
gone. A feed that fails is tried again by itself, or given up by itself; a disk that fails an fsync
ends the daemon.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec

from edc import together
from edc.alerting import Alerting
from edc.alerts import FeedLook, Look
from edc.config import Settings
from edc.control import ControlServer
from edc.deadletters import DeadLetters
from edc.errors import BusDown, EdcError, Fatal, Retriable, Unwritten
from edc.exposition import DaemonCollector
from edc.feeds import Times
from edc.ingest import Ingest
from edc.logs import about
from edc.metrics import FeedStats, LaneStats, Stage
from edc.notify import Notifier
from edc.overview import GapsOfToday, Overview
from edc.page import Page
from edc.parts import Parts
from edc.plan import Feed
from edc.reload import Reloader, Reread
from edc.retry import pause
from edc.roles import COLLECTS, Role
from edc.server import HttpServer
from edc.sinks import Written
from edc.status import bus_status, feed_status, flush_status, table_status
from edc.store import Store
from edc.transport import Frame

log = logging.getLogger(__name__)

_AT_ONCE = 1024
"""Recorded frames between two looks at what else is to be done."""
_BEATS_WITHIN = 15.0
_DISK_EVERY = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: `failed` maps the feeds that were given up to their last words.

    `exit_code` is 0 if none was, 2 if all were and the operator can mend each, else 1.
    """

    written: dict[str, LaneStats]
    failed: dict[str, str]
    exit_code: int


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
        role: Role | None = None,
        times: Times | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        reread: Reread | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._duration = duration
        self._reread = reread
        self._notifier = notifier or Notifier()
        self._times = times or Times()
        self.parts = parts = Parts(
            settings, feeds, once=once, role=role, times=self._times, now_ns=now_ns
        )
        self.spool, self.bus, self.stats = parts.spool, parts.bus, parts.stats
        self.queues, self.lanes, self.feeds = parts.queues, parts.lanes, parts.feeds
        self.http: HttpServer | None = None
        self._stopping = asyncio.Event()
        self._reload_wanted = asyncio.Event()
        self._alerting = Alerting(
            *(settings.alerts, settings.storage.instance, self._look, self.stats.alerts),
            backoff=self._times.backoff,
        )
        parts.books.ledger.tell = self._alerting.gap
        self._reloader = Reloader(parts, self._alerting, self._notifier)
        self._collector: together.Metrics = DaemonCollector(
            lambda: [runner.stats for runner in self.feeds],
            self.queues,
            {kind: lane.stats for kind, lane in self.lanes.items()},
            None if self.bus is None else self.bus.stats,
            self.stats,
        )

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self.parts.settings

    def open(self) -> None:
        """Take the instance and the lake. Raises ConfigError or InstanceHeld."""
        self.spool.open()
        mark = self.spool.folder / COLLECTS
        if self.bus is not None and self.bus.role is Role.COLLECT:
            mark.touch()
            return  # its lake is elsewhere
        mark.unlink(missing_ok=True)
        try:
            self.parts.lake.begin()
        except BaseException:
            self.spool.close()
            raise

    def recover(self) -> None:
        """Take over the chunks that an earlier run left."""
        self.parts.books.attach()
        for kind, lane in self.lanes.items():
            if rows := lane.recover():
                log.info("recovering %d %s rows from the spool", rows, kind)

    def stop(self) -> None:
        """Begin the orderly end: close sockets, drain, flush."""
        self._stopping.set()

    async def run(self) -> Outcome:
        """Record until stopped. Raises ConfigError, InstanceHeld, DiskFailed or Unwritten."""
        self.open()
        try:
            if self.bus is not None:
                await self.bus.begin()
            self.recover()
            self.parts.books.begin()
            await self._with_lanes(self._serve)
            await self._last_flush()
            await self.parts.books.close()
        finally:
            if self.bus is not None:
                await self.bus.close()
            self.spool.close()
            self.parts.writers.close()
        return self._outcome()

    async def _with_lanes(self, work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        """Let the lanes write while `work` runs; it is given what is set when they stop."""
        lanes_stop = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                for kind, lane in self.lanes.items():
                    tasks.create_task(lane.spool(lanes_stop), name=f"spool {kind}")
                    tasks.create_task(lane.batch(lanes_stop), name=f"batch {kind}")
                await work(lanes_stop)
                lanes_stop.set()
        except BaseExceptionGroup as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            raise error from None

    async def _serve(self, lanes_stop: asyncio.Event) -> None:
        """Run the feeds, and what goes on beside them."""
        async with asyncio.TaskGroup() as tasks:
            books = self.parts.books.keep(lanes_stop, self._times.ledger)
            tasks.create_task(books, name="books")
            if self.bus is None or self.bus.role is Role.STORE:
                tasks.create_task(self.parts.housekeeper.run(self._stopping), name="housekeeper")
            if self.bus is not None:
                watching = self.bus.watch(lanes_stop, self._times.ledger)
                tasks.create_task(watching, name="bus")
            async with self._servers():
                if self.bus is not None and self.bus.store is not None:
                    await self._run_store(self.bus.store)
                else:
                    await self._run_feeds()
                lanes_stop.set()

    async def replay(self, feed: Feed, frames: Iterable[Frame]) -> FeedStats:
        """Bring recorded frames of a feed into the lake, by the way that they would have taken.

        Every event carries the time at which its frame was received then. The feed's watermark is
        as it was, and no silence is told: nothing was recorded now. Raises what `run` raises, and
        what reading the frames raises.
        """
        if feed.listing is not None:
            self.parts.catalog.recall(feed.listing)
        stats = FeedStats(feed.name, feed.vendor, feed.source, state="live")
        ledger, letters = self.parts.books.ledger, DeadLetters(self.settings.storage.home)
        sequenced = feed.channel.sequenced
        ingest = Ingest(stats, self.queues, letters, ledger, self.parts.now_ns, sequenced=sequenced)

        async def work(_lanes_stop: asyncio.Event) -> None:
            await self._replay(feed, ingest, frames)

        self.open()
        try:
            self.recover()
            await self._with_lanes(work)
            await self._last_flush()
        finally:
            self.spool.close()
        return stats

    async def _replay(self, feed: Feed, ingest: Ingest, frames: Iterable[Frame]) -> None:
        recorded, epoch = None, 0
        for number, frame in enumerate(frames):
            if frame.epoch != recorded:
                recorded, epoch = frame.epoch, ingest.connected(feed.build())
            try:
                go_on = ingest.receive(msgspec.structs.replace(frame, epoch=epoch))
            except (Fatal, Retriable) as error:  # the connection ended so, then
                log.info("feed %s: %s", feed.name, error, extra=about(ingest.stats))
                recorded = None
                continue
            if not go_on or number % _AT_ONCE == 0:
                await ingest.room()
                await asyncio.sleep(0)

    def _servers(self) -> "_Servers":
        control = ControlServer(
            self.spool.folder / "control.sock",
            {
                "flush": self._flushed,
                "status": self._status,
                "report": self._report,
                "reload": self.reload,
            },
        )
        storage, server = self.settings.storage, self.settings.server
        lake = storage.path if isinstance(storage.path, Path) else None
        overview = Overview(
            self.status,
            self._readiness,
            lambda: [(each.stats, each.rate.value) for each in self.feeds],
            self.queues,
            GapsOfToday(lake, storage.timezone, self.parts.books.ledger),
            storage.timezone,
        )
        self.http = http = HttpServer(
            server.listen,
            self._collector,
            self._readiness,
            self.parts.hooks,
            self.stats,
            alive=self._alive,
            page=Page(overview.look, overview.point),
            token=server.secret,
        )
        return _Servers(control, http)

    async def _run_store(self, store: Store) -> None:
        """Store what the bus brings until told to stop."""
        ending = asyncio.create_task(pause(self._stopping, self._duration), name="stop")
        ending.add_done_callback(lambda _task: self._end())
        try:
            async with self._attended():
                await store.run(self._stopping)
        finally:
            ending.cancel()

    def _end(self) -> None:
        self._notifier.stopping()
        self._stopping.set()

    @asynccontextmanager
    async def _attended(self) -> AsyncIterator[None]:
        """While inside, the service manager hears how it goes, and reloads are done when asked."""
        helpers = (
            asyncio.create_task(self._reload_when_asked(), name="reloader"),
            asyncio.create_task(self._notifier.beat(self._summary), name="watchdog"),
            asyncio.create_task(
                self._alerting.run(self._stopping, self._times.ledger), name="alerts"
            ),
        )
        self._notifier.ready()
        try:
            yield
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await self._alerting.close()

    async def _run_feeds(self) -> None:
        """Start the feeds; return when all have ended, told to or not."""
        for runner in list(self.feeds):
            self.parts.fleet.start(runner)
        stop = asyncio.create_task(pause(self._stopping, self._duration), name="stop")
        ticker = asyncio.create_task(self._tick(), name="ticker")
        disk = asyncio.create_task(self._watch_disk(), name="disk")
        try:
            async with self._attended():
                await self.parts.fleet.ended(stop)
                self._end()
                if not self.parts.fleet.all_done:
                    log.info("stopping: closing connections")
                await self.parts.fleet.close()
        finally:
            await self.parts.fleet.close()
            for task in (ticker, disk, stop):
                task.cancel()
            await asyncio.gather(ticker, disk, stop, return_exceptions=True)

    def reload_soon(self) -> None:
        """Read the config anew, as `reload` does; what comes of it is logged."""
        self._reload_wanted.set()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            try:
                await self.reload()
            except (EdcError, OSError) as error:  # it has been logged
                log.debug("not reloaded: %s", error)

    async def reload(self) -> Mapping[str, object]:
        """Go on by the config as it is now; see `edc.reload`. Raises ConfigError, and goes on."""
        if self._reread is None:
            raise EdcError("this daemon has no config to read anew")
        return await self._reloader.reload(self._reread)

    async def _tick(self) -> None:
        """Once in a while: what others see of us, and jumps that have had their time."""
        while True:
            await asyncio.sleep(self._times.ledger)
            self.stats.compacted_ns = self.parts.housekeeper.last_ns
            self.stats.compaction_failed = bool(self.parts.housekeeper.problem)
            for runner in self.feeds:
                runner.rate.sample(runner.stats.event_count)
                runner.ingest.settle()
                runner.stats.latency.settle()
                runner.stats.market_open = runner.market_open()

    async def _watch_disk(self) -> None:
        """Its room, by itself: a mount that has gone away may let one wait for ever."""
        while True:
            self.stats.disk_free = await asyncio.to_thread(_disk_free, self.settings.storage.home)
            await asyncio.sleep(_DISK_EVERY)

    async def flush(self) -> dict[str, Written]:
        """Bring everything received so far into the lake. Raises OSError, after trying it all."""
        stored = {}
        if self.bus is not None and self.bus.store is not None:
            stored = await self.bus.store.flush()
        # the ledger comes last: rows that fit no column and damaged chunks add to it
        kinds = [kind for kind in self.lanes if kind != "gap"]
        for kind in kinds:
            self.lanes[kind].handed_on = False
        results = await asyncio.gather(
            *(self.lanes[kind].flush() for kind in kinds), return_exceptions=True
        )
        if any(self.lanes[kind].handed_on for kind in kinds):  # to one that was done, perhaps
            again = await asyncio.gather(
                *(self.lanes[kind].flush() for kind in kinds), return_exceptions=True
            )
            results = list(map(_both, results, again))
        self.parts.books.ledger.settle()
        results += await asyncio.gather(self.lanes["gap"].flush(), return_exceptions=True)
        problems = [each for each in results if isinstance(each, BaseException)]
        if problems:
            raise next((each for each in problems if not isinstance(each, OSError)), problems[0])
        written = dict(zip([*kinds, "gap"], results, strict=True))
        for kind, more in stored.items():
            each = written[kind]
            assert isinstance(each, Written)
            each.add(more)
        return {kind: each for kind, each in written.items() if isinstance(each, Written)}

    async def _last_flush(self) -> None:
        try:
            await self.flush()
        except OSError as error:
            if isinstance(error, BusDown) and not any(
                lane.in_memory for lane in self.lanes.values()
            ):
                rows = sum(lane.stats.rows_pending for lane in self.lanes.values())
                log.warning("%s; %d rows wait in the spool for the next start", error, rows)
                return
            lost = sum(lane.in_memory for lane in self.lanes.values())
            raise Unwritten(error, lost) from error

    async def _flushed(self) -> Mapping[str, object]:
        return flush_status(await self.flush())

    def _summary(self) -> str:
        """The state in a sentence, for the service manager."""
        live = sum(runner.stats.state in ("live", "listening") for runner in self.feeds)
        rate = sum(runner.rate.value for runner in self.feeds)
        pending = sum(lane.stats.rows_pending for lane in self.lanes.values())
        problems = [each for lane in self.lanes.values() for each in lane.stats.problems.values()]
        text = f"{live} of {len(self.feeds)} feeds deliver, {rate:,.0f} events/s"
        text += f", {pending:,} rows in the spool"
        return f"{text}; {problems[0]}" if problems else text

    async def _status(self) -> Mapping[str, object]:
        return self.status()

    async def _report(self) -> Mapping[str, object]:
        """All that a foreman tells of its workers."""
        metrics = together.told(self._collector.collect())
        return {"status": self.status(), "checks": self._readiness(), "metrics": metrics}

    def status(self) -> dict[str, object]:
        """What `edc status` shows."""
        storage = self.settings.storage
        return {
            "instance": storage.instance,
            "path": str(storage.path),
            "started": self.parts.started_ns,
            "now": time.time_ns(),
            "feeds": [
                feed_status(each.stats, each.rate.value, each.healing) for each in self.feeds
            ],
            "tables": {
                kind: table_status(self.queues[kind], lane.stats)
                for kind, lane in self.lanes.items()
            },
            "bus": None if self.bus is None else bus_status(self.bus.stats),
            "compaction": {
                "last": self.parts.housekeeper.last_ns or None,
                "problem": self.parts.housekeeper.problem,
            },
        }

    def _readiness(self) -> dict[str, bool]:
        """Each check by name. A feed is ready while it delivers, or its market is closed."""
        checks = {
            f"feed {runner.feed.name}": runner.stats.state in ("live", "listening")
            or not runner.market_open()
            for runner in self.feeds
            if runner.feed.required
        }
        for kind, queue in self.queues.items():
            checks[f"queue {kind}"] = len(queue) < queue.capacity
        for kind, lane in self.lanes.items():
            for stage in get_args(Stage):
                checks[f"{stage} {kind}"] = stage not in lane.stats.problems
        return checks

    def _look(self) -> Look:
        """What alerts are about, of this process."""
        stages = {
            f"{stage} {kind}": problem
            for kind, lane in self.lanes.items()
            for stage, problem in lane.stats.problems.items()
        }
        if self.parts.housekeeper.problem:
            stages["compaction"] = self.parts.housekeeper.problem
        if self.bus is not None and self.bus.stats.problem:
            stages["bus"] = self.bus.stats.problem
        feeds = {each.feed.name: FeedLook.of(each.stats) for each in self.feeds}
        return Look(feeds, stages, self.stats.disk_free, int(self.settings.storage.reserve))

    def _alive(self) -> bool:
        """True while every lane has looked at its queue within 15 s, as it does between writes."""
        now = time.monotonic()
        beats = [lane.beat for lane in self.lanes.values() if lane.beat is not None]
        return all(now - beat < _BEATS_WITHIN for beat in beats)

    def _outcome(self) -> Outcome:
        failed = [runner for runner in self.feeds if runner.stats.state == "failed"]
        refused = [runner for runner in failed if runner.exit_code == Fatal.exit_code]
        return Outcome(
            {kind: lane.stats for kind, lane in self.lanes.items()},
            {runner.feed.name: runner.stats.problem for runner in failed},
            0 if not failed else 2 if len(refused) == len(self.feeds) else 1,
        )


def _disk_free(path: Path) -> int:
    """Bytes that are left for the lake; 0 where its disk cannot be asked."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


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


async def recovered(settings: Settings) -> dict[str, Written]:
    """Without a daemon: bring what the spool holds into the lake. Raises InstanceHeld."""
    supervisor = Supervisor(settings, [])
    supervisor.open()
    try:
        supervisor.recover()
        return await supervisor.flush()
    finally:
        supervisor.spool.close()


def _both(
    first: Written | BaseException, second: Written | BaseException
) -> Written | BaseException:
    """What two flushes of a lane have written, or the problem of one of them."""
    if isinstance(first, Written) and isinstance(second, Written):
        first.add(second)
        return first
    return first if isinstance(first, BaseException) else second


def recover(settings: Settings) -> dict[str, Written]:
    """As `recovered`, where no event loop runs."""
    return asyncio.run(recovered(settings))
