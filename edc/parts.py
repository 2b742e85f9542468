"""What a daemon is made of: each part made once, of the settings, and given those that it needs.

Nothing here begins: the supervisor starts the parts, watches over them and ends them.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from edc.backends import open_sink
from edc.bookkeeping import Bookkeeper
from edc.deadletters import DeadLetters
from edc.deliver import Deliver
from edc.events import EVENT_TYPES
from edc.feeds import FeedRunner, Hooked, Times
from edc.fleet import Fleet
from edc.healing import Healer, by_time
from edc.held import Held
from edc.ingest import Ingest
from edc.instruments import Catalog
from edc.latency import Latencies
from edc.ledger import Ledger
from edc.logs import counted
from edc.metrics import DaemonStats, FeedStats
from edc.plan import Feed
from edc.queues import Queue
from edc.roles import BusEnd, Role
from edc.settings import Settings
from edc.spool import Spool
from edc.transport.libraries import library
from edc.transport.webhook import Hooks
from edc.upkeep.housekeeping import Housekeeper, order
from edc.watermarks import Watermarks
from edc.writers import Writers


class Parts:
    """See the module. `settings` are those in force: a reload puts others in their place.

    Raises ConfigError where the settings ask for what cannot be had.
    """

    def __init__(
        self,
        settings: Settings,
        feeds: Sequence[Feed],
        *,
        once: bool,
        role: Role | None,
        times: Times,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.settings = settings
        self.started_ns = now_ns()
        self.times = times
        self.now_ns = now_ns
        self._once = once
        storage = settings.storage
        self.spool = Spool(storage.home, storage.instance)
        self.queues = {
            kind: Queue(kind, settings.queue.capacity, settings.queue.policy(kind))
            for kind in EVENT_TYPES
        }
        self.books = Bookkeeper(
            Ledger(self.queues["gap"], now_ns), Watermarks(storage.home, self.spool.folder)
        )
        self.lake = open_sink(
            storage,
            now_ns,
            whole=role is Role.STORE,
            check=self.spool.check,
            on_damaged=self.books.damaged_in_thread,
        )
        self._latencies = Latencies()
        self.writers = Writers()
        self.bus = None if role is None else BusEnd(settings, role, self.lake, self.books.forgotten)
        self.lanes = {
            kind: Deliver(
                queue,
                self.spool,
                self.lake if self.bus is None else self.bus.sink,
                timezone=storage.timezone,
                interval=settings.spool.interval,
                max_rows=settings.batch.max_rows,
                max_age=self.max_age(settings),
                on_refused=self.books.refused,
                on_damaged=self.books.damaged,
                reach=self.books.reach,
                latencies=self._latencies,
                writers=self.writers,
                far=self.bus is not None or not isinstance(storage.path, Path),
            )
            for kind, queue in self.queues.items()
        }
        if self.bus is not None:
            self.bus.build({kind: lane.stats for kind, lane in self.lanes.items()})
        self._letters = DeadLetters(storage.home)
        self._connect = library(settings.transport.websocket)
        self.hooks: Hooks = {}
        self._held = Held(self.lake, self.spool)
        self.catalog = Catalog(storage.home, now_ns)
        self.feeds = [self.runner(feed) for feed in feeds]
        self.fleet = Fleet(self.feeds)
        self.books.oversee(self.feeds, self.lanes)
        self.housekeeper = Housekeeper(order(settings), self.tending(settings))
        self.stats = DaemonStats(gaps=self.books.ledger.counts, logged=counted)

    def runner(self, feed: Feed) -> FeedRunner:
        """One feed with all that it needs, not yet running; the fleet starts it."""
        within, ledger = self.settings.backfill.within, self.books.ledger
        if self.bus is not None:  # what a gap has missed is what the lake lacks, which is elsewhere
            within = None
        healer = None
        if within is not None and (feed.channel.sequenced or by_time(feed)):
            healer = Healer(
                *(feed, ledger, self._held, within, self.times.backoff, self.now_ns),
                safe=self.safe,
                settle=self.times.history,
            )
        stats = FeedStats(feed.name, feed.vendor, feed.source)
        ingest = Ingest(
            stats,
            self.queues,
            self._letters,
            self.books.ledger,
            self.now_ns,
            sequenced=feed.channel.sequenced,
            rising=feed.channel.rising,
            untimed=feed.channel.untimed,
            connections=feed.connections,
            on_hole=healer.hole if healer else None,
            on_silence=healer.silence if healer else None,
            latencies=self._latencies,
        )
        hooked = Hooked(self.hooks, self.safe)
        return FeedRunner(
            *(feed, ingest, self._connect, self.times),
            once=self._once,
            healer=healer,
            hooked=hooked,
            catalog=self.catalog,
        )

    async def safe(self, event_types: Collection[str]) -> None:
        """Return when all that is queued now of these types is on disk."""
        await asyncio.gather(*(self.lanes[each].safe() for each in event_types))

    def tending(self, settings: Settings) -> float | None:
        """How often the housekeeper works; never on a lake that it cannot tend."""
        storage = settings.storage
        tended = storage.format == "delta" or isinstance(storage.path, Path)
        return settings.compact.every if tended else None

    def max_age(self, settings: Settings) -> float:
        """How long rows may wait for their batch; those for the bus do not."""
        at_once = self.bus is not None and self.bus.role is Role.COLLECT
        return 0.0 if at_once else settings.batch.max_age
