"""One run of one candidate on one core: what an event cost it, how fast it was, what it kept."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from edc import control
from edc.events import identity
from tests.bench.frames import WORKLOADS
from tests.bench.peers.steady import BEGIN, END
from tests.harness import write_config

ROOT = Path(__file__).parents[2]
RATE = 1_000_000
"""Events a second that the vendor offers: more than anybody here takes."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a vendor sends: so many events a second, and in all, to each of the connections."""

    workload: str = "tiingo"
    events: int = 2_000_000
    symbols: int = 5000
    duplicates: float = 0.01
    rate: int = RATE
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

    @property
    def cycle(self) -> int:
        """After how many events the vendor begins anew, with another second."""
        return WORKLOADS[self.workload].cycle(self.rate, self.symbols, live=self.live)

    def whole(self) -> "Load":
        """With as many events as whole cycles have, where connections share them."""
        if not WORKLOADS[self.workload].numbered:
            return self
        return replace(self, events=max(1, round(self.events / self.cycle)) * self.cycle)

    def distinct(self) -> int:
        """All events without those that are repeated."""
        cycles, rest = divmod(self.events, self.cycle)
        again = WORKLOADS[self.workload].repeated(self.cycle, self.duplicates)
        twice = cycles * len(again) + sum(number < rest for number in again)
        return self.total - twice * self.connections


@dataclass(frozen=True, slots=True)
class Reading:
    """The steady part of a run, and the peak memory (MiB) of the whole of it.

    `row_bytes` are those of a row in the lake, by table, as it was written: before compaction.
    `written` is what a live vendor says of its writes.
    """

    events: int
    cpu: float
    seconds: float
    peak: float
    row_bytes: dict[str, float] = field(default_factory=dict)
    written: list[tuple[int, int]] = field(default_factory=list)

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


def pinned(command: Sequence[str | Path], core: int | str, **more: Any) -> subprocess.Popen[str]:
    """Start a command on one core, or on some, as `0-1`."""
    return subprocess.Popen(
        ["taskset", "--cpu-list", str(core), *command],
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **more,
    )


@dataclass(slots=True)
class Vendor:
    """Its address, and, once it has ended, what it says of its writes: see `vendor.py`."""

    url: str
    written: list[tuple[int, int]] = field(default_factory=list)


@contextmanager
def vendor(load: Load) -> Iterator[Vendor]:
    """In a process of its own, on a core of its own."""
    command = [sys.executable, "-m", "tests.bench.vendor", *load.options()]
    process = pinned(command, cores()[1], stdout=subprocess.PIPE)
    assert process.stdout is not None
    found = Vendor(json.loads(process.stdout.readline())["url"])
    try:
        yield found
    finally:
        process.terminate()
        said, _ = process.communicate()
        found.written = [(due, at) for due, at in json.loads(said or "{}").get("written", [])]


def peer(command: Sequence[str | Path], load: Load, folder: Path, path: str) -> Reading:
    """Run `command URL EVENTS FOLDER SYMBOLS`, which measures itself: see `peers/steady.py`."""
    with vendor(load) as seller:
        told = [f"{seller.url}{path}", str(load.events)]
        if "bare.py" not in str(command[1]):
            told += [str(folder), str(load.symbols)]
        process = pinned([*command, *told], cores()[0], stdout=subprocess.PIPE)
        output, _ = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {output}")
    return Reading(**json.loads(output.splitlines()[-1]))


def _everything(vendor: str, channel: str, asset_type: str) -> Callable[[Load], str]:
    """A feed for each connection, which asks for everything."""
    feed = f"""
[feeds.feed%d]
vendor = "{vendor}"
channel = "{channel}"
symbols = {{ {asset_type} = ["*"] }}
"""
    return lambda load: "".join(feed % number for number in range(load.connections))


def _streams(*streams: str) -> Callable[[Load], str]:
    """One feed that names all symbols, on as many connections as the venue's limits ask for."""

    def feed(load: Load) -> str:
        names = [WORKLOADS[load.workload].symbol(number) for number in range(load.symbols)]
        return f"""
[feeds.feed]
vendor = "binance"
channel = "spot"
streams = {json.dumps(streams)}
symbols = {{ crypto = {json.dumps(names)} }}
"""

    return feed


FEEDS: dict[str, Callable[[Load], str]] = {
    "tiingo": _everything("tiingo", "crypto", "crypto"),
    "binance": _streams("aggTrade", "bookTicker"),
    "binance_trade": _streams("trade", "bookTicker"),
    "alpaca": _everything("alpaca", "sip", "stock"),
}
"""How a config asks for each workload."""


