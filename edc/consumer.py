"""The consuming end of a bus: what a store does, from the broker to the lake.

    broker ─fetch─► ConsumerLane (one for each event type) ─batch─► sink ─► lake ─► ack

A batch is what the shares of one event type have brought, until it has `max_rows` rows or is
`max_age` old. It is acknowledged once the sink has it; a store that dies before that costs
nothing, because the next reader of the share gets the same messages and the sink drops the rows it
has. A share is read only while its file is held (bus/shares.py), and let go only when nothing of it
is being written.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edc.bus import DEAD, Bus, BusStats, Delivery, Message, Reader, Share
from edc.bus.messages import check, decode, rows_in
from edc.bus.shares import Shares
from edc.errors import BusDown, ConfigError, DiskFailed
from edc.metrics import LaneStats
from edc.retry import Backoff, heed, pause
from edc.sinks import Sink, Written

log = logging.getLogger(__name__)

_LOOK = 0.25
"""Seconds between two looks at who reads what."""


@dataclass(slots=True)
class _Held:
    """What one share has brought and the lake does not have yet."""

    reader: Reader
    deliveries: list[Delivery]
    void: bool = False
    """Something before these is not acknowledged: it has to be read again first."""


class ConsumerLane:
    """Batches of one event type. `stats` is the lane's own row in status and metrics."""

    def __init__(
        self,
        event_type: str,
        bus: Bus,
        bus_stats: BusStats,
        sink: Sink,
        stats: LaneStats,
        *,
        timezone: str,
        partitions: int,
        max_rows: int,
        max_age: float,
    ) -> None:
        self.event_type = event_type
        self.stats = stats
        self._bus, self._bus_stats = bus, bus_stats
        self._topic = bus_stats.of(event_type)
        self._sink = sink
        self._timezone, self._partitions = timezone, partitions
        self._max_rows, self._max_age = max_rows, max_age
        self._held: dict[int, _Held] = {}
        self._rows = 0
        self._oldest = 0.0
        self._writing = asyncio.Lock()
        self._changed = asyncio.Event()

    async def hold(self, partition: int, reader: Reader, deliveries: Sequence[Delivery]) -> None:
        """Take deliveries into the batch, and return when there is room for more.

        Raises ConfigError for what this store must not skip.
        """
        for each in deliveries:
            check(each.message, self._partitions)
        if not self._rows:
            self._oldest = time.monotonic()
        held = self._held.setdefault(partition, _Held(reader, []))
        held.deliveries += deliveries
        self._rows += sum(rows_in(each.message) for each in deliveries)
        self._topic.consumed += len(deliveries)
        self._topic.redelivered += sum(each.redelivered for each in deliveries)
        self._changed.set()
        while self._rows >= 2 * self._max_rows and self._held.get(partition) is held:
            self._changed.clear()
            await self._changed.wait()

    async def forget(self, partition: int) -> None:
        """Drop what a share has brought: it comes again. Waits for a batch that is written now."""
        async with self._writing:
            self._held.pop(partition, None)
            self._count()

    def _count(self) -> None:
        self._rows = sum(
            rows_in(each.message) for held in self._held.values() for each in held.deliveries
        )
        self._changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Write batches as they fall due. Raises DiskFailed, ConfigError; waits out the rest."""
        backoff = Backoff(cap=15.0)
        while not stopping.is_set():
            due_in = self._due_in()
            if due_in > 0:
                self._changed.clear()
                await _until(stopping, self._changed, due_in)
                continue
            try:
                await self.write()
                backoff.reset()
            except (DiskFailed, ConfigError):
                raise
            except OSError as error:
                self._complain(error)
                await pause(stopping, backoff.next_delay())

    def _due_in(self) -> float:
        if not self._rows:
            return 3600.0
        if self._rows >= self._max_rows:
            return 0.0
        return self._oldest + self._max_age - time.monotonic()

    async def write(self) -> Written:
        """Everything held now is in the lake, and acknowledged. Raises OSError, DiskFailed."""
        async with self._writing:
            taken = {
                partition: _Held(held.reader, list(held.deliveries))
                for partition, held in self._held.items()
                if held.deliveries
            }
            if not taken:
                return Written()
            started = time.perf_counter()
            deliveries = [each for held in taken.values() for each in held.deliveries]
            written, bad = await asyncio.to_thread(self._sink_batch, deliveries)
            for each, reason in bad:
                await self._bury(each, reason)
            self._account(written, time.perf_counter() - started)
            for partition, held in taken.items():
                await self._acknowledge(partition, held)
            self._count()
            self._oldest = time.monotonic()
        return written

    async def _acknowledge(self, partition: int, held: _Held) -> None:
        """What fails here comes again, and is in the lake already."""
        present = self._held.get(partition)
        if present is not None and present.reader is held.reader:
            del present.deliveries[: len(held.deliveries)]
        try:
            await held.reader.ack(held.deliveries)
        except OSError as error:
            self._bus_stats.errors["ack"] += 1
            log.warning("not acknowledged, will come again: %s", error)
            if present is not None and present.reader is held.reader:
                present.void = True

    def check(self, partition: int) -> None:
        """Raises BusDown where the partition has to be read anew."""
        held = self._held.get(partition)
        if held is not None and held.void:
            raise BusDown(self._bus_stats.name, "what it brought was not acknowledged")

    def _sink_batch(
        self, deliveries: Sequence[Delivery]
    ) -> tuple[Written, list[tuple[Delivery, str]]]:
        """Write what can be read; the rest with the reason. A batch that fails is tried singly."""
        rows, bad = decode(self.event_type, deliveries, self._timezone)
        buried = {id(each) for each, _ in bad}
        good = [each for each in deliveries if id(each) not in buried]
        if not good:
            return Written(), bad
        try:
            return self._sink.write(self.event_type, rows, _chunks(good)), bad
        except (OSError, DiskFailed):
            raise
        except Exception as error:  # whatever it is, the others must not pay for it
            if len(good) == 1:
                return Written(), [*bad, (good[0], f"the lake refuses it: {error!r}")]
            log.exception("a batch failed, its messages are tried one by one")
        total = Written()
        for each in good:
            written, more = self._sink_batch([each])
            total.add(written)
            bad += more
        return total, bad

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        """A message that cannot be stored goes to the dead, with its reason. Raises BusDown."""
        came = delivery.message
        headers = {
            **came.headers,
            "edc-reason": " ".join(ascii(reason)[1:-1].split())[:500],
            "edc-topic": f"{self.event_type}.{came.share.partition}",
        }
        key = f"dead/{self.event_type}/{came.share.partition}/{time.time_ns()}"
        await self._bus.publish([Message(Share(DEAD, 0), came.data, headers, key)])
        self._topic.dead += 1
        log.error(
            "a message cannot be stored and is put with the dead: %s",
            reason,
            extra={"event_type": self.event_type},
        )

    def _account(self, written: Written, seconds: float) -> None:
        stats = self.stats
        stats.flushed(written, seconds)
        self._topic.rows += written.rows
        if stats.problems.pop("lake", None):
            log.info("the lake is written again", extra={"event_type": self.event_type})

    def _complain(self, error: OSError) -> None:
        self.stats.sink_errors += 1
        if self.stats.problems.get("lake") != str(error):
            log.error(
                "the lake cannot be written, messages wait on the bus: %s",
                error,
                extra={"event_type": self.event_type},
            )
        self.stats.problems["lake"] = str(error)


class Consumer:
    """All lanes of a store, and which shares it reads."""

    def __init__(
        self, bus: Bus, stats: BusStats, lanes: Mapping[str, ConsumerLane], shares: Shares
    ) -> None:
        self._bus, self._stats, self._lanes, self._shares = bus, stats, lanes, shares
        self._readers: dict[Share, asyncio.Task[None]] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Store until told to stop, then what is held. Raises ConfigError, DiskFailed, OSError."""
        await asyncio.to_thread(self._shares.open)
        try:
            async with asyncio.TaskGroup() as tasks:
                for lane in self._lanes.values():
                    name = f"store {lane.event_type}"
                    tasks.create_task(lane.run(stopping), name=name)
                tasks.create_task(self._deal(stopping), name="shares")
            try:
                await self.flush()
            except OSError as error:
                log.warning("the rest stays on the bus for the next start: %s", error)
        finally:
            await self._drop(set(self._readers))
            self._shares.close()

    async def flush(self) -> dict[str, Written]:
        """Everything read so far is in the lake. Raises OSError, after trying it all."""
        results = await asyncio.gather(
            *(lane.write() for lane in self._lanes.values()), return_exceptions=True
        )
        for each in results:
            if isinstance(each, BaseException):
                raise each
        return {
            kind: each
            for kind, each in zip(self._lanes, results, strict=True)
            if isinstance(each, Written)
        }

    async def _deal(self, stopping: asyncio.Event) -> None:
        """Read what is this store's part, as stores come and go."""
        while not stopping.is_set():
            try:
                wanted = self._bus.assigned()
            except BusDown as error:
                self._failed(error)
                wanted = frozenset()
            if wanted is None:
                wanted = await asyncio.to_thread(self._shares.due)
            await self._drop(self._readers.keys() - wanted)
            for share in sorted(wanted - self._readers.keys(), key=str):
                if self._shares.take(share):
                    reading = asyncio.create_task(self._read(share), name=f"read {share}")
                    self._readers[share] = reading
            for reading in self._readers.values():
                if reading.done():  # only what must end the store ends a reader
                    reading.result()
            await pause(stopping, _LOOK)

    async def _drop(self, shares: set[Share]) -> None:
        """Stop reading, and let go: in this order."""
        readings = [self._readers.pop(share) for share in shares]
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)
        for share in shares:
            self._shares.release(share)

    async def _read(self, share: Share) -> None:
        """Read one share for as long as it is ours; from its beginning, after each failure."""
        lane = self._lanes[share.event_type]
        backoff = Backoff(first=0.5, cap=5.0)
        while True:
            heed()
            reader: Reader | None = None
            try:
                reader = await self._bus.reader(share)
                while True:
                    heed()
                    deliveries = await reader.fetch()
                    lane.check(share.partition)
                    self._answered()
                    backoff.reset()
                    if deliveries:
                        await lane.hold(share.partition, reader, deliveries)
            except BusDown as error:
                self._failed(error)
            finally:
                await lane.forget(share.partition)
                if reader is not None:
                    await reader.close()
            await asyncio.sleep(backoff.next_delay())

    def _answered(self) -> None:
        if self._stats.problem:
            log.info("the bus answers again", extra={"bus": self._stats.name})
            self._stats.problem = ""

    def _failed(self, error: BusDown) -> None:
        self._stats.errors["read"] += 1
        if not self._stats.problem:
            log.error("%s; it is tried again", error)
        self._stats.problem = str(error)


def _chunks(deliveries: Sequence[Delivery]) -> str:
    """What the footer of a file says that it was made from."""
    said = [each.message.headers.get("edc-chunk", "?") for each in deliveries]
    return " ".join(dict.fromkeys(said))


async def _until(one: asyncio.Event, other: asyncio.Event, seconds: float) -> None:
    """Return when one of two events is set, or after `seconds`."""
    waits = [asyncio.ensure_future(one.wait()), asyncio.ensure_future(other.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
