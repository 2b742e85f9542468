"""`python -m tests.torture [--only kills,torn] [--seed N] [--share 0.1]`: all that can go wrong.

Real daemons in processes of their own record from a simulator that knows what it sent, while each
family of faults is done to them. Prints a table at the end. Exits 1 where an event is missing that
the ledger does not know of, a row is in the lake twice or was never sent, or another promise is
broken.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.torture import disk, feeds, kills, powerloss, torn
from tests.torture.stage import INTERVAL, SLACK
from tests.torture.table import Row, table


@dataclass(frozen=True, slots=True)
class Family:
    """Faults of one kind: how often they are tried, and by what (times, folder, seed)."""

    times: int
    run: Callable[[int, Path, int], Row]


FAMILIES = {
    "kills": Family(120, kills.run_random),
    "points": Family(115, kills.run_named),
    "torn": Family(36, torn.run_torn),
    "flipped": Family(24, torn.run_flipped),
    "disk": Family(24, disk.run),
    "disconnects": Family(60, feeds.run_disconnects),
    "half-open": Family(20, feeds.run_half_open),
    "stalls": Family(20, feeds.run_stalls),
    "garbage": Family(20, feeds.run_garbage),
    "power": Family(40, lambda times, folder, _seed: powerloss.run(times, folder)),
    "power-control": Family(2, lambda times, folder, _seed: powerloss.run_control(times, folder)),
}

_ENOUGH = 20
"""Kills of which the median says something."""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _run(name: str, share: float, seed: int, root: Path) -> Row:
    family = FAMILIES[name]
    times = max(1, round(family.times * share))
    folder = root / name
    folder.mkdir()
    _say(f"{name}: {times} times …")
    began = time.monotonic()
    try:
        row = family.run(times, folder, seed)
    except Exception:  # noqa: BLE001 - the other families are tried all the same
        row = Row(name, times, problems=[traceback.format_exc()])
    if len(row.costs) >= _ENOUGH and median(row.costs) > INTERVAL + SLACK:
        row.problems.append(f"half of the kills cost {median(row.costs):.2f} s or more")
    result = f"skipped: {row.skipped}" if row.skipped else "FAILED" if row.failed else "ok"
    _say(f"{name}: {result} after {time.monotonic() - began:.0f} s")
    for problem in row.problems:
        _say(f"    {problem}")
    return row


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--only", default=",".join(FAMILIES), help=f"of {', '.join(FAMILIES)}")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of faults")
    parser.add_argument(
        "--keep", action="store_true", help="leave the lakes behind, as after a failure"
    )
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(FAMILIES):
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    _say(f"seed {options.seed}")
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave no daemon and no mount behind
    root = Path(tempfile.mkdtemp(prefix="edc-torture-"))
    rows = [_run(name, options.share, options.seed, root) for name in names]
    failed = any(row.failed for row in rows)
    if failed or options.keep:
        _say(f"the lakes and logs are in {root}")
    else:
        shutil.rmtree(root)
    _say(f"\n{table(rows)}\n\nseed {options.seed}, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
