"""The Parquet sink: a batch becomes one file in each partition, with no row twice."""

from collections.abc import Iterator

import polars as pl

from edc.events import distinct
from edc.lake import Lake
from edc.sinks import Written


class ParquetSink:
    """Writes batches to a lake; exact deduplication on every column except `created_at`."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def begin(self) -> None:
        """See `Lake.begin`."""
        self._lake.begin()

    def files_of(self, event_type: str, start: int, end: int) -> Iterator[pl.LazyFrame]:
        """See `Lake.files_of`."""
        return self._lake.files_of(event_type, start, end)

    def write(self, event_type: str, rows: pl.DataFrame, chunks: str) -> Written:
        """Write what the lake does not have. The first received of equal rows is kept."""
        self._lake.check_room()
        written = Written()
        for folder, part in self._lake.partitions(event_type, distinct(event_type, rows)):
            new = self._lake.unseen(event_type, folder, part)
            if new.is_empty():
                continue
            file = self._lake.write(event_type, folder, new, chunks)
            written.rows += file.rows
            written.size += file.size
            written.files.append(file.path)
        written.duplicates = rows.height - written.rows
        return written
