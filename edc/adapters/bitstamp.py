"""Bitstamp, by websocket and by REST. No key is needed.

Source: the venue's websocket/v2 page and recordings of 2022. One channel a message. Prices and
sizes are taken from their texts (`price_str` may be `1E-8`), the numbers beside them are noisy.

* `live_trades`: `id` is unique over all markets, so no jump can be seen. `type` 0: a taker bought.
  `microtimestamp` is in microseconds, of which the last three are 0.
* `order_book` has the best hundred levels every 100 ms; the first of each side is the quote,
  recorded when it changes. There is no channel for it alone.
* `bts:request_reconnect` announces the end of the connection, within seconds.
* REST has the trades of a minute, an hour or a day, with times in whole seconds: what a silence has
  missed is filled from them by id, and keeps that time.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import Raw, Struct
from pydantic import Field

from edc.adapters import (
    Adapter,
    Answer,
    Channel,
    Duration,
    FeedOptions,
    FeedPlan,
    Hole,
    HttpUrl,
    Instrument,
    Instruments,
    Keepalive,
    Silence,
    Vendor,
    VendorOptions,
    WebsocketUrl,
)
from edc.errors import Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import Rows, differing, each, listed, oldest
from edc.symbols import Symbols
from edc.times import MICROSECOND, SECOND, instant
from edc.transport import Frame, Request

Stream = Literal["live_trades", "order_book"]
_SIDES = ("buy", "sell")
_WINDOWS = {"minute": 60, "hour": 3600, "day": 86_400}
"""Of REST's trades: what they are called, and how long they are."""


class BitstampVendorOptions(VendorOptions):
    """`[vendors.bitstamp]`."""

    url: WebsocketUrl = "wss://ws.bitstamp.net"
    rest_url: HttpUrl = "https://www.bitstamp.net"


class BitstampFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Bitstamp. `interval` is for polling."""

    streams: tuple[Stream, ...] = Field(("live_trades", "order_book"), min_length=1)
    interval: Duration = Field(30.0, ge=1)


class _Trade(Struct, gc=False):
    id: int
    microtimestamp: int
    price_str: Number
    amount_str: Number
    type: Literal[0, 1]


class _Book(Struct):
    microtimestamp: int
    bids: list[tuple[Number, Number]]
    asks: list[tuple[Number, Number]]


class _Problem(Struct):
    code: int | str | None = None
    message: str = ""


class _Frame(Struct):
    event: str
    channel: str = ""
    data: Raw = Raw()


class _RestTrade(Struct, gc=False):
    date: int
    tid: str
    price: Number
    amount: Number
    type: Literal["0", "1"]


class _Market(Struct):
    market_symbol: str
    base_currency: str
    counter_currency: str
    market_type: str = "SPOT"


_frame = msgspec.json.Decoder(_Frame).decode
_trade = msgspec.json.Decoder(_Trade, strict=False).decode
_book = msgspec.json.Decoder(_Book, strict=False).decode
_rest_trade = msgspec.json.Decoder(_RestTrade, strict=False).decode


def _rows(plan: FeedPlan) -> Rows:
    return Rows(Symbols(plan, lambda symbol, _type, _written: symbol), "BITSTAMP")


class BitstampStream:
    """The trades and books of some pairs on one connection."""

    messages_per_second = 10.0
    keepalive: Keepalive | None = None
    history_every = 1.0
    overlap = 2.0
    coarse = 1.0
    confirms = False

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BitstampFeedOptions)
        options = plan.options
        self._rest_url = str(plan.vendor_options.rest_url)
        self._window = 0
        self.url = str(plan.vendor_options.url)
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        symbols = self._rows.symbols
        self.topics = {
            f"{stream}_{name}": name for stream in options.streams for name in symbols.names
        }
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        trades = self._names if "live_trades" in options.streams else ()
        self.spans = [("trade", symbol) for symbol in trades]
        self._tops: dict[str, tuple[object, object]] = {}
        self._said = False

    def subscribe(self) -> Sequence[str]:
        """One channel a message."""
        self._said = True
        return [_message("subscribe", topic) for topic in self.topics]

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """One channel a message here too."""
        other = BitstampStream(plan)
        added, gone = differing(self.topics, other.topics)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        if not self._said:
            return ()
        said = [_message("unsubscribe", topic) for topic in gone]
        return said + [_message("subscribe", topic) for topic in added]

    def answer(self, frame: Frame) -> Answer | None:
        """Each channel is acknowledged; an error may name its channel, or none."""
        try:
            said = _frame(frame.data)
            match said.event:
                case "bts:subscription_succeeded":
                    return Answer(accepted=(said.channel,))
                case "bts:request_reconnect":
                    return Answer(leaving=True)
                case "bts:error":
                    problem = msgspec.json.decode(said.data, type=_Problem)
                    why = f"{problem.message} ({problem.code})"
                    asked = [said.channel] if said.channel else list(self.topics)
                    return Answer(refused=dict.fromkeys(asked, why))
        except UNREADABLE:
            pass
        return None

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The event of a frame, or the trades of a page of history."""
        if frame.status:
            return _answered(self._rows, frame)
        try:
            said = _frame(frame.data)
            stream, _, name = said.channel.rpartition("_")
            if said.event == "trade":
                return list(self._trade(said.data, name))
            if said.event == "data" and stream == "order_book":
                return list(self._quote(said.data, name))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        if said.event.startswith("bts:"):
            return ()
        raise Skippable("unknown", f"event {said.event!r} of {said.channel!r}")

    def _trade(self, raw: Raw, name: str) -> Iterator[Event]:
        data = _trade(raw)
        yield self._rows.trade(
            *(name, instant(data.microtimestamp, MICROSECOND), data.price_str, data.amount_str),
            trade_id=str(data.id),
            side=_SIDES[data.type],
        )

    def _quote(self, raw: Raw, name: str) -> Iterator[Event]:
        book = _book(raw)
        bid = book.bids[0] if book.bids else (None, None)
        ask = book.asks[0] if book.asks else (None, None)
        if self._tops.get(name) != (bid, ask):
            time = instant(book.microtimestamp, MICROSECOND)
            yield self._rows.quote(name, time, *bid, *ask)
            self._tops[name] = (bid, ask)

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The last minute, hour or day: the first that begins before the hole."""
        if last is None:
            self._window = 0
        else:
            first = oldest(last)
            self._window += 1
            if self._window == len(_WINDOWS) or (first is not None and first < hole.started_at):
                self._window -= 1
                return None
        return _past(self._rest_url, self._names[hole.symbol], list(_WINDOWS)[self._window])

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """Where the window that was asked for last begins before the hole."""
        first = oldest(last)
        begins = asked_ns - list(_WINDOWS.values())[self._window] * SECOND
        return begins < hole.started_at or (first is not None and first < hole.started_at - SECOND)


def _message(event: str, topic: str) -> str:
    return msgspec.json.encode({"event": f"bts:{event}", "data": {"channel": topic}}).decode()


class BitstampRest:
    """The trades of the last minute of each pair."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BitstampFeedOptions)
        self.interval = plan.options.interval
        self._url = str(plan.vendor_options.rest_url)
        self._rows = _rows(plan)

    def requests(self) -> Sequence[Request]:
        """One for each pair."""
        return [_past(self._url, name, "minute") for name in self._rows.symbols.names]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return _answered(self._rows, frame)


