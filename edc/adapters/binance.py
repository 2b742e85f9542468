"""Binance spot, by its public websocket streams and by REST. No key is needed.

Source: the venue's `web-socket-streams.md` and `rest-api.md`, 2026-07, and recordings of 2021 and
2024. Streams are combined: `{"stream": "btcusdt@trade", "data": {...}}`; answers to what we send
are not wrapped. Prices and sizes are decimal strings, in quote and base currency.

* Times come in microseconds (`timeUnit=MICROSECOND`), in old recordings in milliseconds; which one
  is seen from the number itself.
* A trade's `t` is contiguous for each symbol, so it is its `sequence`, and a jump is a loss. `m`
  true: the buyer was the maker, the taker sold. An `aggTrade` has the id `a`, a `blockTrade` ids of
  a space of its own; their condition says which they are, and their ids are no `sequence`.
* `bookTicker` has no time: `event_time` is the time of receipt. Its `u` rises, but not by one.
* `referencePrice` may be null: then there is nothing to record. `avgPrice` is a five-minute mean.
* UNCONFIRMED: a stream that does not exist may be acknowledged and stay silent; errors come flat or
  under `error`.
* `serverShutdown`: the connection ends soon, another one is to be made at once.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import Raw, Struct
from pydantic import Field, field_validator

from edc.adapters import (
    Adapter,
    Answer,
    Channel,
    Duration,
    FeedOptions,
    FeedPlan,
    Hole,
    HttpUrl,
    Instruments,
    Keepalive,
    Silence,
    Vendor,
    VendorOptions,
    WebsocketUrl,
)
from edc.binance_short import short_way
from edc.binance_wire import (
    AggTrade,
    Streams,
    check,
    instruments,
    is_answer,
    read,
    time,
    trade,
)
from edc.errors import Skippable
from edc.events import Event, Trade
from edc.fields import UNREADABLE, Number
from edc.rows import Rows, first_missing, newest, oldest
from edc.symbols import Symbols
from edc.times import MILLISECOND
from edc.transport import Frame, Request

Stream = Literal["trade", "aggTrade", "blockTrade", "bookTicker", "referencePrice", "avgPrice"]

_MOST_STREAMS = 1024
"""On one connection."""
_PAGE = 1000
_HOUR = 3_600_000
"""The longest time that `aggTrades` is asked for at once, in its milliseconds."""
_AGGREGATE = "aggregate"
_MICROSECONDS = {"X-MBX-TIME-UNIT": "MICROSECOND"}


class BinanceVendorOptions(VendorOptions):
    """`[vendors.binance]`. Both default to the hosts that serve market data only."""

    url: WebsocketUrl = "wss://data-stream.binance.vision"
    rest_url: HttpUrl = "https://data-api.binance.vision"


class BinanceFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Binance. `interval` is for polling."""

    streams: tuple[Stream, ...] = ("trade", "bookTicker")
    interval: Duration = Field(10.0, ge=1)

    @field_validator("streams")
    @classmethod
    def _some(cls, streams: tuple[Stream, ...]) -> tuple[Stream, ...]:
        if not streams or len(set(streams)) < len(streams):
            raise ValueError('name each stream once, like ["trade", "bookTicker"]')
        return streams


class _Trade(Struct, gc=False):
    s: str
    t: int
    p: Number
    q: Number
    T: int
    m: bool


class _BookTicker(Struct, gc=False):
    u: int
    s: str
    b: Number
    B: Number
    a: Number
    A: Number


class _ReferencePrice(Struct, gc=False):
    s: str
    r: Number | None
    t: int


class _AvgPrice(Struct, gc=False):
    s: str
    w: Number
    T: int


class _RestTrade(Struct, rename="camel", gc=False):
    id: int
    price: Number
    qty: Number
    time: int
    is_buyer_maker: bool


class _RestBook(Struct, rename="camel", gc=False):
    symbol: str
    bid_price: Number
    bid_qty: Number
    ask_price: Number
    ask_qty: Number


def _rows(plan: FeedPlan) -> Rows:
    return Rows(Symbols(plan, lambda symbol, _type, _written: symbol.upper()), "BINANCE")


