"""`python -m tests.soak [--minutes 10] [--rate 20000]`: a long run, watched from outside.

A simulator and a daemon, each in a process of its own. Every few seconds the daemon's memory (RSS)
and queue depth are read; at the end it is stopped, and the lake must hold every event that the
simulator sent. Exits 1 if memory has grown, a queue was ever full, or an event is missing.
"""

import argparse
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from edc import control
from tests.harness import Process, SimulatorProcess, write_config

_SAMPLE = 2.0
_GROWTH = 1.15
"""The last fifth's median memory may be this much above the second fifth's."""


@dataclass(slots=True)
class Result:
    """What was seen. Memory in MiB, one value for each sample."""

    sent: int = 0
    rows: int = 0
    capacity: int = 0
    stopped_in: float = 0.0
    memory: list[float] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Memory of the last fifth over memory of the second."""
        fifth = max(1, len(self.memory) // 5)
        early, late = self.memory[fifth : 2 * fifth] or self.memory, self.memory[-fifth:]
        return statistics.median(late) / statistics.median(early)

    def problems(self) -> list[str]:
        """What was not as promised."""
        found = []
        if self.rows != self.sent:
            found.append(f"{self.sent} events were sent, {self.rows} are in the lake")
        if max(self.depth) >= self.capacity:
            found.append("a queue was full")
        if self.growth > _GROWTH:
            found.append(f"memory grew by {self.growth - 1:.0%}")
        return found


def soak(folder: Path, seconds: float, rate: float) -> Result:
    """Run for `seconds` at `rate` events a second, in `folder`."""
    simulator = SimulatorProcess(folder, rate=rate)
    daemon = Process("run", "--config", str(write_config(folder, simulator.url)), cwd=folder)
    socket = folder / "lake" / ".spool" / "main" / "control.sock"
    result = Result()
    started = time.monotonic()
    spoken = 0.0
    while (elapsed := time.monotonic() - started) < seconds:
        time.sleep(min(_SAMPLE, seconds / 10))
        if not socket.exists():
            continue
        status: dict[str, Any] = control.ask(socket, "status")
        tables = status["tables"].values()
        result.memory.append(_memory(daemon.process.pid))
        result.depth.append(max(int(table["queued"]) for table in tables))
        result.capacity = max(int(table["capacity"]) for table in tables)
        if elapsed - spoken >= 30:
            spoken = elapsed
            written = sum(int(table["written"]) for table in tables)
            _say(
                f"{elapsed:5.0f} s  memory {result.memory[-1]:6.1f} MiB"
                f"  queue {result.depth[-1]:6d}  written {written:10,d}"
            )
    daemon.process.send_signal(signal.SIGTERM)
    stopping = time.monotonic()
    code = daemon.wait(60)
    result.stopped_in = time.monotonic() - stopping
    result.sent = sum(simulator.end().values())
    if code:
        raise RuntimeError(daemon.output)
    lake = folder / "lake"
    result.rows = sum(
        pl.scan_parquet(lake / kind / "**" / "*.parquet", hive_partitioning=False)
        .select(pl.len())
        .collect()
        .item()
        for kind in ("trade", "quote")
    )
    return result


def _memory(pid: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no memory of process {pid}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edc-soak-") as folder:
        result = soak(Path(folder), options.minutes * 60, options.rate)
    _say(
        f"sent {result.sent:,}, in the lake {result.rows:,}\n"
        f"memory MiB: median {statistics.median(result.memory):.0f},"
        f" highest {max(result.memory):.0f}, last fifth over second {result.growth:.3f}\n"
        f"queue: deepest {max(result.depth):,} of {result.capacity:,}\n"
        f"stopped in {result.stopped_in:.1f} s"
    )
    for problem in result.problems():
        _say(f"FAILED: {problem}")
    return 1 if result.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
