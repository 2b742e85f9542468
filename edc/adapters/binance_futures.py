"""Binance USD-M futures, by its websocket streams and by REST. No key is needed.

Source: the venue's change notice of 2026-03 (an address for each kind of stream), its SDK, and
recordings of 2021 and 2024. Combined streams, as on Binance spot, but the address depends on the
stream: on the wrong one it is acknowledged and stays silent, which only the data watchdog finds.

* `market`: aggTrade, the trades of one taker at one price within 100 ms (not those of the insurance
  fund and ADL); its `a` counts up by one. markPrice: `p` is the mark, `i` the index price, at `E`;
  `T` is the next funding.
* `public`: bookTicker, with `T`, the time of the transaction; `u` only rises.
* Symbols are the venue's own names in lower case (`btcusdt`, `btcusdt_260925`). Sizes are in base
  currency. `st` 2 is COIN-M, which is left out.
* REST has aggTrades of the last 48 hours, by id.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import Struct
from pydantic import Field, model_validator

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
from edc.events import Event
from edc.fields import UNREADABLE, Number, decimal
from edc.rows import Rows, first_missing
from edc.symbols import Symbols
from edc.transport import Frame, Request

Stream = Literal["aggTrade", "markPrice@1s", "bookTicker"]
_STREAMS: dict[str, tuple[Stream, ...]] = {
    "market": ("aggTrade", "markPrice@1s"),
    "public": ("bookTicker",),
    "rest": ("aggTrade",),
}
_MOST_STREAMS = 200
"""On one connection: the venue allows 1024, what others found to be reliable is less."""
_PAGE = 1000
_COIN_M = 2


class BinanceFuturesVendorOptions(VendorOptions):
    """`[vendors.binance_futures]`."""

    url: WebsocketUrl = "wss://fstream.binance.com"
    rest_url: HttpUrl = "https://fapi.binance.com"


class BinanceFuturesFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Binance futures. `interval` is for polling."""

    streams: tuple[Stream, ...] = ()
    interval: Duration = Field(10.0, ge=1)

    @model_validator(mode="after")
    def _fit(self) -> "BinanceFuturesFeedOptions":
        known = _STREAMS.get(self.channel, self.streams)
        wrong = [stream for stream in self.streams if stream not in known]
        if wrong:
            raise ValueError(
                f"channel {self.channel} has no stream {wrong[0]}; streams are {', '.join(known)}"
            )
        return self

    @property
    def chosen(self) -> tuple[Stream, ...]:
        """The streams asked for, or all of the channel."""
        return self.streams or _STREAMS[self.channel]


class _BookTicker(Struct, gc=False):
    u: int
    s: str
    b: Number
    B: Number
    a: Number
    A: Number
    T: int
    st: int = 1


class _MarkPrice(Struct, gc=False):
    s: str
    E: int
    p: Number
    i: str = ""
    st: int = 1


class _AggTrade(AggTrade, gc=False):
    st: int = 1


_agg_trade = msgspec.json.Decoder(_AggTrade, strict=False).decode
_book_ticker = msgspec.json.Decoder(_BookTicker, strict=False).decode
_mark_price = msgspec.json.Decoder(_MarkPrice, strict=False).decode
_agg_trades = msgspec.json.Decoder(list[AggTrade], strict=False).decode


def _rows(plan: FeedPlan) -> Rows:
    return Rows(Symbols(plan, lambda symbol, _type, _written: symbol.upper()), "BINANCE_FUTURES")


