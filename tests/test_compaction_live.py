"""Compaction in processes of its own: killed at any moment, read at every moment, and its memory.

The points at which it may be killed are named in test_compaction.py; here the moment is what is
tried, and a reader, a process too, lists and reads the partition all the while.
"""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import IO

import polars as pl

from edc.events import Origin, Trade, to_frame
from edc.lake import Lake
from edc.times import SECOND
from tests.bench import compaction as bench

ZONE = "America/New_York"
NOON = 1_771_002_000 * SECOND
"""2026-02-13T12:00:00 in New York."""
ORIGIN = Origin("f", "v", "s", 1)

COMPACT = """
import sys, time
from pathlib import Path
from edc.upkeep.compaction import Compactor
compactor = Compactor(Path(sys.argv[1]), "America/New_York", now_ns=time.time_ns, group_rows=400)
print("ready", flush=True)
print([each.rows_after for each in compactor.run()], flush=True)
"""

READ = """
import json, sys
from pathlib import Path
import polars as pl
folder, looks, again, wrong = Path(sys.argv[1]), 0, 0, []
print("ready", flush=True)
for line in sys.stdin:  # how many rows are to be there; an empty line is the end
    wanted = int(line)
    if not wanted:
        break
    while True:
        try:
            found = [
                pl.read_parquet(path, columns=["sequence"], hive_partitioning=False)
                for path in sorted(folder.glob("[!._]*.parquet"))
            ]
        except FileNotFoundError:
            again += 1
            continue
        break
    looks += 1
    numbers = sorted(pl.concat(found)["sequence"].to_list())
    if numbers != list(range(wanted)):
        wrong.append([wanted, len(numbers), len(set(numbers))])
    print(looks, flush=True)
print(json.dumps({"looks": looks, "again": again, "wrong": wrong}), flush=True)
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert said(process.stdout) == "ready\n"
    return process


def said(pipe: IO[str] | None) -> str:
    assert pipe is not None
    return pipe.readline()


def tell(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str]) -> None:
    process.wait(30)
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def write(lake: Path, start_at: int, rows: int) -> None:
    """One file with the next rows, of two symbols, numbered."""
    trades = [
        Trade(
            symbol=("btcusd", "ethusd")[number % 2],
            asset_type="crypto",
            event_time=NOON + number * 1_000_000,
            last_price=1.0,
            last_size=1.0,
            sequence=number,
            created_at=NOON,
            origin=ORIGIN,
        )
        for number in range(start_at, start_at + rows)
    ]
    folder = lake / "trade" / "date=2026-02-13" / "hour=12"
    sink = Lake(lake, ZONE, "hour", "main", lambda: NOON + start_at * 1000)
    sink.write("trade", folder, to_frame("trade", trades, ZONE), "")


def test_killed_at_random_a_reader_always_finds_each_row_once(tmp_path: Path) -> None:
    """A reader that finds a file gone lists again, as the README asks of it."""
    rng = random.Random(20260213)
    lake = tmp_path / "lake"
    reader = start(READ, str(lake / "trade" / "date=2026-02-13" / "hour=12"))
    rows, finished = 0, 0
    for _ in range(12):
        for _ in range(4):  # nobody is at work on the lake now
            write(lake, rows, 500)
            rows += 500
        compaction = start(COMPACT, str(lake))
        looks = rng.randrange(12)  # the moment, in looks of the reader
        for _ in range(looks):
            tell(reader, str(rows))
            said(reader.stdout)
        if compaction.poll() is None:
            compaction.kill()
        finished += compaction.wait(30) == 0
        end(compaction)
        tell(reader, str(rows))
        said(reader.stdout)
    compaction = start(COMPACT, str(lake))
    while compaction.poll() is None:
        tell(reader, str(rows))
        said(reader.stdout)
    assert json.loads(said(compaction.stdout)) == [rows]
    end(compaction)
    tell(reader, "0")
    result = json.loads(said(reader.stdout))
    end(reader)

    assert result["wrong"] == []
    assert result["looks"] >= 13
    assert finished < 12
    files = list((lake / "trade").rglob("*.parquet"))
    assert [pl.read_parquet(path).height for path in files] == [rows]


def test_memory_is_bounded_by_the_group_and_not_by_the_partition(tmp_path: Path) -> None:
    """The short form of `python -m tests.bench.compaction`: a twentieth of its rows and groups."""
    distinct = bench.write_day(tmp_path, 1_000_000, file_rows=20_000)

    cost = bench.measure(tmp_path, group_rows=12_500)

    assert bench.problems(tmp_path, distinct, cost) == []
    assert (cost.rows_before, cost.rows_after) == (1_000_000, 990_200)
    assert (cost.files_before, cost.files_after) == (50, 1)
    assert cost.memory - cost.memory_before < 250
