"""`make bench`: what an event costs, from the socket to the deduplicated lake, beside its peers.

Each candidate runs alone on one core while the vendor has another; all take turns, round by round,
so that a slow minute of the machine hits them all, and medians are told. Fails where edc's lake is
not exactly what was sent.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import environment
from tests.bench.frames import WORKLOADS, Workload
from tests.bench.latency import Latency, latencies
from tests.bench.machine import machine, pauses, revision
from tests.bench.measured import Load, Reading, calibration, edc, peer
from tests.bench.overload import Result, overload

PEERS = Path(__file__).parent / "peers"
_SLOWER = {"with_cryptofeed": 0.25, "with_nautilus": 0.03, "original": 0.15}
"""The part of the events that a peer gets: it takes its time, and its cost is flat."""
_TIMED = ("tiingo", "alpaca")
"""Workloads whose every event carries the vendor's time."""
out = Console() if sys.stdout.isatty() else Console(width=120)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that is measured: its name, its workload, and how it is run."""

    name: str
    workload: str
    run: Callable[[Load, Path], Reading]
    part: float = 1.0


def candidates(workloads: Sequence[Workload], *, peers: bool) -> list[Candidate]:
    """All of them, by workload, edc's own first."""
    found = []
    others = _peers() if peers else []
    for workload in workloads:
        for library in ("picows", "websockets"):
            found.append(Candidate(f"edc, {library}", workload.name, partial(_edc, library)))
            script = (sys.executable, PEERS / "bare.py", library, str(workload.per_frame))
            bare = partial(_peer, script, workload.path)
            found.append(Candidate(f"bare {library}", workload.name, bare))
        found += [other for other in others if other.workload == workload.name]
    return found


def _peers() -> list[Candidate]:
    """Other recorders, by the Python that has them."""
    python, found = environment.peers_python(), []
    for script, modes, workload in (
        ("with_cryptofeed", ("buffer", "parquet"), "binance"),
        ("with_nautilus", ("receive", "feather"), "binance"),
        ("original", ("-",), "tiingo"),
    ):
        for mode in modes:
            command = (python, PEERS / f"{script}.py", mode)
            run = partial(_peer, command, WORKLOADS[workload].path)
            name = f"{script.removeprefix('with_')} {mode}".removesuffix(" -")
            found.append(Candidate(name, workload, run, _SLOWER[script]))
    return found


def _edc(library: str, load: Load, folder: Path) -> Reading:
    return edc(load, folder, library)


def _peer(command: Sequence[str | Path], path: str, load: Load, folder: Path) -> Reading:
    folder.mkdir(parents=True)
    return peer(command, load, folder, path)


def measure(chosen: list[Candidate], load: Load, rounds: int) -> dict[Candidate, list[Reading]]:
    """All in turn, as often as there are rounds. Raises RuntimeError where edc's run is wrong.

    A peer that fails, since another version of it was installed, is told and left out.
    """
    readings: defaultdict[Candidate, list[Reading]] = defaultdict(list)
    failed: set[Candidate] = set()
    for number in range(rounds):
        for candidate in [each for each in chosen if each not in failed]:
            folder = Path(tempfile.mkdtemp(prefix="edc-bench-"))
            events = max(1000, int(load.events * candidate.part))
            own = replace(load, workload=candidate.workload, events=events).whole()
            told = f"{candidate.name} on {candidate.workload}"
            with out.status(f"round {number + 1} of {rounds}: {told}"):
                try:
                    reading = candidate.run(own, folder / "run")
                except RuntimeError as error:
                    if candidate.name.startswith("edc"):
                        raise
                    out.print(f"{told} failed and is left out: {error}")
                    failed.add(candidate)
                else:
                    readings[candidate].append(reading)
                finally:
                    shutil.rmtree(folder)
    return readings


def _median(readings: list[Reading], what: str) -> float:
    return float(statistics.median(getattr(reading, what) for reading in readings))


def table(readings: dict[Candidate, list[Reading]]) -> Table:
    """The medians, and each candidate's cost as a multiple of edc's with picows."""
    own = {
        each.workload: _median(some, "micros")
        for each, some in readings.items()
        if each.name == "edc, picows"
    }
    made = Table(title="CPU of the whole process, on one core")
    for name in ("candidate", "workload"):
        made.add_column(name)
    for name in ("µs an event", "least", "events a second", "peak MiB", "against edc, picows"):
        made.add_column(name, justify="right")
    last = ""
    for candidate, some in readings.items():
        if last not in ("", candidate.workload):
            made.add_section()
        last = candidate.workload
        micros, unit = _median(some, "micros"), own.get(candidate.workload)
        made.add_row(
            *(candidate.name, candidate.workload, f"{micros:.2f}"),
            f"{min(reading.micros for reading in some):.2f}",
            f"{_median(some, 'rate'):,.0f}",
            f"{_median(some, 'peak'):.0f}",
            f"{micros / unit:.2f} x" if unit else "",
        )
    return made


