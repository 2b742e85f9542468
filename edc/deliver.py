"""The second of the two loops that every event runs through: from the queue to the lake.

    transport ─frame─► Ingest ─event─► queue ─► Deliver ─chunk─► spool ─batch─► sink

`Deliver` runs once for each event type. Every interval it writes the queue's content as a chunk;
when a batch is due it hands chunks to the sink and then removes them. What a crash interrupts is
done again, and the sink drops what it has. Files are written in threads: the loop never waits.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import polars as pl

from edc.chunks import MadeChunk, make_chunk
from edc.errors import DiskFailed
from edc.events import Row, conform
from edc.files import Damage
from edc.latency import FeedLatency, Latencies, Measured, in_the_lake, spooled
from edc.metrics import LaneStats, Stage
from edc.queues import PLENTY, Queue
from edc.retry import Backoff, first_of, pause
from edc.sinks import Sink, Written
from edc.spool import BadChunkError, Chunk, Ordinals, Spool, name_chunks
from edc.wire import Batch
from edc.writers import Writers

log = logging.getLogger(__name__)


class Deliver:
    """From one queue, by the spool, to the sink.

    `interval` and `max_age` are seconds. A batch is due when `max_rows` rows are spooled, when the
    oldest of them is `max_age` old, or when an earlier run left chunks behind. `on_refused` is told
    of each row whose values fit no column, `on_damaged` of each chunk that cannot be read, before
    it is set aside. `reach` says how far each feed has got; `durable` what it said when the chunk
    was begun that is on disk now. `far` says that the sink is not on this machine.
    """

    def __init__(
        self,
        queue: Queue,
        spool: Spool,
        sink: Sink,
        *,
        timezone: str,
        interval: float,
        max_rows: int,
        max_age: float,
        on_refused: Callable[[Row], None],
        on_damaged: Callable[[Damage], Awaitable[None]],
        reach: Callable[[], Mapping[str, int]],
        latencies: Latencies | None = None,
        writers: Writers | None = None,
        far: bool = False,
    ) -> None:
        self.event_type = queue.event_type
        self.stats = LaneStats(queue.event_type)
        self._queue = queue
        self._spool = spool
        self._sink = sink
        self._timezone = timezone
        self.interval = interval
        self.max_rows = max_rows
        self.max_age = max_age
        self._on_refused = on_refused
        self._on_damaged = on_damaged
        self._reach = reach
        self._latencies = latencies or Latencies()
        self._writers = writers or Writers()
        self._far = far
        self.durable: Mapping[str, int] = {}
        self.handed_on = False
        """True once something went the long way after all: it may wait in the queue of another."""
        self._awaited: list[tuple[int, asyncio.Future[None]]] = []
        """Who waits for so many rows to be on disk."""
        self._ordinals = Ordinals()
        self._unwritten: MadeChunk | None = None
        self._chunks: list[Chunk] = []
        self._kept: dict[Chunk, pl.DataFrame] = {}
        self._sunk: set[Chunk] = set()
        self._safe_since: dict[Chunk, tuple[int, Mapping[FeedLatency, int]]] = {}
        """Since when a chunk is on disk (ns), and how many rows of each feed are in it."""
        self._recovered = False
        self._left_over = 0
        """Chunks at the front that an earlier run left."""
        self._recovering_since = 0.0
        self._oldest = time.monotonic()
        self._spooled = asyncio.Event()
        self._spooling = asyncio.Lock()
        self.beat: float | None = None
        """When it last began to look at the queue (monotonic); None while it does not."""
        self._sinking = asyncio.Lock()

    def recover(self) -> int:
        """Take over the chunks that an earlier run left; the number of their rows."""
        self._chunks = self._spool.pending(self.event_type)
        self._recovered = bool(self._chunks)
        self._left_over, self._recovering_since = len(self._chunks), time.monotonic()
        self.stats.recovery_seconds = None if self._chunks else 0.0
        self._count_pending()
        self.stats.rows_recovered = self.stats.rows_pending
        return self.stats.rows_pending

    async def spool(self, stopping: asyncio.Event) -> None:
        """Write a chunk every interval, or as soon as there is plenty for one.

        Raises DiskFailed; other disk errors are waited out.
        """
        backoff = Backoff(first=max(self.interval, 0.1), cap=5.0)
        started = time.monotonic()
        while not stopping.is_set():
            self.beat = time.monotonic()
            left = started + self.interval - time.monotonic()
            await first_of(stopping, self._queue.plenty, max(0.0, left))
            started = time.monotonic()  # the write counts as part of the interval
            try:
                await self.write_chunk()
                backoff.reset()
            except OSError:
                await pause(stopping, backoff.next_delay())
        self.beat = None

    async def batch(self, stopping: asyncio.Event) -> None:
        """Write batches to the sink as they fall due. Raises DiskFailed; waits out the rest."""
        backoff = Backoff(cap=15.0)
        while not stopping.is_set():
            due_in = self._due_in()
            if due_in is None or due_in > 0:
                self._spooled.clear()
                await first_of(stopping, self._spooled, due_in)
                continue
            try:
                await self._write_batches()
                backoff.reset()
            except OSError:
                await pause(stopping, backoff.next_delay())
            except DiskFailed:
                raise
            except Exception:
                self.stats.sink_errors += 1
                log.exception(
                    "a batch failed, its rows wait in the spool",
                    extra={"event_type": self.event_type},
                )
                await pause(stopping, backoff.next_delay())

    async def flush(self) -> Written:
        """Everything queued now is in the lake when this returns. Raises OSError, DiskFailed."""
        await self.write_chunk()
        return await self._write_batches()

    def _due_in(self) -> float | None:
        """Seconds until a batch is due; None while there is nothing to write."""
        if not self._chunks:
            return None
        if self._recovered or self.stats.rows_pending >= self.max_rows:
            return 0.0
        return self._oldest + self.max_age - time.monotonic()

    @property
    def in_memory(self) -> int:
        """Rows that a crash would cost now: those not yet in a chunk."""
        return len(self._queue) + (0 if self._unwritten is None else self._unwritten.frame.height)

    async def safe(self) -> None:
        """Return when all that is queued now is on disk, with the next chunk."""
        future = asyncio.get_running_loop().create_future()
        self._awaited.append((self._queue.accepted, future))
        await future

    async def write_chunk(self) -> None:
        """Everything queued now is on disk when this returns. Raises OSError, DiskFailed."""
        async with self._spooling:
            try:
                await self._spool_queue()
            except OSError as error:
                self.stats.spool_errors += 1
                self._complain("spool", "cannot be written, events wait in the queue", error)
                raise
            self._relieved("spool")

    async def _spool_queue(self) -> None:
        """Write what an earlier try could not, then what the queue holds."""
        self._spool.check()
        if self._unwritten is not None:
            await self._append(self._unwritten)
        reach = dict(self._reach())
        until = self._queue.accepted
        while self._queue.taken < until:
            made = await self._writers.run(self._make, self._queue.drain(PLENTY))
            if made.unread:
                self.handed_on = True
                for batch in made.unread:
                    feed = batch.origin.feed
                    reach[feed] = min(reach[feed], batch.since_ns)
                    batch.again(batch)
                until = self._queue.accepted
            self._refuse(made)
            if made.frame.height:
                await self._append(made)
        self.durable = reach
        self._queue.stored = until
        waiting, self._awaited = self._awaited, []
        for number, future in waiting:
            if number > until:
                self._awaited.append((number, future))
            elif not future.done():
                future.set_result(None)

    async def _append(self, made: MadeChunk) -> None:
        self._unwritten = made  # its ordinals are counted: it is kept as it is until it is safe
        chunk, safe_ns, measured = await self._writers.run(self._write, made)
        self._unwritten = None
        self._safe_since[chunk] = safe_ns, spooled(measured)
        if not self._chunks:
            self._oldest = time.monotonic()
        self._chunks.append(chunk)
        self._count_pending()
        if sum(frame.height for frame in self._kept.values()) + chunk.rows <= self.max_rows:
            self._kept[chunk] = made.frame  # a batch's worth need not be read again
        self.stats.chunks_written += 1
        self.stats.rows_spooled += chunk.rows
        self._spooled.set()

    def _write(self, made: MadeChunk) -> tuple[Chunk, int, list[Measured]]:
        """Put a chunk on disk: since when it is there, and how late its rows were."""
        started = time.perf_counter_ns()
        chunk = self._spool.append(self.event_type, made.frame)
        self.stats.spool_seconds.add_one(time.perf_counter_ns() - started)
        self.stats.bytes_spooled += chunk.path.stat().st_size
        safe_ns = time.time_ns()
        return chunk, safe_ns, self._latencies.measure(made.frame, made.epochs, safe_ns)

    def _make(self, queued: Iterable[Row | Batch]) -> MadeChunk:
        """The rows of a chunk, final from here on."""
        made = make_chunk(self.event_type, queued, self._timezone)
        if self.event_type == "trade":
            made.frame = self._ordinals.count(made.frame, made.epochs)
        return made

    def _refuse(self, made: MadeChunk) -> None:
        """Tell of rows that fit no column."""
        if made.refused:
            log.error(
                "%d rows fit no column and are lost, the first is %s",
                len(made.refused),
                made.refused[0],
                extra={"event_type": self.event_type},
            )
        for row in made.refused:
            self._on_refused(row)

    async def _write_batches(self) -> Written:
        """Write all chunks that are there now, about `max_rows` rows at a time."""
        total = Written()
        async with self._sinking:
            left = len(self._chunks)
            try:
                while left > 0:
                    some = self._first_chunks(left)
                    total.add(await self._write_batch(some))
                    left -= len(some)
            except OSError as error:
                self.stats.sink_errors += 1
                self._complain("lake", "cannot be written, rows wait in the spool", error)
                raise
            self._relieved("lake")
            self._recovered = False
        return total

    def _first_chunks(self, most: int) -> list[Chunk]:
        """Chunks from the front, until they hold `max_rows` rows."""
        some: list[Chunk] = []
        rows = 0
        for chunk in self._chunks[:most]:
            some.append(chunk)
            rows += chunk.rows
            if rows >= self.max_rows:
                break
        return some

    async def _write_batch(self, chunks: list[Chunk]) -> Written:
        """Hand chunks to the sink and forget them. One that cannot be read goes to the ledger."""
        started = time.perf_counter()
        in_thread = self._writers.apart if self._far else self._writers.run
        kept = {chunk: self._kept.pop(chunk) for chunk in chunks if chunk in self._kept}
        written, damaged = await in_thread(self._sink_chunks, chunks, kept)
        for damage in damaged:
            log.error("%s; %d rows lost", damage.reason, damage.rows)
            await self._on_damaged(damage)
            if damage.path.exists():
                await self._writers.run(self._spool.set_aside, damage)
        del self._chunks[: len(chunks)]
        now_ns = time.time_ns()
        for chunk in chunks:
            safe_ns, rows = self._safe_since.pop(chunk, (now_ns, {}))
            in_the_lake(rows, now_ns - safe_ns)
        if 0 < self._left_over <= len(chunks):
            self.stats.recovery_seconds = time.monotonic() - self._recovering_since
        self._left_over = max(0, self._left_over - len(chunks))
        self._oldest = time.monotonic()
        self.stats.flushed(written, time.perf_counter() - started)
        self._count_pending()
        return written

    def _sink_chunks(
        self, chunks: list[Chunk], kept: dict[Chunk, pl.DataFrame]
    ) -> tuple[Written, list[Damage]]:
        """Hand what can be read to the sink, then remove it; the rest as what is lost.

        The rows of those that were `kept` are let go as soon as they are joined.
        """
        frames, read, damaged = [], [], []
        for chunk in chunks:
            if chunk in self._sunk:  # the disk took its rows, but did not let it go
                continue
            try:
                frames.append(kept.pop(chunk) if chunk in kept else self._read(chunk))
                read.append(chunk)
            except FileNotFoundError:
                self._spool.check()
                damaged.append(chunk.damage(f"{chunk.path.name} is gone"))
            except BadChunkError as error:
                damaged.append(chunk.damage(str(error)))
        written = Written()
        if frames:
            rows = pl.concat(frames, rechunk=True)
            frames.clear()
            written = self._sink.write(self.event_type, rows, name_chunks(read))
        self._sunk.update(read)
        self._spool.remove(chunk for chunk in chunks if chunk in self._sunk)
        self._sunk.clear()
        return written, damaged

    def _read(self, chunk: Chunk) -> pl.DataFrame:
        """The rows of a chunk that is on disk. Raises BadChunkError, or OSError."""
        # a chunk is whole, so a column that it lacks came with a later edc
        return conform(self._spool.read(chunk), self.event_type, self._timezone, version=1)

    def _count_pending(self) -> None:
        self.stats.rows_pending = sum(chunk.rows for chunk in self._chunks)
        self.stats.chunks_pending = len(self._chunks)

    def _complain(self, stage: Stage, what: str, error: OSError) -> None:
        if self.stats.problems.get(stage) != str(error):  # once, and not each time it is tried
            log.error("the %s %s: %s", stage, what, error, extra={"event_type": self.event_type})
        self.stats.problems[stage] = str(error)

    def _relieved(self, stage: Stage) -> None:
        if self.stats.problems.pop(stage, None):
            log.info("the %s is written again", stage, extra={"event_type": self.event_type})
