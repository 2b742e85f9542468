"""Compaction: the many files of a closed partition become one, sorted, no row twice.

The work is done outside the tables, where no glob looks, and put in its place in one step:

    1  quote/date=…/hour=13/               the sources: readers and writers see these
       .compacting/quote/date=…/hour=13/   the manifest, then the new files, verified
    2  the two folders change places, in one step (renameat2 with RENAME_EXCHANGE)
    3  quote/date=…/hour=13/               the new files
       .compacting/quote/date=…/hour=13/   the sources: what came meanwhile moves back, the rest go

A reader that lists the folder at any moment finds each row exactly once; one that has listed it
before step 2 and opens a file after it finds that file gone (an error, never wrong rows), and lists
again. Killed at any point, the next compaction goes back (before step 2) or on (after it): the
manifest with the higher `serial` lies in whichever folder is the new one. No source is removed
before its rows have been read back from the result (merging.py). Only a file that a writer adds
in the moment of step 2 itself is out of sight until it has moved back.

A file system that cannot exchange folders (NFS, some FUSE mounts) gets the new files one by one,
and then loses the old ones; equal serials say that this has begun, and it is only ever finished.
There a reader may find rows twice until it is, and never misses one.

A partition that holds a damaged file is compacted without it: the file goes to `.quarantine/`, and
a row of the gap table, written first, says so. One with a file of a newer schema, or with columns
that are not ours, stays as it is. Either is a Problem, and the other partitions go on.
"""

import contextlib
import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from edc import files, footers, partitions, seal
from edc.errors import NotVerified
from edc.events import EVENT_TYPES, SCHEMA_VERSION, schema
from edc.footers import Footer
from edc.lake import Lake
from edc.seal import UNREADABLE
from edc.upkeep import offstage, quarantine, swap
from edc.upkeep.merging import Merger
from edc.upkeep.offstage import Problem
from edc.upkeep.swap import visible

_BLOCK = 1 << 20
_ROOM = 2  # times the size of the sources: the pieces of the work, and its result
MANIFEST = ".manifest.json"

log = logging.getLogger(__name__)


class ManifestFile(msgspec.Struct, frozen=True):
    """One file of a compacted partition, as it was when it was verified."""

    rows: int
    size: int
    crc32: int


class Manifest(msgspec.Struct):
    """What a compaction made of what: the file names of its sources, and its results.

    `serial` counts the compactions of a partition.
    """

    schema_version: int
    sources: list[str]
    rows_read: int = 0
    files: dict[str, ManifestFile] = {}
    serial: int = 1


@dataclass(frozen=True, slots=True)
class Compacted:
    """What became of one partition; None is not known yet, where it would be compacted."""

    folder: Path
    files_before: int
    files_after: int | None
    rows_before: int
    rows_after: int | None


