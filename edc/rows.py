"""Events from a vendor's values: symbols, missing sides, messages of which a part is bad."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Raw

from edc.adapters import Hole
from edc.errors import EdcError, Fatal, Retriable, Skippable
from edc.events import Event, Quote, RefPx, Trade, mid_of, side_of
from edc.fields import UNREADABLE
from edc.symbols import Symbols
from edc.transport import Frame

_Item = TypeVar("_Item")
_MOST_TOLD = 3


class Rows:
    """The events of one feed. Names are the vendor's, times ns since the epoch.

    `exchange` is the venue that all of them carry which say no other.
    """

    def __init__(self, symbols: Symbols, exchange: str | None = None) -> None:
        self.symbols = symbols
        self._of = symbols.of
        self._exchange = exchange

    def trade(
        self,
        name: str,
        time: int,
        price: float,
        size: float | None,
        *,
        trade_id: str | None = None,
        side: str | None = None,
        sequence: int | None = None,
        conditions: str | None = None,
        action: str = "new",
        exchange: str | None = None,
    ) -> Trade:
        """A trade, or with `action` its cancellation or correction."""
        symbol, asset_type = self._of(name)
        return Trade(
            symbol=symbol,
            asset_type=asset_type,
            event_time=time,
            last_price=price,
            last_size=size,
            exchange=exchange or self._exchange,
            trade_id=trade_id,
            side=side,
            conditions=conditions,
            action=action,
            sequence=sequence,
        )

    def quote(
        self,
        name: str,
        time: int,
        bid: float | None,
        bid_size: float | None,
        ask: float | None,
        ask_size: float | None,
        *,
        mid: float | None = None,
        sequence: int | None = None,
        conditions: str | None = None,
        bid_exchange: str | None = None,
        ask_exchange: str | None = None,
    ) -> Quote:
        """A quote; a price that is None or 0 means that this side is missing."""
        symbol, asset_type = self._of(name)
        bid, bid_size = side_of(bid, bid_size)
        ask, ask_size = side_of(ask, ask_size)
        return Quote(
            symbol=symbol,
            asset_type=asset_type,
            event_time=time,
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            mid=mid_of(bid, ask, mid),
            exchange=self._exchange,
            bid_exchange=None if bid is None else bid_exchange,
            ask_exchange=None if ask is None else ask_exchange,
            conditions=conditions,
            sequence=sequence,
        )

    def price(
        self, name: str, time: int, price: float, price_type: str, *, sequence: int | None = None
    ) -> RefPx:
        """A price that is neither a trade nor a quote."""
        symbol, asset_type = self._of(name)
        return RefPx(
            symbol=symbol,
            asset_type=asset_type,
            event_time=time,
            price=price,
            price_type=price_type,
            exchange=self._exchange,
            sequence=sequence,
        )


def each(items: Iterable[_Item], make: Callable[[_Item], Iterable[Event]]) -> list[Event]:
    """The events of all items; one that cannot be read does not cost the others.

    Raises Skippable with those that could.
    """
    events: list[Event] = []
    problems: list[tuple[str, str]] = []
    for item in items:
        try:
            events += make(item)
        except Skippable as error:
            events += [event for event in error.events if isinstance(event, Event)]
            problems.append((error.reason, error.problem))
        except UNREADABLE as error:
            problems.append(("malformed", str(error)))
    if problems:
        reasons = {reason for reason, _ in problems}
        reason = reasons.pop() if len(reasons) == 1 else "malformed"
        said = "; ".join(problem for _, problem in problems[:_MOST_TOLD])
        raise Skippable(reason, said, events)
    return events


def refused(frame: Frame, vendor: str, said: str, *, wait: float = 60.0) -> EdcError | None:
    """What the HTTP status of a polled answer means; None where it is fine.

    `wait` is how long the vendor wants to be left alone after too many requests.
    """
    status = frame.status
    if status in (0, 200):
        return None
    told = f"{vendor} answered {status}: {said[:300]}"
    if status in (418, 429):
        return Retriable("rate_limited", told, wait)
    if status >= 500 or status == 408:  # noqa: PLR2004 - HTTP's
        return Retriable("server_error", told)
    if status in (401, 403):
        return Fatal(told, "check the API key and the plan it belongs to")
    return Fatal(told, "correct the feed's symbols or channel")


def listed(frame: Frame, vendor: str) -> list[Raw]:
    """The elements of a polled answer that is a list. Raises what it means if it is none."""
    wrong = refused(frame, vendor, frame.data.decode(errors="replace"))
    if wrong is not None:
        raise wrong
    try:
        return msgspec.json.decode(frame.data, type=list[Raw])
    except UNREADABLE as error:
        raise Skippable("malformed", str(error)) from None


def _numbers(last: Sequence[Event] | None) -> list[int]:
    trades = [event for event in last or () if isinstance(event, Trade)]
    return [trade.sequence for trade in trades if trade.sequence is not None]


def first_missing(hole: Hole, last: Sequence[Event] | None) -> int | None:
    """For pages that go up: the first number that is missing; None where there is no more."""
    if hole.after is None or hole.before is None or last == []:
        return None
    start = 1 + max([hole.after, *_numbers(last)])
    return start if start < hole.before else None


def above_missing(hole: Hole, last: Sequence[Event] | None) -> int | None:
    """For pages that go down: the number above what is missing; None where there is no more."""
    if hole.after is None or hole.before is None or last == []:
        return None
    oldest = min([hole.before, *_numbers(last)])
    return oldest if oldest > hole.after + 1 else None


def spaced(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    """Texts in pieces of at most so many."""
    return [texts[start : start + size] for start in range(0, len(texts), size)]
