"""Is one partition what it says it is: its files whole, its rows in place, and none twice.

Beside a running daemon files are added, and beside a compaction the whole folder changes at once;
a partition that did not hold still while it was read is read again.
"""

import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import polars as pl

from edc import footers, seal
from edc.audit.duplicates import Fingerprints
from edc.audit.tally import QUARTER, Extent, Tally, merge
from edc.events import conform, time_column
from edc.footers import Footer
from edc.lake import Lake
from edc.seal import UNREADABLE
from edc.upkeep.compaction import MANIFEST, Manifest

_BLOCK = 1 << 20
_TRIES = 20

Kind = Literal[
    "checksum", "coverage", "damaged", "drift", "duplicate", "event_type", "footer", "misplaced"
]


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it should be, and where."""

    kind: Kind
    where: str
    problem: str


@dataclass(slots=True)
class Partition:
    """What was found in one folder. `shared` rows are those that two instances recorded."""

    rows: int = 0
    files: int = 0
    shared: int = 0
    versions: Counter[int] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    extents: dict[tuple[str, str], Extent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Listing:
    """A folder at one moment; its inode changes when a compaction exchanges it."""

    inode: int
    manifest: bytes | None
    names: frozenset[str]


def check(lake: Lake, event_type: str, folder: Path, instances: Collection[str]) -> Partition:
    """Read every row of a folder. `instances` are all that write to this lake.

    Raises OSError where the disk does, or where the folder does not hold still.
    """
    for _ in range(_TRIES):
        before = _list(folder)
        if before is None:  # removed since, by its age
            return Partition()
        try:
            found = _Check(lake, event_type, folder, before, instances).run()
        except FileNotFoundError:  # compacted, or set aside, since the folder was listed
            continue
        after = _list(folder)
        if after is None:
            return Partition()
        same = (before.inode, before.manifest) == (after.inode, after.manifest)
        if same and before.names <= after.names:
            return found
    raise OSError(f"files keep vanishing from {folder}")


def _list(folder: Path) -> _Listing | None:
    manifest = folder / MANIFEST
    try:
        inode = folder.stat().st_ino
        names = frozenset(path.name for path in folder.glob("[!._]*.parquet"))
        return _Listing(inode, manifest.read_bytes() if manifest.exists() else None, names)
    except FileNotFoundError:
        return None


class _Check:
    """One reading of one folder. `instances` are all that are known to write to the lake.

    A compacted file does not say of which instances its rows are: where there are several, they may
    be of any.
    """

    def __init__(
        self,
        lake: Lake,
        event_type: str,
        folder: Path,
        listing: _Listing,
        instances: Collection[str],
    ) -> None:
        self._lake = lake
        self._event_type = event_type
        self._folder = folder
        self._listing = listing
        self._instances = set(instances)
        self._several = False
        self._quarters: Counter[int] = Counter()
        self._found = Partition(files=len(listing.names))

    def run(self) -> Partition:
        """What is in the folder. Raises FileNotFoundError if that has changed."""
        self._checksums()
        opened = [self._open(self._folder / name) for name in sorted(self._listing.names)]
        files = [footer for footer in opened if footer is not None]
        names = self._instances | {footer.instance for footer in files if footer.instance}
        self._several = len(names) > 1
        fingerprints = Fingerprints(self._event_type, sum(footer.rows for footer in files))
        whole = [footer for footer in files if self._read(footer, fingerprints)]
        self._misplaced()
        self._duplicates(fingerprints, whole)
        return self._found

    def _note(self, kind: Kind, path: Path, problem: str) -> None:
        self._found.findings.append(Finding(kind, str(path), problem))

    def _checksums(self) -> None:
        """Hold the bytes of a compacted partition to its manifest. Later files are late rows."""
        if self._listing.manifest is None:
            return
        try:
            manifest = msgspec.json.decode(self._listing.manifest, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._note("checksum", self._folder / MANIFEST, f"cannot be read: {error}")
            return
        for name, said in sorted(manifest.files.items()):
            path = self._folder / name
            if name not in self._listing.names:
                self._note("checksum", path, f"is missing, with {said.rows:,} rows")
                continue
            size, crc = _fingerprint(path)
            if size != said.size:
                self._note("checksum", path, f"has {size:,} bytes, the manifest says {said.size:,}")
            elif crc != said.crc32:
                self._note("checksum", path, "its bytes are not those of the manifest")
        for name in sorted(self._listing.names & (set(manifest.sources) - set(manifest.files))):
            self._note("checksum", self._folder / name, "was compacted, but is still there")

    def _open(self, path: Path) -> Footer | None:
        """The footer of a file, noting what it says that should not be; None for one of others."""
        try:
            seal.check(path)
            footer = footers.read(path, self._event_type, self._lake.timezone)
        except UNREADABLE as error:
            self._note("damaged", path, _line(error))
            return None
        if footer.foreign:
            self._found.foreign.append(str(path))
            return None
        if footer.version is not None:
            self._found.versions[footer.version] += 1
        if footer.drift:
            self._note("drift", path, "; ".join(footer.drift))
        if footer.event_type != self._event_type:
            self._note("event_type", path, f"its footer says {footer.event_type!r}")
        return footer

    def _read(self, footer: Footer, fingerprints: Fingerprints) -> bool:
        """Read every row of a file; True if all can be read as rows of the table."""
        tally, counted = Tally(self._event_type), 0
        timezone, fits = self._lake.timezone, footer.readable
        try:
            for batch in footers.batches(footer.path):
                counted += batch.height
                rows = footers.conformed(batch, footer, self._event_type, timezone)
                if rows is None:
                    fits = False
                elif fits:
                    tally.add(rows)
                    fingerprints.add(rows)
        except UNREADABLE as error:
            self._note("damaged", footer.path, f"after {counted:,} rows: {_line(error)}")
            return False
        self._found.rows += counted
        if counted != footer.rows:
            self._note("footer", footer.path, f"says {footer.rows:,} rows, has {counted:,}")
        if not fits:
            if not footer.drift:
                self._note("drift", footer.path, f"has values that no {self._event_type} has")
            return False
        self._keep(footer, tally)
        return True

    def _keep(self, footer: Footer, tally: Tally) -> None:
        """Take over what was counted in a file, and hold its footer to it."""
        has = "no times" if tally.low is None else f"{tally.low} {tally.high}"
        if footer.time_range not in ("", has):
            self._note("footer", footer.path, f"says times {footer.time_range}, has {has}")
        if tally.mislabelled:
            self._note("event_type", footer.path, f"{tally.mislabelled:,} rows of another type")
        if tally.timeless:
            self._note("misplaced", footer.path, f"{tally.timeless:,} rows have no time")
        self._quarters.update(tally.quarters)
        for key, extent in tally.extents.items():
            merge(self._found.extents, key, extent)

    def _misplaced(self) -> None:
        """Note rows whose time belongs in another folder: they are looked for there."""
        if not self._quarters:
            return
        column = time_column(self._event_type)
        counted = pl.DataFrame(
            {
                column: [number * QUARTER for number in self._quarters],
                "rows": list(self._quarters.values()),
            },
            schema={column: pl.Int64, "rows": pl.Int64},
        )
        for folder, some in self._lake.partitions(self._event_type, counted):
            if folder != self._folder:
                belong = folder.relative_to(self._lake.path)
                self._note("misplaced", self._folder, f"{some['rows'].sum():,} rows of {belong}")

    def _duplicates(self, fingerprints: Fingerprints, files: list[Footer]) -> None:
        def again() -> Iterator[tuple[int, pl.DataFrame]]:
            for number, footer in enumerate(files):
                for batch in footers.batches(footer.path):
                    yield (
                        number,
                        conform(batch, self._event_type, self._lake.timezone, footer.version),
                    )

        labels = [footer.instance if self._several else "" for footer in files]
        twins = fingerprints.twins(again, labels)
        self._found.shared = twins.shared
        if twins.wrong:
            names = " and ".join(files[number].path.name for number in twins.files[:2])
            problem = f"{twins.wrong:,} rows are there already, for example in {names}"
            self._note("duplicate", self._folder, problem)


def _fingerprint(path: Path) -> tuple[int, int]:
    """The size and the CRC-32 of a file."""
    size, crc = 0, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
            size += len(block)
    return size, crc


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
