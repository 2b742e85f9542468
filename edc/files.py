"""Files that are either wholly there or not there at all.

`publish` serialises the one safe order: write to a hidden name, fsync the file, give it its name,
fsync the folder. An error of fsync is DiskFailed and is never retried (the kernel may have dropped
the dirty pages); every other error is the OSError with its errno, and leaves nothing behind.
"""

import contextlib
import os
from pathlib import Path

from edc.errors import ConfigError, DiskFailed


def publish(path: Path, data: bytes | memoryview) -> None:
    """Make `data` the content of `path`, durably, or raise and leave no trace.

    Raises FileExistsError rather than replace a file, DiskFailed, or another OSError.
    """
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            _write_all(descriptor, data)
            _sync(descriptor, hidden)
        finally:
            os.close(descriptor)
        _name(hidden, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            hidden.unlink()
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(descriptor, path)
    finally:
        os.close(descriptor)


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
