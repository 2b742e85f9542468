"""Files that are either wholly there or not there at all.

`publish` serialises the one safe order: write to a hidden name, fsync the file, give it its name,
fsync the folder. An error of fsync is DiskFailed and is never retried (the kernel may have dropped
the dirty pages); every other error is the OSError with its errno, and leaves nothing behind.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edc.errors import ConfigError, DiskFailed


@dataclass(frozen=True, slots=True)
class Damage:
    """A file whose bytes are not those that were written, and what it held as far as is known.

    `started_at` and `ended_at` (ns) enclose the times of its rows; `rows` is None where unknown.
    """

    path: Path
    reason: str
    started_at: int
    ended_at: int
    rows: int | None


class Anchor:
    """Notices when the folder that edc writes to is no longer there: unmounted, moved, deleted.

    Holds on to one open file in it, which must stay the file of that name. Without this, a mount
    that vanishes would let the files go to the folder below it.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        found = os.fstat(descriptor)
        self._identity = (found.st_dev, found.st_ino)

    def check(self) -> None:
        """Raises OSError (ENODEV) where the folder is not the one that was opened."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            pass
        else:
            if (found.st_dev, found.st_ino) == self._identity:
                return
        raise OSError(errno.ENODEV, "the folder is gone: unmounted, moved or deleted", self.folder)

    @property
    def folder(self) -> str:
        """The folder, for messages."""
        return str(self._path.parent)


def check_room(path: Path, needed: int, reserve: int) -> None:
    """Raises OSError (ENOSPC) where writing `needed` bytes would leave less than `reserve`."""
    if not reserve:
        return
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    if free < needed + reserve:
        raise OSError(
            errno.ENOSPC,
            f"only {free / 1e6:,.0f} MB are free, and storage.reserve keeps {reserve / 1e6:,.0f}",
            str(path),
        )


def publish(path: Path, data: bytes | memoryview) -> None:
    """Make `data` the content of `path`, durably, or raise and leave no trace.

    Raises FileExistsError rather than replace a file, DiskFailed, or another OSError.
    """
    with _synced(path.parent), _written(path, data) as hidden:
        _name(hidden, path)


def replace(path: Path, data: bytes | memoryview) -> None:
    """As `publish`, in place of the file that was there: a reader finds the old or the new."""
    with _synced(path.parent), _written(path, data) as hidden:
        hidden.replace(path)


@contextlib.contextmanager
def _synced(folder: Path) -> Iterator[None]:
    """Make the names in a folder durable, after what is done inside.

    Opened before it: once a file has its name, nothing but an fsync can fail.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield
        _sync(descriptor, folder)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _written(path: Path, data: bytes | memoryview) -> Iterator[Path]:
    """A hidden file beside `path` with `data`, durable; gone afterwards if it was not renamed."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    # What a kill left may be a second name of a published file: it is removed, not written over.
    hidden.unlink(missing_ok=True)
    try:
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            _write_all(descriptor, data)
            _sync(descriptor, hidden)
        finally:
            os.close(descriptor)
        yield hidden
    finally:
        with contextlib.suppress(OSError):  # what stays is hidden, and swept at the next start
            hidden.unlink()


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    with _synced(path):
        pass


def sync_file(path: Path) -> None:
    """Make durable what another has written to `path`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _sync(descriptor, path)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create `path` and its missing parents, durably."""
    missing = [parent for parent in (path, *path.parents) if not parent.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def sweep(folder: Path) -> int:
    """Remove what a killed `publish` left in `folder`; the number of files removed."""
    leftovers = list(folder.glob(".*.tmp"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync(descriptor: int, path: Path) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise DiskFailed(str(path), error.strerror or str(error)) from error


def _name(hidden: Path, path: Path) -> None:
    """Give the file its name without replacing one: link(2) fails where rename(2) overwrites."""
    try:
        os.link(hidden, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links (exFAT, some FUSE mounts).
        if path.exists():
            raise FileExistsError(path) from None
        hidden.rename(path)


def set_aside(root: Path, path: Path, reason: str) -> Path:
    """Move a damaged file to `<root>/.quarantine/`, with `reason` in a text file beside it."""
    folder = root / ".quarantine"
    make_folder(folder)
    aside, again = folder / path.name, 1
    while aside.exists():  # one of the same name, from another partition
        again += 1
        aside = folder / f"{path.name}.{again}"
    path.rename(aside)
    aside.with_name(aside.name + ".reason").write_text(f"{path}: {reason}\n")
    return aside


def unwritable(path: Path, error: OSError) -> ConfigError:
    """What the operator is told where the storage path cannot be written at the start."""
    return ConfigError(
        "[storage] path",
        f"{path} cannot be written: {error.strerror or error}",
        "choose a folder that edc may write, make room, or mend its permissions",
    )


def write_problem(path: Path) -> str | None:
    """Why a folder at `path` could not be written, without trying; None if it seems it could."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not existing.is_dir():
        return f"{existing} is not a folder"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} may not be written"
    return None
