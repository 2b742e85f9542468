"""Events of Massive's websocket messages."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from edc.adapters import FeedPlan
from edc.adapters.massive.messages import (
    Body,
    CryptoQuote,
    CryptoTrade,
    ForexQuote,
    Message,
    StockQuote,
    StockTrade,
)
from edc.adapters.massive.options import MassiveFeedOptions
from edc.errors import EdcError, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE, decimal
from edc.rows import Rows, refused
from edc.symbols import Symbols, parted, share_class
from edc.times import MILLISECOND, instant
from edc.transport import Frame

_Body = TypeVar("_Body", bound=Body)
_LOT = 100
_OVER_THE_COUNTER = 62
"""The exchange whose trades are pushed without the venue's time."""
_TRIED_AGAIN = (413, 499)
"""Beside 429 and 5xx, as the vendor's own client does."""


def text(number: object) -> str | None:
    """A number of the vendor's as text; None where there is none."""
    return None if number is None else str(number)


def conditions_of(codes: Sequence[int] | None) -> str | None:
    """Condition codes joined by commas."""
    return ",".join(map(str, codes or ())) or None


class Makes:
    """Events of the messages of one feed."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, MassiveFeedOptions)
        options = plan.options
        self.kind = options.channel.partition("_")[0]
        self.at_venue = options.time_of == "participant"
        mark = {"forex": "/", "crypto": "-"}.get(self.kind, "")

        def call(symbol: str, _type: str, written: str) -> str:
            return mark.join(parted(symbol, written)) if mark else share_class(symbol, ".")

        symbols = Symbols(plan, call)
        if self.kind == "forex":
            for form in ("{}-{}", "{}{}"):
                parts = [(form.format(*name.split("/")), name) for name in symbols.names]
                symbols.also(parts)
        self.rows = Rows(symbols)
        self.lot = _LOT if options.quote_size_unit == "lots" and self.kind == "stocks" else 1
        self._event: dict[type, Callable[[Any], Iterable[Event]]] = {
            StockTrade: self._stock_trade,
            StockQuote: self._stock_quote,
            ForexQuote: self._forex_quote,
            CryptoTrade: self._crypto_trade,
            CryptoQuote: self._crypto_quote,
        }

    def of(self, message: Message) -> Iterable[Event]:
        """The events of a message; none of a status."""
        make = self._event.get(type(message))
        return () if make is None else make(message)

    def time(self, sip: int | None, venue: int | None, unit: int, exchange: int | None) -> int:
        """A trade's time (ns), of the two that may be told: by the SIP and by the venue."""
        at_venue = self.at_venue and exchange != _OVER_THE_COUNTER
        told = (venue or sip) if at_venue else (sip or venue)
        return instant(told or 0, unit)

    def _stock_trade(self, data: StockTrade) -> Iterator[Event]:
        yield self.rows.trade(
            *(data.sym, self.time(data.t, data.pt, MILLISECOND, data.x), data.p),
            decimal(data.ds) if data.ds else data.s,
            trade_id=data.i or None,
            exchange=text(data.x),
            conditions=conditions_of(data.c),
            sequence=data.q,
        )

    def _stock_quote(self, data: StockQuote) -> Iterator[Event]:
        yield self.rows.quote(
            *(data.sym, instant(data.t, MILLISECOND)),
            *(data.bp, None if data.bs is None else data.bs * self.lot),
            *(data.ap, None if data.as_ is None else data.as_ * self.lot),
            conditions=text(data.c),
            bid_exchange=text(data.bx),
            ask_exchange=text(data.ax),
            sequence=data.q,
        )

    def _forex_quote(self, data: ForexQuote) -> Iterator[Event]:
        exchange = text(data.x)
        yield self.rows.quote(
            *(data.p.removeprefix("C:"), instant(data.t, MILLISECOND)),
            *(data.b, None, data.a, None),
            bid_exchange=exchange,
            ask_exchange=exchange,
        )

    def _crypto_trade(self, data: CryptoTrade) -> Iterator[Event]:
        yield self.rows.trade(
            *(data.pair, instant(data.t, MILLISECOND), data.p, data.s),
            trade_id=str(data.i) or None,
            exchange=text(data.x),
            conditions=conditions_of(data.c),
        )

    def _crypto_quote(self, data: CryptoQuote) -> Iterator[Event]:
        exchange = text(data.x)
        yield self.rows.quote(
            *(data.pair, instant(data.t, MILLISECOND)),
            *(data.bp, data.bs, data.ap, data.as_),
            bid_exchange=exchange,
            ask_exchange=exchange,
        )


def answered(frame: Frame, kind: type[_Body]) -> tuple[_Body, EdcError | None]:
    """What a polled answer says, and what is wrong with it, if something is. Raises Skippable."""
    try:
        said = msgspec.json.decode(frame.data, type=kind)
    except UNREADABLE as error:
        wrong = _wrong(frame, frame.data.decode(errors="replace"))
        raise wrong or Skippable("malformed", str(error)) from None
    return said, _wrong(frame, said.error or said.message)


def _wrong(frame: Frame, said: str) -> EdcError | None:
    if frame.status in _TRIED_AGAIN:
        return Retriable("server_error", f"Massive answered {frame.status}: {said[:300]}")
    return refused(frame, "Massive", said)
