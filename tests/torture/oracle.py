"""What a lake should hold, from what the simulator sent; and what it does hold.

An event is known by its time: the market gives each its own microsecond. The oracle knows the wire
format from the vendor's pages, reads Parquet by Polars alone, and borrows nothing of edc.
"""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from edc.simulator.market import Sent
from tests.torture.table import Row

SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Span = tuple[int, int]
"""From and to, both included, in ns since the epoch."""
Facts = tuple[object, ...]

_COLUMNS = {
    "trade": ("symbol", "exchange", "last_size", "last_price"),
    "quote": ("symbol", "exchange", "bid_size", "bid", "mid", "ask_size", "ask"),
}


@dataclass(frozen=True, slots=True)
class Gap:
    """A row of the ledger."""

    span: Span
    cause: str
    rows_lost: int | None


@dataclass(slots=True)
class Finding:
    """What became of the events of a window. Times are those of the events."""

    sent: dict[int, int] = field(default_factory=dict)
    """By time: to how many connections."""
    lost: list[int] = field(default_factory=list)
    unexplained: list[int] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    duplicates: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def lost_though_sent(self) -> list[int]:
        """Lost events that were written to a connection."""
        return [at for at in self.lost if self.sent[at]]

    def causes(self) -> Counter[str]:
        """How many rows of the ledger there are of each."""
        return Counter(gap.cause for gap in self.gaps)

    def rows_lost(self, cause: str) -> int:
        """What the rows of a cause add up to."""
        return sum(gap.rows_lost or 0 for gap in self.gaps if gap.cause == cause)

    def unheard(self) -> list[Span]:
        """The spans in which nobody got anything, from the last event got to the next."""
        spans: list[Span] = []
        last: int | None = None
        silent = False
        for at, listeners in self.sent.items():
            if listeners:
                if silent:
                    spans.append((at if last is None else last, at))
                last, silent = at, False
            else:
                silent = True
        if silent and last is not None:
            spans.append((last, max(self.sent)))
        return spans

    def add_to(self, row: Row) -> None:
        """Count it into a family's row."""
        row.sent += len(self.sent)
        row.found += len(self.sent) - len(self.lost)
        row.lost += len(self.lost)
        row.explained += len(self.lost) - len(self.unexplained)
        row.duplicates += self.duplicates
        row.problems += self.problems


def examine(lake: Path, record: Sequence[Sent], window: Span) -> Finding:
    """Hold the lake against everything sent, and count what was sent within the window."""
    sent = {at: (facts, each.listeners) for each in record for at, facts in [_facts(each.payload)]}
    found, rows = _found(lake)
    finding = Finding({at: sent[at][1] for at in sent if window[0] <= at <= window[1]})
    finding.gaps = _gaps(lake)
    finding.lost = [at for at in finding.sent if at not in found]
    finding.unexplained = outside(finding.lost, [gap.span for gap in finding.gaps])
    finding.duplicates = rows - len(found)
    invented = found.keys() - sent.keys()
    altered = [at for at, facts in found.items() if at in sent and sent[at][0] != facts]
    if invented:
        finding.problems.append(f"{len(invented)} rows were never sent, one at {min(invented)}")
    if altered:
        at = min(altered)
        finding.problems.append(
            f"{len(altered)} rows are not what was sent: {found[at]} for {sent[at][0]}"
        )
    if finding.unexplained:
        first, last = min(finding.unexplained), max(finding.unexplained)
        finding.problems.append(
            f"{len(finding.unexplained)} lost events are in no row of the ledger, from {first} to"
            f" {last} ({(last - first) / SECOND:.3f} s)"
        )
    return finding


def time_of(sent: Sent) -> int:
    """The event's."""
    return _facts(sent.payload)[0]


