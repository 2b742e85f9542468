"""What an adapter may offer so that gaps are filled: the part of its contract about the past."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from edc.events import Event
from edc.transport import Request


@dataclass(frozen=True, slots=True)
class Hole:
    """Events of a symbol that are missing, as the ledger knows it.

    `after` and `before` are the `sequence` of the neighbours that are there; None where there is
    none, or where the venue does not number its trades. Times are ns since the epoch.
    """

    symbol: str
    after: int | None
    before: int | None
    started_at: int
    ended_at: int
    event_type: str = "trade"


@runtime_checkable
class HasHistory(Protocol):
    """An adapter whose vendor tells by REST what a gap has missed; `decode` reads the answers."""

    history_every: float
    """Seconds between two requests, so that the vendor's limit is kept."""

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The next request for what is missing in `hole`; None where there is nothing more to ask.

        `last` is what came of the one before, None for the first.
        """
        ...


@runtime_checkable
class HasSpans(HasHistory, Protocol):
    """History that is asked by time, since nothing is numbered: each silence of a feed is a hole.

    Of what comes back, that is missing of which the lake has no event with the same id; without
    ids, none with the same time and prices.
    """

    spans: Sequence[tuple[str, str]]
    """Event type and symbol of all that a silence has missed. Empty where that is not known."""


@runtime_checkable
class HasNumberedIds(HasSpans, Protocol):
    """The same of a vendor whose ids are unique only together with a trade's `sequence`."""

    ids_are_numbered: Literal[True]


@runtime_checkable
class HasOverlap(HasSpans, Protocol):
    """The same of trades with ids: more than the silence is asked for, and ids tell what is new."""

    overlap: float
    """Seconds before the silence that are asked for too: a trade may have come behind quotes that
    are younger."""
    coarse: float
    """Seconds that the times of history may be cut off by."""
    confirms: bool
    """It is not sure that history has the ids that are pushed: nothing of it is taken unless some
    of them are known."""

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """True where the answers leave out nothing of a hole; `last` is the last of them."""
        ...
