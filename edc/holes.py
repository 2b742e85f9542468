"""What the numbers of a feed's events say is missing.

A number that jumps is a hole, which is told at once where one connection stands. Where several do,
another may still bring what one has left out: for as long as `lines.GRACE` it is only doubted.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from edc.events import Event, Gap, Origin
from edc.history import Hole
from edc.ledger import Ledger
from edc.lines import Lines
from edc.reach import Reach, later
from edc.sequences import Sequences
from edc.wire import Part


class Holes:
    """The holes of one feed. `on_hole` is told of those that may be filled, each with its row."""

    def __init__(
        self,
        event_types: Collection[str],
        ledger: Ledger,
        lines: Lines,
        reach: Reach,
        on_hole: Callable[[Hole, Gap], None] | None,
    ) -> None:
        self._sequences = Sequences(event_types)
        self._ledger = ledger
        self._lines = lines
        self._reach = reach
        self._on_hole = on_hole
        self._doubts: list[_Doubt] = []

    def remember(self, last: Mapping[str, int]) -> None:
        """The number of the last trade of each symbol that an earlier run has recorded."""
        for symbol, sequence in last.items():
            self._sequences.remember("trade", symbol, sequence)

    def forget(self, symbol: str) -> None:
        """A symbol is not wanted any more."""
        self._sequences.forget(symbol)

    def look(self, events: Sequence[Event], origin: Origin, received_ns: int) -> None:
        """Tell what is missing before each of the events, or doubt it."""
        sequences = self._sequences
        alone = len(self._lines.standing) <= 1
        for event in events:
            missing = sequences.missing(event, origin.epoch, alone=alone)
            if missing < 0 and self._doubts:
                for doubt in self._doubts:
                    doubt.seen(event)
            elif missing > 0:
                number = int(getattr(event, "sequence", None) or 0)
                span = (self._reach.until(), later(received_ns, event.event_time))
                hole = Hole(event.symbol, number - missing - 1, number, *span)
                if alone:
                    self._tell(hole, missing, origin)
                else:
                    self._doubts.append(_Doubt(hole, event.event_type, origin, received_ns))

    def follow(self, parts: Sequence[Part], epoch: int) -> bool:
        """Remember the numbers of frames; False, and nothing is, where they are to be looked at.

        That is where one does not follow on the last, or may be one of those that are in doubt.
        """
        if self._doubts:
            return False
        following = []
        for wire, text, size in parts:
            numbers = [] if wire.numbers is None else wire.numbers(text, size)
            if wire.event_type in self._sequences.event_types:
                last = self._sequences.follow(wire.event_type, numbers, epoch)
                if last is None:
                    return False
                following.append((wire.event_type, last))
        for event_type, last in following:
            self._sequences.followed(event_type, last, epoch)
        return True

    def settle(self, since: int, *, finally_: bool) -> None:
        """Tell of what is doubted since then or longer, or of all, as far as it has not come."""
        doubts, self._doubts = self._doubts, []
        for doubt in doubts:
            if not finally_ and doubt.since > since:
                self._doubts.append(doubt)
            elif doubt.missing:
                self._tell(doubt.hole, doubt.missing, doubt.origin)

    def _tell(self, hole: Hole, missing: int, origin: Origin) -> None:
        span = (hole.started_at, hole.ended_at)
        if self._on_hole is None:
            self._ledger.lost(origin, "sequence", *span, missing, hole.symbol)
        else:
            self._on_hole(hole, self._ledger.hole(origin, "sequence", span, missing, hole.symbol))


class _Doubt:
    """A jump on one connection, while another may still bring what it has left out."""

    def __init__(self, hole: Hole, event_type: str, origin: Origin, since: int) -> None:
        self.hole = hole
        self.origin = origin
        self.since = since
        self._event_type = event_type
        self._seen: set[int] = set()

    def seen(self, event: Event) -> None:
        """An event that came late, perhaps one of those left out."""
        number = getattr(event, "sequence", None)
        hole = self.hole
        if (
            number is not None
            and event.symbol == hole.symbol
            and event.event_type == self._event_type
            and hole.after is not None
            and hole.before is not None
            and hole.after < number < hole.before
        ):
            self._seen.add(number)

    @property
    def missing(self) -> int:
        """How many have not come."""
        assert self.hole.after is not None
        assert self.hole.before is not None
        return self.hole.before - self.hole.after - 1 - len(self._seen)
