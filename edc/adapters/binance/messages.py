"""Messages that only spot has, by websocket and by REST; the letters are the venue's."""

from msgspec import Struct

from edc.fields import Number


class OneTrade(Struct, gc=False):
    """`trade` and `blockTrade`; `m`: the buyer was the maker."""

    s: str
    t: int
    p: Number
    q: Number
    T: int
    m: bool


class BookTicker(Struct, gc=False):
    """`bookTicker`: the best bid and ask."""

    u: int
    s: str
    b: Number
    B: Number
    a: Number
    A: Number


class ReferencePrice(Struct, gc=False):
    """`referencePrice`; null where there is none."""

    s: str
    r: Number | None
    t: int


class AvgPrice(Struct, gc=False):
    """`avgPrice`: a mean of five minutes."""

    s: str
    w: Number
    T: int


class RestTrade(Struct, rename="camel", gc=False):
    """A row of `trades` or `historicalTrades`."""

    id: int
    price: Number
    qty: Number
    time: int
    is_buyer_maker: bool


class RestBook(Struct, rename="camel", gc=False):
    """A row of `ticker/bookTicker`."""

    symbol: str
    bid_price: Number
    bid_qty: Number
    ask_price: Number
    ask_qty: Number
