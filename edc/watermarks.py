"""How far the record reaches, so that the next run can tell what it missed.

`<path>/.spool/<instance>/watermarks.json`, one entry for each feed: until when everything that it
delivered is safe on disk, in chunks or in the ledger. Written about once a second, and last of all
when edc stops in order. It may lag behind the truth, never run ahead of it: the gap that the next
run opens from `until` covers whatever a kill or a power cut has cost.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from edc import files
from edc.times import SECOND

_BEFORE_LAST_WRITE = 60 * SECOND

log = logging.getLogger(__name__)


class Watermark(msgspec.Struct, frozen=True):
    """Up to `until` (ns since the epoch) nothing of a feed is missing that the ledger lacks.

    `cause` is what the time after it is put down to, should nothing more be written: `stopped` or
    `killed`.
    """

    vendor: str
    source: str
    until: int
    cause: str = "killed"


class _Document(msgspec.Struct):
    feeds: dict[str, Watermark]


class Watermarks:
    """The file of one instance. `folder` is that of its spool, `root` the storage path."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._path = folder / "watermarks.json"
        self._known: dict[str, Watermark] = {}

    def begin(self, feeds: Mapping[str, Watermark]) -> dict[str, Watermark]:
        """What the last run left of these feeds; as given for one that has not run before.

        All are on disk when this returns. A file that cannot be read is set aside, and each feed
        begins a minute before that file was last written. Raises OSError or DiskFailed.
        """
        self._known |= self._load(feeds)  # others may have handed theirs over: see adopt
        self.save({name: mark for name, mark in feeds.items() if name not in self._known})
        return {name: self._known[name] for name in feeds}

    def save(self, feeds: Mapping[str, Watermark]) -> None:
        """Write these, and keep those of feeds that do not run now. Raises OSError, DiskFailed."""
        known = self._known | dict(feeds)
        files.replace(self._path, msgspec.json.encode(_Document(known)))
        self._known = known

    def _load(self, feeds: Mapping[str, Watermark]) -> dict[str, Watermark]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            return msgspec.json.decode(data, type=_Document).feeds
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            since = self._path.stat().st_mtime_ns - _BEFORE_LAST_WRITE
            aside = files.set_aside(self._root, self._path, str(error))
            log.error("the watermarks cannot be read: %s", error, extra={"file": str(aside)})
            return {
                name: msgspec.structs.replace(mark, until=min(since, mark.until))
                for name, mark in feeds.items()
            }


def adopt(folder: Path, others: Iterable[Path], feeds: Collection[str]) -> None:
    """Let the instance of this spool take over what others knew of feeds that it records from now.

    Where both know a feed, the later is kept; the others forget it then. Call it with the locks of
    all of them. A file that cannot be read is left to its own instance. Raises OSError, DiskFailed.
    """
    path = folder / "watermarks.json"
    own = _known(path)
    found: dict[str, Watermark] = {}
    theirs = {other / path.name: _known(other / path.name) for other in others}
    for known in theirs.values():
        for name in known.keys() & set(feeds):
            best = found.get(name) or own.get(name)
            if best is None or known[name].until > best.until:
                found[name] = known[name]
    if found:
        files.replace(path, msgspec.json.encode(_Document(own | found)))
    for other, known in theirs.items():
        if left := known.keys() & set(feeds):
            kept = {name: mark for name, mark in known.items() if name not in left}
            files.replace(other, msgspec.json.encode(_Document(kept)))


def _known(path: Path) -> dict[str, Watermark]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Document).feeds
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
