"""Sequence numbers: a jump means that the vendor sent something that did not arrive."""

from typing import Literal, cast

from edc.events import Event


class Sequences:
    """The last `sequence` of each symbol's trades, quotes …, or of the whole feed.

    Remembered across connections. A number that is not above the last one is a repetition, or, on
    a new connection, the vendor counting anew.
    """

    def __init__(self, within: str) -> None:
        self._within = cast("Literal['symbol', 'feed']", within)
        self._last: dict[tuple[str, str | None], tuple[int, int]] = {}

    def scope(self, event: Event) -> str | None:
        """The symbol within which an event is counted, if that is the way of the feed."""
        return event.symbol if self._within == "symbol" else None

    def missing(self, event: Event, epoch: int) -> int:
        """How many numbers were left out before this event, which is remembered."""
        sequence: int | None = getattr(event, "sequence", None)
        if sequence is None:
            return 0
        symbol = self.scope(event)
        key = ("" if symbol is None else event.event_type, symbol)
        last, of_epoch = self._last.get(key, (None, epoch))
        if last is not None and sequence <= last and epoch == of_epoch:
            return 0
        self._last[key] = (sequence, epoch)
        return 0 if last is None else max(0, sequence - last - 1)
