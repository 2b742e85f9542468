"""`make bench`: what an event costs, from the socket to the deduplicated lake, beside its peers.

Each candidate runs alone on one core while the vendor has another; all take turns, round by round,
so that a slow minute of the machine hits them all, and medians are told. Fails where edc's lake is
not exactly what was sent.
"""

import argparse
import json
import platform
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
from tests.bench.measured import Load, Reading, calibration, edc, peer

PEERS = Path(__file__).parent / "peers"
_SLOWER = {"with_cryptofeed": 0.25, "with_nautilus": 0.03, "original": 0.15}
"""The part of the events that a peer gets: it takes its time, and its cost is flat."""
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
    made = Table(title="from the vendor's send to the stamp of receipt, ms")
    for name in ("load", "events a second", "p50", "p90", "p99", "p99.9", "greatest"):
        made.add_column(name, justify="right")
    for each in measured:
        spans = (each.p50, each.p90, each.p99, each.p999, each.greatest)
        made.add_row(f"{each.part:.0%}", f"{each.rate:,}", *(f"{span:.2f}" for span in spans))
    return made


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
    own = [
        some
        for candidate, some in readings.items()
        if (candidate.name, candidate.workload) == ("edc, picows", "tiingo")
    ]
    measured = []
    if own and options.latency:
        measured = latencies(int(_median(own[0], "rate")), options.latency, options.symbols)
        out.print(latency_table(measured))
    known = {} if options.no_peers else environment.versions()
    out.print(f"a step of a plain loop: {speed[0]:.0f} ns before, {speed[1]:.0f} ns after; {known}")
    if options.json:
        figures = {
            "python": platform.python_version(),
            "calibration_ns": speed,
            "peers": known,
            "candidates": [
                {
                    "name": candidate.name,
                    "workload": candidate.workload,
                    "micros": [reading.micros for reading in some],
                    "rate": [reading.rate for reading in some],
                    "peak_mib": [reading.peak for reading in some],
                }
                for candidate, some in readings.items()
            ],
            "latency_ms": [asdict(each) for each in measured],
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"the peers' environment cannot be made: {error}")
