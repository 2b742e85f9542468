"""Events from a vendor's values: symbols, missing sides, messages of which a part is bad."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec import Raw

from edc.errors import EdcError, Fatal, Refused, Retriable, Skippable
from edc.events import Event, Quote, RefPx, Trade, mid_of, side_of
from edc.fields import UNREADABLE
from edc.history import Hole
from edc.symbols import Symbols
from edc.transport import Frame

_Item = TypeVar("_Item")
_MOST_TOLD = 3
_ROUNDS = 60
"""For which a polled feed leaves out what its vendor has refused."""


class Rows:
    """The events of one feed. Names are the vendor's, times ns since the epoch.

    `exchange` is the venue that all of them carry which say no other.
    """

    def __init__(self, symbols: Symbols, exchange: str | None = None) -> None:
        self.symbols = symbols
        self._of = symbols.of
        self.exchange = exchange

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
            exchange=exchange or self.exchange,
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
            exchange=self.exchange,
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
            exchange=self.exchange,
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


class Asked:
    """What a polled feed asks for: its names in pieces of at most `size`.

    A piece that the vendor refuses is asked for in halves, so that one bad name does not cost the
    others; a single name is left out for a while, and then asked for by itself.
    """

    def __init__(self, symbols: Symbols, size: int = 1) -> None:
        self._symbols = symbols
        self._pieces = spaced(symbols.names, size)
        self._refused: dict[str, int] = {}
        """Rounds after which each is asked for again."""

    def pieces(self) -> list[Sequence[str]]:
        """What to ask for in this round."""
        for name in self._refused:
            self._refused[name] -= 1
        due: list[Sequence[str]] = [[name] for name, left in self._refused.items() if left <= 0]
        return self._pieces + due

    def refuse(self, why: Mapping[str, str], error: EdcError) -> EdcError:
        """What to raise for a request, of which each name in `why` was refused, for that reason.

        `error` where there is nothing else that the feed asks for.
        """
        why = {name: said for name, said in why.items() if self._symbols.has(name)}
        if not why:
            return Skippable("unknown", f"refused, and not asked for: {error}")
        self._refused |= dict.fromkeys(why, _ROUNDS)
        left = [[name for name in piece if name not in why] for piece in self._pieces]
        self._pieces = [piece for piece in left if piece]
        if not self._pieces and len(self._refused) == len(self._symbols.names):
            return error
        said = "; ".join(dict.fromkeys(why.values()))
        return Refused([self._symbols.of(name)[0] for name in why], said)

    def refuse_whole(self, names: Sequence[str], error: EdcError) -> EdcError:
        """The same for a request of which the vendor does not say what is wrong with it."""
        if len(names) == 1:
            return self.refuse({names[0]: str(error)}, error)
        if names in self._pieces:  # else another request of the same round was refused before
            at, middle = self._pieces.index(names), len(names) // 2
            self._pieces[at : at + 1] = [names[:middle], names[middle:]]
        return Skippable("notice", f"{error}; it is asked for in halves")


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


def oldest(events: Sequence[Event]) -> int | None:
    """The earliest time of an answer."""
    return min((event.event_time for event in events), default=None)


def newest(events: Sequence[Event]) -> int | None:
    """The latest time of an answer."""
    return max((event.event_time for event in events), default=None)


def differing(before: Iterable[str], after: Iterable[str]) -> tuple[list[str], list[str]]:
    """What is new in `after`, and what of `before` is gone, each in its order."""
    old, new = dict.fromkeys(before), dict.fromkeys(after)
    return [each for each in new if each not in old], [each for each in old if each not in new]


def spaced(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    """Texts in pieces of at most so many."""
    return [texts[start : start + size] for start in range(0, len(texts), size)]
