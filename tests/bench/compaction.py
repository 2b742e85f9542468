"""`python -m tests.bench.compaction [--rows 20000000]`: what compacting one great day costs.

Makes a day's partition of quotes as two instances would have written it: files of 100,000 rows, one
for each batch, 300 symbols of which the first has a tenth of all rows (more than a group holds),
nanosecond times, and one row in a hundred recorded by both. Compacts it in a process of its own and
prints rows, seconds and the highest resident memory of that process, in MiB. Exits 1 if a row is
missing or twice, or if the memory reached 1 GiB.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import polars as pl

from edc.events import identity
from edc.lake import Lake
from edc.times import SECOND
from edc.upkeep.compaction import Compacted, Compactor
from tests.bench.quotes import ZONE, quotes

_DAY = 1_770_958_800 * SECOND
"""2026-02-13T00:00:00 in New York."""
_LATER = _DAY + 30 * 24 * 3600 * SECOND
_BOUND = 1024.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a compaction took: seconds, and MiB before it began and at the highest."""

    rows_before: int
    rows_after: int
    files_before: int
    files_after: int
    seconds: float
    memory_before: float
    memory: float


def write_day(lake: Path, rows: int, file_rows: int = 100_000, symbols: int = 300) -> int:
    """Write the partition, `rows` with those that are there twice; the number of distinct ones."""
    folder = lake / "quote" / "date=2026-02-13"
    shared = file_rows // 100
    before: pl.DataFrame | None = None
    written = 0
    for number, frame in enumerate(_batches(rows // file_rows, file_rows, symbols)):
        part = frame
        if before is not None:  # what the other instance has recorded too, a little later
            later = pl.col("created_at") + pl.duration(nanoseconds=7_000, time_unit="ns")
            part = pl.concat([before.tail(shared).with_columns(later), frame.tail(-shared)])
        instance = ("east", "west")[number % 2]
        sink = Lake(lake, ZONE, "day", instance, lambda at=number: _LATER + at * SECOND)  # type: ignore[misc]
        sink.write("quote", folder, part, f"1:{number}-{number}")
        written += part.height - (shared if before is not None else 0)
        before = frame
    return written


def _batches(number: int, rows: int, symbols: int) -> Iterator[pl.DataFrame]:
    """Rows in order of time over the whole day, no two of them equal."""
    step = 24 * 3600 * SECOND // (number * rows)
    for batch in range(number):
        yield quotes(batch * rows, (batch + 1) * rows, _DAY, step, symbols)


def compact(lake: Path, group_rows: int | None = None) -> Cost:
    """Compact what lies in `lake`, in this process."""
    before = _peak()
    started = time.monotonic()
    if group_rows is None:
        compactor = Compactor(lake, ZONE, now_ns=lambda: _LATER)
    else:
        compactor = Compactor(lake, ZONE, now_ns=lambda: _LATER, group_rows=group_rows)
    (done,) = compactor.run()
    assert isinstance(done, Compacted), done
    assert done.files_after is not None
    assert done.rows_after is not None
    return Cost(
        done.rows_before,
        done.rows_after,
        done.files_before,
        done.files_after,
        round(time.monotonic() - started, 1),
        round(before, 1),
        round(_peak(), 1),
    )


def measure(lake: Path, group_rows: int | None = None) -> Cost:
    """As `compact`, in a process of its own, so that its memory is that of the compaction."""
    given = [] if group_rows is None else ["--group-rows", str(group_rows)]
    command = [sys.executable, "-m", "tests.bench.compaction", "--only", str(lake), *given]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=root)
    return msgspec.json.decode(done.stdout, type=Cost)


def _peak() -> float:
    """The most that was resident, MiB. `ru_maxrss` would begin with that of the parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not say how much memory was used")


def problems(lake: Path, distinct: int, cost: Cost) -> list[str]:
    """What is not as promised. Counts rows again, from outside."""
    rows = pl.scan_parquet(lake / "quote" / "**" / "*.parquet", hive_partitioning=False)
    keys = rows.select(identity("quote")).select(pl.struct(pl.all()).hash().alias("key"))
    found, different = keys.select(pl.len(), pl.col("key").n_unique().alias("n")).collect().row(0)
    told = []
    if not distinct == found == different == cost.rows_after:
        told.append(f"{distinct:,} rows are expected, {found:,} are there, {different:,} different")
    if cost.memory >= _BOUND:
        told.append(f"{cost.memory:.0f} MiB is more than {_BOUND:.0f}")
    return told


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--group-rows", type=int)
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        _say(msgspec.json.encode(asdict(compact(options.only, options.group_rows))).decode())
        return 0
    folder = Path(tempfile.mkdtemp(prefix="edc-compact-", dir=os.environ.get("TMPDIR")))
    try:
        distinct = write_day(folder, options.rows)
        cost = measure(folder, options.group_rows)
        _say(
            f"{cost.rows_before:,} rows in {cost.files_before} files ─► {cost.rows_after:,} in"
            f" {cost.files_after}: {cost.seconds:.1f} s, {cost.memory:.0f} MiB at the highest"
            f" ({cost.memory_before:.0f} before it began)"
        )
        found = problems(folder, distinct, cost)
    finally:
        shutil.rmtree(folder)
    for problem in found:
        _say(f"FAILED: {problem}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
