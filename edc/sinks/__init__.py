"""The contract of a sink: it writes batches and knows what it already has.

`write` is called for one event type at a time (in a thread), with rows in order of receipt, and
returns only when they are durable. A batch may come again, wholly or in part, after a crash: the
sink drops what it has. It raises OSError when it may be tried again and DiskFailed when not.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl


@dataclass(slots=True)
class Written:
    """What became of a batch: rows written, rows the sink had already, files made."""

    rows: int = 0
    duplicates: int = 0
    size: int = 0
    files: list[Path] = field(default_factory=list)

    def add(self, other: "Written") -> None:
        """Sum two results."""
        self.rows += other.rows
        self.duplicates += other.duplicates
        self.size += other.size
        self.files += other.files


class Sink(Protocol):
    """Where batches go."""

    def write(self, event_type: str, rows: pl.DataFrame, chunks: str) -> Written:
        """Make a batch durable, without the rows that are already there.

        `chunks` names what the batch was made from, for the record.
        """
        ...


class LakeSink(Sink, Protocol):
    """A sink that is a lake: what it wrote before can be asked for."""

    def begin(self) -> None:
        """Hold it to its layout, before anything is written. Raises ConfigError."""
        ...

    def files_of(self, event_type: str, start: int, end: int) -> Iterable[pl.LazyFrame]:
        """Rows of which some may lie between two moments (ns), file by file, not read yet."""
        ...
