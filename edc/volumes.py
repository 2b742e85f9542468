"""Where the files of a lake are: on a disk, or in an object store (object_store.py).

A volume knows files by paths below its `root`. On a disk the root is a folder; of an object store
it is empty, so that a path is the rest of the URL.
"""

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from edc import files, partitions, seal
from edc.errors import ConfigError

log = logging.getLogger(__name__)


class Volume(Protocol):
    """Reads and publishes whole files. Each method raises OSError where the store does not answer.

    What a reader finds under a name is all of a file: a file is there at once or not at all.
    """

    root: Path

    def __str__(self) -> str:
        """How people know it."""
        ...

    def names(self, folder: Path) -> set[str]:
        """The names of the Parquet files in a folder, without those that are hidden."""
        ...

    def partitions(self, table: Path) -> Iterator[Path]:
        """The partitions of a table, in the order of their time; see partitions.py."""
        ...

    def source(self, path: Path) -> Path | io.BytesIO:
        """What Polars reads for a file. Raises FileNotFoundError, at once or as it is read."""
        ...

    def check(self, path: Path) -> None:
        """Raises BrokenSealError where the bytes of a file are not those that were written."""
        ...

    def read(self, path: Path) -> bytes:
        """All of a file. Raises FileNotFoundError."""
        ...

    def prepare(self, folder: Path) -> None:
        """Make a folder that files can be published in, where there is such a thing."""
        ...

    def publish(self, path: Path, data: bytes | memoryview) -> None:
        """Make a file, durably. Raises FileExistsError rather than replace one, and DiskFailed."""
        ...

    def replace(self, path: Path, data: bytes | memoryview) -> None:
        """Make a file, durably, in place of the one that was there. Raises DiskFailed."""
        ...

    def set_aside(self, path: Path, reason: str) -> Path:
        """Move a damaged file to `.quarantine/`, with the reason beside it; where it is now."""
        ...

    def check_room(self, needed: int = 0) -> None:
        """Raises OSError where so many bytes would not fit, or nothing may be written now."""
        ...

    def refusal(self, error: OSError) -> ConfigError | None:
        """What the operator must edit where it cannot be used for this; None where it may heal."""
        ...


class LocalVolume:
    """A folder. Nothing is written that would leave less than `reserve` bytes free."""

    def __init__(self, root: Path, reserve: int, check: Callable[[], None]) -> None:
        self.root = root
        self._reserve = reserve
        self._check = check
        self._links: set[Path] = set()

    def __str__(self) -> str:
        return str(self.root)

    def names(self, folder: Path) -> set[str]:
        """See `Volume`."""
        return {path.name for path in folder.glob("[!._]*.parquet")} if folder.exists() else set()

    def partitions(self, table: Path) -> Iterator[Path]:
        """See `Volume`."""
        return partitions.of_table(table)

    def source(self, path: Path) -> Path:
        """See `Volume`."""
        return path

    def check(self, path: Path) -> None:
        """See `Volume`."""
        seal.check(path)

    def read(self, path: Path) -> bytes:
        """See `Volume`."""
        return path.read_bytes()

    def prepare(self, folder: Path) -> None:
        """See `Volume`."""
        files.make_folder(folder)
        self._tell_of_link(folder)

    def publish(self, path: Path, data: bytes | memoryview) -> None:
        """See `Volume`."""
        files.publish(path, data)

    def replace(self, path: Path, data: bytes | memoryview) -> None:
        """See `Volume`."""
        files.replace(path, data)

    def set_aside(self, path: Path, reason: str) -> Path:
        """See `Volume`."""
        return files.set_aside(self.root, path, reason)

    def check_room(self, needed: int = 0) -> None:
        """See `Volume`."""
        self._check()
        files.check_room(self.root, needed, self._reserve)

    def refusal(self, error: OSError) -> ConfigError:
        """See `Volume`."""
        return files.unwritable(self.root, error)

    def _tell_of_link(self, folder: Path) -> None:
        """An operator may have moved a partition elsewhere. Nobody else may, unnoticed."""
        for place in (folder, folder.parent):
            if place.is_symlink() and place not in self._links:
                self._links.add(place)
                log.warning(
                    "a folder of the lake is a link, what is written there lies elsewhere",
                    extra={"folder": str(place), "target": str(place.resolve())},
                )
