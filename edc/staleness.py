"""How long a feed may be silent: the data watchdog's judgement, without a socket or a clock.

What the operator has set (`stale_after`, `first_data_within`) holds exactly. What is left open is
learned. The threshold begins at the time allowed for the first data and then follows the feed's own
gaps: five times the longest, a maximum that decays with each gap, from 30 s up to what the adapter
calls the longest. Heartbeats and acknowledgements are not data.

* Before the first data, of a connection or after the market's open, the silence may last as long
  as the adapter says, or as the threshold if that is longer.
* An alarm that connecting anew does not cure, because the next connection is silent for 10 s as
  well, says that the feed is just quiet: the threshold doubles, up to an hour. Data brings it down
  again, by a tenth of a percent with each gap, but not under five times that gap. So a fault that
  is none of the connection's is found out at most as late again as it has lasted.
* In a closed market silence is right, and while our own queues have no room it proves nothing: the
  clock starts anew after both.
* Time in which nobody looked (a suspended machine, a blocked loop) is not silence: data may have
  been waiting.
"""

import math
from dataclasses import dataclass
from enum import Enum

from edc.adapters import HasHeartbeat, Silence

_LOOK = 5.0
"""A look counts for at most so many seconds since the one before."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What tests shorten. Seconds, but for `gaps`: how many the decaying maximum remembers."""

    floor: float = 30.0
    ceiling: float = 3600.0
    cure: float = 10.0
    """A new connection that has no data by then has not cured what it was made for."""
    look: float = _LOOK
    gaps: int = 1000


class Pulse:
    """The judgement on a vendor that has heartbeats: whatever it says is one, in any market."""

    def __init__(self, adapter: object, now: float) -> None:
        self._most = adapter.beats_within if isinstance(adapter, HasHeartbeat) else math.inf
        self._silent, self._looked = 0.0, now

    def look(self, now: float, *, spoke: bool) -> str | None:
        """A sentence if nothing at all was heard for too long; `spoke` is since the last look.

        Time in which nobody looked is no silence here either.
        """
        passed, self._looked = min(now - self._looked, _LOOK), now
        self._silent = 0.0 if spoke else self._silent + passed
        return f"not even a heartbeat for {self._most:g} s" if self._silent > self._most else None


class _Since(Enum):
    """What the present silence began with, and what is said of it."""

    SUBSCRIBED = "no data within {:g} s of subscribing, in an open market"
    OPENED = "no data within {:g} s of the market's open"
    DATA = "no data for {:g} s in an open market"
    ROOM = "no data for {:g} s in an open market, with room for it"


_FACTOR = 5.0
"""A silence of so many of the longest gaps is none of them."""


class Watchdog:
    """The judgement on one feed. It outlives the connections: what was learned stays."""

    def __init__(self, silence: Silence, pace: Pace | None = None) -> None:
        self._silence, self._pace = silence, pace or Pace()
        self._floor = min(self._pace.floor, silence.longest)
        self._ceiling = max(self._pace.ceiling, silence.longest)
        first = silence.first_data_within or silence.first
        self._learned = min(max(first, self._floor), silence.longest)
        self._since = _Since.SUBSCRIBED
        self._quiet = self._looked = 0.0
        self._data_frames = 0
        self._was_open = True
        self._uncured = False

    @property
    def limit(self) -> float:
        """Seconds that the present silence may last."""
        silence = self._silence
        if self._since in (_Since.DATA, _Since.ROOM):
            return silence.stale_after or self._learned
        return silence.first_data_within or silence.stale_after or max(silence.first, self._learned)

    def heir(self) -> "Watchdog":
        """One for another connection of the feed, which knows what this one has learned."""
        made = Watchdog(self._silence, self._pace)
        made._learned = self._learned
        return made

    def connected(self, now: float, data_frames: int) -> None:
        """A new connection has subscribed. `now` is in seconds, of a clock that never goes back."""
        self._looked, self._data_frames, self._was_open = now, data_frames, True
        self._restart(_Since.SUBSCRIBED)

    def look(self, now: float, data_frames: int, *, is_open: bool, waiting: bool) -> str | None:
        """Judge the time since the last look; a sentence if the silence lasts too long.

        `data_frames` counts what has carried data so far, `waiting` says that the queues are full.
        """
        passed, self._looked = min(now - self._looked, self._pace.look), now
        spoke, self._data_frames = data_frames != self._data_frames, data_frames
        was_open, self._was_open = self._was_open, is_open
        if not is_open:
            self._restart(_Since.OPENED)
            self._uncured = False
        elif waiting:
            self._restart(_Since.ROOM)
        elif spoke:
            self._hear(self._quiet + passed)
        elif was_open:
            self._quiet += passed
            return self._judge()
        return None

    def _hear(self, gap: float) -> None:
        """Data came, `gap` after what the silence began with; only between data is it a gap."""
        if self._since is _Since.DATA:
            wanted = min(_FACTOR * gap, max(self._learned, self._silence.longest))
            decayed = self._learned * (1 - 1 / self._pace.gaps)
            self._learned = max(self._floor, wanted, decayed)
        self._restart(_Since.DATA)
        self._uncured = False

    def _judge(self) -> str | None:
        """Double the threshold once an alarm has proved useless; say if the silence is over it."""
        if self._uncured and self._quiet >= min(self._pace.cure, self.limit):
            self._learned = min(2 * self._learned, self._ceiling)
            self._uncured = False
        if self._quiet < self.limit:
            return None
        self._uncured = True
        return self._since.value.format(round(self.limit, 2))

    def _restart(self, since: _Since) -> None:
        self._since, self._quiet = since, 0.0
