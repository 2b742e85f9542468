"""What a broker takes: spooled rows to the lake, by it and without it, in one run.

The rows are trades of 40 symbols in chunks of 2,500, as a collector spools them at 12,500 events a
second. Measured is the time from the first chunk that is published to the last row in the lake,
with one collector's sink and one store in this process, so that only the bus differs, and the bytes
that travel; the way within one process hands the same chunks to the Parquet sink in batches of
100,000.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from edc.bus import BusStats
from edc.bus.brokers import connect
from edc.bus.settings import BusSettings, Encoding
from edc.bus.shares import Shares
from edc.consumer import Consumer, ConsumerLane
from edc.events import EVENT_TYPES, Origin, Trade, to_frame
from edc.lake import Lake
from edc.metrics import LaneStats
from edc.sinks.bus import BusSink
from edc.sinks.parquet import ParquetSink
from tests.brokers.servers import BROKERS

_CHUNK = 2500
_BATCH = 100_000
_ZONE = "UTC"
_BEGIN = 1_771_005_600_000_000_000
_ENCODINGS: tuple[Encoding, ...] = ("arrow", "json")
_JSON_PART = 10
"""Of the rows, so many times fewer are sent as JSON, which is slow."""


def _chunks(events: int) -> list[pl.DataFrame]:
    origin = Origin("bench", "bench", "bench_crypto", 1)
    made = []
    for first in range(0, events, _CHUNK):
        trades = [
            Trade(
                symbol=f"sym{number % 40:03d}usd",
                asset_type="crypto",
                event_time=_BEGIN + number * 1_000_000,
                created_at=_BEGIN + number * 1_000_000 + 5,
                origin=origin,
                last_price=float(number % 977),
                last_size=1.5,
                exchange="gdax",
                trade_id=str(number),
            )
            for number in range(first, min(events, first + _CHUNK))
        ]
        made.append(to_frame("trade", trades, _ZONE))
    return made


def _sink(path: Path) -> ParquetSink:
    path.mkdir(parents=True)
    return ParquetSink(Lake(path, _ZONE, "hour", "one", time.time_ns, whole=True))


def _within(chunks: Sequence[pl.DataFrame], path: Path) -> float:
    sink = _sink(path)
    some = _BATCH // _CHUNK
    started = time.perf_counter()
    for first in range(0, len(chunks), some):
        sink.write("trade", pl.concat(chunks[first : first + some]), f"1:{first}")
    return time.perf_counter() - started


async def _by(
    chunks: Sequence[pl.DataFrame], settings: BusSettings, path: Path
) -> tuple[float, int]:
    """Seconds, and bytes of messages."""
    sending, storing = connect(settings, "collector"), connect(settings, "store")
    stats = BusStats("bench", "store")
    sink = _sink(path / "lake")
    lanes = {
        kind: ConsumerLane(
            *(kind, storing, stats, sink, LaneStats(kind)),
            timezone=_ZONE,
            partitions=settings.partitions,
            max_rows=_BATCH,
            max_age=1.0,
        )
        for kind in EVENT_TYPES
    }
    store = Consumer(storing, stats, lanes, Shares(path / "shares", "store", settings.partitions))
    publishing = BusSink(
        *(sending, BusStats("bench", "collect")),
        instance="bench",
        encoding=settings.encoding,
        partitions=settings.partitions,
    )
    publishing.attach()
    await sending.open()
    await storing.open()
    stopping = asyncio.Event()
    task = asyncio.create_task(store.run(stopping), name="store")
    rows = sum(each.height for each in chunks)
    while storing.assigned() == frozenset():  # noqa: ASYNC110 - Kafka's group is another's state
        await asyncio.sleep(0.1)
    started, size = time.perf_counter(), 0
    for number, chunk in enumerate(chunks):
        chunk_ids = f"1:{number}-{number}"
        size += (await asyncio.to_thread(publishing.write, "trade", chunk, chunk_ids)).size
    while stats.of("trade").rows < rows:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)
    took = time.perf_counter() - started
    stopping.set()
    await task
    await sending.close()
    await storing.close()
    return took, size


def measure(names: Sequence[str], events: int, say: Callable[[str], None]) -> None:
    """Print a table: events a second by each broker, and without one."""
    chunks = _chunks(events)
    say(f"{'way':16}{'encoding':>10}{'events':>12}{'events/s':>12}{'bytes/event':>13}")
    folder = Path(tempfile.mkdtemp(prefix="edc-throughput-"))
    try:
        took = _within(chunks, folder / "within")
        say(f"{'in process':16}{'-':>10}{events:>12,}{events / took:>12,.0f}{'-':>13}")
        for name in names:
            for encoding in _ENCODINGS:
                some = chunks if encoding == "arrow" else chunks[: len(chunks) // _JSON_PART]
                rows = sum(each.height for each in some)
                path = folder / f"{name}-{encoding}"
                with BROKERS[name](path) as broker:
                    settings = BusSettings(url=broker.url, encoding=encoding, **broker.more)
                    took, size = asyncio.run(_by(some, settings, path))
                rate, width = rows / took, size / rows
                say(f"{name:16}{encoding:>10}{rows:>12,}{rate:>12,.0f}{width:>13,.1f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
