"""What is in these files: rows, times, symbols, duplicates, and what cannot be read.

`inspect` reads Parquet files and spool chunks, by file, folder or glob, and answers with plain
numbers; a terminal table and JSON are made from the same `Report`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from glob import glob
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from edc import seal
from edc.distribution import Delays, Late, Rate, Rates
from edc.errors import ConfigError
from edc.events import (
    EVENT_TYPES,
    SCHEMA_VERSION,
    columns_of,
    conform,
    identity,
    time_column,
    version_of,
)
from edc.footers import name_of
from edc.seal import UNREADABLE
from edc.spool import BadChunkError, read_chunk

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_FIRST_ROWS = 5
_UNREADABLE = (*UNREADABLE, BadChunkError, OSError)


class Table(msgspec.Struct):
    """What is known of the rows of one event type."""

    event_type: str
    files: int
    size: int
    rows: int
    columns: dict[str, str]
    first: str | None
    last: str | None
    duplicates: int
    nulls: dict[str, int]
    symbols: dict[str, int]
    sources: dict[str, int]
    latency_ms: dict[str, float]
    latency: list[Late]
    """Of each source, followed by those of its symbols."""
    latency_parts: list[tuple[float, float, int]]
    """The delays of all: lower and upper end in seconds, and how many are between."""
    beyond: int
    """Symbols that are measured as a part of their source alone: after ten thousand others."""
    rate: Rate | None
    head: list[dict[str, object]]


class Report(msgspec.Struct):
    """What `edc inspect` tells. `unreadable` maps files to the reason."""

    tables: list[Table]
    unreadable: dict[str, str] = {}
    foreign: list[str] = []


def find(paths: Iterable[str]) -> list[Path]:
    """The Parquet files and chunks that the arguments name. Raises ConfigError for none.

    A folder means every file in it but hidden ones; `.spool` itself may be named.
    """
    found: list[Path] = []
    for given in paths:
        matches = [Path(given)]
        if not Path(given).exists():  # Path.glob takes no absolute patterns
            matches = [Path(match) for match in sorted(glob(given))]  # noqa: PTH207
        if not matches:
            raise ConfigError(given, "there is no such file", "name a file, a folder or a glob")
        for match in matches:
            found += _within(match) if match.is_dir() else [match]
    if not found:
        raise ConfigError(
            ", ".join(map(str, paths)), "no Parquet file in there", "has anything been flushed yet?"
        )
    return found


def _within(folder: Path) -> list[Path]:
    return sorted(
        path
        for suffix in ("*.parquet", "*.arrow")
        for path in folder.rglob(suffix)
        if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    )


def inspect(files: Sequence[Path], timezone: str | None = None) -> Report:
    """Read files and count, one folder at a time: equal rows lie in one partition.

    `timezone` is that of the answer; None keeps the one of the first file.
    """
    report = Report([])
    tallies: dict[str, _Tally] = {}
    folders: dict[Path, list[Path]] = {}
    for path in files:
        folders.setdefault(path.parent, []).append(path)
    for members in folders.values():
        frames: dict[str, list[pl.DataFrame]] = {}
        for path in members:
            try:
                frame, version = _read(path)
                event_type = _type_of(frame, version)
                if event_type is None:
                    report.foreign.append(str(path))
                    continue
                if timezone is None:
                    timezone = getattr(frame.schema[time_column(event_type)], "time_zone", None)
                frame = conform(frame, event_type, timezone or "UTC", version)
            except _UNREADABLE as error:
                report.unreadable[str(path)] = str(error).splitlines()[0]
                continue
            frames.setdefault(event_type, []).append(frame)
            tally = tallies.setdefault(event_type, _Tally(event_type))
            tally.files += 1
            tally.size += path.stat().st_size
        for event_type, some in frames.items():
            tallies[event_type].add(pl.concat(some))
    report.tables = [tallies[name].table() for name in EVENT_TYPES if name in tallies]
    return report


def _read(path: Path) -> tuple[pl.DataFrame, int]:
    """The rows of a file and the schema version they were written in, as far as it is known."""
    if path.suffix == ".arrow":
        return read_chunk(path), 1
    seal.check(path)
    footer = pl.read_parquet_metadata(path)
    try:
        version = version_of(footer)
    except ValueError:
        version = SCHEMA_VERSION + 1
    if version > SCHEMA_VERSION:
        raise ConfigError(
            str(path),
            f"written in schema version {footer['edc.schema_version']}, this edc knows up to"
            f" {SCHEMA_VERSION}",
            "upgrade edc",
        )
    return pl.read_parquet(path, hive_partitioning=False), version


def _type_of(frame: pl.DataFrame, version: int) -> str | None:
    """The table whose columns of that version a frame has."""
    for event_type in EVENT_TYPES:
        if set(columns_of(event_type, version)) <= set(frame.columns):
            return event_type
    return None


class _Tally:
    """Running counts over the rows of one event type."""

    def __init__(self, event_type: str) -> None:
        self.event_type = event_type
        self.files = 0
        self.size = 0
        self._rows = 0
        self._duplicates = 0
        self._nulls: Counter[str] = Counter()
        self._symbols: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._latencies: Counter[float] = Counter()
        self._delays = Delays()
        self._rates = Rates()
        self._extent: pl.Series | None = None
        self._head: pl.DataFrame | None = None
        self._schema: dict[str, pl.DataType] = {}
        self._zone = "UTC"

    def add(self, rows: pl.DataFrame) -> None:
        """Count the rows of one folder."""
        self._schema = dict(rows.schema)
        self._rows += rows.height
        self._duplicates += rows.height - rows.unique(identity(self.event_type)).height
        self._nulls.update(rows.null_count().row(0, named=True))
        self._symbols.update(_counts(rows["symbol"]))
        self._sources.update(_counts(rows["source"]))
        times = rows[time_column(self.event_type)].sort()
        self._zone = getattr(times.dtype, "time_zone", None) or "UTC"
        ends = pl.concat([times.head(1), times.tail(1)])
        self._extent = ends if self._extent is None else pl.concat([self._extent, ends]).sort()
        self._rates.add(times)
        if self.event_type != "gap":
            self._delays.add(rows)
            self._latencies.update(_counts(_latencies_ms(rows)))
        if self._head is None or self._head.height < _FIRST_ROWS:
            some = rows.head(_FIRST_ROWS)
            self._head = some if self._head is None else self._head.vstack(some).head(_FIRST_ROWS)

    def table(self) -> Table:
        """What was counted."""
        assert self._extent is not None
        assert self._head is not None
        extent = self._extent.dt.to_string("iso:strict")
        return Table(
            event_type=self.event_type,
            files=self.files,
            size=self.size,
            rows=self._rows,
            columns={name: name_of(dtype) for name, dtype in self._schema.items()},
            first=extent[0] if self._rows else None,
            last=extent[-1] if self._rows else None,
            duplicates=self._duplicates,
            nulls={name: count for name, count in self._nulls.items() if count},
            symbols=dict(self._symbols.most_common()),
            sources=dict(self._sources.most_common()),
            latency_ms=_percentiles(self._latencies),
            latency=self._delays.late(),
            latency_parts=self._delays.parts(),
            beyond=self._delays.beyond,
            rate=self._rates.rate(self._zone),
            head=list(
                self._head.with_columns(pl.col(pl.Datetime).dt.to_string("iso:strict")).iter_rows(
                    named=True
                )
            ),
        )


def _counts(values: pl.Series) -> dict[Any, int]:
    return dict(values.drop_nulls().value_counts(name="rows").iter_rows())


def _latencies_ms(rows: pl.DataFrame) -> pl.Series:
    """Milliseconds from the vendor's time to ours, three digits; negative where clocks differ."""
    waits = pl.col("created_at").to_physical() - pl.col("event_time").to_physical()
    return rows.select((waits / 1e6).round_sig_figs(3)).to_series()


def _percentiles(counts: Counter[float]) -> dict[str, float]:
    """The nearest-rank percentiles of counted values."""
    total, seen, found = sum(counts.values()), 0, {}
    left = list(_PERCENTILES.items())
    for value in sorted(counts):
        seen += counts[value]
        while left and seen >= left[0][1] * total:
            found[left.pop(0)[0]] = value
    return found
