"""`python -m tests.matrix [--only VENDOR …] [-n N]`: the conformance suite as a table.

A row is a test of `tests/test_conformance.py`, a column a vendor with a simulator. A cell is `ok`
(it passed, for every feed of the vendor), `FAILED`, or the letter of the reason why the test is not
for that vendor. Exits 1 where something failed.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence

import pytest

from edc import simulator

VENDORS = ["tiingo", *simulator.names()]
_PREFIX = "test_"
_SUITE = "tests/test_conformance.py"


class Results:
    """What became of each test and vendor: a plugin of pytest's."""

    def __init__(self) -> None:
        self.cells: dict[str, dict[str, bool]] = defaultdict(dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test has ended."""
        test, _, parameters = report.nodeid.rpartition("::")[2].partition("[")
        named = [name for name in VENDORS if f"{name}-" in f"-{parameters}"]
        if named and (report.when == "call" or report.failed):
            row, vendor = self.cells[test], max(named, key=len)
            row[vendor] = row.get(vendor, True) and report.passed


def table(
    cells: dict[str, dict[str, bool]], vendors: Sequence[str], why_not: dict[str, str]
) -> list[str]:
    """The lines of the table, and of the reasons under it."""
    reasons: dict[str, str] = {}
    titles = {test: test.removeprefix(_PREFIX).replace("_", " ") for test in cells}
    wide = max(map(len, titles.values()))
    lines = [" " * wide + "  " + "  ".join(vendors)]
    for test, row in cells.items():
        marks = []
        for vendor in vendors:
            if vendor in row:
                mark = "ok" if row[vendor] else "FAILED"
            else:
                why = why_not.get(test, "not run")
                mark = reasons.setdefault(why, chr(ord("a") + len(reasons)))
            marks.append(mark.ljust(len(vendor)))
        lines.append(f"{titles[test].ljust(wide)}  {'  '.join(marks)}".rstrip())
    lines.append("")
    lines += [f"{letter}: {why}" for why, letter in reasons.items()]
    return lines


def main() -> int:
    """Run it from the command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=VENDORS, default=VENDORS)
    parser.add_argument("-n", type=int, default=0, help="processes, by pytest-xdist")
    options = parser.parse_args()
    results = Results()
    chosen = " or ".join(f"{vendor}-" for vendor in options.only)
    processes = ["-n", str(options.n)] if options.n else []
    pytest.main(["-q", "--no-header", _SUITE, "-k", chosen, *processes], plugins=[results])
    from tests.test_conformance import WHY_NOT  # noqa: PLC0415 - pytest has rewritten it by now

    for test in WHY_NOT:
        results.cells[test] |= {}  # a row of reasons, where it was for none of those chosen
    lines = table(results.cells, options.only, WHY_NOT)
    sys.stdout.write("\n".join(lines) + "\n")
    return int(not all(all(row.values()) for row in results.cells.values()))


if __name__ == "__main__":
    sys.exit(main())
