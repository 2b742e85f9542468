"""Which store reads which share: never two the same, so that order and exactness hold.

Stores of one lake find each other in it: `<path>/.bus/<prefix>.<group>/`. A store that runs holds
`flock` on its own file there (`stores/<instance>`), and on one file for each share that it reads or
writes; the kernel lets all of them go when the process dies, however it dies, so that the next
takes over at once and no clock decides. Shares are dealt out in turn to the stores that run.
A store that hangs keeps its shares until it is killed: let systemd's watchdog do that.
"""

import fcntl
import os
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from edc import files
from edc.bus import Share
from edc.events import EVENT_TYPES


class Shares:
    """The files of one store. `open` first."""

    def __init__(self, folder: Path, instance: str, partitions: int) -> None:
        self._folder = folder
        self._instance = instance
        self._partitions = partitions
        self._own = -1
        self._held: dict[Share, int] = {}

    def open(self) -> None:
        """Be one of the stores. Raises OSError."""
        files.make_folder(self._folder / "stores")
        self._own = _open(self._folder / "stores" / self._instance)
        fcntl.flock(self._own, fcntl.LOCK_EX)  # whoever looks whether we run holds it for a moment

    def close(self) -> None:
        """Let everything go."""
        for share in list(self._held):
            self.release(share)
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def take(self, share: Share) -> bool:
        """Hold a share; False while another does."""
        descriptor = _open(self._folder / f"{share.event_type}.{share.partition}")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._held[share] = descriptor
        return True

    def release(self, share: Share) -> None:
        """Let others have it: nothing of it is being written any more."""
        os.close(self._held.pop(share))

    def due(self) -> AbstractSet[Share]:
        """What is this store's part, with the stores that run now."""
        stores = self.stores()
        mine = stores.index(self._instance)
        return {
            Share(kind, partition)
            for number, kind in enumerate(EVENT_TYPES)
            for partition in range(self._partitions)
            if (number + partition) % len(stores) == mine
        }

    def stores(self) -> Sequence[str]:
        """The names of the stores that run."""
        running = {self._instance}
        for path in (self._folder / "stores").iterdir():
            if path.name != self._instance and _is_held(path):
                running.add(path.name)
        return sorted(running)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_held(path: Path) -> bool:
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
