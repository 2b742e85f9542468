"""Massive's last values, by REST: symbol by symbol, or snapshots of many stocks at once."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw

from edc.adapters import FeedPlan
from edc.adapters.massive.messages import (
    Answered,
    LastPair,
    LastQuote,
    LastTrade,
    Snapshot,
    Snapshots,
)
from edc.adapters.massive.options import MassiveFeedOptions
from edc.adapters.massive.rows import Makes, answered, conditions_of, text
from edc.errors import Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE, decimal
from edc.rows import Asked, each
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

_AT_ONCE = 200
_NOT_FOUND = 404
_PATHS = {
    "stocks": {"trades": "/v2/last/trade/{}", "quotes": "/v2/last/nbbo/{}"},
    "forex": {"quotes": "/v1/last_quote/currencies/{}"},
    "crypto": {"trades": "/v1/last/crypto/{}"},
}
_SNAPSHOT = "/v2/snapshot/locale/us/markets/stocks/tickers"


class _Polled:
    """What both ways share."""

    def __init__(self, plan: FeedPlan, size: int) -> None:
        assert isinstance(plan.options, MassiveFeedOptions)
        self.interval = plan.options.interval
        self.request_every = plan.options.history_every
        self._take = plan.options.take
        self._makes = Makes(plan)
        self._asked = Asked(self._makes.rows.symbols, size)
        self._url = str(plan.vendor_options.rest_url)
        self._headers = {"Authorization": f"Bearer {plan.key}"}

    def _last_trade(self, name: str, trade: LastTrade) -> Event:
        return self._makes.rows.trade(
            *(name, self._makes.time(trade.t, trade.y, 1, trade.x), trade.p),
            decimal(trade.ds) if trade.ds else trade.s,
            trade_id=trade.i or None,
            exchange=text(trade.x),
            conditions=conditions_of(trade.c),
            sequence=trade.q,
        )

    def _last_quote(self, name: str, quote: LastQuote) -> Event:
        lot = self._makes.lot
        return self._makes.rows.quote(
            *(name, instant(quote.t, 1)),
            *(quote.p, None if quote.s is None else quote.s * lot),
            *(quote.P, None if quote.S is None else quote.S * lot),
            bid_exchange=text(quote.x),
            ask_exchange=text(quote.X),
            sequence=quote.q,
        )


class MassiveRest(_Polled):
    """The last trade and quote of each symbol."""

    def __init__(self, plan: FeedPlan) -> None:
        super().__init__(plan, 1)

    def requests(self) -> Sequence[Request]:
        """One or two for each symbol; `about` says whose it is, and of what."""
        pairs = self._makes.kind == "crypto"  # a stock's dash would be its own
        return [
            Request(
                f"{self._url}{path.format(name.replace('-', '/') if pairs else name)}",
                headers=self._headers,
                about=f"{take} {name}",
            )
            for (name,) in self._asked.pieces()
            for take, path in _PATHS[self._makes.kind].items()
            if take in self._take
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The event of an answer."""
        said, wrong = answered(frame, Answered)
        take, _, name = frame.about.partition(" ")
        if frame.status == _NOT_FOUND:
            none = Retriable("refused", f"Massive has none of what is asked for: {wrong}")
            raise self._asked.refuse({name: str(wrong)}, none)
        if wrong is not None:
            raise wrong
        stocks = self._makes.kind == "stocks"
        raw = said.results if stocks else said.last
        if not raw:
            problem = said.error or said.message or "an answer without a value"
            raise Skippable("unknown", f"Massive: {problem}")
        try:
            return list((self._stock if stocks else self._pair)(take, name, raw))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None

    def _stock(self, take: str, name: str, raw: Raw) -> Iterator[Event]:
        if take == "trades":
            yield self._last_trade(name, msgspec.json.decode(raw, type=LastTrade))
        else:
            yield self._last_quote(name, msgspec.json.decode(raw, type=LastQuote))

    def _pair(self, take: str, name: str, raw: Raw) -> Iterator[Event]:
        last = msgspec.json.decode(raw, type=LastPair)
        time, exchange = instant(last.timestamp, MILLISECOND), text(last.exchange)
        if take == "trades" and last.price is not None:
            yield self._makes.rows.trade(
                *(name, time, last.price, last.size),
                exchange=exchange,
                conditions=conditions_of(last.conditions),
            )
        elif take == "quotes":
            yield self._makes.rows.quote(
                *(name, time, last.bid, None, last.ask, None),
                bid_exchange=exchange,
                ask_exchange=exchange,
            )


class MassiveSnapshot(_Polled):
    """The last trades and quotes of two hundred stocks in one request."""

    def __init__(self, plan: FeedPlan) -> None:
        super().__init__(plan, _AT_ONCE)

    def requests(self) -> Sequence[Request]:
        """A piece of the symbols each. Those that have no values yet are missing in the answer."""
        return [
            Request(f"{self._url}{_SNAPSHOT}", {"tickers": ",".join(names)}, self._headers)
            for names in self._asked.pieces()
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of an answer, by ticker."""
        said, wrong = answered(frame, Snapshots)
        if wrong is not None:
            raise wrong
        return each(said.tickers, self._ticker)

    def _ticker(self, raw: Raw) -> Iterator[Event]:
        told = msgspec.json.decode(raw, type=Snapshot)
        if told.last_trade is not None and "trades" in self._take:
            yield self._last_trade(told.ticker, told.last_trade)
        if told.last_quote is not None and "quotes" in self._take:
            yield self._last_quote(told.ticker, told.last_quote)
