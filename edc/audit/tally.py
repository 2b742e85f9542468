"""Running counts over the rows of a file, batch by batch."""

from collections import Counter
from dataclasses import dataclass

import polars as pl

from edc.events import time_column
from edc.times import SECOND

QUARTER = 900 * SECOND
"""Every time zone's offset is a multiple of a quarter of an hour: all of one is in one folder."""


@dataclass(slots=True)
class Extent:
    """Rows of one source and asset type in one partition, with the times (ns) of its ends."""

    rows: int
    low: int
    high: int


class Tally:
    """The ends of the rows' times (ns), and how many lie in each quarter of an hour.

    `timeless` rows have no time, `mislabelled` ones the event type of another table.
    """

    def __init__(self, event_type: str) -> None:
        self._event_type = event_type
        self.low: int | None = None
        self.high: int | None = None
        self.timeless = 0
        self.mislabelled = 0
        self.quarters: Counter[int] = Counter()
        self.extents: dict[tuple[str, str], Extent] = {}

    def add(self, rows: pl.DataFrame) -> None:
        """Count a batch."""
        rows = rows.with_columns(pl.col(time_column(self._event_type)).to_physical().alias("at"))
        self.timeless += rows["at"].null_count()
        rows = rows.drop_nulls("at")
        if rows.is_empty():
            return
        low, high = rows.select(pl.col("at").min().alias("low"), pl.col("at").max()).row(0)
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        self.quarters.update(dict((rows["at"] // QUARTER).value_counts().iter_rows()))
        if self._event_type == "gap":
            return
        self.mislabelled += int(rows["event_type"].ne_missing(self._event_type).sum())
        ends = (pl.len(), pl.col("at").min().alias("low"), pl.col("at").max().alias("high"))
        for source, asset_type, count, low, high in (
            rows.group_by("source", "asset_type").agg(*ends).drop_nulls().iter_rows()
        ):
            merge(self.extents, (source, asset_type), Extent(count, low, high))


def merge(extents: dict[tuple[str, str], Extent], key: tuple[str, str], more: Extent) -> None:
    """Add rows to those of the same key."""
    extent = extents.setdefault(key, Extent(0, more.low, more.high))
    extent.rows += more.rows
    extent.low, extent.high = min(extent.low, more.low), max(extent.high, more.high)
