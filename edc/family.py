"""The instances of one daemon: `main` itself, and `main-w1`, `main-w2` … of its workers.

Who records which feed; and what runs with other workers, or with none, have left behind: chunks in
spools that nobody would look into again, and watermarks under another name.
"""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from edc import together, watermarks
from edc.errors import InstanceHeld
from edc.plan import Feed
from edc.settings import Settings
from edc.spool import Spool
from edc.status import flush_status
from edc.supervisor import recovered

_FREE_WITHIN = 30.0
"""Seconds that workers whose parent was killed may take to end in order."""
_LOOK = 0.2

log = logging.getLogger(__name__)


def member(instance: str, number: int) -> str:
    """The instance of a worker; the first is number 1."""
    return f"{instance}-w{number}"


def members(home: Path, instance: str) -> dict[int, str]:
    """The workers that have left a spool, by their number."""
    found = {}
    for folder in (home / ".spool").glob(f"{instance}-w*"):
        if match := re.fullmatch(rf"{re.escape(instance)}-w([1-9]\d*)", folder.name):
            found[int(match[1])] = folder.name
    return dict(sorted(found.items()))


def as_instance(settings: Settings, instance: str) -> Settings:
    """The same settings for another instance."""
    storage = settings.storage.model_copy(update={"instance": instance})
    return settings.model_copy(update={"storage": storage})


def dealt(
    feeds: Sequence[Feed], number: int, kept: Mapping[str, int] | None = None
) -> dict[str, int]:
    """By the name of a feed, the worker (1 …) that takes it: as even as their symbols allow.

    The greatest go first, each to whoever has least; those that are `kept` stay where they are.
    """
    kept = kept or {}
    loads = dict.fromkeys(range(1, number + 1), 0)
    takers = {feed.name: kept[feed.name] for feed in feeds if kept.get(feed.name, 0) in loads}
    for feed in feeds:
        if feed.name in takers:
            loads[takers[feed.name]] += feed.weight
    for feed in sorted(feeds, key=lambda feed: (-feed.weight, feed.name)):
        if feed.name not in takers:
            least = min(loads, key=lambda each: (loads[each], each))
            takers[feed.name] = least
            loads[least] += feed.weight
    return takers


async def take_over(settings: Settings, takers: Mapping[str, int]) -> None:
    """Before a start: recover the spools of workers that there are no more, and hand on watermarks.

    `takers` are the workers of all feeds that are to run, 0 for this process. Raises InstanceHeld
    where another daemon runs, or a worker of an earlier run is still there after half a minute;
    else what recovering does.
    """
    storage = settings.storage
    left = members(storage.home, storage.instance)
    if not left:
        return
    own = Spool(storage.home, storage.instance)
    own.open()  # their daemon is not waited for, should it live
    own.close()
    present = set(takers.values())
    for number, instance in left.items():
        if number not in present:
            await _recover(as_instance(settings, instance))
    folder = storage.home / ".spool"
    feeds: defaultdict[str, set[str]] = defaultdict(set)
    for name, number in takers.items():
        feeds[member(storage.instance, number) if number else storage.instance].add(name)
    spools = [Spool(storage.home, name) for name in {storage.instance, *left.values(), *feeds}]
    try:
        for spool in spools:
            await _open(spool)
        for instance, names in feeds.items():
            others = [spool.folder for spool in spools if spool.instance != instance]
            watermarks.adopt(folder / instance, others, names)
    finally:
        for spool in spools:
            spool.close()


async def recover_all(settings: Settings) -> dict[str, object]:
    """Without a daemon: what the spools of its instances held, by table. Raises InstanceHeld."""
    storage = settings.storage
    names = [storage.instance, *members(storage.home, storage.instance).values()]
    answers = [flush_status(await recovered(as_instance(settings, name))) for name in names]
    return together.flushed(answers)


async def _recover(settings: Settings) -> None:
    spool = Spool(settings.storage.home, settings.storage.instance)
    await _open(spool)
    try:
        kinds = [folder.name for folder in spool.folder.iterdir() if folder.is_dir()]
        waiting = any(spool.pending(kind) for kind in kinds)
    finally:
        spool.close()
    if waiting:
        log.info("recovering the spool of %s, which runs no more", settings.storage.instance)
        await recovered(settings)


async def _open(spool: Spool) -> None:
    """Take an instance, as soon as whoever has it lets go. Raises InstanceHeld."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _FREE_WITHIN
    while True:
        try:
            spool.open()
        except InstanceHeld:
            if loop.time() > until:
                raise
            await asyncio.sleep(_LOOK)
        else:
            return
