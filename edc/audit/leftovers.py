"""What lies beside the tables of a lake: set aside, refused, on its way, or half done.

None of it makes a lake untrue: what was lost with it is in the ledger. But somebody should look.
"""

from pathlib import Path

import msgspec

from edc import control
from edc.errors import EdcError, NoDaemon
from edc.events import EVENT_TYPES
from edc.spool import Spool
from edc.upkeep.compaction import MANIFEST

_BLOCK = 1 << 20
_ANSWERS_WITHIN = 5.0


class Spooled(msgspec.Struct):
    """Rows of one instance that are safe in its spool but not in the lake yet.

    `running`: a daemon of this host will bring them in; where there is none, `edc flush` does.
    """

    instance: str
    rows: int
    running: bool


class Leftovers(msgspec.Struct):
    """`quarantined` maps files to the reason, `dead_letters` feeds to their number of frames.

    `compactions` are at work or were interrupted; the next one finishes them.
    """

    quarantined: dict[str, str]
    dead_letters: dict[str, int]
    spooled: list[Spooled]
    compactions: list[str]


def find(path: Path) -> Leftovers:
    """What lies beside the tables of the lake at `path`."""
    beside = path / ".compacting"
    return Leftovers(
        quarantined=_quarantined(path / ".quarantine"),
        dead_letters=_dead_letters(path / ".dead"),
        spooled=[each for name in instances(path) if (each := _spooled(path, name)).rows],
        compactions=sorted(
            str(manifest.parent.relative_to(beside)) for manifest in beside.rglob(MANIFEST)
        ),
    )


def instances(path: Path) -> list[str]:
    """All that have written to this lake, by their spools."""
    return sorted(each.name for each in (path / ".spool").glob("*") if each.is_dir())


def _quarantined(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob("*")):
        if path.suffix != ".reason":
            reason = path.with_name(f"{path.name}.reason")
            found[path.name] = reason.read_text().strip() if reason.exists() else "not said"
    return found


def _dead_letters(folder: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in sorted(folder.glob("*.jsonl")):
        feed = path.name.removesuffix(".jsonl").removesuffix(".1")
        with path.open("rb") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(_BLOCK), b""))
        found[feed] = found.get(feed, 0) + lines
    return found


def _spooled(path: Path, instance: str) -> Spooled:
    spool = Spool(path, instance)
    rows = sum(chunk.rows for kind in EVENT_TYPES for chunk in spool.pending(kind))
    return Spooled(instance, rows, running=rows > 0 and _is_running(spool.folder))


def _is_running(folder: Path) -> bool:
    try:
        control.ask(folder / "control.sock", "status", timeout=_ANSWERS_WITHIN)
    except NoDaemon:
        return False
    except EdcError:  # it is there, if slow
        return True
    return True
