"""`python -m tests.bench.growth [--rows 200000000]`: what a batch costs as the lake grows.

Makes a lake of quotes, two million an hour, each hour one sorted file as compaction leaves it. At
1, 10, 50, 100 … million rows the sink writes, as the daemon would: batches of 100,000 rows of the
hour that is going on, each with one row in a hundred of the batch before (`now`); a batch of which
half is new and half is there, all over an hour that was compacted long ago (`late`); and a thousand
rows of one symbol in such an hour (`fill`). Last, the same late batch and fill in a partition of a
whole day with 20 million rows. Exits 1 where a batch of the present costs more at its dearest than
1.5 times what it costs in the smallest lake, or where a row is missing or twice. What was written
to measure is removed again.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from edc.lake import Lake
from edc.sinks.parquet import ParquetSink
from edc.times import SECOND
from tests.bench.quotes import ZONE, quotes

_BEGIN = 1_770_958_800 * SECOND
"""2026-02-13T00:00:00 in New York."""
_HOUR = 3600 * SECOND
_PER_HOUR = 2_000_000
_STEP = _HOUR // _PER_HOUR
_BATCH = 100_000
_AGAIN = _BATCH // 100
_POINTS = (1, 10, 50, 100, 200, 400, 700, 1000)
"""Millions of rows."""
_DAY_ROWS = 20_000_000
FLAT = 1.5
"""How much more a batch of the present may cost than in the smallest lake."""
_BATCHES = 10


@dataclass(frozen=True, slots=True)
class Point:
    """Milliseconds of CPU of the process, and of the clock, for one call of the sink."""

    lake_rows: int
    lake_files: int
    now: float
    now_clock: float
    late: float
    late_clock: float
    fill: float
    fill_clock: float


def _hour(number: int) -> tuple[int, int]:
    """The first and last row of an hour."""
    return number * _PER_HOUR, (number + 1) * _PER_HOUR


def _rows(first: int, last: int) -> pl.DataFrame:
    return quotes(first, last, _BEGIN, _STEP)


class Growing:
    """A lake by the hour, and the sink that writes to it."""

    def __init__(self, path: Path, partition: str = "hour") -> None:
        self.path = path
        self.lake = Lake(path, ZONE, partition, "main", time.time_ns)
        self.rows = 0
        self.files = 0
        self._hours = 0

    def grow(self, rows: int) -> None:
        """Add whole hours until there are so many rows, or a part of one where it is less."""
        while self.rows < rows:
            first, last = _hour(self._hours)
            frame = _rows(first, min(last, first + rows - self.rows))
            ((folder, part),) = self.lake.partitions("quote", frame)
            self.lake.write("quote", folder, part, "1:1-1")
            self.rows += part.height
            self.files += 1
            self._hours += 1

    def measure(self) -> Point:
        """What a batch costs now."""
        return Point(self.rows, self.files, *self._now(), *self._late(), *self._fill())

    def _now(self) -> tuple[float, float]:
        """Batches of the next hour, which are removed again."""
        first, _ = _hour(self._hours)
        sink, readings = ParquetSink(self.lake), []
        folder = None
        for number in range(_BATCHES + 2):
            start = first + number * (_BATCH - _AGAIN)
            batch = _rows(start, start + _BATCH)
            new = _BATCH - _AGAIN * (number > 0)
            readings.append(_timed(sink, batch, new))
            ((folder, _),) = self.lake.partitions("quote", batch)
        assert folder is not None
        shutil.rmtree(folder)
        return _median(readings[2:])  # the first ones find the folder empty, the code cold

    def _late(self) -> tuple[float, float]:
        first, last = _hour(self._hours // 2)
        last = min(last, self.rows)
        known = _rows(first, last).sample(_BATCH // 2, seed=1)
        later = pl.duration(nanoseconds=1, time_unit="ns")
        new = known.with_columns(pl.col("sequence") + 1, pl.col("event_time") + later)
        return self._again(pl.concat([known, new]).sort("event_time"), new.height)

    def _fill(self) -> tuple[float, float]:
        first, last = _hour(self._hours // 2)
        last = min(last, self.rows)
        known = _rows(first, last).filter(symbol="sym150").head(500)
        new = known.with_columns(pl.col("sequence") + 1)
        return self._again(pl.concat([known, new]), new.height)

    def _again(self, batch: pl.DataFrame, new: int) -> tuple[float, float]:
        """Write a batch thrice, its file removed after each."""
        sink = ParquetSink(self.lake)
        return _median([_timed(sink, batch, new, remove=True) for _ in range(3)])


def _timed(
    sink: ParquetSink, batch: pl.DataFrame, new: int, *, remove: bool = False
) -> tuple[float, float]:
    """CPU and clock of one write, in milliseconds. Raises RuntimeError where it is not right."""
    cpu, clock = time.process_time(), time.perf_counter()
    written = sink.write("quote", batch, "1:1-1")
    spent = ((time.process_time() - cpu) * 1e3, (time.perf_counter() - clock) * 1e3)
    if (written.rows, written.duplicates) != (new, batch.height - new):
        raise RuntimeError(f"{new:,} of {batch.height:,} rows are new, it says {written}")
    for file in written.files if remove else ():
        file.unlink()
    return spent


def _median(readings: list[tuple[float, float]]) -> tuple[float, float]:
    cpu, clock = zip(*readings, strict=True)
    return round(statistics.median(cpu), 1), round(statistics.median(clock), 1)


def of_a_day(path: Path, rows: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """A late batch, and a fill, in a partition with all rows of a day."""
    growing = Growing(path, "day")
    growing.grow(min(rows, 24 * _PER_HOUR))
    return growing._late(), growing._fill()


def table(points: list[Point]) -> Table:
    """Milliseconds of CPU, and of the clock."""
    made = Table(title="one call of the sink, ms of CPU (ms of the clock)")
    for name in ("rows in the lake", "files", "100,000 now", "100,000 late", "1,000 filled"):
        made.add_column(name, justify="right")
    for point in points:
        made.add_row(
            *(f"{point.lake_rows:,}", f"{point.lake_files:,}"),
            f"{point.now:.0f} ({point.now_clock:.0f})",
            f"{point.late:.0f} ({point.late_clock:.0f})",
            f"{point.fill:.0f} ({point.fill_clock:.0f})",
        )
    return made


def growth(path: Path, rows: int, told: Callable[[Point], None] = lambda _: None) -> list[Point]:
    """The curve up to so many rows."""
    growing, points = Growing(path), []
    for millions in _POINTS:
        if millions * 1_000_000 > rows:
            break
        growing.grow(millions * 1_000_000)
        points.append(growing.measure())
        told(points[-1])
    return points


def main() -> int:
    """Run from the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000_000)
    parser.add_argument("--path", type=Path, help="a folder on the disk that is to be used")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    out = Console()
    with tempfile.TemporaryDirectory(prefix="edc-growth-", dir=options.path) as folder:
        points = growth(Path(folder) / "hours", options.rows, lambda point: out.print(str(point)))
        late, fill = of_a_day(Path(folder) / "day", min(options.rows, _DAY_ROWS))
    out.print(table(points))
    out.print(f"in a day of {min(options.rows, _DAY_ROWS):,} rows: late {late}, filled {fill}")
    if options.json:
        figures = {
            "points": [asdict(point) for point in points],
            "day": {"late": late, "fill": fill},
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(max(point.now for point in points) > FLAT * points[0].now)


if __name__ == "__main__":
    sys.exit(main())
