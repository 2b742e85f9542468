"""The connections of one feed: which stand, what each is, and, of several, which was first."""

import time
from collections.abc import Callable, Sequence
from itertools import count

import msgspec

from edc.events import Event, Origin, Trade
from edc.metrics import FeedStats, PathStats
from edc.times import SECOND
from edc.transport import Frame, Heard
from edc.wire import Short

GRACE = 2 * SECOND
"""For the other connections of a feed to bring what one has left out."""

_EPOCHS = count(1)
_MOST_REMEMBERED = 10_000


class Line:
    """A connection: its origin, who decodes its frames, and who hears the others."""

    __slots__ = ("data_frames", "decode", "heard", "origin", "path", "refused", "short")

    def __init__(
        self,
        origin: Origin,
        decode: Callable[[Frame], Sequence[Event]],
        short: Short | None,
        heard: Heard | None,
    ) -> None:
        self.origin = origin
        self.decode = decode
        self.short = short
        self.heard = heard
        self.path = heard.path if heard is not None else 0
        self.data_frames = 0
        self.refused: dict[str, int] = {}
        """By symbol, since when it is known that it will not come."""

    @property
    def settled(self) -> bool:
        """Frames with data say nothing about the connection."""
        return self.heard is None or self.heard.settled


class Lines:
    """The connections of a feed, by epoch; what comes of each carries its number."""

    def __init__(self, stats: FeedStats, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._stats = stats
        self._now_ns = now_ns
        self.origin = Origin(stats.feed, stats.vendor, stats.source, 0)
        """Of the latest, whether it stands or not."""
        self._latest: Line
        self.standing: dict[int, Line] = {}
        self.gone: dict[int, int] = {}
        """Those that have just ended, and when."""

    def next_origin(self) -> Origin:
        """With an epoch that no other has: of a connection, or of what a back-fill brings."""
        stats = self._stats
        return Origin(stats.feed, stats.vendor, stats.source, next(_EPOCHS))

    def begun(self, line: Line) -> None:
        """A connection stands."""
        self.origin, self._latest = line.origin, line
        if line.heard is not None:  # else no one tells when it ends: each answer of a poll is one
            self.standing[line.origin.epoch] = line

    def of(self, epoch: int) -> Line:
        """The connection with that epoch; mostly there is but one."""
        line = self._latest
        return line if line.origin.epoch == epoch else self.standing[epoch]

    def ended(self, epoch: int) -> Line:
        """A connection is over: it is given back."""
        line = self.standing.pop(epoch)
        self.gone[epoch] = self._now_ns()
        return line

    def forget(self, since: int) -> None:
        """Nothing more comes of what had ended by then."""
        self.gone = {epoch: ended for epoch, ended in self.gone.items() if ended > since}

    def renamed(self, feed: str) -> None:
        """The feed has another name from now on."""
        self.origin = msgspec.structs.replace(self.origin, feed=feed)
        for line in self.standing.values():
            line.origin = msgspec.structs.replace(line.origin, feed=feed)


class Race:
    """Which path to the vendor brings an event first, and how far the others are behind."""

    def __init__(self, paths: dict[int, PathStats]) -> None:
        self._paths = paths
        self._first: dict[tuple[str, str, str | int], tuple[int, int]] = {}

    def arrived(self, event: Event, path: int, received_ns: int) -> None:
        """An event has come by a path; only those with an id or a number are followed."""
        mark: str | int | None = event.trade_id if isinstance(event, Trade) else None
        if mark is None:
            mark = getattr(event, "sequence", None)
        if mark is None:
            return
        key = (event.event_type, event.symbol, mark)
        stats = self._paths.setdefault(path, PathStats())
        first = self._first.get(key)
        if first is None:
            self._first[key] = (path, received_ns)
            stats.first += 1
            if len(self._first) > _MOST_REMEMBERED:
                del self._first[next(iter(self._first))]
        elif first[0] != path:
            stats.behind += 1
            stats.behind_ns += max(0, received_ns - first[1])
