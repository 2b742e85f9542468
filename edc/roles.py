"""What a daemon with a role has on the bus, and what the bus tells of itself meanwhile."""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

import polars as pl

from edc.bus import Bus, BusStats
from edc.bus.brokers import connect
from edc.bus.settings import address
from edc.bus.shares import Shares
from edc.consumer import Consumer, ConsumerLane
from edc.errors import BusDown, ConfigError
from edc.events import EVENT_TYPES
from edc.metrics import LaneStats
from edc.retry import pause
from edc.settings import Settings
from edc.sinks import Sink, Written
from edc.sinks.bus import BusSink

log = logging.getLogger(__name__)

COLLECTS = "collects"
"""A file in the folder of a spool whose rows go to the bus: they belong in no lake of this host."""


class Role(StrEnum):
    """Half of the way; without one, a daemon goes all of it by itself."""

    COLLECT = "collect"
    """From the vendors to the bus."""
    STORE = "store"
    """From the bus to the lake."""


class BusEnd:
    """One end of the bus. `sink` is where the daemon's own lanes go.

    `on_forgotten` is told since when (ns) the broker has forgotten what it had confirmed.
    Raises ConfigError where the settings name no bus, or its library is missing.
    """

    def __init__(
        self,
        settings: Settings,
        role: Role,
        lake: Sink,
        on_forgotten: Callable[[int], Awaitable[None]],
    ) -> None:
        if not settings.bus.url.get_secret_value():
            raise ConfigError(
                "[bus]",
                f"--role {role} needs a broker and url names none",
                'write url = "redis://127.0.0.1:6379", or another of README, "More than one '
                'machine"; `edc run` alone needs none',
            )
        self.role = role
        self._settings = settings
        instance = settings.storage.instance
        self._bus: Bus = connect(settings.bus, instance, on_forgotten)
        self.stats = BusStats(address(settings.bus).name, role)
        self.consumer: Consumer | None = None
        self._publishing: BusSink | None = None
        if role is Role.COLLECT:
            self._publishing = BusSink(
                self._bus,
                self.stats,
                instance=instance,
                encoding=settings.bus.encoding,
                partitions=settings.bus.partitions,
            )
        self.sink: Sink = self._publishing or OneAtATime(lake)

    def build(self, lanes: Mapping[str, LaneStats]) -> None:
        """Make the lanes of a store; they count into these."""
        if self.role is not Role.STORE:
            return
        settings = self._settings
        made = {
            kind: ConsumerLane(
                kind,
                self._bus,
                self.stats,
                self.sink,
                stats,
                timezone=settings.storage.timezone,
                partitions=settings.bus.partitions,
                max_rows=settings.batch.max_rows,
                max_age=settings.batch.max_age,
            )
            for kind, stats in lanes.items()
        }
        folder = settings.storage.home / ".bus" / f"{settings.bus.prefix}.{settings.bus.group}"
        shares = Shares(folder, settings.storage.instance, settings.bus.partitions)
        self.consumer = Consumer(self._bus, self.stats, made, shares)

    async def begin(self) -> None:
        """Use the present event loop, and the broker if it is there. Raises ConfigError."""
        if self._publishing is not None:
            self._publishing.attach()
        try:
            await self._bus.open()
        except BusDown as error:
            self.stats.problem = str(error)
            log.warning("%s; it is tried again", error)

    async def close(self) -> None:
        """Let go of the broker."""
        await self._bus.close()

    async def watch(self, stopping: asyncio.Event, interval: float) -> None:
        """Ask the broker now and then what is still to be stored."""
        while not stopping.is_set():
            try:
                async with asyncio.timeout(self._settings.bus.timeout):
                    lags = await self._bus.lag()
            except (OSError, ConfigError):
                lags = {}
            for kind in EVENT_TYPES:
                self.stats.of(kind).lag = lags.get(kind)
            await pause(stopping, interval)


class OneAtATime:
    """A sink into which two lanes of one event type may write: the daemon's own, and the bus's."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def write(self, event_type: str, rows: pl.DataFrame, chunks: str) -> Written:
        """See Sink."""
        with self._locks[event_type]:
            return self._sink.write(event_type, rows, chunks)
