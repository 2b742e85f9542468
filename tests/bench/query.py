"""`python -m tests.bench.query [--days 60] [--rows 40000]`: what a query takes of a large lake.

Writes a lake of quotes, `rows` in each hour of `days` days, 200 symbols, as compaction leaves them,
and 300 chunks on their way in the spool. Each query runs in a process of its own, as `edc query`
does; printed are its seconds, its highest resident memory in MiB, and what it found. Exits with 1
if a count is wrong, or if a query of one hour takes half as long as one of everything.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from edc.events import SCHEMA_VERSION, schema
from edc.lake import Lake
from edc.spool import Spool
from edc.times import SECOND

_ZONE = "America/New_York"
_FIRST = 1_767_243_600 * SECOND
"""2026-01-01T00:00:00 in New York."""
_HOUR = 3600 * SECOND
_SYMBOLS = 200
_CHUNKS, _IN_CHUNK = 300, 1_000


def _quotes(start: int, rows: int, seed: int) -> pl.DataFrame:
    """Quotes spread over an hour from `start` (ns)."""
    step = _HOUR // rows
    frame = pl.select(number=pl.int_range(rows)).with_columns(
        symbol=pl.format("s{}", (pl.col("number") * 7919 + seed) % _SYMBOLS),
        event_time=start + pl.col("number") * step,
        bid=100 + (pl.col("number") % 977) / 100,
    )
    values = {
        "asset_type": pl.lit("stock"),
        "event_type": pl.lit("quote"),
        "vendor": pl.lit("v"),
        "source": pl.lit("v_s"),
        "ask": pl.col("bid") + 0.01,
        "mid": pl.col("bid") + 0.005,
        "created_at": pl.col("event_time") + 1_500_000,
    }
    return frame.with_columns(**values).select(
        (pl.col(name) if name in {*frame.columns, *values} else pl.lit(None))
        .cast(dtype)
        .alias(name)
        for name, dtype in schema("quote", _ZONE).items()
    )


def write_lake(path: Path, days: int, rows: int) -> int:
    """The lake, and its spool; the number of all rows."""
    lake = Lake(path, _ZONE, "hour", "main", time.time_ns)
    path.mkdir()
    lake.claim()
    for hour in range(days * 24):
        frame = _quotes(_FIRST + hour * _HOUR, rows, hour)
        ((folder, part),) = lake.partitions("quote", frame)
        folder.mkdir(parents=True)
        footer = {
            "edc.schema_version": str(SCHEMA_VERSION),
            "edc.event_type": "quote",
            "edc.time_range": f"{part['event_time'].to_physical()[0]} "
            f"{part['event_time'].to_physical()[-1]}",
        }  # without the fsyncs of `Lake.write`, which are not what is measured
        part.sort("symbol", "event_time").write_parquet(
            folder / "consol_feeds_quote.parquet", row_group_size=122_880, metadata=footer
        )
    spool = Spool(path, "main")
    spool.open()
    hot = _quotes(_FIRST + days * 24 * _HOUR, _CHUNKS * _IN_CHUNK, 0)
    for part in hot.iter_slices(_IN_CHUNK):
        spool.append("quote", part)
    spool.close()
    return days * 24 * rows + hot.height


def asked(path: Path, sql: str) -> tuple[int, float, float]:
    """The number that a query answers, the seconds it took, and MiB at the highest."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "edc", "query", "--path", str(path), sql, "--format", "csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{sql}: exit {process.returncode}")
    return int(printed.split()[-1]), time.perf_counter() - started, usage.ru_maxrss / 1024


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run it from the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--rows", type=int, default=40_000, help="in each hour")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lake"
        total = write_lake(path, options.days, options.rows)
        size = sum(file.stat().st_size for file in path.rglob("*.parquet"))
        say(f"{total:,} rows, {options.days * 24:,} files, {size / 1e6:,.0f} MB")
        hour = "event_time >= '2026-01-02 10:00' and event_time < '2026-01-02 11:00'"
        per_symbol = options.rows // _SYMBOLS
        queries = {
            "select 1 as one": 1,
            "select count(*) as n from quote": total,
            "select count(bid) as n from quote": total,
            f"select count(bid) as n from quote where {hour}": options.rows,
            f"select count(bid) as n from quote where {hour} and symbol = 's7'": per_symbol,
            "select count(bid) as n from quote where symbol = 's7'": total // _SYMBOLS,
            "select count(*) as n from (select * from quote limit 10)": 10,
        }
        took = {}
        for sql, wanted in queries.items():
            found, took[sql], memory = asked(path, sql)
            say(f"{took[sql]:7.2f} s {memory:6.0f} MiB  {found:>12,}  {sql}")
            if found != wanted:
                say(f"wrong: {wanted:,} rows are there")
                return 1
        nothing, _, everything, one_hour, *_ = took.values()
        return 0 if one_hour - nothing < (everything - nothing) / 2 else 1


if __name__ == "__main__":
    sys.exit(main())
