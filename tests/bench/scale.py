"""`python -m tests.bench.scale`: what an event costs with more symbols, connections and workers.

Each point is a run of the real daemon on one core (see `measured`), which is offered more than it
takes: at a low `--rate` each read of many connections brings but a few events, and what a read
costs is what is measured. Workers are on all cores, share them with the vendor, and are offered
what they take. The points take turns, and the least of their rounds is told. Exits 1 where the
dearest point of a curve costs more than 1.5 times the cheapest.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.measured import RATE, Load, edc

SYMBOLS = (10, 100, 1000, 10_000)
CONNECTIONS = (1, 10, 50)
WORKERS = (1, 2, 4)
_TO_WORKERS = 300_000
"""Events a second."""
FLAT = 1.5
"""How much more the dearest point may cost than the cheapest."""


def with_symbols(number: int, events: int, rate: int) -> Load:
    """One connection with so many symbols."""
    return Load(events=events, symbols=number, rate=rate)


def on_connections(number: int, events: int, rate: int) -> Load:
    """5,000 symbols on so many connections, 100 and more on each."""
    return Load(
        events=events // number,
        symbols=5000 // number,
        rate=rate // number,
        connections=number,
    )


def with_workers(_number: int, events: int, rate: int) -> Load:
    """Four connections for the workers to share."""
    return on_connections(max(WORKERS), events, min(rate, _TO_WORKERS))


CURVES: dict[str, tuple[tuple[int, ...], Callable[[int, int, int], Load]]] = {
    "symbols": (SYMBOLS, with_symbols),
    "connections": (CONNECTIONS, on_connections),
    "workers": (WORKERS, with_workers),
}


def curve(name: str, events: int, rounds: int, rate: int) -> dict[int, float]:
    """By the number of symbols or connections, the least microseconds of CPU for an event."""
    points, load = CURVES[name]
    found: defaultdict[int, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for number in points:
            with tempfile.TemporaryDirectory(prefix="edc-bench-") as folder:
                workers = number if name == "workers" else 0
                run = Path(folder) / "run"
                reading = edc(load(number, events, rate), run, "picows", workers=workers)
                found[number].append(reading.micros)
    return {number: min(micros) for number, micros in found.items()}


def main() -> int:
    """Run from the command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--events", type=int, default=1_500_000, help="for each point")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--rate",
        type=int,
        default=RATE,
        help="events a second, on all connections; a low one measures what a read costs",
    )
    options = parser.parse_args()
    steep = 0
    for name in CURVES:
        table = Table(title=f"CPU an event by the number of {name}")
        table.add_column(name, justify="right")
        table.add_column("µs", justify="right")
        costs = curve(name, options.events, options.rounds, options.rate)
        for number, micros in costs.items():
            table.add_row(f"{number:,}", f"{micros:.2f}")
        Console().print(table)
        steep += max(costs.values()) > FLAT * min(costs.values())
    return 1 if steep else 0


if __name__ == "__main__":
    sys.exit(main())