def late_losses(
    finding: Finding,
    kills: Iterable[int],
    interval: float,
    slack: float,
    others: Sequence[Span] = (),
) -> list[int]:
    """What was sent and lost though no kill can be to blame: it was on disk by then.

    A kill costs what was received in the `interval` (seconds) before it; `slack` is what an
    overloaded machine may add to that. `others` are spans of other troubles.
    """
    late, slack_ns = int((interval + slack) * SECOND), int(slack * SECOND)
    blamed = [(at - late, at + slack_ns) for at in kills]
    blamed += [(low - late, high + slack_ns) for low, high in others]
    return outside(finding.lost_though_sent, blamed)


def kill_costs(finding: Finding, kills: Iterable[int], within: float) -> list[float]:
    """For each kill that lost something: the age of the oldest event that was sent, in seconds.

    Older ones than `within`, and than the kill before, are another's.
    """
    lost = sorted(finding.lost_though_sent)
    costs = []
    before = 0
    for at in sorted(kills):
        place = bisect_right(lost, max(before, at - int(within * SECOND)))
        if place < len(lost) and lost[place] <= at:
            costs.append((at - lost[place]) / SECOND)
        before = at
    return costs


def excess(gaps: Sequence[Gap], real: Sequence[Span]) -> float:
    """Seconds that the ledger claims beyond the `real` spans of trouble.

    Damaged files are left out: what they held is lost, and their spans are those of their rows.
    """
    claimed = [gap.span for gap in gaps if gap.cause != "damaged"]
    both = merged([*claimed, *real])
    total = sum(high - low for low, high in both)
    return (total - sum(high - low for low, high in merged(real))) / SECOND


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time in spans that do not touch, ascending."""
    result: list[Span] = []
    for low, high in sorted(spans):
        if result and low <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], high))
        else:
            result.append((low, high))
    return result


def outside(times: Iterable[int], spans: Iterable[Span]) -> list[int]:
    """The times that lie in none of the spans."""
    joined = merged(spans)
    starts = [low for low, _ in joined]
    result = []
    for at in times:
        place = bisect_right(starts, at) - 1
        if place < 0 or joined[place][1] < at:
            result.append(at)
    return result


def files(lake: Path, kind: str) -> list[Path]:
    """The Parquet files of a table that a reader sees."""
    return sorted((lake / kind).glob("date=*/**/[!._]*.parquet"))


def times_in(path: Path) -> set[int]:
    """The event times in one Parquet file or spool chunk; none of the ledger's."""
    reader = pl.read_ipc if path.suffix == ".arrow" else pl.read_parquet
    rows = reader(path.read_bytes())
    if "event_time" not in rows.columns:
        return set()
    return set(rows["event_time"].to_physical())


def _facts(payload: bytes) -> tuple[int, Facts]:
    """The time (ns) and the content of a crypto frame, in the columns of its table."""
    kind, ticker, moment, exchange, *numbers = json.loads(payload)["data"]
    at = (datetime.fromisoformat(moment) - _EPOCH) // _MICROSECOND * 1000
    return at, ("trade" if kind == "T" else "quote", ticker, exchange, *numbers)


def _found(lake: Path) -> tuple[dict[int, Facts], int]:
    """By event time, what the lake holds; and the number of its rows."""
    found: dict[int, Facts] = {}
    rows = 0
    for kind, columns in _COLUMNS.items():
        paths = files(lake, kind)
        if not paths:
            continue
        table = pl.read_parquet(paths, hive_partitioning=False)
        rows += table.height
        times = pl.col("event_time").to_physical()
        for at, *facts in table.select(times, *columns).iter_rows():
            found[at] = (kind, *facts)
    return found, rows


def _gaps(lake: Path) -> list[Gap]:
    paths = files(lake, "gap")
    if not paths:
        return []
    table = pl.read_parquet(paths, hive_partitioning=False)
    ends = (pl.col(name).to_physical() for name in ("started_at", "ended_at"))
    rows = table.select(*ends, "cause", "rows_lost").iter_rows()
    return [Gap((start, end), cause, lost) for start, end, cause, lost in rows]
