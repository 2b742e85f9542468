"""One run of one candidate on one core: what an event cost it, how fast it was, what it kept."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from edc import control
from edc.events import identity
from tests.bench.frames import repeated
from tests.bench.peers.steady import BEGIN, END
from tests.harness import write_config

ROOT = Path(__file__).parents[2]
_RATE = 400_000
"""Events a second that the vendor offers: more than anybody here takes."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a vendor sends: so many events a second, and in all, to each of the connections."""

    workload: str = "tiingo"
    events: int = 2_000_000
    symbols: int = 5000
    duplicates: float = 0.01
    rate: int = _RATE
    live: bool = False
    connections: int = 1

    def options(self) -> list[str]:
        """As the vendor takes them."""
        named = {
            "workload": self.workload,
            "events": self.events,
            "symbols": self.symbols,
            "duplicates": self.duplicates,
            "rate": self.rate,
        }
        return [f"--{name}={value}" for name, value in named.items()] + ["--live"] * self.live

    @property
    def total(self) -> int:
        """Events on all connections."""
        return self.events * self.connections

    def distinct(self) -> int:
        """All events without those that are repeated."""
        seconds, rest = divmod(self.events, self.rate)
        again = repeated(self.rate, self.duplicates)
        twice = seconds * len(again) + sum(number < rest for number in again)
        return self.total - twice * self.connections


@dataclass(frozen=True, slots=True)
class Reading:
    """The steady part of a run, and the peak memory (MiB) of the whole of it."""

    events: int
    cpu: float
    seconds: float
    peak: float

    @property
    def micros(self) -> float:
        """Microseconds of CPU, user and system, of the whole process for an event."""
        return self.cpu / self.events * 1e6

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


def cores() -> tuple[int, int]:
    """That of the candidate and that of the vendor."""
    own = sorted(os.sched_getaffinity(0))
    return own[0], own[-1]


def pinned(command: Sequence[str | Path], core: int, **more: Any) -> subprocess.Popen[str]:
    """Start a command on one core."""
    return subprocess.Popen(
        ["taskset", "--cpu-list", str(core), *command],
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **more,
    )


@contextmanager
def vendor(load: Load) -> Iterator[str]:
    """The vendor's address, in a process of its own on a core of its own."""
    command = [sys.executable, "-m", "tests.bench.vendor", *load.options()]
    process = pinned(command, cores()[1], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.communicate()


def peer(command: Sequence[str | Path], load: Load, folder: Path, path: str) -> Reading:
    """Run `command URL EVENTS FOLDER SYMBOLS`, which measures itself: see `peers/steady.py`."""
    with vendor(load) as url:
        told = [f"{url}{path}", str(load.events)]
        if "bare.py" not in str(command[1]):
            told += [str(folder), str(load.symbols)]
        process = pinned([*command, *told], cores()[0], stdout=subprocess.PIPE)
        output, _ = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {output}")
    return Reading(**json.loads(output.splitlines()[-1]))


FEEDS = {
    "tiingo": """
[feeds.feed%d]
vendor = "tiingo"
channel = "crypto"
symbols = { crypto = ["*"] }
""",
}
"""The workloads that edc has an adapter for, as its config asks for them."""


def edc(load: Load, folder: Path, library: str, *, batch: str = "") -> Reading:
    """Run the daemon with all that it does by default, until it has taken all.

    Raises RuntimeError where the lake does not hold each event once.
    """
    folder.mkdir(parents=True)
    with vendor(load) as url:
        more = f'[transport]\nwebsocket = "{library}"\n{batch}'
        feeds = "".join(FEEDS[load.workload] % number for number in range(load.connections))
        config = write_config(folder, url, feeds=feeds, more=more)
        config.write_text(config.read_text().replace('interval = "50ms"', 'interval = "200ms"'))
        with (folder / "log").open("w") as log:
            command = [sys.executable, "-m", "edc", "run", "--config", str(config)]
            daemon = pinned(command, cores()[0], stderr=log, cwd=folder)
            try:
                readings = _readings(daemon.pid, folder / "lake", load.total)
                peak = status_of(daemon.pid, "VmHWM")
            finally:
                daemon.terminate()
                if daemon.wait(120):
                    raise RuntimeError((folder / "log").read_text())
    _compare(folder / "lake", load)
    (events, cpu, clock), (last_events, last_cpu, last_clock) = readings
    return Reading(last_events - events, last_cpu - cpu, last_clock - clock, peak)


def _readings(pid: int, lake: Path, total: int) -> list[tuple[int, float, float]]:
    """Events, CPU and clock where the steady part begins and ends."""
    socket = lake / ".spool" / "main" / "control.sock"
    marks, readings = [total * BEGIN, total * END, total], []
    patience = time.monotonic() + 300
    while marks:
        if time.monotonic() > patience:
            raise RuntimeError("the daemon does not get there")
        time.sleep(0.1)
        if not socket.exists():
            continue
        status: dict[str, Any] = control.ask(socket, "status")
        events = sum(sum(feed["events"].values()) for feed in status["feeds"])
        if events >= marks[0]:
            readings.append((events, cpu_of(pid), time.perf_counter()))
            del marks[0]
    return readings[:2]


def _compare(lake: Path, load: Load) -> None:
    """A benchmark of a recorder that loses something, or keeps it twice, measures nothing."""
    rows = distinct = 0
    for kind in ("trade", "quote"):
        table = pl.scan_parquet(lake / kind / "**" / "*.parquet", hive_partitioning=False)
        told = table.select(pl.len(), pl.struct(identity(kind)).n_unique().alias("n")).collect()
        rows += told.item(0, 0)
        distinct += told.item(0, 1)
    if not rows == distinct == load.distinct():
        raise RuntimeError(
            f"{load.distinct():,} different events were sent; the lake has {rows:,} rows,"
            f" {distinct:,} of them different"
        )


def status_of(pid: int, what: str) -> float:
    """Memory of a process in MiB; 0 for one that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(what)), 0.0)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def calibration() -> float:
    """Nanoseconds of CPU for a step of a loop of plain Python: how fast this core is just now."""
    steps = 2_000_000
    started = time.process_time()
    total = 0
    for number in range(steps):
        total += number & 7
    return (time.process_time() - started) / steps * 1e9
