"""New files for old ones in a partition, while others list it, read it and write to it."""

import contextlib
import ctypes
import errno
import os
from collections.abc import Collection, Iterator
from itertools import chain, count
from pathlib import Path

from edc import files
from edc.errors import NotVerified

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT = (errno.EINVAL, errno.ENOSYS)


def visible(folder: Path) -> list[Path]:
    """The Parquet files that a reader of a partition sees."""
    return sorted(folder.glob("[!._]*.parquet"))


def exchange(one: Path, other: Path) -> None:
    """Let two folders change names, in one step. Raises OSError, also where the disk cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(other))


def exchanged(one: Path, other: Path) -> bool:
    """As `exchange`, durably; False where the file system knows no such thing."""
    try:
        exchange(one, other)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    files.sync_folder(one.parent)
    files.sync_folder(other.parent)
    return True


def link_others(folder: Path, new: Path, sources: Collection[str]) -> None:
    """Let the files that are no sources, late ones for example, be in the new folder as well.

    So they are seen all the time; where there are no hard links, `bring_others` brings them.
    """
    for path in _others(folder, sources):
        with contextlib.suppress(OSError):
            os.link(path, new / path.name)


def bring_others(old: Path, folder: Path, sources: Collection[str]) -> None:
    """Move into the folder what came into the old one while the sources were merged."""
    for path in _others(old, sources):
        target = folder / path.name
        if not (target.exists() and target.samefile(path)):
            path.rename(_free(target))
    files.sync_folder(folder)


def publish(new: Path, folder: Path, results: Collection[str], sources: Collection[str]) -> None:
    """Move the results into the folder one by one, durably, and then the sources out of it.

    May be called again after it was interrupted: a source that has gone lies in `new`, and a file
    that has come under its name since is another. Raises NotVerified where a result is nowhere.
    """
    for name in sorted(results):
        if (new / name).exists():
            if (folder / name).exists():
                raise NotVerified(str(folder), f"there are two files {name}")
            (new / name).rename(folder / name)
        elif not (folder / name).exists():
            raise NotVerified(str(folder), f"{name}, a result, is gone")
    files.sync_folder(folder)
    for name in sources:
        if not (new / name).exists():
            with contextlib.suppress(FileNotFoundError):
                (folder / name).rename(new / name)
    files.sync_folder(folder)


def _others(folder: Path, sources: Collection[str]) -> Iterator[Path]:
    return (path for path in visible(folder) if path.name not in sources)


def _free(path: Path) -> Path:
    """`path`, or a like name that no file has."""
    names = (path.with_stem(f"{path.stem}_{number}") for number in count(1))
    return next(each for each in chain([path], names) if not each.exists())
