"""What several connections bring of one stream whose events have neither a number nor a time.

Each connection brings the same values one after the other, some perhaps later, some not at all:

    one      5  6  5  7
    another     5  6     7  8      kept: 5 6 5 7 8

A value is the same as one that another connection has brought if this one has not yet come so far:
a place in the list of what was kept is remembered for each connection. It is looked for among the
values of the last moments; the last one of all counts however old it is, since a state that has not
changed is nothing new. Where in doubt a value is kept.

What that cannot know: a connection that lags, and has itself left out a value, may bring for the
first time what looks like an older one; it is dropped. The other connection brings it as new.
"""

from collections import deque
from collections.abc import Collection
from typing import NamedTuple

from edc.events import Event

_NOT_FACTS = frozenset({"event_time", "created_at", "origin"})


class _Kept(NamedTuple):
    place: int
    received_ns: int
    epoch: int
    facts: tuple[object, ...]


class _List:
    """What was kept of one symbol and kind."""

    def __init__(self) -> None:
        self.kept: deque[_Kept] = deque()
        self.places: dict[int, int] = {}
        """How far each connection has come."""
        self.length = 0


class Untimed:
    """Drops what another connection has brought within `grace` nanoseconds."""

    def __init__(self, event_types: Collection[str], grace: int) -> None:
        self._event_types = frozenset(event_types)
        self._grace = grace
        self._lists: dict[tuple[object, ...], _List] = {}

    def is_new(self, event: Event, epoch: int, rivals: Collection[int], received_ns: int) -> bool:
        """False for a value of which a rival, an open connection or a late one, was first."""
        if (
            event.event_type not in self._event_types
            or event.event_time != received_ns
            or getattr(event, "sequence", None) is not None
        ):
            return True
        kind = getattr(event, "price_type", None)
        known = self._lists.setdefault((event.event_type, event.symbol, kind), _List())
        facts = _facts(event)
        self._forget(known, rivals, received_ns)
        # one that is new may be behind: only the last value is surely what it knows too
        place = known.places.get(epoch, known.length - 1)
        for each in known.kept:
            if each.place >= place and each.facts == facts and each.epoch in rivals:
                known.places[epoch] = each.place + 1
                return False
        known.kept.append(_Kept(known.length, received_ns, epoch, facts))
        known.length += 1
        known.places[epoch] = known.length
        return True

    def _forget(self, known: _List, rivals: Collection[int], received_ns: int) -> None:
        """All that is old, but for the last value; connections that are no more."""
        kept = known.kept
        while len(kept) > 1 and kept[0].received_ns < received_ns - self._grace:
            kept.popleft()
        for gone in known.places.keys() - set(rivals):
            del known.places[gone]


def _facts(event: Event) -> tuple[object, ...]:
    return tuple(getattr(event, name) for name in event.__struct_fields__ if name not in _NOT_FACTS)
