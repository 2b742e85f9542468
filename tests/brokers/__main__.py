"""`python -m tests.brokers`: a million events by each broker, while everything is harmed.

Two collectors, two stores, a vendor and the broker, each a real process. Ten times a store is
killed, twice the broker is restarted, and for 30 s one collector's way to the broker is dead. Then
the lake is held to what was sent, and one row of a table says what was found; the exit status is 1
where anything is not as it must be. `--broker redis` runs one; `--throughput` measures instead what
each broker takes, with Arrow and with JSON, beside the way within one process.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.brokers import environment
from tests.brokers.proof import Harm, Result, Stage, prove
from tests.brokers.servers import BROKERS
from tests.brokers.throughput import measure

_HEAD = f"{'broker':8}{'sent':>11}{'in the lake':>13}{'lost':>6}{'twice':>7}{'strange':>9}"
_HEAD += f"{'disordered':>12}{'lag':>5}{'harms':>9}{'seconds':>9}"


def _row(found: Result) -> str:
    """`harms`: how many kills and restarts came while the vendor still sent, of all."""
    done = found.harm
    harms = f"{done.under_way} of {done.store_kills + done.broker_restarts}"
    return (
        f"{found.broker:8}{found.sent:>11,}{found.rows:>13,}{found.lost:>6}{found.twice:>7}"
        f"{found.strange:>9}{found.out_of_order:>12}{found.lag:>5}{harms:>9}"
        f"{found.seconds:>9.0f}"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _prove(name: str, options: argparse.Namespace) -> Result:
    events = options.events // 2
    folder = Path(tempfile.mkdtemp(prefix=f"edc-{name}-"))
    harm = Harm(options.kills, options.restarts, options.cut)
    try:
        with BROKERS[name](folder) as broker:
            stage = Stage(folder, broker, events, options.rate)
            try:
                doing = prove(
                    *(stage, events, harm), seed=options.seed, say=lambda line: _say(f"  {line}")
                )
                return asyncio.run(doing)
            finally:
                stage.abandon()
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run from the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.brokers", description=__doc__)
    parser.add_argument("--broker", choices=sorted(BROKERS), action="append")
    parser.add_argument("--events", type=int, default=1_000_000, help="of both collectors together")
    parser.add_argument("--rate", type=int, default=3_000, help="a second, to each collector")
    parser.add_argument("--kills", type=int, default=10, help="of stores")
    parser.add_argument("--restarts", type=int, default=2, help="of the broker")
    parser.add_argument("--cut", type=float, default=30.0, help="seconds, of a collector")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the folders behind")
    parser.add_argument("--throughput", action="store_true")
    options = parser.parse_args()
    names = options.broker or list(BROKERS)
    if "kafka" in names:
        environment.install()
    missing = [problem for name in names if (problem := BROKERS[name].missing())]
    for problem in missing:
        _say(f"missing: {problem}")
    if missing:
        return 1
    if options.throughput:
        measure(names, options.events, _say)
        return 0
    results = []
    for name in names:
        _say(f"{name}: {options.events:,} events")
        results.append(_prove(name, options))
        _say(_HEAD)
        _say(_row(results[-1]))
    _say("\n".join([_HEAD, *map(_row, results)]))
    return 0 if all(each.true for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
