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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from edc import health, together
from edc.alerting import Alerting
from edc.consumer import Consumer
from edc.control import ControlServer
from edc.errors import EdcError, Fatal
from edc.exposition import DaemonCollector
from edc.feeds import Times
from edc.flush import flush, last_flush
from edc.metrics import FeedStats, LaneStats
from edc.notify import Notifier
from edc.overview import GapsOfToday, Overview
from edc.page import Page
from edc.parts import Parts
from edc.plan import Feed
from edc.reload import Reloader, Reread
from edc.replay import Replay
from edc.retry import pause
from edc.roles import COLLECTS, Role
from edc.server import HttpServer
from edc.settings import Settings
from edc.sinks import Written
from edc.status import daemon_status, flush_status
from edc.transport import Frame

log = logging.getLogger(__name__)

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
            settings.alerts,
            settings.storage.instance,
            lambda: health.look(parts),
            self.stats.alerts,
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

    async def run(self) -> Outcome:
        """Record until stopped. Raises ConfigError, InstanceHeld, DiskFailed or Unwritten."""
        self.open()
        try:
            if self.bus is not None:
                await self.bus.begin()
            self.recover()
            self.parts.books.begin()
            await self._with_lanes(self._serve)
            await last_flush(self.parts)
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
                if self.bus is not None and self.bus.consumer is not None:
                    await self._run_consumer(self.bus.consumer)
                else:
                    await self._run_feeds()
                lanes_stop.set()

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

    async def _run_consumer(self, consumer: Consumer) -> None:
        """Store what the bus brings until told to stop."""
        ending = asyncio.create_task(pause(self._stopping, self._duration), name="stop")
        ending.add_done_callback(lambda _task: self._end())
        try:
            async with self._attended():
                await consumer.run(self._stopping)
        finally:
            ending.cancel()

    @asynccontextmanager
    async def _attended(self) -> AsyncIterator[None]:
        """While inside, the service manager hears how it goes, and reloads are done when asked."""
        helpers = (
            asyncio.create_task(self._reload_when_asked(), name="reloader"),
            asyncio.create_task(
                self._notifier.beat(lambda: health.summary(self.parts)), name="watchdog"
            ),
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

    def stop(self) -> None:
        """Begin the orderly end: close sockets, drain, flush."""
        self._stopping.set()

    def _end(self) -> None:
        self._notifier.stopping()
        self._stopping.set()

    def _outcome(self) -> Outcome:
        failed = [runner for runner in self.feeds if runner.stats.state == "failed"]
        refused = [runner for runner in failed if runner.exit_code == Fatal.exit_code]
        return Outcome(
            {kind: lane.stats for kind, lane in self.lanes.items()},
            {runner.feed.name: runner.stats.problem for runner in failed},
            0 if not failed else 2 if len(refused) == len(self.feeds) else 1,
        )

    async def replay(self, feed: Feed, frames: Iterable[Frame]) -> FeedStats:
        """Bring recorded frames of a feed into the lake, as they would have come into it then.

        Raises what `run` raises, and what reading the frames raises.
        """
        work = Replay(self.parts, feed)
        self.open()
        try:
            self.recover()
            await self._with_lanes(lambda _lanes_stop: work.run(frames))
            await last_flush(self.parts)
        finally:
            self.spool.close()
        return work.stats

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

    @asynccontextmanager
    async def _servers(self) -> AsyncIterator[None]:
        """While inside, the control socket and the HTTP server answer."""
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
            alive=lambda: health.alive(self.lanes.values()),
            page=Page(overview.look, overview.point),
            token=server.secret,
        )
        await control.start()
        try:
            await http.start()
            try:
                yield
            finally:
                await http.stop()
        finally:
            await control.stop()

    async def flush(self) -> dict[str, Written]:
        """Bring everything received so far into the lake. Raises OSError, after trying it all."""
        return await flush(self.parts)

    async def _flushed(self) -> Mapping[str, object]:
        return flush_status(await self.flush())

    def status(self) -> dict[str, object]:
        """What `edc status` shows."""
        return daemon_status(self.parts)

    async def _status(self) -> Mapping[str, object]:
        return self.status()

    def _readiness(self) -> dict[str, bool]:
        return health.readiness(self.parts)

    async def _report(self) -> Mapping[str, object]:
        """All that a foreman tells of its workers."""
        metrics = together.told(self._collector.collect())
        return {"status": self.status(), "checks": self._readiness(), "metrics": metrics}


def _disk_free(path: Path) -> int:
    """Bytes that are left for the lake; 0 where its disk cannot be asked."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


async def recovered(settings: Settings) -> dict[str, Written]:
    """Without a daemon: bring what the spool holds into the lake. Raises InstanceHeld."""
    supervisor = Supervisor(settings, [])
    supervisor.open()
    try:
        supervisor.recover()
        return await supervisor.flush()
    finally:
        supervisor.spool.close()


def recover(settings: Settings) -> dict[str, Written]:
    """As `recovered`, where no event loop runs."""
    return asyncio.run(recovered(settings))