class BinanceFuturesStream:
    """The streams of some symbols on one connection of one address."""

    messages_per_second = 8.0
    keepalive: Keepalive | None = None
    lifetime = 23.5 * 3600
    history_every = 0.6
    """`aggTrades` weighs 20 of 2,400 a minute."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BinanceFuturesFeedOptions)
        options = plan.options
        self.url = f"{plan.vendor_options.url}/{options.channel}/stream"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        self._rest_url = str(plan.vendor_options.rest_url)
        symbols = self._rows.symbols
        self.topics = {
            f"{name.lower()}@{stream}": symbols.of(name)[0]
            for name in symbols.names
            for stream in options.chosen
        }
        self._streams = Streams(list(self.topics))
        self._names = {symbols.of(name)[0]: name for name in symbols.names}

    def subscribe(self) -> Sequence[str]:
        """A hundred streams a message."""
        return self._streams.messages()

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Streams come and go by messages of a hundred."""
        other = BinanceFuturesStream(plan)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        return self._streams.change(list(self.topics))

    def answer(self, frame: Frame) -> Answer | None:
        """What was accepted or refused."""
        return self._streams.answer(frame)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a stream's frame, or the trades of a page of history."""
        try:
            if frame.status:
                return _answered(self._rows, frame)
            said = read(frame.data)
            if said.data and said.stream != "!serverShutdown":
                return list(self._events(said.stream.partition("@")[2], said.data))
            if is_answer(said):
                return ()
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        raise Skippable("unknown", "neither a stream's frame nor an answer")

    def _events(self, stream: str, raw: msgspec.Raw) -> Iterator[Event]:
        if stream == "aggTrade":
            made = _agg_trade(raw)
            if made.st != _COIN_M:
                told = (made.s, made.a, made.p, made.q, made.T)
                yield trade(self._rows, *told, maker_bought=made.m)
        elif stream == "bookTicker":
            book = _book_ticker(raw)
            if book.st != _COIN_M:
                sides = (book.b, book.B, book.a, book.A)
                yield self._rows.quote(book.s, time(book.T), *sides, sequence=book.u)
        elif stream.startswith("markPrice"):
            mark = _mark_price(raw)
            if mark.st != _COIN_M:
                yield self._rows.price(mark.s, time(mark.E), mark.p, "mark")
                index = decimal(mark.i)
                if index:
                    yield self._rows.price(mark.s, time(mark.E), index, "index")
        else:
            raise Skippable("unknown", f"stream {stream!r}")

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """Trades from the first id that is missing, a thousand at a time."""
        start = first_missing(hole, last)
        if start is None or hole.before is None:
            return None
        name = self._names[hole.symbol]
        params = {"symbol": name, "fromId": str(start)}
        params["limit"] = str(min(_PAGE, hole.before - start))
        return Request(f"{self._rest_url}/fapi/v1/aggTrades", params, about=name)


class BinanceFuturesRest:
    """The last aggTrades of each symbol."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BinanceFuturesFeedOptions)
        self.interval = plan.options.interval
        self._url = f"{plan.vendor_options.rest_url}/fapi/v1/aggTrades"
        self._rows = _rows(plan)

    def requests(self) -> Sequence[Request]:
        """One for each symbol."""
        return [
            Request(self._url, {"symbol": name, "limit": str(_PAGE)}, about=name)
            for name in self._rows.symbols.names
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        try:
            return _answered(self._rows, frame)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None


def _answered(rows: Rows, frame: Frame) -> Sequence[Event]:
    """The trades of an answer; it does not say whose they are, so the request does."""
    check(frame)
    return [
        trade(rows, frame.about, row.a, row.p, row.q, row.T, maker_bought=row.m)
        for row in _agg_trades(frame.data)
    ]


def _build(plan: FeedPlan) -> Adapter:
    return (
        BinanceFuturesRest(plan) if plan.options.channel == "rest" else BinanceFuturesStream(plan)
    )


def _most_symbols(options: FeedOptions) -> int:
    assert isinstance(options, BinanceFuturesFeedOptions)
    return _MOST_STREAMS // len(options.chosen)


def _lists(options: VendorOptions, _channel: str) -> Sequence[Request]:
    return [Request(f"{options.rest_url}/fapi/v1/exchangeInfo")]


VENDOR = Vendor(
    title="Binance USD-M futures",
    needs_key=False,
    channels={
        "market": Channel(
            "websocket",
            ("crypto",),
            ("trade", "ref_px"),
            "streams: aggTrade, markPrice@1s (mark and index)",
            sequenced=("trade",),
            own_names=True,
        ),
        "public": Channel(
            "websocket",
            ("crypto",),
            ("quote",),
            "stream: bookTicker",
            rising=("quote",),
            own_names=True,
        ),
        "rest": Channel("poll", ("crypto",), ("trade",), "last aggTrades", own_names=True),
    },
    vendor_options=BinanceFuturesVendorOptions,
    feed_options=BinanceFuturesFeedOptions,
    build=_build,
    most_symbols=_most_symbols,
    instruments=Instruments(_lists, instruments),
)
