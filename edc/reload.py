"""What another config changes in a daemon that runs: which feeds, which settings, which not yet.

`difference` finds it and does nothing; `Reloader` brings about what is found.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edc.alerting import Alerting
from edc.errors import EdcError
from edc.feeds import FeedRunner
from edc.logs import about
from edc.notify import Notifier
from edc.parts import Parts
from edc.plan import Feed
from edc.settings import Settings
from edc.upkeep.housekeeping import order

log = logging.getLogger(__name__)

AT_ONCE = (
    *("alerts", "backfill.within", "batch.max_age", "batch.max_rows", "compact", "log.level"),
    *("spool.interval", "storage.keep_days"),
)
"""Settings, and sections of them, that a running daemon takes over; others wait for its start."""
_FEEDS = ("feeds", "vendors")
_SAFE_WITHIN = 10.0
"""Seconds for the last events of a feed that is removed to be on disk."""

Reread = Callable[[], tuple[Settings, list[Feed]]]
"""The config as it is now, and its feeds. Raises ConfigError or OSError."""


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


class Reloader:
    """Lets a daemon go on by another config. What did not change is not touched."""

    def __init__(self, parts: Parts, alerting: Alerting, notifier: Notifier) -> None:
        self._parts, self._alerting, self._notifier = parts, alerting, notifier

    async def reload(self, reread: Reread) -> dict[str, object]:
        """Go on by the config as it is now; what has changed, see `told`.

        Raises what `reread` raises: then everything goes on as before.
        """
        parts = self._parts
        async with parts.fleet.changing:
            self._notifier.reloading()
            try:
                settings, feeds = await asyncio.to_thread(reread)
                answer = await self._become(settings, feeds)
                parts.stats.reloaded_ns, parts.stats.reload_failed = time.time_ns(), False
                log.info("reloaded: %s", said(answer))
            except (EdcError, OSError) as error:
                parts.stats.reload_failed = True
                log.error("not reloaded, the old config goes on: %s", error)
                raise
            finally:
                self._notifier.ready()
        parts.fleet.settled()
        return answer

    async def _become(self, settings: Settings, feeds: Sequence[Feed]) -> dict[str, object]:
        """Bring about what another config changes."""
        parts = self._parts
        found = difference(parts.settings, settings, [runner.feed for runner in parts.feeds], feeds)
        parts.settings = merged(parts.settings, settings, found.at_once)
        self._take_over(parts.settings)
        runners = {runner.feed.place: runner for runner in parts.feeds}
        taken = {feed.name for feed in found.added}
        for feed in found.removed:
            if feed.name in taken or feed.channel.one_connection:
                await self._leave(runners[feed.place])
        for feed in found.added:
            await self._enter(feed)
        how = {new.name: await self._change(runners[old.place], new) for old, new in found.changed}
        for runner in list(parts.feeds):
            if runner.stats.state == "failed" and runner.feed.name not in how:
                how[runner.feed.name] = await self._change(runner, runner.feed)
        for feed in found.removed:
            if runners[feed.place] in parts.feeds:
                await self._leave(runners[feed.place])
        return told(found, how)

    def _take_over(self, settings: Settings) -> None:
        """Let the settings that can be changed at any time take effect."""
        parts = self._parts
        for lane in parts.lanes.values():
            lane.interval = settings.spool.interval
            lane.max_rows, lane.max_age = settings.batch.max_rows, parts.max_age(settings)
        for runner in parts.feeds:
            if runner.healer is not None and settings.backfill.within is not None:
                runner.healer.within = settings.backfill.within
        parts.housekeeper.change(order(settings), parts.tending(settings))
        self._alerting.change(settings.alerts)

    async def _enter(self, feed: Feed) -> None:
        runner = self._parts.runner(feed)
        await self._parts.books.enter(runner)
        self._parts.fleet.start(runner)

    async def _leave(self, runner: FeedRunner) -> None:
        """Stop a feed in order: should it come back, what it has missed is put down to that."""
        parts = self._parts
        await parts.fleet.stop(runner)
        mark = runner.ingest.watermark()
        try:
            async with asyncio.timeout(_SAFE_WITHIN):
                await parts.safe(parts.lanes)
                await parts.books.leave(runner.feed.name, mark)
        except (TimeoutError, OSError) as error:
            log.warning(
                "feed %s is stopped, but its last events are not on disk yet: %s",
                *(runner.feed.name, error),
                extra=about(runner.stats),
            )

    async def _change(self, runner: FeedRunner, feed: Feed) -> str:
        """Let a feed go on by another plan; a word for how."""
        if not runner.can_become(feed):
            await self._leave(runner)
            await self._enter(feed)
            return "begun anew"
        old = runner.feed
        if feed.listing is not None:
            await self._parts.catalog.bring(feed.listing)
        alike = runner.become(feed)
        if feed.name != old.name:
            await self._parts.books.leave(old.name, runner.ingest.watermark())
        if not alike:
            return "on a new connection"
        added, gone = len(feed.asks_for - old.asks_for), len(old.asks_for - feed.asks_for)
        return f"on its connection: {added} symbols added, {gone} removed"
