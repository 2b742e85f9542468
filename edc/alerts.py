"""What an operator should be told: what is wrong now, and when to say so.

`wrong` finds it in two looks at the daemon and knows no time; `Watch` decides which of it is told:
once it has lasted, not again by the same key within `repeat_after`, and once when it is over. Rows
of the gap table are told as they are written; they are things that happened, and are never over.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from edc.events import Gap
from edc.metrics import FeedStats

SHARE = 0.01
"""Of a feed's frames: when more are skipped it is no longer a single odd one."""
_ENOUGH = 10
"""Skipped frames, under which a share says nothing."""
_DELIVERS = ("live", "listening")
_TOLD_TO = "stopped"
"""State and cause of what was asked for: a stop, the end of a run."""


@dataclass(frozen=True, slots=True)
class Alert:
    """`key` is what makes two alerts the same; `lasting` ones must have lasted to be told."""

    event: str
    key: str
    message: str
    feed: str | None = None
    vendor: str | None = None
    lasting: bool = False
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeedLook:
    """What is seen of a feed."""

    feed: str
    vendor: str
    state: str
    problem: str
    market_open: bool
    frames: int
    skipped: int

    @classmethod
    def of(cls, stats: FeedStats) -> "FeedLook":
        """As it is now."""
        return cls(
            *(stats.feed, stats.vendor, stats.state, stats.problem, stats.market_open),
            *(stats.frames, sum(stats.skipped.values())),
        )


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen of a daemon at a moment.

    `stages` maps what does not do its work ("lake trade", "compaction", "bus") to the problem.
    `disk_free` is 0 where the disk has not been asked, `reserve` where none is kept.
    """

    feeds: Mapping[str, FeedLook] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    disk_free: int = 0
    reserve: int = 0


def wrong(before: Look, now: Look) -> dict[str, Alert]:
    """What is wrong, by key. Skipped frames are those since `before`."""
    found = [*_of_machine(now)]
    for name, feed in now.feeds.items():
        found += _of_feed(before.feeds.get(name), feed)
    return {alert.key: alert for alert in found}


def _of_machine(now: Look) -> Iterator[Alert]:
    for stage, problem in now.stages.items():
        yield Alert("degraded", f"degraded/{stage}", f"{stage}: {problem}")
    if 0 < now.disk_free < now.reserve:
        text = f"{now.disk_free / 1e6:,.0f} MB are free, storage.reserve is"
        text += f" {now.reserve / 1e6:,.0f} MB: batches wait in the spool"
        details = {"free_bytes": now.disk_free, "reserve_bytes": now.reserve}
        yield Alert("disk", "disk", text, details=details)


def _of_feed(before: FeedLook | None, now: FeedLook) -> Iterator[Alert]:
    whose = (now.feed, now.vendor)
    if now.market_open and now.state not in (*_DELIVERS, _TOLD_TO):
        text = f"feed {now.feed} is {now.state} while its market is open"
        text += f": {now.problem}" if now.problem else ""
        lasting = now.state != "failed"  # that will not pass by itself
        yield Alert("stale", f"stale/{now.feed}", text, *whose, lasting, {"state": now.state})
    was = before if before is not None and before.frames <= now.frames else None
    skipped = now.skipped - (was.skipped if was else 0)
    frames = now.frames - (was.frames if was else 0)
    if skipped <= 0:
        return
    details = {"skipped": skipped, "frames": frames}
    key, text = f"dead_letters/{now.feed}", f"feed {now.feed}: {skipped} of {frames} frames"
    yield Alert(
        *("dead_letters", key, f"{text} were skipped and kept as dead letters", *whose),
        details=details,
    )
    if skipped >= _ENOUGH and skipped > SHARE * frames:
        more = f"{text} were skipped, over {SHARE:.0%}: has the vendor changed its format?"
        yield Alert("dead_letters", f"{key}/share", more, *whose, details=details)


def of_gap(gap: Gap) -> Alert | None:
    """A row of the gap table; None where it was asked for, or is filled."""
    if gap.cause == _TOLD_TO or gap.state == "filled":
        return None
    key = f"gap/{gap.feed or ''}/{gap.cause}"
    text = f"feed {gap.feed}: {gap.cause}" if gap.feed else gap.cause
    if gap.state == "unfillable":
        key, text = f"{key}/unfillable", f"{text}, and not all of it can be filled"
    if gap.rows_lost is not None:
        text += f"; {gap.rows_lost} rows"
    details = {
        "cause": gap.cause,
        "symbol": gap.symbol,
        "started_at": gap.started_at,
        "ended_at": gap.ended_at,
        "rows_lost": gap.rows_lost,
        "state": gap.state,
    }
    return Alert("gap", key, text, gap.feed, gap.vendor, details=details)


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be said: an alert, or that it is over. `since` is on the clock of `Watch.look`."""

    alert: Alert
    status: Literal["firing", "resolved"]
    since: float
    repeats: int = 0
    """How often the same has happened, or begun, since it was last said, and was not told."""


@dataclass(slots=True)
class _Wrong:
    alert: Alert
    since: float
    told: bool = False
    counted: bool = False


class Watch:
    """What has been said, and so need not be said. Times are seconds on any one clock."""

    def __init__(self) -> None:
        self.events: Collection[str] = ()
        self.repeat_after = 3600.0
        self.lasts = 0.0
        """How long what is `lasting` must have lasted."""
        self._wrong: dict[str, _Wrong] = {}
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def happened(self, alert: Alert, now: float) -> Told | None:
        """Something that has no end; what is to be said of it."""
        return self._firing(alert, now, now) if alert.event in self.events else None

    def look(self, found: Mapping[str, Alert], now: float) -> list[Told]:
        """What is to be said, where this is all that is wrong now."""
        tell: list[Told] = []
        found = {key: each for key, each in found.items() if each.event in self.events}
        for key in [key for key in self._wrong if key not in found]:
            over = self._wrong.pop(key)
            if over.told:
                tell.append(Told(over.alert, "resolved", over.since))
        for key, alert in found.items():
            known = self._wrong.setdefault(key, _Wrong(alert, now))
            known.alert = alert
            if alert.lasting and now - known.since < self.lasts:
                continue
            told = self._firing(alert, known.since, now, count=not known.counted)
            known.counted = True
            if told is not None:
                known.told = True
                tell.append(told)
        return tell

    def _firing(self, alert: Alert, since: float, now: float, *, count: bool = True) -> Told | None:
        said = self._said.get(alert.key)
        if said is not None and now - said < self.repeat_after:
            self._unsaid[alert.key] = self._unsaid.get(alert.key, 0) + count
            return None
        self._said[alert.key] = now
        return Told(alert, "firing", since, self._unsaid.pop(alert.key, 0))
