"""Retention: days of a table that are older than `storage.keep_days` go, each as a whole.

A day goes once the present one, in the storage time zone, is more than `keep_days` days later: so
its youngest row is at least that old. It leaves the table in one step and is deleted then
(offstage.py); a reader that has listed it finds files gone, and lists again. A folder that holds
anything but the files of a partition is none of ours, and stays.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from edc.times import SECOND
from edc.upkeep import offstage
from edc.upkeep.offstage import Problem

_DAY = re.compile(r"date=(\d{4}-\d\d-\d\d)")
_HOUR = re.compile(r"hour=[0-2]\d")
_OURS = re.compile(r"[^._].*\.parquet|\.manifest\.json|\..+\.tmp")


@dataclass(frozen=True, slots=True)
class Removed:
    """A day of a table that has gone, or would: its files and their bytes."""

    folder: Path
    files: int
    size: int


class Retention:
    """Removes old days from the tables in `keep_days`; tables that are not there are kept for ever.

    Whoever runs it holds the lake's lock.
    """

    def __init__(
        self,
        path: Path,
        timezone: str,
        keep_days: Mapping[str, int],
        *,
        now_ns: Callable[[], int],
    ) -> None:
        self._path = path
        self._zone = ZoneInfo(timezone)
        self._keep_days = keep_days
        self._now_ns = now_ns

    def run(self) -> Iterator[Removed | Problem]:
        """Remove what is too old; each day as it is done. Raises DiskFailed."""
        for found in self.wanted():
            if isinstance(found, Removed):
                try:
                    offstage.discard(self._path, found.folder)
                except OSError as error:
                    yield Problem(found.folder, f"cannot be removed: {error}")
                    continue
            yield found

    def wanted(self) -> Iterator[Removed | Problem]:
        """What `run` would remove, and what it would have but for what lies there."""
        today = datetime.fromtimestamp(self._now_ns() // SECOND, self._zone).date()
        for event_type, days in self._keep_days.items():
            for folder in sorted((self._path / event_type).glob("date=*")):
                day = _day(folder)
                if day is None or (today - day).days <= days:
                    continue
                files = list(_files(folder))
                strange = [path for path in files if not _is_ours(path)]
                if strange:
                    yield Problem(
                        folder, f"is older than {days} days, but holds {strange[0].name}: not ours"
                    )
                else:
                    yield Removed(folder, len(files), sum(path.stat().st_size for path in files))


def _day(folder: Path) -> date | None:
    """The day of a partition; None for what is not a partition's folder."""
    match = _DAY.fullmatch(folder.name)
    if match is None or folder.is_symlink() or not folder.is_dir():
        return None
    try:
        return date.fromisoformat(match[1])
    except ValueError:
        return None


def _files(folder: Path) -> Iterator[Path]:
    """All that is in a day's folder, but for its hours, which are opened."""
    for path in sorted(folder.iterdir()):
        if _HOUR.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            yield from sorted(path.iterdir())
        else:
            yield path


def _is_ours(path: Path) -> bool:
    return _OURS.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()
