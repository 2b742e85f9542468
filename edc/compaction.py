"""Compaction: the many files of a closed partition become few: sorted, and no row twice.

The work is done outside the tables, where no glob looks, and put in its place in one step:

    1  quote/date=…/hour=13/               the sources: readers and writers see these
       .compacting/quote/date=…/hour=13/   the manifest, then the new files, verified
    2  the two folders change places, in one step (renameat2 with RENAME_EXCHANGE)
    3  quote/date=…/hour=13/               the new files
       .compacting/quote/date=…/hour=13/   the sources: what came meanwhile moves back, the rest go

A reader that lists the folder at any moment finds each row exactly once; one that has listed it
before step 2 and opens a file after it finds that file gone (an error, never wrong rows), and lists
again. Killed at any point, the next compaction goes back (before step 2) or on (after it): the
manifest lies in whichever folder is the new one. No source is removed before each of its rows has
been read back from the result.

Memory is bounded by `group_rows`, whatever the partition's size: rows are merged in groups of
symbols, or of spans of time where one symbol alone is larger.
"""

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from edc import __version__, files
from edc.errors import NotVerified
from edc.events import EVENT_TYPES, SCHEMA_VERSION, conform, identity, time_column
from edc.times import SECOND

_ROW_GROUP = 122_880
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_BLOCK = 1 << 20
MANIFEST = ".manifest.json"

log = logging.getLogger(__name__)


class ManifestFile(msgspec.Struct, frozen=True):
    """One file of a compacted partition, as it was when it was verified."""

    rows: int
    size: int
    crc32: int


class Manifest(msgspec.Struct):
    """What a compaction made of what: the file names of its sources, and its results."""

    schema_version: int
    sources: list[str]
    rows_read: int = 0
    files: dict[str, ManifestFile] = {}


@dataclass(frozen=True, slots=True)
class Compacted:
    """What became of one partition."""

    folder: Path
    files_before: int
    files_after: int
    rows_before: int
    rows_after: int


@dataclass(frozen=True, slots=True)
class _Group:
    """A part of a partition that fits into memory: some symbols, or a span of one's time."""

    symbols: tuple[str | None, ...]
    span: tuple[int, int] | None = None


