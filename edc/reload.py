"""What another config changes in a daemon that runs: which feeds, which settings, which not yet.

Nothing here does anything: the supervisor brings about what is found.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edc.config import Settings
from edc.plan import Feed

AT_ONCE = (
    *("alerts", "backfill.within", "batch.max_age", "batch.max_rows", "compact", "log.level"),
    *("spool.interval", "storage.keep_days"),
)
"""Settings, and sections of them, that a running daemon takes over; others wait for its start."""
_FEEDS = ("feeds", "vendors")


@dataclass(frozen=True, slots=True)
class Difference:
    """Feeds by what becomes of them; settings by when they take effect, with their dotted names."""

    removed: list[Feed] = field(default_factory=list)
    added: list[Feed] = field(default_factory=list)
    changed: list[tuple[Feed, Feed]] = field(default_factory=list)
    """As it is, and as it is to be."""
    at_once: list[str] = field(default_factory=list)
    at_the_next_start: list[str] = field(default_factory=list)


def difference(
    before: Settings, after: Settings, running: Sequence[Feed], wanted: Sequence[Feed]
) -> Difference:
    """What is to be done to get from one config to another."""
    old = {feed.place: feed for feed in running}
    new = {feed.place: feed for feed in wanted}
    names = sorted(_differing(before, after))
    off_or_on = before.backfill.within is None or after.backfill.within is None
    later = {name for name in names if not _takes_effect(name)}
    later |= {"backfill.within"} & set(names) if off_or_on else set()
    return Difference(
        removed=[feed for place, feed in old.items() if place not in new],
        added=[feed for place, feed in new.items() if place not in old],
        changed=[
            (old[place], feed) for place, feed in new.items() if place in old and old[place] != feed
        ],
        at_once=[name for name in names if name not in later],
        at_the_next_start=[name for name in names if name in later],
    )


def merged(before: Settings, after: Settings, names: Sequence[str]) -> Settings:
    """`before`, with the settings of these names, and the feeds, from `after`."""
    sections: dict[str, Any] = {name: getattr(after, name) for name in _FEEDS}
    for name in names:
        section, _, key = name.partition(".")
        present = sections.get(section, getattr(before, section))
        value = getattr(getattr(after, section), key)
        sections[section] = present.model_copy(update={key: value})
    return before.model_copy(update=sections)


def _differing(before: Settings, after: Settings) -> Iterator[str]:
    """The names of settings that are not the same, feeds and vendors apart."""
    for section in type(before).model_fields:
        if section in _FEEDS:
            continue
        one, other = getattr(before, section), getattr(after, section)
        for key in type(one).model_fields:
            if getattr(one, key) != getattr(other, key):
                yield f"{section}.{key}"


def _takes_effect(name: str) -> bool:
    return name in AT_ONCE or name.partition(".")[0] in AT_ONCE


def said(answer: Mapping[str, Any]) -> str:
    """The answer of `edc reload` as a sentence."""
    parts = [f"{what} {', '.join(answer[what])}" for what in ("added", "removed") if answer[what]]
    parts += [f"{feed} {how}" for feed, how in answer["changed"].items()]
    if answer["settings"]:
        parts.append(f"in effect: {', '.join(answer['settings'])}")
    if answer["at_the_next_start"]:
        later = ", ".join(answer["at_the_next_start"])
        parts.append(f"takes effect at the next start: {later}")
    return "; ".join(parts) or "nothing has changed"


def told(difference: Difference, how: Mapping[str, str]) -> dict[str, object]:
    """The answer of `edc reload`; `how` says what became of each feed that was changed."""
    return {
        "added": [feed.name for feed in difference.added],
        "removed": [feed.name for feed in difference.removed],
        "changed": dict(how),
        "settings": difference.at_once,
        "at_the_next_start": difference.at_the_next_start,
    }
