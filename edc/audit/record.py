"""How far the record reaches: the ledger, the watermarks, and since when a source is known."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import polars as pl

from edc import footers
from edc.audit.coverage import COUNTS, Known, Span
from edc.audit.tally import Extent
from edc.events import schema
from edc.seal import UNREADABLE
from edc.watermarks import Watermark

_COLUMNS = ("feed", "source", "symbol", "cause", "started_at", "ended_at", "rows_lost", "state")
_TRIES = 20
_Found = TypeVar("_Found")


class _Marks(msgspec.Struct):
    feeds: dict[str, Watermark]


def ledger(folders: Iterable[Path], timezone: str, ends: Span) -> pl.DataFrame:
    """The gaps that touch the time between `ends`, each once, with times as ns.

    What cannot be read is left out: the check of its folder names it.
    """
    touches = (pl.col("ended_at") >= ends[0]) & (pl.col("started_at") < ends[1])

    def gaps(path: Path) -> list[pl.DataFrame]:
        footer = footers.read(path, "gap", timezone)
        if not footer.readable:
            return []
        fitting = (
            footers.conformed(batch, footer, "gap", timezone) for batch in footers.batches(path)
        )
        return [_columns(rows).filter(touches) for rows in fitting if rows is not None]

    found = [_columns(pl.DataFrame(schema=schema("gap", timezone)))]
    for folder in folders:
        for some in _each(folder, gaps):
            found += some
    gaps_found = pl.concat(found).unique(maintain_order=True)
    closed = gaps_found.filter(pl.col("state") != "open")
    same = [name for name in _COLUMNS if name != "state"]
    left = gaps_found.filter(state="open").join(closed, same, "anti", nulls_equal=True)
    return pl.concat([left, closed])


def _columns(gaps: pl.DataFrame) -> pl.DataFrame:
    return gaps.select(_COLUMNS).with_columns(pl.col("started_at", "ended_at").to_physical())


def watermarks(path: Path) -> list[tuple[str, Watermark]]:
    """The feeds of all instances, and how far their record reaches; none from damaged files."""
    found: list[tuple[str, Watermark]] = []
    for file in sorted((path / ".spool").glob("*/watermarks.json")):
        try:
            found += msgspec.json.decode(file.read_bytes(), type=_Marks).feeds.items()
        except (msgspec.DecodeError, UnicodeDecodeError, FileNotFoundError):
            continue  # the next run sets it aside
    return found


def reach(
    extents: Mapping[tuple[str, str], Extent],
    gaps: pl.DataFrame,
    marks: Iterable[tuple[str, Watermark]],
) -> dict[str, Known]:
    """Each source that has rows or gaps: from its first data to the last moment known of it.

    A source without rows is known from its first gap on, and its asset types are not.
    """
    found: dict[str, Known] = {}
    for (source, asset_type), extent in extents.items():
        known = found.setdefault(source, Known(extent.low, extent.high))
        known.first, known.until = min(known.first, extent.low), max(known.until, extent.high)
        known.asset_types.add(asset_type)
    for feed, source, cause, started_at, ended_at in gaps.select(
        "feed", "source", "cause", "started_at", "ended_at"
    ).iter_rows():
        if source is None:
            continue
        known = found.setdefault(source, Known(started_at, ended_at))
        known.feeds.add(feed)
        if not known.asset_types:
            known.first = min(known.first, started_at)
        if cause not in COUNTS:
            known.until = max(known.until, ended_at)
    for feed, mark in marks:
        if mark.source in found:
            found[mark.source].feeds.add(feed)
            found[mark.source].until = max(found[mark.source].until, mark.until)
    return found


def search(folders: Iterable[Path], wanted: set[str]) -> set[tuple[str, str]]:
    """The sources among `wanted` that have rows in these folders, with one of their asset types.

    Stops at the folder in which the last of them was found.
    """

    def sources(path: Path) -> set[tuple[str, str]]:
        columns = pl.scan_parquet(path, hive_partitioning=False, glob=False)
        some = columns.select("source", "asset_type").unique().collect(engine="streaming")
        return {(source, kind) for source, kind in some.iter_rows() if source in wanted}

    found: set[tuple[str, str]] = set()
    for folder in folders:
        if wanted <= {source for source, _ in found}:
            break
        found.update(*_each(folder, sources))
    return found


def _each(folder: Path, read: Callable[[Path], _Found]) -> list[_Found]:
    """What `read` makes of each readable file of a folder that holds still."""
    for _ in range(_TRIES):
        found: list[_Found] = []
        try:
            for path in sorted(folder.glob("[!._]*.parquet")):
                try:
                    found.append(read(path))
                except UNREADABLE:
                    continue
        except FileNotFoundError:  # compacted, or set aside, since the folder was listed
            continue
        return found
    raise OSError(f"files keep vanishing from {folder}")
