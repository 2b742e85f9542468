"""The vendor's messages, by websocket and by REST."""

import msgspec
from msgspec import Raw, Struct

from edc.fields import Number


class Status(Struct, tag_field="ev", tag="status"):
    """Whatever is said besides data."""

    status: str
    message: str = ""


class Told(Struct):
    """Any message, as far as it may be a status: data that is bad hides no acknowledgement."""

    ev: str = ""
    status: str = ""
    message: str = ""


class StockTrade(Struct, tag_field="ev", tag="T", gc=False):
    """`T`; `t` and `pt` in ms, `ds` a size with fractions."""

    sym: str
    p: Number
    t: int
    i: str = ""
    x: int | None = None
    s: Number | None = None
    ds: str = ""
    c: list[int] | None = None
    q: int | None = None
    pt: int | None = None


class StockQuote(Struct, tag_field="ev", tag="Q", gc=False):
    """`Q`; `i` are indicators, no id."""

    sym: str
    t: int
    bp: Number | None = None
    bs: Number | None = None
    ap: Number | None = None
    as_: Number | None = msgspec.field(default=None, name="as")
    bx: int | None = None
    ax: int | None = None
    c: int | None = None
    q: int | None = None


class ForexQuote(Struct, tag_field="ev", tag="C", gc=False):
    """`C`; `p` is the pair."""

    p: str
    t: int
    a: Number | None = None
    b: Number | None = None
    x: int | str | None = None


class CryptoTrade(Struct, tag_field="ev", tag="XT", gc=False):
    """`XT`."""

    pair: str
    p: Number
    s: Number
    t: int
    i: str | int = ""
    x: int | None = None
    c: list[int] | None = None


class CryptoQuote(Struct, tag_field="ev", tag="XQ", gc=False):
    """`XQ`."""

    pair: str
    t: int
    bp: Number | None = None
    bs: Number | None = None
    ap: Number | None = None
    as_: Number | None = msgspec.field(default=None, name="as")
    x: int | None = None


Message = Status | StockTrade | StockQuote | ForexQuote | CryptoTrade | CryptoQuote


class Body(Struct):
    """What every answer of REST may say where something is wrong."""

    error: str = ""
    message: str = ""


class LastTrade(Struct, gc=False):
    """Of a stock; `t` (SIP) and `y` (venue) in ns."""

    p: Number
    t: int
    y: int | None = None
    i: str = ""
    x: int | None = None
    s: Number | None = None
    ds: str = ""
    c: list[int] | None = None
    q: int | None = None


class LastQuote(Struct, gc=False):
    """Of a stock, `t` in ns; small letters are the bid, capitals the ask."""

    t: int
    p: Number | None = None
    s: Number | None = None
    x: int | None = None
    P: Number | None = None
    S: Number | None = None
    X: int | None = None
    q: int | None = None


class Snapshot(Struct, rename="camel"):
    """A ticker's last values; each only where the plan includes it."""

    ticker: str
    last_trade: LastTrade | None = None
    last_quote: LastQuote | None = None


class Snapshots(Body):
    """An answer with many tickers."""

    tickers: list[Raw] = []


class LastPair(Struct, gc=False):
    """Of a pair: a trade or a quote, in ms."""

    timestamp: int
    ask: Number | None = None
    bid: Number | None = None
    price: Number | None = None
    size: Number | None = None
    exchange: int | None = None
    conditions: list[int] | None = None


class Past(Struct, gc=False):
    """A row of `/v3/trades` or `/v3/quotes`; times in ns, `decimal_size` as `ds` of a trade."""

    participant_timestamp: int = 0
    sip_timestamp: int = 0
    id: str | int = ""
    price: Number | None = None
    size: Number | None = None
    decimal_size: str = ""
    exchange: int | None = None
    conditions: list[int] | None = None
    sequence_number: int | None = None
    bid_price: Number | None = None
    bid_size: Number | None = None
    bid_exchange: int | None = None
    ask_price: Number | None = None
    ask_size: Number | None = None
    ask_exchange: int | None = None


class Page(Body):
    """A page of `/v3`."""

    results: list[Raw] = []
    next_url: str = ""


class Answered(Body):
    """An answer about one symbol: stocks have `results`, pairs `last`."""

    results: Raw = Raw()
    last: Raw = Raw()
