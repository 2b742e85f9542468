"""Sequence numbers: a jump means that the vendor sent something that did not arrive."""

from collections.abc import Collection, Mapping, Sequence

from edc.events import Event


class Sequences:
    """The last `sequence` of each symbol's events of the types that are numbered without gaps.

    Remembered across connections. A number that is not above the last one is a repetition, or, on
    a new connection while no other is open, the vendor counting anew.
    """

    def __init__(self, event_types: Collection[str]) -> None:
        self.event_types = frozenset(event_types)
        self._last: dict[tuple[str, str], tuple[int, int]] = {}

    def remember(self, event_type: str, symbol: str, sequence: int) -> None:
        """What an earlier run has recorded last."""
        self._last.setdefault((event_type, symbol), (sequence, 0))

    def forget(self, symbol: str) -> None:
        """A symbol is not wanted any more: what is left out from now on is not missing."""
        self._last = {key: last for key, last in self._last.items() if key[1] != symbol}

    def missing(self, event: Event, epoch: int, *, alone: bool = True) -> int:
        """How many numbers were left out before this event, which is remembered.

        Negative for a repetition. `alone` says that no other connection of the feed is open.
        """
        if event.event_type not in self.event_types:
            return 0
        sequence: int | None = getattr(event, "sequence", None)
        if sequence is None:
            return 0
        key = (event.event_type, event.symbol)
        last, of_epoch = self._last.get(key, (None, epoch))
        if last is not None and sequence <= last and (epoch == of_epoch or not alone):
            return -1
        self._last[key] = (sequence, epoch)
        return 0 if last is None else max(0, sequence - last - 1)

    def follow(
        self, event_type: str, numbers: Sequence[tuple[str, int]], epoch: int
    ) -> dict[str, int] | None:
        """The last number of each symbol, where none jumps; of repetitions nothing is said.

        None where one does, or where a vendor may be counting anew. Nothing is remembered: see
        `followed`.
        """
        fresh: dict[str, int] = {}
        for symbol, number in numbers:
            last = fresh.get(symbol)
            if last is None:
                last, of_epoch = self._last.get((event_type, symbol), (None, epoch))
                if last is not None and number <= last and of_epoch != epoch:
                    return None
            if last is None or number == last + 1:
                fresh[symbol] = number
            elif number > last:
                return None
        return fresh

    def followed(self, event_type: str, last: Mapping[str, int], epoch: int) -> None:
        """Remember what `follow` has found."""
        for symbol, number in last.items():
            self._last[event_type, symbol] = (number, epoch)


class Rising:
    """Drops what another connection has already brought, by numbers that only rise.

    For events that have neither an id nor a time of the vendor's, so that their rows would differ.
    What came while there was no rival need not be remembered: a connection brings what the vendor
    sends from its beginning on, so that two bring the same only while both stand.
    """

    def __init__(self, event_types: Collection[str]) -> None:
        self.event_types = frozenset(event_types)
        self._last: dict[tuple[str, str], tuple[int, int]] = {}

    def is_new(self, event: Event, epoch: int, rivals: Collection[int]) -> bool:
        """False for an event of which a rival, an open connection or a late one, was first.

        On one connection a number that falls is the vendor counting anew.
        """
        sequence: int | None = getattr(event, "sequence", None)
        if sequence is None or event.event_type not in self.event_types:
            return True
        key = (event.event_type, event.symbol)
        last, of_epoch = self._last.get(key, (None, epoch))
        if last is not None and sequence <= last and epoch != of_epoch and of_epoch in rivals:
            return False
        self._last[key] = (sequence, epoch)
        return True
