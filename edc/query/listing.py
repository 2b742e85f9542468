"""A partition as it was at one moment: its files, open, whatever compaction does to it meanwhile.

A folder is listed, and its files are opened, by its descriptor. If its name still leads to it
afterwards, no exchange came between (upkeep/compaction.py); if not, it is done again. An open file
stays as it is when it is replaced and removed.
"""

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edc.upkeep import offstage
from edc.upkeep.compaction import MANIFEST, Manifest

_TRIES = 100

_Identity = tuple[int, int]
"""What two names of one file have in common."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file of the lake: `path` is its name, `descriptor` what it is read by."""

    path: Path
    descriptor: int

    @property
    def source(self) -> Path:
        """A path that leads to the file as it was opened."""
        return Path(f"/proc/self/fd/{self.descriptor}")


def close(files: Collection[OpenFile]) -> None:
    """Let files go."""
    for file in files:
        os.close(file.descriptor)


def listed(lake: Path, folder: Path) -> list[OpenFile]:
    """The files with the rows of a partition, each row once but for what two instances recorded.

    None of them where there is no such folder. Raises OSError where it does not hold still.
    """
    for _ in range(_TRIES):
        found: dict[_Identity, OpenFile] = {}
        still = False
        try:
            with contextlib.suppress(FileNotFoundError):  # moved or removed since it was listed
                still = _look(lake, folder, found)
            if still:
                return list(found.values())
        finally:
            if not still:
                close(found.values())
    raise OSError(f"files keep vanishing from {folder}")


def _look(lake: Path, folder: Path, found: dict[_Identity, OpenFile]) -> bool:
    """Open the files of a partition, by inode; False if a compaction came between.

    The folder behind the tables is opened first: what is moved out of it is seen in both.
    """
    aside = offstage.beside(lake, folder)
    with _opened(aside) as behind, _opened(folder) as here:
        if here is None:
            return True
        names, others = _visible(here), set[str]()
        if behind is not None:
            names, others = _halfway(names, _manifest(here), _visible(behind), _manifest(behind))
        for place, descriptor, some in ((aside, behind, others), (folder, here, names)):
            for name in some:
                file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=descriptor)
                if _identity(file) in found:
                    os.close(file)
                else:
                    found[_identity(file)] = OpenFile(place / name, file)
        return _leads_to(folder, here) and _leads_to(aside, behind)


def _halfway(
    here: set[str], ours: Manifest | None, behind: set[str], theirs: Manifest | None
) -> tuple[set[str], set[str]]:
    """Which files count, of a partition and of the folder where it is or was compacted."""
    if ours is None or (theirs is not None and theirs.serial > ours.serial):
        return here, set()  # before the exchange: nothing has happened yet
    sources, results = set(ours.sources), set(ours.files)
    if theirs is not None and theirs.serial == ours.serial:  # without an exchange, file by file
        return here - (sources - results), behind & results
    return here, behind - sources  # after it: what came too late for it is on its way back


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """The descriptor of a folder; None where there is none."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _visible(folder: int) -> set[str]:
    """The names of the Parquet files that a reader sees."""
    return {
        name
        for name in os.listdir(folder)
        if name.endswith(".parquet") and not name.startswith((".", "_"))
    }


def _manifest(folder: int) -> Manifest | None:
    """What a folder's manifest says; None if it has none that can be read."""
    try:
        file = os.open(MANIFEST, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    with open(file, "rb") as stream, contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):  # noqa: PTH123 - by its descriptor
        return msgspec.json.decode(stream.read(), type=Manifest)
    return None


def _leads_to(path: Path, descriptor: int | None) -> bool:
    """True if a name still leads to what was opened by it, or still to nothing."""
    try:
        said = path.stat()
    except FileNotFoundError:
        return descriptor is None
    if descriptor is None:
        return False
    return (said.st_dev, said.st_ino) == _identity(descriptor)


def _identity(descriptor: int) -> _Identity:
    held = os.fstat(descriptor)
    return held.st_dev, held.st_ino
