"""Partitions: the folders of a table, `date=2026-02-13/hour=13` or `date=2026-02-13`.

Named in the storage time zone; where the clocks go back, one folder holds both of the equal hours.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from edc import seal
from edc.files import Damage
from edc.seal import UNREADABLE, BrokenSealError
from edc.times import SECOND

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


def of_table(table: Path) -> Iterator[Path]:
    """The partitions of a table, each a folder, in the order of their time."""
    for day in sorted(table.glob("date=[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]")):
        hours = sorted(day.glob("hour=[0-2][0-9]"))
        yield from hours or [day]


def span(folder: Path, zone: ZoneInfo) -> tuple[int, int]:
    """The time of a partition, ns: its first moment and the first one after it.

    Raises ValueError where the folder is not named like one.
    """
    hour = folder.name.startswith("hour=")
    day = folder.parent.name if hour else folder.name
    start = datetime.strptime(day, "date=%Y-%m-%d").replace(tzinfo=zone)
    if hour:
        start = start.replace(hour=int(folder.name.removeprefix("hour=")))
    end = start + (_HOUR if hour else _DAY)  # on the wall clock
    # it may show that twice, or never, where clocks change: both times are tried
    return _ns(start), max(_ns(end), _ns(end.replace(fold=1)))


def damage(path: Path, zone: ZoneInfo, reason: str, source: Path | BytesIO | None = None) -> Damage:
    """What is lost with a Parquet file: as its footer says if it is whole, else as its folder.

    `source` is what holds its bytes, where `path` does not.
    """
    held = source or path
    try:
        _trust_footer(held)
        low, high = map(int, pl.read_parquet_metadata(held)["edc.time_range"].split())
        rows = pl.scan_parquet(held, hive_partitioning=False).select(pl.len()).collect().item()
    except (*UNREADABLE, KeyError, ValueError):
        low, after = span(path.parent, zone)
        return Damage(path, reason, low, after - 1, None)
    return Damage(path, reason, low, high, int(rows))


def _trust_footer(source: Path | BytesIO) -> None:
    """Raises BrokenSealError where the footer itself is not what was written."""
    try:
        seal.check(source)
    except BrokenSealError as error:
        if not error.footer_is_whole:
            raise


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND
