"""What a configuration takes: connections, rows and bytes a day, and how long a disk lasts.

What a source has brought on the last whole days is read from the lake; for one that the lake does
not know yet there is an estimate, by asset type and table, which is wrong by a factor of ten for a
symbol that is much or little traded, and is called what it is.
"""

import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from edc import markets, partitions
from edc.lake import Lake
from edc.plan import Feed
from edc.query.tables import Tables
from edc.times import SECOND

_TABLES = ("trade", "quote", "ref_px")
_WEEK = 7 * 24 * 3600 * SECOND
_A_SECOND = {
    "trade": {"stock": 0.5, "etf": 0.5, "fx": 0.5, "crypto": 1.0},
    "quote": {"stock": 3.0, "etf": 3.0, "fx": 2.0, "crypto": 5.0},
    "ref_px": {"stock": 0.5, "etf": 0.5, "fx": 1.0, "crypto": 1.0},
}
"""Estimated rows of a symbol, a second, while its market is open."""
_ROW = {"trade": 15.0, "quote": 20.0, "ref_px": 20.0}
"""Bytes of a row in a compacted file, where the lake has none to measure."""


class Expected(msgspec.Struct):
    """What a day of one source adds to one table, on average; `basis` says how that is known."""

    source: str
    feeds: list[str]
    table: str
    rows: float
    bytes: float
    basis: str


class Budget(msgspec.Struct):
    """The whole configuration.

    `needed` are the bytes of `days` days, of each table no more than are kept; `fits` where the
    disk has that room, or is not ours to ask. `lasts_days` is None where that is not known, or
    where nothing is added.
    """

    connections: dict[str, int]
    requests_per_minute: dict[str, float]
    expected: list[Expected]
    rows_a_day: float
    bytes_a_day: float
    days: int
    needed: float
    free: int | None
    reserve: int
    fits: bool
    lasts_days: float | None


def budget(
    feeds: Sequence[Feed],
    lake: Lake | None,
    *,
    now_ns: int,
    days: int,
    keep_days: dict[str, int],
    home: Path | None,
    reserve: int,
) -> Budget:
    """What these feeds take.

    `lake` is None where there is none yet, or none that can be read; `home` is the folder on whose
    disk it lies, None where it lies elsewhere.
    """
    known = {} if lake is None else _measured(lake, now_ns)
    expected = list(_expected(feeds, known, now_ns))
    kept = {table: min(days, keep_days.get(table, days)) for table in _TABLES}
    a_day = sum(each.bytes for each in expected)
    free = None if home is None else _free(home)
    room = None if free is None else max(0, free - reserve)
    needed = sum(each.bytes * kept[each.table] for each in expected)
    return Budget(
        connections=connections(feeds),
        requests_per_minute=_requests(feeds),
        expected=expected,
        rows_a_day=sum(each.rows for each in expected),
        bytes_a_day=a_day,
        days=days,
        needed=needed,
        free=free,
        reserve=reserve,
        fits=room is None or needed <= room,
        lasts_days=room / a_day if room is not None and a_day else None,
    )


def connections(feeds: Sequence[Feed]) -> dict[str, int]:
    """How many lasting connections each vendor gets."""
    taken: dict[str, int] = {}
    for feed in feeds:
        if feed.channel.kind in ("websocket", "stream"):
            taken[feed.vendor] = taken.get(feed.vendor, 0) + feed.connections
    return taken


def requests_per_minute(feed: Feed) -> float | None:
    """What a polled feed asks for; None for one that is pushed."""
    if feed.channel.kind != "poll":
        return None
    adapter: Any = feed.build()
    return float(len(adapter.requests()) * 60 / adapter.interval)


def _requests(feeds: Sequence[Feed]) -> dict[str, float]:
    asked: dict[str, float] = {}
    for feed in feeds:
        rate = requests_per_minute(feed)
        if rate is not None:
            asked[feed.vendor] = asked.get(feed.vendor, 0.0) + rate
    return asked


def _free(home: Path) -> int:
    """Bytes that are free where the lake is, or will be."""
    return shutil.disk_usage(next(each for each in (home, *home.parents) if each.exists())).free


class _Measured(msgspec.Struct):
    """Of a source and table: rows and bytes on an average day, and of which days."""

    rows: float
    bytes: float
    days: list[str]


def _measured(lake: Lake, now_ns: int) -> dict[tuple[str, str], _Measured]:
    """What the last seven whole days brought, by source and table."""
    zone = ZoneInfo(lake.timezone)
    today = datetime.fromtimestamp(now_ns // SECOND, zone).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    found = {}
    for table in _TABLES:
        span = _ns(today - timedelta(days=7)), _ns(today) - 1
        sizes: dict[str, int] = {}
        for folder in partitions.of_table(lake.path / table):
            first, after = partitions.span(folder, zone)
            if first >= span[0] and after <= span[1] + 1:
                day = folder.relative_to(lake.path / table).parts[0].removeprefix("date=")
                held = sum(path.stat().st_size for path in folder.glob("[!._]*.parquet"))
                sizes[day] = sizes.get(day, 0) + held
        if not sizes:
            continue
        column = pl.col("event_time").to_physical()
        low, high = (_zoned(each, lake.timezone) for each in span)
        counts = (
            Tables(lake)
            .frame(table)
            .filter(pl.col("event_time").is_between(low, high))
            .group_by("source")
            .agg(pl.len().alias("rows"), column.min().alias("first"))
            .collect(engine="streaming")
        )
        rows, size = counts["rows"].sum(), sum(sizes.values())
        for source, number, first in counts.iter_rows():
            # a source is averaged over the days from its first on: it may be new
            since = datetime.fromtimestamp(first // SECOND, zone).date().isoformat()
            days = [day for day in sorted(sizes) if day >= since]
            known = _Measured(number / len(days), size * number / rows / len(days), days)
            found[source, table] = known
    return found


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND


def _zoned(ns: int, timezone: str) -> pl.Expr:
    return pl.lit(ns, pl.Int64).cast(pl.Datetime("ns", timezone))


def _expected(
    feeds: Sequence[Feed], known: dict[tuple[str, str], _Measured], now_ns: int
) -> Iterator[Expected]:
    by_source: dict[str, list[Feed]] = {}
    for feed in feeds:
        by_source.setdefault(feed.source, []).append(feed)
    for source, some in by_source.items():
        names = [feed.name for feed in some]
        lakes = {table: known[source, table] for table in _TABLES if (source, table) in known}
        if lakes:
            for table, each in lakes.items():
                basis = f"the lake, {each.days[0]} to {each.days[-1]}"
                yield Expected(source, names, table, each.rows, each.bytes, basis)
            continue
        for table in _TABLES:
            rows = sum(_estimated(feed, table, now_ns) for feed in some)
            if rows:
                size = rows * _ROW[table]
                yield Expected(source, names, table, rows, size, "a rough estimate")


def _estimated(feed: Feed, table: str, now_ns: int) -> float:
    """Rows that a day brings, on the average of the coming week's market hours."""
    if table not in feed.channel.event_types:
        return 0.0
    rows = 0.0
    for kind, number in feed.symbol_counts.items():
        hours = markets.sessions(kind, now_ns, now_ns + _WEEK)
        open_seconds = sum(end - start for start, end in hours) / SECOND / 7
        a_second = _A_SECOND[table][kind]
        if feed.channel.kind == "poll":
            adapter: Any = feed.build()
            a_second = 1 / adapter.interval
        rows += number * a_second * open_seconds
    return rows
