"""The tables of a lake and its spools as lazy frames: read when asked, and no more than is asked.

A partition, a file and a chunk are left out where their times lie outside of what the condition
allows; row groups and columns are left to Polars. Chunks are read before the lake is looked at: see
the package. Where two instances have written to a partition that is not compacted yet, its rows are
made distinct as compaction would.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
from polars.io.plugins import register_io_source

from edc import footers, partitions, seal
from edc.errors import ConfigError, EdcError
from edc.events import (
    EVENT_TYPES,
    SCHEMA_VERSION,
    conform,
    distinct,
    identity,
    schema,
    time_column,
)
from edc.lake import Lake
from edc.query.bounds import EVER, Condition, Span, condition
from edc.query.listing import OpenFile, close, listed
from edc.seal import UNREADABLE
from edc.spool import BadChunkError, Chunk, chunk_of, chunk_rows

_FILES_AT_ONCE = 256
_MEND = "`edc audit --set-aside` moves damaged files out"


@dataclass(frozen=True, slots=True)
class _Part:
    """A file whose rows are read: of which instances, and in which schema version."""

    file: OpenFile
    instances: frozenset[str]
    version: int


class Tables:
    """The four tables of a lake, for one statement: it sees one state of the spool."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._zone = ZoneInfo(lake.timezone)
        self._spools = {kind: Spool(lake.path, kind) for kind in EVENT_TYPES}

    def frame(self, event_type: str) -> pl.LazyFrame:
        """A table. Reading it raises EdcError or OSError where a file cannot be read."""
        source = partial(self._rows, event_type)
        return register_io_source(source, schema=schema(event_type, self._lake.timezone))

    def _rows(
        self,
        event_type: str,
        columns: list[str] | None,
        where: pl.Expr | None,
        most: int | None,
        _batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        """What Polars asks for: some columns of the rows for which `where` holds, or `most`."""
        asked = condition(where, time_column(event_type), self._lake.timezone)
        wanted = columns or list(schema(event_type, self._lake.timezone))
        for rows in self._all(event_type, asked, wanted):
            given = rows.select(wanted) if most is None else rows.select(wanted).head(most)
            yield given
            most = None if most is None else most - given.height
            if most == 0:
                return

    def _all(
        self, event_type: str, asked: Condition, columns: Sequence[str]
    ) -> Iterator[pl.DataFrame]:
        """The rows of a table, some at a time: of each partition what is in its files, and what is
        not in those files but in chunks, which are read before any file is looked for.
        """
        hot = self._hot(event_type, asked)
        with ExitStack() as held:
            waiting: list[_Part] = []
            for folder in sorted({*self._partitions(event_type, asked.span), *hot}):
                parts = self._open(event_type, folder, asked.span, held)
                if folder in hot:
                    yield self._unseen(event_type, parts, asked, hot[folder])
                if len({part.instances for part in parts}) > 1:
                    yield from self._once(event_type, parts, asked)
                    continue
                waiting += parts
                if len(waiting) >= _FILES_AT_ONCE:
                    yield from self._read(event_type, waiting, asked, columns)
                    waiting = []
                    held.close()
            yield from self._read(event_type, waiting, asked, columns)

    # the lake

    def _partitions(self, event_type: str, span: Span) -> Iterator[Path]:
        for folder in partitions.of_table(self._lake.path / event_type):
            try:
                first, after = partitions.span(folder, self._zone)
            except ValueError:  # date=2026-99-99 is none of ours
                continue
            if first <= span[1] and span[0] < after:
                yield folder

    def _open(self, event_type: str, folder: Path, span: Span, held: ExitStack) -> list[_Part]:
        """The files of a partition that may have rows of a span, open while `held` is."""
        files = listed(self._lake.path, folder)
        held.callback(close, files)
        parts = []
        for file in files:
            try:
                part = self._part(event_type, file, span)
            except UNREADABLE as error:
                raise _damaged([file]) or error from None
            if part is not None:
                parts.append(part)
        return parts

    def _part(self, event_type: str, file: OpenFile, span: Span) -> _Part | None:
        """What a file says of itself; None where no row of it is asked for, or ever was ours."""
        said = pl.read_parquet_metadata(file.source)
        low, high = map(int, said.get("edc.time_range", f"{EVER[0]} {EVER[1]}").split())
        if high < span[0] or low > span[1]:
            return None
        instances = frozenset(said.get("edc.instance", "").split(","))
        written = said.get("edc.event_type"), said.get("edc.schema_version")
        if written == (event_type, str(SCHEMA_VERSION)):
            return _Part(file, instances, SCHEMA_VERSION)
        footer = footers.read(file.source, event_type, self._lake.timezone)
        if footer.version is None:
            raise ConfigError(str(file.path), "; ".join(footer.drift), "or query other days")
        if footer.foreign:
            return None
        if not footer.readable:
            raise EdcError(f"{file.path} is no table of edc: {'; '.join(footer.drift)}")
        return _Part(file, instances, footer.version)

    def _scan(self, event_type: str, parts: Sequence[_Part]) -> pl.LazyFrame:
        """The rows of files, in the present columns."""
        zone = self._lake.timezone
        present = [part.file.source for part in parts if part.version == SCHEMA_VERSION]
        scans = []
        for part in parts:
            if part.version != SCHEMA_VERSION:
                rows = pl.scan_parquet(part.file.source, hive_partitioning=False, glob=False)
                scans.append(conform(rows, event_type, zone, part.version))
        if present:  # not by `conform`, whose casts would keep Polars from passing over row groups
            scan = pl.scan_parquet(
                present,
                schema=schema(event_type, zone),
                cast_options=pl.ScanCastOptions(datetime_cast="convert-timezone"),
                extra_columns="ignore",
                hive_partitioning=False,
                glob=False,
            )
            scans.append(scan)
        return pl.concat(scans)

    def _read(
        self, event_type: str, parts: Sequence[_Part], asked: Condition, columns: Sequence[str]
    ) -> Iterator[pl.DataFrame]:
        if not parts:
            return
        rows = asked.applied(self._scan(event_type, parts)).select(columns)
        try:
            yield from rows.collect_batches(maintain_order=False)
        except UNREADABLE as error:
            raise _damaged([part.file for part in parts]) or error from None

    def _once(
        self, event_type: str, parts: Sequence[_Part], asked: Condition
    ) -> Iterator[pl.DataFrame]:
        """Rows that several instances have recorded: of equal ones the first received."""
        early = Condition() if asked.on_receipt else asked
        columns = list(schema(event_type, self._lake.timezone))
        batches = list(self._read(event_type, parts, early, columns))
        if not batches:
            return
        rows = distinct(event_type, pl.concat(batches).sort("created_at", maintain_order=True))
        yield asked.applied(rows.lazy()).collect() if asked.on_receipt else rows

    # the spool

    def _hot(self, event_type: str, asked: Condition) -> dict[Path, pl.DataFrame]:
        """The rows of the spool, by the partition that they belong in; they may be there already.

        What is asked of the time of receipt is not asked yet: of equal rows the first one counts.
        """
        chunks = self._spools[event_type].held(asked.span)
        frames = [self._rows_of(event_type, chunk, data) for chunk, data in chunks]
        if not frames:
            return {}
        rows = distinct(event_type, pl.concat(frames).sort("created_at", maintain_order=True))
        if not asked.on_receipt:
            rows = asked.applied(rows.lazy()).collect()
        return dict(self._lake.partitions(event_type, rows)) if rows.height else {}

    def _rows_of(self, event_type: str, chunk: Chunk, data: bytes) -> pl.DataFrame:
        try:
            rows = chunk_rows(chunk.path.name, data)
            return conform(rows, event_type, self._lake.timezone, version=1)
        except (BadChunkError, *UNREADABLE) as error:
            mend = "the daemon, or `edc flush`, sets it aside"
            raise EdcError(f"{chunk.path} is damaged: {error}; {mend}") from None

    def _unseen(
        self, event_type: str, parts: Sequence[_Part], asked: Condition, rows: pl.DataFrame
    ) -> pl.DataFrame:
        """The rows of one partition that are not in these files of it."""
        times = rows[time_column(event_type)].sort()
        near = Condition(pl.col(times.name).is_between(times[0], times[-1]))
        for seen in self._read(event_type, parts, near, identity(event_type)):
            rows = rows.join(
                seen, identity(event_type), "anti", nulls_equal=True, maintain_order="left"
            )
        return asked.applied(rows.lazy()).collect() if asked.on_receipt else rows


class Spool:
    """The chunks of one table, of all instances, as they were when they were first asked for."""

    def __init__(self, lake: Path, event_type: str) -> None:
        self._lake = lake
        self._event_type = event_type
        self._chunks: list[Chunk] | None = None
        self._data: dict[Chunk, bytes] = {}
        self._lock = threading.Lock()

    def held(self, span: Span) -> list[tuple[Chunk, bytes]]:
        """The bytes of the chunks that have times of a span.

        One that has gone meanwhile is in the lake, for who looks there after this.
        """
        with self._lock:
            if self._chunks is None:
                self._chunks = list(self.chunks())
            asked = [
                chunk
                for chunk in self._chunks
                if chunk.span[0] <= span[1] and span[0] <= chunk.span[1]
            ]
            for chunk in asked:
                if chunk not in self._data:
                    try:
                        self._data[chunk] = chunk.path.read_bytes()
                    except FileNotFoundError:
                        continue
            return [(chunk, self._data[chunk]) for chunk in asked if chunk in self._data]

    def chunks(self) -> Iterator[Chunk]:
        """Those that are there now, in order of receipt for each instance."""
        for instance in _within(self._lake / ".spool"):
            for path in _within(instance / self._event_type):
                chunk = chunk_of(path)
                if chunk is not None:
                    yield chunk


def _within(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where there is none. Raises OSError where it may not be read.

    (A glob would find nothing there, and what is on its way would be missed without a word.)
    """
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _damaged(files: Sequence[OpenFile]) -> EdcError | None:
    """The first of some files that cannot be read, as an error; None if all can."""
    for file in files:
        try:
            seal.check(file.source)
            pl.read_parquet(file.source, hive_partitioning=False)
        except UNREADABLE as error:
            return EdcError(f"{file.path} is damaged: {str(error).splitlines()[0]}; {_MEND}")
    return None