class BinanceStream:
    """The streams of some symbols on one connection."""

    messages_per_second = 4.0
    """The venue allows five, its own pings and our pongs included."""
    keepalive: Keepalive | None = None
    lifetime = 23.5 * 3600
    """The venue ends every connection after 24 hours."""
    history_every = 0.5
    """`historicalTrades` weighs 25 of 6,000 a minute: half of what is allowed."""
    overlap = 2.0
    coarse = 0.0
    confirms = False

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BinanceFeedOptions)
        options = plan.options
        self.url = f"{plan.vendor_options.url}/stream?timeUnit=MICROSECOND"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        self._rest_url = plan.vendor_options.rest_url
        symbols = self._rows.symbols
        self.topics = {
            f"{name.lower()}@{stream}": symbols.of(name)[0]
            for name in symbols.names
            for stream in options.streams
        }
        self._streams = Streams(list(self.topics))
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        aggregates = self._names if "aggTrade" in options.streams else ()
        self.spans = [("trade", symbol) for symbol in aggregates]
        self._until = 0
        self.short = short_way(self._rows, options.streams)
        self._event: dict[str, Callable[[Raw, Frame], Event | None]] = {
            "trade": self._trade,
            "aggTrade": self._agg_trade,
            "blockTrade": self._block_trade,
            "bookTicker": self._book_ticker,
            "referencePrice": self._reference_price,
            "avgPrice": self._avg_price,
        }

    def subscribe(self) -> Sequence[str]:
        """A hundred streams a message."""
        return self._streams.messages()

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Streams come and go by messages of a hundred."""
        other = BinanceStream(plan)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        return self._streams.change(list(self.topics))

    def answer(self, frame: Frame) -> Answer | None:
        """What was accepted or refused; that the connection is about to end."""
        return self._streams.answer(frame)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The event of a stream's frame, or the trades of a page of history."""
        try:
            if frame.status:
                return list(_trades(self._rows, frame))
            said = read(frame.data)
            if not said.data or said.stream == "!serverShutdown":
                if not is_answer(said):
                    raise Skippable("unknown", "neither a stream's frame nor an answer")
                return ()
            event = self._event[said.stream.partition("@")[2]](said.data, frame)
        except KeyError as error:
            raise Skippable("unknown", f"stream {error}") from None
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        return () if event is None else (event,)

    def _trade(self, raw: Raw, _frame: Frame) -> Event:
        data = msgspec.json.decode(raw, type=_Trade, strict=False)
        return trade(self._rows, data.s, data.t, data.p, data.q, data.T, maker_bought=data.m)

    def _agg_trade(self, raw: Raw, _frame: Frame) -> Event:
        return _aggregated(self._rows, msgspec.json.decode(raw, type=AggTrade, strict=False))

    def _block_trade(self, raw: Raw, frame: Frame) -> Event:
        made = self._trade(raw, frame)
        assert isinstance(made, Trade)
        made.conditions, made.sequence = "block", None
        return made

    def _book_ticker(self, raw: Raw, frame: Frame) -> Event:
        data = msgspec.json.decode(raw, type=_BookTicker, strict=False)
        sides = (data.b, data.B, data.a, data.A)
        return self._rows.quote(data.s, frame.received_ns, *sides, sequence=data.u)

    def _reference_price(self, raw: Raw, _frame: Frame) -> Event | None:
        data = msgspec.json.decode(raw, type=_ReferencePrice, strict=False)
        if data.r is None:
            return None
        return self._rows.price(data.s, time(data.t), data.r, "reference")

    def _avg_price(self, raw: Raw, _frame: Frame) -> Event:
        data = msgspec.json.decode(raw, type=_AvgPrice, strict=False)
        return self._rows.price(data.s, time(data.T), data.w, "average")

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """`historicalTrades` from the first id that is missing, a thousand at a time.

        Aggregates are asked for by time: their ids are no `sequence`.
        """
        if hole.before is None:
            return self._aggregates(hole, last)
        start = first_missing(hole, last)
        if start is None:
            return None
        name = self._names[hole.symbol]
        params = {"symbol": name, "fromId": str(start)}
        params["limit"] = str(min(_PAGE, hole.before - start))
        url = f"{self._rest_url}/api/v3/historicalTrades"
        return Request(url, params, _MICROSECONDS, about=name)

    def _aggregates(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """`aggTrades` of at most an hour; of a full page, from its end on."""
        start = hole.started_at // MILLISECOND
        if last is not None:
            end = newest(last)
            full = len(last) >= _PAGE and end is not None
            start = end // MILLISECOND if full and end is not None else self._until
            if start >= hole.ended_at // MILLISECOND or (full and oldest(last) == end):
                return None
        self._until = min(hole.ended_at // MILLISECOND + 1, start + _HOUR)
        name = self._names[hole.symbol]
        params = {"symbol": name, "startTime": str(start), "endTime": str(self._until)}
        params["limit"] = str(_PAGE)
        url = f"{self._rest_url}/api/v3/aggTrades"
        return Request(url, params, _MICROSECONDS, about=f"{name} {_AGGREGATE}")

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """All of it: the venue forgets nothing."""
        del hole, asked_ns
        return len(last) < _PAGE


class BinanceRest:
    """Last trades of each symbol, and the books of all."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BinanceFeedOptions)
        self.interval = plan.options.interval
        self._streams = plan.options.streams
        self._url = plan.vendor_options.rest_url
        self._rows = _rows(plan)

    def requests(self) -> Sequence[Request]:
        """One for all books, and one for each symbol's trades."""
        names = self._rows.symbols.names
        made = []
        if "bookTicker" in self._streams:
            listed = {"symbols": msgspec.json.encode(names).decode()}
            made.append(Request(f"{self._url}/api/v3/ticker/bookTicker", listed, _MICROSECONDS))
        if "trade" in self._streams:
            for name in names:
                params = {"symbol": name, "limit": str(_PAGE)}
                url = f"{self._url}/api/v3/trades"
                made.append(Request(url, params, _MICROSECONDS, about=name))
        return made

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of an answer."""
        try:
            return list(_trades(self._rows, frame) if frame.about else self._books(frame))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None

    def _books(self, frame: Frame) -> Iterator[Event]:
        check(frame)
        for row in msgspec.json.decode(frame.data, type=list[_RestBook], strict=False):
            sides = (row.bid_price, row.bid_qty, row.ask_price, row.ask_qty)
            yield self._rows.quote(row.symbol, frame.received_ns, *sides)


def _trades(rows: Rows, frame: Frame) -> Iterator[Event]:
    """The trades of an answer; it does not say whose they are, so the request does."""
    check(frame)
    name, _, aggregate = frame.about.partition(" ")
    if aggregate:
        for each in msgspec.json.decode(frame.data, type=list[AggTrade], strict=False):
            each.s = name
            yield _aggregated(rows, each)
        return
    for row in msgspec.json.decode(frame.data, type=list[_RestTrade], strict=False):
        told = (frame.about, row.id, row.price, row.qty, row.time)
        yield trade(rows, *told, maker_bought=row.is_buyer_maker)


def _aggregated(rows: Rows, data: AggTrade) -> Trade:
    made = trade(rows, data.s, data.a, data.p, data.q, data.T, maker_bought=data.m)
    made.conditions, made.sequence = _AGGREGATE, None
    return made


def _build(plan: FeedPlan) -> Adapter:
    return BinanceRest(plan) if plan.options.channel == "spot_rest" else BinanceStream(plan)


def _most_symbols(options: FeedOptions) -> int:
    assert isinstance(options, BinanceFeedOptions)
    return _MOST_STREAMS // len(options.streams)


def _lists(options: VendorOptions, _channel: str) -> Sequence[Request]:
    return [Request(f"{options.rest_url}/api/v3/exchangeInfo", {"showPermissionSets": "false"})]


VENDOR = Vendor(
    title="Binance",
    needs_key=False,
    channels={
        "spot": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote", "ref_px"),
            "spot; streams: trade, bookTicker, aggTrade, blockTrade, referencePrice, avgPrice",
            sequenced=("trade",),
            rising=("quote",),
        ),
        "spot_rest": Channel(
            "poll", ("crypto",), ("trade", "quote"), "spot, last trades and books"
        ),
    },
    vendor_options=BinanceVendorOptions,
    feed_options=BinanceFeedOptions,
    build=_build,
    most_symbols=_most_symbols,
    instruments=Instruments(_lists, instruments),
)
