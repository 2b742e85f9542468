"""The connections of one feed: what each is, and, where there are several, which was first."""

from collections.abc import Callable, Sequence

from edc.events import Event, Origin, Trade
from edc.metrics import PathStats
from edc.transport import Frame, Heard
from edc.wire import Short

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
