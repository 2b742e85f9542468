"""Behind the tables, where no glob looks: `<path>/.compacting/`.

Work on a partition is done in the folder of the same name there, and what is to be deleted is put
in `.removed` there first, in one step, so that nothing is ever half deleted where it counts. One at
a time works on a lake, held by a lock.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edc import files

_ROOM = ".compacting"
_REMOVED = ".removed"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a partition is not as it should be, or not as it was: for people, and an exit code."""

    folder: Path
    problem: str


@contextlib.contextmanager
def alone(lake: Path) -> Iterator[bool]:
    """Hold the lake's lock while inside; False where another process holds it."""
    lock = os.open(lake / ".compact.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


def beside(lake: Path, partition: Path) -> Path:
    """Where a partition is worked on."""
    return lake / _ROOM / partition.relative_to(lake)


def discard(lake: Path, folder: Path) -> None:
    """Delete a folder: out of the way in one step, durably, and then for good."""
    removed = lake / _ROOM / _REMOVED
    files.make_folder(removed)
    gone = removed / f"{time.time_ns()}-{os.getpid()}-{folder.name}"
    folder.rename(gone)
    files.sync_folder(folder.parent)
    files.sync_folder(removed)
    shutil.rmtree(gone)
    with contextlib.suppress(OSError):  # the day of an hour, once it is empty
        if folder.is_relative_to(lake / _ROOM):
            folder.parent.rmdir()


def sweep(lake: Path) -> None:
    """Delete what a killed `discard` has left, and work on partitions that are there no more."""
    room = lake / _ROOM
    if (room / _REMOVED).exists():
        shutil.rmtree(room / _REMOVED)
    for day in sorted(room.glob("*/date=*")):
        for folder in sorted(day.glob("hour=*")) or [day]:
            if not (lake / folder.relative_to(room)).exists():
                discard(lake, folder)
