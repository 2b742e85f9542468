"""The symbols of a feed that do not come, though they are asked for.

The venue may not trade one (`unlisted`), its vendor may refuse it to a connection (`refused`), and
a polled vendor in its answers (`left_out`). The ledger is told twice, as `unsubscribed`: at once,
from where the feed had got to, and at the end, when it may be had or is not wanted any more.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from edc.events import Event, Origin
from edc.ledger import Ledger
from edc.lines import Line, Lines
from edc.logs import about
from edc.metrics import FeedStats
from edc.reach import Reach

log = logging.getLogger(__name__)


class Unsubscribed:
    """What does not come of one feed; the stats have the reasons."""

    def __init__(
        self,
        stats: FeedStats,
        ledger: Ledger,
        lines: Lines,
        reach: Reach,
        now_ns: Callable[[], int],
    ) -> None:
        self._stats = stats
        self._ledger = ledger
        self._lines = lines
        self._reach = reach
        self._now_ns = now_ns
        self.left_out: dict[str, int] = {}
        """Symbols that a polled vendor has refused, and since when."""
        self._unlisted: dict[str, int] = {}
        """Symbols that the venue does not trade, and since when."""

    def unlisted(self, symbols: Mapping[str, str]) -> None:
        """The symbols that the venue does not trade, and why, in place of those told before."""
        told, self._unlisted = self._unlisted, {}
        self._take_back(self._lines.origin, told)
        for symbol, why in symbols.items():
            self._unlisted[symbol] = self._tell(self._lines.origin, symbol, why)

    def refused(self, epoch: int, symbol: str, why: str) -> None:
        """The vendor will not deliver a symbol on a connection."""
        line = self._lines.standing[epoch]
        line.refused[symbol] = self._tell(line.origin, symbol, why)

    def leave_out(self, origin: Origin, symbols: Collection[str], why: str) -> None:
        """A polled vendor refuses symbols; it may do so in each answer."""
        for symbol in symbols:
            if symbol not in self.left_out:
                self.left_out[symbol] = self._tell(origin, symbol, why)

    def come(self, origin: Origin, events: Sequence[Event]) -> None:
        """What was left out and comes now is left out no more."""
        symbols = {event.symbol for event in events} & self.left_out.keys()
        self._take_back(origin, {each: self.left_out.pop(each) for each in symbols})

    def unwanted(self, symbol: str) -> None:
        """A symbol is not asked for any more: it is neither refused nor missing from now on."""
        now = self._now_ns()
        self._stats.refused.pop(symbol, None)
        for line in self._lines.standing.values():
            since = line.refused.pop(symbol, None)
            if since is not None:
                self._ledger.lost(line.origin, "unsubscribed", since, now, None, symbol)

    def ended(self, line: Line) -> None:
        """A connection is over; what it never delivered is missing until now."""
        self._take_back(line.origin, line.refused)

    def ask_again(self) -> None:
        """A polled feed begins anew, or ends: nothing is left out any more."""
        left_out, self.left_out = self.left_out, {}
        self._take_back(self._lines.origin, left_out)

    def _tell(self, origin: Origin, symbol: str, why: str) -> int:
        """A symbol will not come: since when (ns), for the row that is written when that ends."""
        now = self._now_ns()
        self._stats.refused[symbol] = why
        self._ledger.lost(origin, "unsubscribed", self._reach.until(), now, None, symbol)
        log.warning(
            "feed %s: %s will not come: %s",
            self._stats.feed,
            symbol,
            why,
            extra=about(origin),
        )
        return now

    def _take_back(self, origin: Origin, refused: Mapping[str, int]) -> None:
        """What was refused may be had from now on; until now it was missing."""
        now = self._now_ns()
        for symbol, since in refused.items():
            self._stats.refused.pop(symbol, None)
            self._ledger.lost(origin, "unsubscribed", since, now, None, symbol)