def _past(url: str, name: str, window: str) -> Request:
    return Request(f"{url}/api/v2/transactions/{name}/", {"time": window}, about=name)


def _answered(rows: Rows, frame: Frame) -> Sequence[Event]:
    """The trades of an answer; it does not say whose they are, so the request does."""

    def trade(raw: Raw) -> Iterator[Event]:
        data = _rest_trade(raw)
        yield rows.trade(
            *(frame.about, instant(data.date, SECOND), data.price, data.amount),
            trade_id=data.tid,
            side=_SIDES[int(data.type)],
        )

    return each(listed(frame, "Bitstamp"), trade)


def _build(plan: FeedPlan) -> Adapter:
    return BitstampRest(plan) if plan.options.channel == "spot_rest" else BitstampStream(plan)


def _lists(options: VendorOptions, _channel: str) -> Sequence[Request]:
    return [Request(f"{options.rest_url}/api/v2/markets/")]


def _instruments(frame: Frame) -> Sequence[Instrument]:
    """The spot markets, whose names are those of the channels."""
    markets = [msgspec.json.decode(raw, type=_Market) for raw in listed(frame, "Bitstamp")]
    return [
        Instrument(each.market_symbol, each.base_currency, each.counter_currency)
        for each in markets
        if each.market_type == "SPOT"
    ]


VENDOR = Vendor(
    title="Bitstamp",
    needs_key=False,
    channels={
        "spot": Channel(
            "websocket", ("crypto",), ("trade", "quote"), "streams: live_trades, order_book"
        ),
        "spot_rest": Channel("poll", ("crypto",), ("trade",), "trades, in whole seconds"),
    },
    vendor_options=BitstampVendorOptions,
    feed_options=BitstampFeedOptions,
    build=_build,
    instruments=Instruments(_lists, _instruments),
)
