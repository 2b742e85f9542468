"""How long an event waits for the daemon: from the vendor's write to the stamp of receipt.

The vendor writes each millisecond's events when it is over, and says when it began to. Both
processes read one clock. What is told includes the kernel's way. Taken from the lake, over all
events after the first second.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from edc.times import SECOND
from tests.bench.measured import Load, edc

PARTS = (0.1, 0.5, 0.9)
"""Of the greatest rate."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds, at a part of the greatest rate."""

    workload: str
    part: float
    rate: int
    p50: float
    p90: float
    p99: float
    p999: float
    greatest: float


def latencies(
    workload: str, greatest: int, seconds: float, symbols: int, library: str = "picows"
) -> list[Latency]:
    """At each part of the greatest rate for so many seconds."""
    rates = [(part, int(greatest * part) // 1000 * 1000) for part in PARTS]
    return [_latency(workload, part, rate, seconds, symbols, library) for part, rate in rates]


def _latency(
    workload: str, part: float, rate: int, seconds: float, symbols: int, library: str
) -> Latency:
    load = Load(
        workload=workload,
        events=int(rate * seconds),
        symbols=symbols,
        duplicates=0.0,
        rate=rate,
        live=True,
    )
    with tempfile.TemporaryDirectory(prefix="edc-bench-") as folder:
        reading = edc(load, Path(folder) / "run", library)
        written = pl.DataFrame(reading.written, schema=["due", "written"], orient="row")
        times = pl.concat(
            pl.scan_parquet(Path(folder) / "run" / "lake" / kind / "**" / "*.parquet").select(
                pl.col("event_time", "created_at").cast(pl.Int64)
            )
            for kind in ("trade", "quote")
        ).collect()
    waited = (
        times.filter(pl.col("created_at") > pl.col("created_at").min() + SECOND)
        .sort("event_time")
        .join_asof(written.sort("due"), left_on="event_time", right_on="due")
        .select((pl.col("created_at") - pl.col("written")) / 1e6)
        .to_series()
    )
    quantiles = [waited.quantile(q) or 0.0 for q in (0.5, 0.9, 0.99, 0.999, 1.0)]
    return Latency(workload, part, rate, *quantiles)