class Compactor:
    """Compacts the closed partitions of a lake. One at a time works on a lake, held by a lock.

    `closed_after` is seconds after a partition's end; `file_rows` bounds a resulting file,
    `group_rows` the rows in memory.
    """

    def __init__(
        self,
        path: Path,
        timezone: str,
        *,
        now_ns: Callable[[], int],
        closed_after: float = 3600.0,
        file_rows: int = 12_000_000,
        group_rows: int = 400_000,
    ) -> None:
        self._path = path
        self._timezone = timezone
        self._zone = ZoneInfo(timezone)
        self._now_ns = now_ns
        self._closed_after = closed_after
        self._file_rows = file_rows
        self._group_rows = group_rows

    def run(self) -> Iterator[Compacted]:
        """Finish what was interrupted, then compact what is closed; each partition as it is done.

        Raises OSError, DiskFailed, or NotVerified for a partition that could not be trusted.
        """
        if not self._path.exists():
            return
        with self._alone() as mine:
            if not mine:
                log.info("another compaction is at work on this lake")
                return
            for event_type in EVENT_TYPES:
                for folder in list(_partitions(self._path / event_type)):
                    self._recover(folder)
                    if self._is_closed(folder) and _is_worth_it(folder):
                        yield self._compact(event_type, folder)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        lock = os.open(self._path / ".compact.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(lock)

    def _is_closed(self, folder: Path) -> bool:
        """True once the partition's time is over, and a while more for late rows."""
        name = folder.name
        day = name if name.startswith("date=") else folder.parent.name
        start = datetime.strptime(day, "date=%Y-%m-%d").replace(tzinfo=self._zone)
        if name.startswith("hour="):
            # the second of two equal hours, where the clocks go back
            start = start.replace(hour=int(name.removeprefix("hour=")), fold=1)
            end = start.timestamp() + 3600
        else:
            end = (start + timedelta(days=1)).timestamp()
        return self._now_ns() / SECOND >= end + self._closed_after

    def _compact(self, event_type: str, folder: Path) -> Compacted:
        sources = _visible(folder)
        beside = self._beside(folder)
        manifest = Manifest(SCHEMA_VERSION, [path.name for path in sources])
        files.make_folder(beside)
        files.publish(beside / MANIFEST, msgspec.json.encode(manifest))
        groups = list(self._groups(event_type, sources))
        try:
            merged = self._merge(event_type, sources, groups, beside)
            self._verify(event_type, sources, groups, merged)
        except (NotVerified, pl.exceptions.PolarsError):
            shutil.rmtree(beside)
            raise
        manifest.rows_read = _rows(sources)
        manifest.files = {path.name: _fingerprint(path) for path in merged}
        (beside / MANIFEST).unlink()
        files.publish(beside / MANIFEST, msgspec.json.encode(manifest))
        exchange(beside, folder)
        files.sync_folder(folder.parent)
        files.sync_folder(beside.parent)
        self._recover(folder)
        return Compacted(
            folder,
            len(sources),
            len(merged),
            manifest.rows_read,
            sum(file.rows for file in manifest.files.values()),
        )

    def _recover(self, folder: Path) -> None:
        """Bring an interrupted compaction to its end: back before the exchange, on after it."""
        beside = self._beside(folder)
        if not beside.exists():
            return
        if (folder / MANIFEST).exists() and not (beside / MANIFEST).exists():
            sources = set(_manifest(folder).sources)
            for late in _visible(beside):
                if late.name not in sources:
                    late.rename(folder / late.name)
            files.sync_folder(folder)
        shutil.rmtree(beside)

    def _beside(self, folder: Path) -> Path:
        return self._path / ".compacting" / folder.relative_to(self._path)

    def _groups(self, event_type: str, sources: list[Path]) -> Iterator[_Group]:
        """The partition in parts of about `group_rows` rows, in the order of the result."""
        counted = (
            _scan(sources)
            .group_by("symbol")
            .agg(pl.len().alias("rows"))
            .collect(engine="streaming")
            .sort("symbol", nulls_last=True)
        )
        symbols: list[str | None] = []
        rows = 0
        for symbol, count in counted.iter_rows():
            if symbols and rows + count > self._group_rows:
                yield _Group(tuple(symbols))
                symbols, rows = [], 0
            if count > self._group_rows:
                yield from self._spans(event_type, sources, symbol)
            else:
                symbols.append(symbol)
                rows += count
        if symbols:
            yield _Group(tuple(symbols))

    def _spans(self, event_type: str, sources: list[Path], symbol: str | None) -> Iterator[_Group]:
        """Spans of time of one symbol, whole seconds, each of about `group_rows` rows."""
        second = pl.col(time_column(event_type)).to_physical() // SECOND
        counted = (
            _scan(sources)
            .filter(pl.col("symbol").eq_missing(pl.lit(symbol, pl.String)))
            .group_by(second.alias("second"))
            .agg(pl.len().alias("rows"))
            .collect(engine="streaming")
            .sort("second")
        )
        start: int | None = None
        rows, end = 0, 0
        for at, count in counted.iter_rows():
            if start is not None and rows + count > self._group_rows:
                yield _Group((symbol,), (start, end))
                start, rows = None, 0
            start = at if start is None else start
            rows += count
            end = at
        if start is not None:
            yield _Group((symbol,), (start, end))

    def _merge(
        self, event_type: str, sources: list[Path], groups: list[_Group], beside: Path
    ) -> list[Path]:
        """The new files, durable: each a run of groups of at most about `file_rows` rows."""
        pieces: list[tuple[Path, int]] = []
        for number, group in enumerate(groups):
            rows = self._distinct(event_type, self._read(event_type, sources, group))
            path = beside / f".piece-{number:06d}.parquet"
            rows.write_parquet(path, compression="zstd", compression_level=1)
            pieces.append((path, rows.height))
        merged: list[Path] = []
        while pieces:
            run, rows_in_run = [pieces.pop(0)], 0
            rows_in_run = run[0][1]
            while pieces and rows_in_run + pieces[0][1] <= self._file_rows:
                rows_in_run += pieces[0][1]
                run.append(pieces.pop(0))
            merged.append(self._assemble(event_type, [path for path, _ in run], beside))
        return merged

    def _assemble(self, event_type: str, pieces: list[Path], beside: Path) -> Path:
        """One file of sorted pieces, streamed, with a footer like that of every file."""
        times = pl.col(time_column(event_type)).to_physical()
        low, high = (
            pl.scan_parquet(pieces, hive_partitioning=False)
            .select(low=times.min(), high=times.max())
            .collect()
            .row(0)
        )
        now_ns = self._now_ns()
        while True:
            stamp = datetime.fromtimestamp(now_ns // 1000 / 1e6, self._zone)
            path = beside / f"consol_feeds_{event_type}_{stamp:%Y%m%d_%H%M%S_%f}.parquet"
            if not path.exists():
                break
            now_ns += 1000
        pl.scan_parquet(pieces, hive_partitioning=False).sink_parquet(
            path,
            compression="zstd",
            statistics=True,
            row_group_size=_ROW_GROUP,
            maintain_order=True,
            metadata={
                "edc.schema_version": str(SCHEMA_VERSION),
                "edc.version": __version__,
                "edc.event_type": event_type,
                "edc.time_range": f"{low} {high}",
                "edc.compacted": "true",
            },
        )
        files.sync_file(path)
        for piece in pieces:
            piece.unlink()
        return path

    def _read(self, event_type: str, sources: list[Path], group: _Group) -> pl.DataFrame:
        """The rows of one group, in our columns."""
        wanted = pl.col("symbol").is_in(group.symbols, nulls_equal=True)
        if group.span is not None:
            second = pl.col(time_column(event_type)).to_physical() // SECOND
            wanted &= second.is_between(*group.span)
        rows = _scan(sources).filter(wanted).collect(engine="streaming")
        return conform(rows, event_type, self._timezone)

    def _distinct(self, event_type: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Sorted by symbol and time; of equal rows the first received."""
        return rows.sort(
            "symbol", time_column(event_type), "created_at", nulls_last=True, maintain_order=True
        ).unique(identity(event_type), keep="first", maintain_order=True)

    def _verify(
        self, event_type: str, sources: list[Path], groups: list[_Group], merged: list[Path]
    ) -> None:
        """Read the result back: it holds each row of the sources, and none twice."""
        found = 0
        folder = sources[0].parent
        for group in groups:
            before = self._read(event_type, sources, group)
            after = self._read(event_type, merged, group)
            keys = identity(event_type)
            if before.join(after, on=keys, how="anti", nulls_equal=True).height:
                raise NotVerified(str(folder), f"rows of {group.symbols} are missing")
            if after.height != before.unique(keys).height:
                raise NotVerified(str(folder), f"rows of {group.symbols} are too many")
            found += after.height
        if found != _rows(merged):
            raise NotVerified(str(folder), "there are rows that belong to no group")


def exchange(one: Path, other: Path) -> None:
    """Let two folders change names, in one step. Raises OSError, also where the disk cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOSYS):
            raise OSError(code, "this file system cannot exchange two folders", str(other))
        raise OSError(code, os.strerror(code), str(other))


def _partitions(table: Path) -> Iterator[Path]:
    """The partitions of a table, each a folder."""
    for day in sorted(table.glob("date=[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]")):
        hours = sorted(day.glob("hour=[0-2][0-9]"))
        yield from hours or [day]


def _is_worth_it(folder: Path) -> bool:
    """More than one file, unless they are the results of a compaction already."""
    present = {path.name for path in _visible(folder)}
    with contextlib.suppress(FileNotFoundError):
        if set(_manifest(folder).files) == present:
            return False
    return len(present) > 1


def _visible(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!._]*.parquet"))


def _manifest(folder: Path) -> Manifest:
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)


def _scan(paths: list[Path]) -> pl.LazyFrame:
    return pl.scan_parquet(paths, hive_partitioning=False)


def _rows(paths: list[Path]) -> int:
    return int(_scan(paths).select(pl.len()).collect().item())


def _fingerprint(path: Path) -> ManifestFile:
    crc, size = 0, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
            size += len(block)
    return ManifestFile(_rows([path]), size, crc)
