"""Last trades and books, which are polled; and the trades of a page of history."""

from collections.abc import Iterator, Sequence

import msgspec

from edc.adapters import FeedPlan
from edc.adapters.binance.messages import RestBook, RestTrade
from edc.adapters.binance.options import BinanceFeedOptions
from edc.adapters.binance.rows import aggregated, rows_of
from edc.binance_wire import AggTrade, check, trade
from edc.errors import Skippable
from edc.events import Event
from edc.fields import UNREADABLE
from edc.rows import Rows
from edc.transport import Frame, Request

PAGE = 1000
MICROSECONDS = {"X-MBX-TIME-UNIT": "MICROSECOND"}


class BinanceRest:
    """Last trades of each symbol, and the books of all."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BinanceFeedOptions)
        self.interval = plan.options.interval
        self._streams = plan.options.streams
        self._url = plan.vendor_options.rest_url
        self._rows = rows_of(plan)

    def requests(self) -> Sequence[Request]:
        """One for all books, and one for each symbol's trades."""
        names = self._rows.symbols.names
        made = []
        if "bookTicker" in self._streams:
            listed = {"symbols": msgspec.json.encode(names).decode()}
            made.append(Request(f"{self._url}/api/v3/ticker/bookTicker", listed, MICROSECONDS))
        if "trade" in self._streams:
            for name in names:
                params = {"symbol": name, "limit": str(PAGE)}
                url = f"{self._url}/api/v3/trades"
                made.append(Request(url, params, MICROSECONDS, about=name))
        return made

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of an answer."""
        try:
            return list(trades(self._rows, frame) if frame.about else self._books(frame))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None

    def _books(self, frame: Frame) -> Iterator[Event]:
        check(frame)
        for row in msgspec.json.decode(frame.data, type=list[RestBook], strict=False):
            sides = (row.bid_price, row.bid_qty, row.ask_price, row.ask_qty)
            yield self._rows.quote(row.symbol, frame.received_ns, *sides)


def trades(rows: Rows, frame: Frame) -> Iterator[Event]:
    """The trades of an answer; it does not say whose they are, so the request does."""
    check(frame)
    name, _, aggregate = frame.about.partition(" ")
    if aggregate:
        for each in msgspec.json.decode(frame.data, type=list[AggTrade], strict=False):
            each.s = name
            yield aggregated(rows, each)
        return
    for row in msgspec.json.decode(frame.data, type=list[RestTrade], strict=False):
        told = (frame.about, row.id, row.price, row.qty, row.time)
        yield trade(rows, *told, maker_bought=row.is_buyer_maker)
