"""Upkeep of a Delta Lake, by its own library: retention, compaction, vacuum, a shorter log.

Files that a compaction has replaced stay for a week, so that readers of older versions find them.
"""

import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from edc import partitions
from edc.events import EVENT_TYPES
from edc.files import sync_file
from edc.sinks.delta import make_log_durable
from edc.times import SECOND
from edc.upkeep.compaction import Compacted
from edc.upkeep.offstage import Problem
from edc.upkeep.retention import Removed

_KEPT_FOR = 7 * 24
"""Hours."""
_FILE = 256 << 20
"""Bytes that a compacted file grows to."""


class DeltaUpkeep:
    """What `edc compact` does to the tables at a URL or in a folder.

    `closed_after` is seconds after the end of a day; `keep_days` are days by event type.
    """

    def __init__(
        self,
        root: str,
        options: dict[str, str],
        timezone: str,
        *,
        closed_after: float,
        keep_days: dict[str, int],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._root = root
        self._options = options
        self._zone = ZoneInfo(timezone)
        self._closed_after = closed_after
        self._keep_days = keep_days
        self._now_ns = now_ns

    def run(self, *, dry_run: bool = False) -> Iterator[Removed | Compacted | Problem]:
        """Tend each table; what was done, as it is done, or would be."""
        for event_type in EVENT_TYPES:
            try:
                table = DeltaTable(
                    f"{self._root}/{event_type}", storage_options=self._options or None
                )
            except TableNotFoundError:
                continue
            except (DeltaError, OSError) as error:
                yield Problem(Path(event_type), str(error))
                continue
            try:
                yield from self._tend(event_type, table, dry_run=dry_run)
            except (DeltaError, OSError) as error:
                yield Problem(Path(event_type), str(error))

    def _tend(
        self, event_type: str, table: DeltaTable, *, dry_run: bool
    ) -> Iterator[Removed | Compacted]:
        before = table.version()
        for day, files, size in self._too_old(event_type, table):
            if not dry_run:
                table.delete(f"date = DATE '{day}'")
            yield Removed(_folder(event_type, day), files, size)
        for day, files, rows in self._scattered(event_type, table):
            after = None
            if not dry_run:
                table.optimize.compact(
                    partition_filters=[("date", "=", str(day))], target_size=_FILE
                )
                after = int(_by_day(table).filter(date=day)["files"].item())
            folder = _folder(event_type, day)
            yield Compacted(folder, files, after, rows, None if dry_run else rows)
        if dry_run or table.version() == before:
            return
        table.vacuum(retention_hours=_KEPT_FOR, dry_run=False)
        table.create_checkpoint()
        table.cleanup_metadata()
        if "://" not in self._root:
            self._make_durable(event_type, table)

    def _too_old(self, event_type: str, table: DeltaTable) -> Iterator[tuple[date, int, int]]:
        """Days whose youngest row is older than is kept: how many files, and their bytes."""
        if event_type not in self._keep_days:
            return
        kept = timedelta(days=self._keep_days[event_type])
        oldest = (datetime.fromtimestamp(self._now_ns() / SECOND, self._zone) - kept).date()
        days = _by_day(table).filter(pl.col("date") < oldest)
        yield from days.select("date", "files", "size").iter_rows()

    def _scattered(self, event_type: str, table: DeltaTable) -> Iterator[tuple[date, int, int]]:
        """Days that are over and lie in several files: how many, and their rows."""
        days = _by_day(table).filter(pl.col("files") > 1)
        for day, files, rows in days.select("date", "files", "rows").iter_rows():
            _, end = partitions.span(_folder(event_type, day), self._zone)
            if end + self._closed_after * SECOND <= self._now_ns():
                yield day, files, rows

    def _make_durable(self, event_type: str, table: DeltaTable) -> None:
        """The library syncs nothing that it writes to a disk."""
        folder = Path(self._root) / event_type
        for action in pl.DataFrame(table.get_add_actions(flatten=True))["path"]:
            sync_file(folder / action)
        make_log_durable(folder, table.version())


def _folder(event_type: str, day: date) -> Path:
    return Path(event_type) / f"date={day}"


def _by_day(table: DeltaTable) -> pl.DataFrame:
    """date, files, rows and size of each day of a table, oldest first."""
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    if actions.is_empty():
        return pl.DataFrame(
            schema={"date": pl.Date, "files": pl.Int64, "rows": pl.Int64, "size": pl.Int64}
        )
    return (
        actions.group_by(date=pl.col("partition.date"))
        .agg(files=pl.len(), rows=pl.col("num_records").sum(), size=pl.col("size_bytes").sum())
        .sort("date")
    )