class Compactor:
    """Compacts the closed partitions of a lake. Whoever runs it holds the lake's lock.

    `closed_after` is seconds after a partition's end; `file_rows` bounds a resulting file,
    `group_rows` the rows in memory; `reserve` bytes of the disk are left free. `instance` signs
    what is said in the gap table.
    """

    def __init__(
        self,
        path: Path,
        timezone: str,
        *,
        now_ns: Callable[[], int],
        instance: str = "main",
        closed_after: float = 3600.0,
        reserve: int = 0,
        file_rows: int = 12_000_000,
        group_rows: int = 250_000,
    ) -> None:
        self._path = path
        self._timezone = timezone
        self._zone = ZoneInfo(timezone)
        self._now_ns = now_ns
        self._instance = instance
        self._closed_after = closed_after
        self._reserve = reserve
        self._file_rows = file_rows
        self._group_rows = group_rows

    def run(self) -> Iterator[Compacted | Problem]:
        """Finish what was interrupted, then compact what is closed; each partition as it is done.

        What goes wrong in one of them is a Problem. Raises DiskFailed.
        """
        for event_type, folder in self._partitions():
            try:
                self.recover(folder)
                if self._is_closed(folder) and _is_worth_it(folder):
                    yield from self._attempt(event_type, folder)
            except NotVerified as error:
                yield Problem(folder, error.problem)
            except (OSError, *UNREADABLE) as error:
                yield Problem(folder, str(error))

    def wanted(self) -> Iterator[Compacted]:
        """What `run` would compact. Changes nothing."""
        for event_type, folder in self._partitions():
            if self._is_closed(folder) and _is_worth_it(folder):
                rows = 0
                for path in visible(folder):
                    with contextlib.suppress(OSError, *UNREADABLE):
                        rows += footers.read(path, event_type, self._timezone).rows
                yield Compacted(folder, len(visible(folder)), None, rows, None)

    def _partitions(self) -> Iterator[tuple[str, Path]]:
        for event_type in EVENT_TYPES:
            for folder in list(partitions.of_table(self._path / event_type)):
                if folder.is_dir() and not folder.is_symlink():
                    yield event_type, folder

    def _is_closed(self, folder: Path) -> bool:
        """True once the partition's time is over, and a while more for late rows."""
        try:
            _, end = partitions.span(folder, self._zone)
        except ValueError:  # date=2026-99-99 is none of ours
            return False
        return self._now_ns() >= end + int(self._closed_after * 1e9)

    def _attempt(self, event_type: str, folder: Path) -> Iterator[Compacted | Problem]:
        """Compact a partition; where files of it are damaged, what is intact."""
        try:
            yield self._compact(event_type, folder)
        except UNREADABLE as error:
            damaged = list(quarantine.damaged(folder))
            if not damaged:  # all can be read, so it is not the files' fault
                raise NotVerified(str(folder), str(error)) from error
            partition = "hour" if folder.name.startswith("hour=") else "day"
            lake = Lake(self._path, self._timezone, partition, self._instance, self._now_ns)
            for path, reason in damaged:
                quarantine.set_aside(lake, path, reason, self._now_ns())
                yield Problem(path, f"damaged, and set aside in .quarantine: {reason}")
            if _is_worth_it(folder):
                yield self._compact(event_type, folder)

    def _compact(self, event_type: str, folder: Path) -> Compacted:
        beside = offstage.beside(self._path, folder)
        sources = self._sources(event_type, folder)
        names = [each.path.name for each in sources]
        size = sum(each.path.stat().st_size for each in sources)
        files.check_room(self._path, _ROOM * size, self._reserve)
        manifest = Manifest(SCHEMA_VERSION, names, serial=_next_serial(folder))
        files.make_folder(beside)
        try:
            files.replace(beside / MANIFEST, msgspec.json.encode(manifest))
            merged = self._merge(event_type, sources, folder, beside)
            manifest.rows_read = sum(each.rows for each in sources)
            manifest.files = {path.name: _fingerprint(path) for path in merged}
            files.replace(beside / MANIFEST, msgspec.json.encode(manifest))
            swap.link_others(folder, beside, names)
            exchanged = swap.exchanged(beside, folder)
        except (NotVerified, OSError, *UNREADABLE):
            with contextlib.suppress(OSError):
                offstage.discard(self._path, beside)
            raise
        if not exchanged:
            files.replace(folder / MANIFEST, msgspec.json.encode(manifest))
        self.recover(folder)
        rows_after = sum(file.rows for file in manifest.files.values())
        return Compacted(folder, len(sources), len(merged), manifest.rows_read, rows_after)

    def _sources(self, event_type: str, folder: Path) -> list[Footer]:
        """The files to merge: all, but those of others. Raises NotVerified for one not to touch."""
        known = _results(folder)
        sources = []
        for path in visible(folder):
            sealed = seal.check(path)
            footer = footers.read(path, event_type, self._timezone)
            if footer.foreign and footer.version is not None:
                log.warning("a Parquet file of others is left alone", extra={"file": str(path)})
                continue
            strange = set(pl.read_parquet_schema(path)) - set(schema(event_type, self._timezone))
            if not footer.readable or strange:
                raise NotVerified(str(folder), f"{path.name}: {'; '.join(footer.drift)}")
            if path.name in known and known[path.name].crc32 != _fingerprint(path).crc32:
                said = f"{path.name} is not what its manifest says"
                if not sealed:
                    quarantine.read_through(path)
                    raise NotVerified(str(folder), said)
                log.warning("%s, but whole: the manifest is damaged", said)
            sources.append(footer)
        return sources

    def _merge(
        self, event_type: str, sources: list[Footer], folder: Path, beside: Path
    ) -> list[Path]:
        moment = self._now_ns()

        def name() -> Path:
            """The next name of this time that is free in both folders."""
            nonlocal moment
            while True:
                stamp = datetime.fromtimestamp(moment // 1000 / 1e6, self._zone)
                path = beside / f"consol_feeds_{event_type}_{stamp:%Y%m%d_%H%M%S_%f}.parquet"
                moment += 1000
                if not path.exists() and not (folder / path.name).exists():
                    return path

        merger = Merger(
            event_type,
            self._timezone,
            sources,
            beside,
            name,
            file_rows=self._file_rows,
            group_rows=self._group_rows,
        )
        return merger.run()

    def recover(self, folder: Path) -> None:
        """Bring an interrupted compaction to its end: back before the exchange, on after it.

        Raises OSError, or NotVerified where it cannot be told which.
        """
        beside = offstage.beside(self._path, folder)
        if not beside.exists():
            return
        here, there = _manifest(folder), _manifest(beside)
        if here is not None and there is not None and here.serial == there.serial:
            swap.publish(beside, folder, here.files, here.sources)
        elif here is not None and (there is None or here.serial > there.serial):
            swap.bring_others(beside, folder, here.sources)
        offstage.discard(self._path, beside)


def _is_worth_it(folder: Path) -> bool:
    """More than one file, unless they are the results of a compaction already."""
    present = {path.name for path in visible(folder)}
    return len(present) > 1 and set(_results(folder)) != present


def _manifest(folder: Path) -> Manifest | None:
    """What a folder's manifest says; None if it has none. Raises NotVerified for a damaged one."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotVerified(str(folder), f"{folder / MANIFEST} cannot be read: {error}") from None


def _results(folder: Path) -> dict[str, ManifestFile]:
    """The files that the last compaction made; none where that is not known."""
    with contextlib.suppress(NotVerified):
        manifest = _manifest(folder)
        return {} if manifest is None else manifest.files
    return {}


def _next_serial(folder: Path) -> int:
    """One more than the manifest says. A damaged one is removed: nothing refers to it now."""
    try:
        manifest = _manifest(folder)
    except NotVerified as error:
        log.warning("a damaged manifest is replaced: %s", error.problem)
        (folder / MANIFEST).unlink()
        return 1
    return 1 if manifest is None else manifest.serial + 1


def _fingerprint(path: Path) -> ManifestFile:
    crc, size = 0, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
            size += len(block)
    scan = pl.scan_parquet(path, hive_partitioning=False, glob=False)
    return ManifestFile(int(scan.select(pl.len()).collect().item()), size, crc)
