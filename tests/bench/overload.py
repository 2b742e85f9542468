"""`python -m tests.bench.overload [--seconds 120] [--rate 100000]`: the sink stands still.

A vendor sends `rate` events a second to a daemon whose lake takes nothing (`storage.reserve` is
more than any disk has), so that all stays in the spool. The daemon's memory is read every second.
Then it is killed, and `edc flush`, with a lake that takes rows again, is timed: the recovery. Exits
1 if memory went over the stated bound, or if a row is missing, twice, or lost by a queue.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from edc import control
from tests.bench.measured import cpu_of, status_of
from tests.harness import Process, write_config

BOUND = 384.0
"""MiB that the daemon may take, however long the sink stands still. The README says so."""
RECOVERY_BOUND = 512.0
"""MiB that a recovery may take, however much there is to recover."""
_FEED = """
[feeds.crypto]
vendor = "tiingo"
channel = "crypto"
threshold_level = 2
symbols = { crypto = ["*"] }
"""


@dataclass(slots=True)
class Result:
    """What was seen. Memory in MiB, times in seconds."""

    sent: int = 0
    owed: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    memory: list[float] = field(default_factory=list)
    deepest: int = 0
    dropped: int = 0
    received: int = 0
    pending: int = 0
    recovered: int = 0
    distinct: int = 0
    recovery_seconds: float = 0.0
    recovery_memory: float = 0.0

    def problems(self) -> list[str]:
        """What was not as promised."""
        found = []
        if max(self.memory) > BOUND:
            found.append(f"{max(self.memory):.0f} MiB is more than {BOUND:.0f}")
        if self.recovery_memory > RECOVERY_BOUND:
            found.append(f"{self.recovery_memory:.0f} MiB is more than {RECOVERY_BOUND:.0f}")
        if self.dropped:
            found.append(f"{self.dropped} events were dropped")
        if self.recovered != self.distinct:
            found.append(f"{self.recovered:,} rows in the lake, {self.distinct:,} different ones")
        if self.recovered < self.pending:
            found.append(f"{self.pending:,} rows were spooled, {self.recovered:,} are in the lake")
        return found


def overload(folder: Path, seconds: float, rate: int) -> Result:
    """Run for `seconds`, then recover."""
    vendor = Process("--rate", str(rate), cwd=folder, module="tests.bench.vendor", env=_HERE)
    vendor.wait_for("\n")
    config = write_config(folder, json.loads(vendor.output)["url"], feeds=_FEED)
    text = config.read_text().replace("[storage]\n", '[storage]\nreserve = "1000TiB"\n')
    config.write_text(text.replace('interval = "50ms"', 'interval = "200ms"'))
    daemon = Process("run", "--config", str(config), cwd=folder, env=_HERE)
    result = Result()
    _watch(daemon, folder / "lake" / ".spool" / "main" / "control.sock", seconds, result)
    daemon.process.kill()
    daemon.wait()
    vendor.process.terminate()
    vendor.wait()
    told = json.loads(vendor.output.splitlines()[-1])
    result.sent, result.owed = told["sent"], told["owed"]
    _recover(folder, config, result)
    return result


_HERE = {"PYTHONPATH": str(Path(__file__).parents[2])}


def _watch(daemon: Process, socket: Path, seconds: float, result: Result) -> None:
    started: float | None = None
    while started is None or time.monotonic() - started < seconds:
        time.sleep(1.0)
        if daemon.process.poll() is not None:
            raise RuntimeError(daemon.output)
        if not socket.exists():
            continue
        started = started or time.monotonic()
        status: dict[str, Any] = control.ask(socket, "status")
        tables = status["tables"].values()
        result.memory.append(status_of(daemon.process.pid, "VmRSS"))
        result.deepest = max(result.deepest, *(int(table["queued"]) for table in tables))
        result.dropped = sum(int(table["dropped"]) for table in tables)
        result.pending = sum(int(table["spooled"]) for table in tables)
        result.received = sum(sum(feed["events"].values()) for feed in status["feeds"])
        if sum(int(table["written"]) for table in tables):
            raise RuntimeError("the sink does not stand still")
    result.seconds = time.monotonic() - (started or 0.0)
    result.cpu = cpu_of(daemon.process.pid)


def _recover(folder: Path, config: Path, result: Result) -> None:
    config.write_text(config.read_text().replace('reserve = "1000TiB"', "reserve = 0"))
    started = time.monotonic()
    flush = Process("flush", "--config", str(config), cwd=folder, env=_HERE)
    while flush.process.poll() is None:
        time.sleep(0.02)
        result.recovery_memory = max(
            result.recovery_memory, status_of(flush.process.pid, "VmHWM") or 0.0
        )
    if flush.wait():
        raise RuntimeError(flush.output)
    result.recovery_seconds = time.monotonic() - started
    for kind in ("trade", "quote"):
        rows = pl.scan_parquet(folder / "lake" / kind / "**" / "*.parquet", hive_partitioning=False)
        times = rows.select(pl.len(), pl.struct("event_time").n_unique().alias("n")).collect()
        result.recovered += times.item(0, 0)
        result.distinct += times.item(0, 1)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rate", type=int, default=100_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="edc-overload-"))
    try:
        result = overload(folder, options.seconds, options.rate)
    finally:
        shutil.rmtree(folder)
    _say(
        f"sent {result.sent:,} in {result.seconds:.0f} s"
        f" ({result.sent / result.seconds:,.0f} a second, {result.owed:,} owed),"
        f" {result.cpu / max(1, result.received) * 1e6:.2f} µs of CPU an event\n"
        f"memory MiB: median {statistics.median(result.memory):.0f},"
        f" highest {max(result.memory):.0f}, bound {BOUND:.0f};"
        f" deepest queue {result.deepest:,}, dropped {result.dropped:,}\n"
        f"recovered {result.recovered:,} rows in {result.recovery_seconds:.1f} s"
        f" ({result.recovered / result.recovery_seconds:,.0f} a second),"
        f" {result.recovery_memory:.0f} MiB at the highest"
    )
    for problem in result.problems():
        _say(f"FAILED: {problem}")
    return 1 if result.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