def latency_table(measured: list[Latency]) -> Table:
    """From the vendor's send to the receive stamp, at parts of the greatest rate."""
    made = Table(title="from the vendor's write to the stamp of receipt, ms")
    made.add_column("workload")
    for name in ("load", "events a second", "p50", "p90", "p99", "p99.9", "greatest"):
        made.add_column(name, justify="right")
    for each in measured:
        spans = (each.p50, each.p90, each.p99, each.p999, each.greatest)
        load = (each.workload, f"{each.part:.0%}", f"{each.rate:,}")
        made.add_row(*load, *(f"{span:.2f}" for span in spans))
    return made


def _recovery(seconds: float) -> Result:
    """What a daemon with a lake that takes nothing leaves behind, and how fast it is brought in."""
    folder = Path(tempfile.mkdtemp(prefix="edc-bench-"))
    try:
        with out.status("recovery"):
            return overload(folder, seconds, 100_000)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000, help="to each candidate")
    parser.add_argument("--symbols", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="which, by commas")
    parser.add_argument("--only", default="", help="candidates whose name contains this")
    parser.add_argument("--no-peers", action="store_true", help="edc and the bare libraries")
    parser.add_argument("--latency", type=float, default=5.0, help="seconds a load; 0 for none")
    parser.add_argument("--recovery", type=float, default=10.0, help="seconds of it; 0 for none")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    options = parser.parse_args()
    if shutil.which("taskset") is None:
        sys.exit("taskset is missing: install util-linux")
    unknown = set(options.workloads.split(",")) - WORKLOADS.keys()
    if unknown:
        sys.exit(f"no workload is called {', '.join(unknown)}: there are {', '.join(WORKLOADS)}")
    workloads = [WORKLOADS[name] for name in options.workloads.split(",")]
    chosen = [
        candidate
        for candidate in candidates(workloads, peers=not options.no_peers)
        if options.only in candidate.name
    ]
    speed = [calibration()]
    readings = measure(chosen, Load(events=options.events, symbols=options.symbols), options.rounds)
    speed.append(calibration())
    out.print(table(readings))
    own = {
        candidate.workload: some
        for candidate, some in readings.items()
        if candidate.name == "edc, picows"
    }
    for workload, some in own.items():
        sizes = ", ".join(f"{size:.1f} a {kind}" for kind, size in some[0].row_bytes.items())
        out.print(f"{workload}: bytes in the lake before compaction: {sizes}")
    measured: list[Latency] = []
    for workload in (each for each in _TIMED if each in own and options.latency):
        rate = int(_median(own[workload], "rate"))
        measured += latencies(workload, rate, options.latency, options.symbols)
    taken = pauses() if measured else {}
    if measured:
        out.print(latency_table(measured))
        told = "; ".join(f"{each:.0f} ms, {most:.1f} at once" for each, most in taken.values())
        out.print(f"the machine took its cores away from two seconds of plain loops: {told}")
    recovered = _recovery(options.recovery) if own and options.recovery else None
    if recovered is not None:
        speed_of = recovered.recovered / recovered.recovery_seconds
        out.print(f"recovery: {recovered.recovered:,} rows, {speed_of:,.0f} a second")
    known = {} if options.no_peers else environment.versions()
    out.print(f"a step of a plain loop: {speed[0]:.0f} ns before, {speed[1]:.0f} ns after; {known}")
    out.print(f"edc {revision()} on {machine()}")
    if options.json:
        figures = {
            "machine": machine(),
            "revision": revision(),
            "calibration_ns": speed,
            "peers": known,
            "candidates": [
                {
                    "name": candidate.name,
                    "workload": candidate.workload,
                    "micros": [reading.micros for reading in some],
                    "rate": [reading.rate for reading in some],
                    "peak_mib": [reading.peak for reading in some],
                    "row_bytes": some[0].row_bytes,
                }
                for candidate, some in readings.items()
            ],
            "latency_ms": [asdict(each) for each in measured],
            "pauses_ms": taken,
            "recovery": None if recovered is None else asdict(recovered),
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"the peers' environment cannot be made: {error}")
