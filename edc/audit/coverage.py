"""How much of the time in which its market was open each source is there, day by day.

A source is covered from its first data ever to the last moment that is known of it, but for the
union of the ledger's spans. The ledger does not know of two instances: what one of them missed
counts as missing, though the other may have it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from edc.markets import sessions
from edc.times import SECOND

COUNTS = ("queue_full", "undecodable", "damaged", "sequence", "notice", "book")
"""The causes of the ledger that count rows; all others are spans without data."""

Span = tuple[int, int]


class Cause(msgspec.Struct):
    """Rows of the ledger of one cause; `rows_lost` is None where that of one is unknown."""

    gaps: int
    rows_lost: int | None


class Day(msgspec.Struct):
    """One source on one day of the storage time zone.

    `rows` by table. `open_seconds` is how long its market was open, from its first data ever to the
    last moment known; of that, `covered_percent` lies in no gap (None where it was never open).
    `longest_gap_seconds` is open time in one piece. A gap over midnight is one of both days.
    """

    day: str
    source: str
    feeds: list[str]
    rows: dict[str, int]
    first: str | None
    last: str | None
    open_seconds: float
    covered_percent: float | None
    longest_gap_seconds: float
    gaps: dict[str, Cause]


@dataclass(slots=True)
class Seen:
    """The rows of one source on one day, by table, and the times (ns) of their ends."""

    low: int
    high: int
    rows: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Known:
    """What is known of a source: from its first data ever until the last moment (ns)."""

    first: int
    until: int
    asset_types: set[str] = field(default_factory=set)
    feeds: set[str] = field(default_factory=set)


def bounds(days: Sequence[date], zone: ZoneInfo) -> list[int]:
    """Where each of some days on end begins, ns, and where the last one ends."""
    starts = [*days, *(day + timedelta(days=1) for day in days[-1:])]
    return [
        int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * SECOND
        for day in starts
    ]


def coverage(
    known: dict[str, Known],
    seen: dict[tuple[date, str], Seen],
    ledger: pl.DataFrame,
    days: Sequence[date],
    zone: ZoneInfo,
) -> list[Day]:
    """Each day of each source on which there were rows, gaps or an open market.

    `ledger` has the columns of the gap table with times as ns.
    """
    limits = bounds(days, zone)
    found = []
    for source, facts in known.items():
        gaps = ledger.filter(source=source)
        missing = union(gaps.filter(~pl.col("cause").is_in(COUNTS), state="open"))
        causes = by_day(gaps, limits)
        for number, day in enumerate(days):
            start = max(limits[number], facts.first)
            end = min(limits[number + 1], facts.until)
            opened = _open(facts.asset_types, start, end)
            rows, why = seen.get((day, source)), causes.get(number, {})
            if opened or rows or why:
                found.append(_day(day, source, facts, rows, opened, missing, why, zone))
    return sorted(found, key=lambda each: (each.day, each.source))


def _day(
    day: date,
    source: str,
    facts: Known,
    rows: Seen | None,
    opened: list[Span],
    missing: list[Span],
    causes: dict[str, Cause],
    zone: ZoneInfo,
) -> Day:
    total = sum(end - start for start, end in opened)
    gaps = [end - start for start, end in _overlaps(opened, missing)]
    return Day(
        day=str(day),
        source=source,
        feeds=sorted(facts.feeds),
        rows=rows.rows if rows else {},
        first=iso(rows.low, zone) if rows else None,
        last=iso(rows.high, zone) if rows else None,
        open_seconds=total / SECOND,
        covered_percent=100 * (total - sum(gaps)) / total if total else None,
        longest_gap_seconds=max(gaps, default=0) / SECOND,
        gaps=causes,
    )


def union(gaps: pl.DataFrame) -> list[Span]:
    """The spans of some gaps, those that overlap or touch made one, ascending."""
    started, ended = pl.col("started_at"), pl.col("ended_at")
    apart = (started > ended.cum_max().shift(1)).fill_null(value=True)
    merged = (
        gaps.sort("started_at")
        .with_columns(apart.cum_sum().alias("run"))
        .group_by("run", maintain_order=True)
        .agg(started.min(), ended.max())
    )
    return list(merged.select("started_at", "ended_at").iter_rows())


def by_day(gaps: pl.DataFrame, limits: Sequence[int]) -> dict[int, dict[str, Cause]]:
    """The gaps of each day, by its number, and then by cause; a count is of the day it began."""
    starts = pl.Series(limits, dtype=pl.Int64)
    is_count = gaps["cause"].is_in(COUNTS)
    ends = gaps.select(pl.when(is_count).then("started_at").otherwise("ended_at")).to_series()
    first = starts.search_sorted(gaps["started_at"], "right").cast(pl.Int64) - 1
    last = starts.search_sorted(ends, "right").cast(pl.Int64) - 1
    each = (
        gaps.select("cause", "rows_lost")
        .with_columns(
            day=pl.int_ranges(first.clip(lower_bound=0), last.clip(upper_bound=len(limits) - 2) + 1)
        )
        .explode("day")
        .drop_nulls("day")
        .group_by("day", "cause")
        .agg(
            pl.len().alias("gaps"),
            pl.when(pl.col("rows_lost").null_count() == 0).then(pl.col("rows_lost").sum()),
        )
        .sort("day", "cause")
    )
    found: dict[int, dict[str, Cause]] = {}
    for day, cause, count, lost in each.iter_rows():
        found.setdefault(day, {})[cause] = Cause(count, lost)
    return found


def iso(ns: int, zone: ZoneInfo) -> str:
    """A time in `zone`, to the nanosecond."""
    seconds, fraction = divmod(ns, SECOND)
    text = datetime.fromtimestamp(seconds, zone).isoformat()
    return f"{text[:19]}.{fraction:09d}{text[19:]}"


def _open(asset_types: Iterable[str], start: int, end: int) -> list[Span]:
    """When one of the markets was open between two moments; ascending, apart."""
    spans = sorted(span for kind in asset_types for span in sessions(kind, start, end))
    found: list[Span] = []
    for begin, finish in spans:
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], finish))
        else:
            found.append((begin, finish))
    return found


def _overlaps(opened: list[Span], missing: list[Span]) -> list[Span]:
    """The parts of open time that are missing; both ascending and apart."""
    found = []
    for start, end in opened:
        at = max(0, bisect_right(missing, (start, start)) - 1)
        while at < len(missing) and missing[at][0] < end:
            low, high = max(start, missing[at][0]), min(end, missing[at][1])
            if low < high:
                found.append((low, high))
            at += 1
    return found