def settings_of(
    load: Load, folder: Path, url: str, library: str = "picows", more: str = ""
) -> Path:
    """A config with all that edc does by default, for this vendor; `more` are further sections.

    But it does not compact, which it does once an hour: that would fall into a run by lot. See
    `compaction`.
    """
    rest = url.replace("ws://", "http://")
    vendors = f"""
[vendors.binance]
url = "{url}"
rest_url = "{rest}"

[vendors.alpaca]
url = "{url}"
rest_url = "{rest}"
api_key = "key"
api_secret = "secret"
"""
    more = f'[transport]\nwebsocket = "{library}"\n{more}{vendors}'
    config = write_config(folder, url, feeds=FEEDS[load.workload](load), more=more)
    config.write_text(config.read_text().replace('interval = "50ms"', 'interval = "200ms"'))
    return config


def edc(load: Load, folder: Path, library: str, *, batch: str = "", workers: int = 0) -> Reading:
    """Run the daemon with all that it does by default, until it has taken all.

    With `workers` it has so many, on all cores. Raises RuntimeError where the lake does not hold
    each event once.
    """
    folder.mkdir(parents=True)
    with vendor(load) as seller:
        config = settings_of(load, folder, seller.url, library, batch)
        with (folder / "log").open("w") as log:
            command = [sys.executable, "-m", "edc", "run", "--config", str(config)]
            command += ["--workers", str(workers)] if workers else []
            on = f"{cores()[0]}-{cores()[1]}" if workers else cores()[0]
            daemon = pinned(command, on, stderr=log, cwd=folder)
            try:
                readings = _readings(daemon, folder / "lake", load.total)
                peak = status_of(daemon.pid, "VmHWM")
            finally:
                daemon.terminate()
                if daemon.wait(120):
                    raise RuntimeError((folder / "log").read_text())
    rows = _compare(folder / "lake", load)
    sizes = {kind: _size(folder / "lake" / kind) / count for kind, count in rows.items() if count}
    (events, cpu, clock), (last_events, last_cpu, last_clock) = readings
    spent = (last_events - events, last_cpu - cpu, last_clock - clock)
    return Reading(*spent, peak, sizes, seller.written)


def _readings(
    daemon: subprocess.Popen[str], lake: Path, total: int
) -> list[tuple[int, float, float]]:
    """Events, CPU and clock where the steady part begins and ends."""
    socket = lake / ".spool" / "main" / "control.sock"
    marks, readings = [total * BEGIN, total * END, total], []
    patience = time.monotonic() + 300
    while marks:
        if time.monotonic() > patience:
            raise RuntimeError("the daemon does not get there")
        time.sleep(0.5)
        if daemon.poll() is not None:
            raise RuntimeError(f"the daemon has ended with {daemon.returncode}")
        if not socket.exists():
            continue
        status: dict[str, Any] = control.ask(socket, "status")
        events = sum(sum(feed["events"].values()) for feed in status["feeds"])
        if events >= marks[0]:
            spent = sum(map(cpu_of, family(daemon.pid)))
            readings.append((events, spent, time.perf_counter()))
            del marks[0]
    return readings[:2]


def _compare(lake: Path, load: Load) -> dict[str, int]:
    """The rows of each table.

    A benchmark of a recorder that loses something, or keeps it twice, measures nothing.
    """
    counted: dict[str, int] = {}
    distinct = 0
    for kind in ("trade", "quote"):
        table = pl.scan_parquet(lake / kind / "**" / "*.parquet", hive_partitioning=False)
        told = table.select(pl.len(), pl.struct(identity(kind)).n_unique().alias("n")).collect()
        counted[kind] = told.item(0, 0)
        distinct += told.item(0, 1)
    holes = list((lake / "gap").rglob("*.parquet"))
    if holes and (told := pl.read_parquet(holes, hive_partitioning=False)).height:
        raise RuntimeError(f"the ledger knows of gaps: {told['cause'].value_counts().rows()}")
    rows = sum(counted.values())
    if not rows == distinct == load.distinct():
        raise RuntimeError(
            f"{load.distinct():,} different events were sent; the lake has {rows:,} rows,"
            f" {distinct:,} of them different"
        )
    return counted


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def status_of(pid: int, what: str) -> float:
    """Memory of a process in MiB; 0 for one that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(what)), 0.0)


def family(pid: int) -> list[int]:
    """A process and its children."""
    children = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [pid, *(int(child) for each in children for child in each.split())]


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
