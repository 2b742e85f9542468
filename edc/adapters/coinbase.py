"""Coinbase: the Exchange feed and Advanced Trade, by websocket, and the Exchange's REST trades.

Source: the venue's pages of both APIs, recordings of 2021, REST captures of 2026. No key is needed.

* Exchange: `match` and `last_match` (the last trade, at subscribing) have `side` of the maker: the
  taker's is the other. `trade_id` counts up by one for each product. The heartbeat's last id is
  compared too. `ticker` comes with trades only, so its book is no quote; quotes are the best level
  of `level2_batch`, recorded when it changes, at the time of the change.
* Advanced: `market_trades`, in batches, newest first; `sequence_num` counts all messages of a
  connection. UNCONFIRMED: whose side `side` is; it is read as the maker's unless `side_is` says
  `taker`. `-USDC` products come under their `-USD` names. `level2` comes as `l2_data`, with
  snapshots that may exceed the limit of a message: then take the exchange channel. Quiet channels
  are closed after a minute, so `heartbeats` is always asked for.
  A jump of that count is told, and books are asked for anew: until they come there are no quotes.
* A refused product fails its whole message (UNCONFIRMED), so products are asked for one by one.
* REST: trades by their ids, newest first, a page ending where `after` says; of Advanced, by time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from edc.book import Book, Level
from edc.errors import Skippable
from edc.events import Event, Trade
from edc.fields import UNREADABLE, Number
from edc.rows import Rows, above_missing, differing, each, listed, oldest, refused
from edc.symbols import Symbols, parted
from edc.times import SECOND, parse_iso
from edc.transport import Frame, Request

Stream = Literal["trades", "quotes"]
Side = Literal["buy", "sell", "BUY", "SELL"]
_OTHER = {"buy": "sell", "sell": "buy"}
_PAGE = 1000
_BOOKS = "level2"
_AGENT = {"User-Agent": "edc"}
"""The venue refuses requests that do not say what sends them."""


class CoinbaseVendorOptions(VendorOptions):
    """`[vendors.coinbase]`. `url` and `rest_url` are the Exchange's, the others Advanced's."""

    url: WebsocketUrl = "wss://ws-feed.exchange.coinbase.com"
    advanced_url: WebsocketUrl = "wss://advanced-trade-ws.coinbase.com"
    rest_url: HttpUrl = "https://api.exchange.coinbase.com"
    advanced_rest_url: HttpUrl = "https://api.coinbase.com"


class CoinbaseFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Coinbase. `side_is` is for `advanced`, `interval` for polling."""

    streams: tuple[Stream, ...] = Field(("trades", "quotes"), min_length=1)
    side_is: Literal["maker", "taker"] = "maker"
    interval: Duration = Field(10.0, ge=1)


class _Trade(Struct, gc=False):
    trade_id: int
    price: Number
    size: Number
    side: Side
    time: str
    product_id: str = ""


class _Subscribed(Struct):
    name: str
    product_ids: list[str] = []


class _Product(Struct):
    id: str = ""
    base_currency: str = ""
    quote_currency: str = ""
    product_id: str = ""
    base_currency_id: str = ""
    quote_currency_id: str = ""


class _Past(Struct):
    trades: list[Raw]


class _Products(Struct):
    products: list[_Product]


class _Frame(Struct):
    type: str
    product_id: str = ""
    channels: list[_Subscribed] = []
    message: str = ""
    reason: str = ""
    time: str | None = None
    bids: list[tuple[Number, Number]] = []
    asks: list[tuple[Number, Number]] = []
    changes: list[tuple[Literal["buy", "sell"], Number, Number]] = []


class _Update(Struct, gc=False):
    side: Literal["bid", "offer"]
    event_time: str
    price_level: Number
    new_quantity: Number


class _Event(Struct):
    type: str = ""
    product_id: str = ""
    trades: list[Raw] = []
    updates: list[_Update] = []
    subscriptions: dict[str, list[str]] = {}


class _Envelope(Struct):
    channel: str = ""
    timestamp: str = ""
    sequence_num: int | None = None
    events: list[_Event] = []
    type: str = ""
    message: str = ""


_frame = msgspec.json.Decoder(_Frame, strict=False).decode
_envelope = msgspec.json.Decoder(_Envelope, strict=False).decode
_trade = msgspec.json.Decoder(_Trade, strict=False).decode


def _rows(plan: FeedPlan) -> Rows:
    def call(symbol: str, _type: str, written: str) -> str:
        return "-".join(parted(symbol, written))

    symbols = Symbols(plan, call)
    if plan.options.channel == "advanced":
        usdc = [name for name in symbols.names if name.endswith("-USDC")]
        symbols.also((name.removesuffix("C"), name) for name in usdc)
    return Rows(symbols, "COINBASE")


def _made(rows: Rows, data: _Trade, name: str, *, by_maker: bool) -> Trade:
    side = data.side.lower()
    return rows.trade(
        *(name, parse_iso(data.time), data.price, data.size),
        trade_id=str(data.trade_id),
        side=_OTHER[side] if by_maker else side,
        sequence=data.trade_id,
    )


class _Books:
    """The best levels of some products; a quote where one has changed."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._books: dict[str, Book] = {}
        self._tops: dict[str, tuple[float | None, ...]] = {}
        self._whole: set[str] = set()
        self.lost = False
        """Books were forgotten and have to be asked for."""

    def of(self, name: str) -> Book:
        return self._books.setdefault(name, Book())

    def snapshot(self, name: str, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        self.of(name).snapshot(bids, asks)
        self._whole.add(name)

    def forget(self) -> None:
        """Changes are missing: no book is right until it comes whole again."""
        self.lost = self.lost or bool(self._whole)
        for known in (self._books, self._tops, self._whole):
            known.clear()

    def changed(self, name: str, time: int) -> Iterator[Event]:
        """Nothing of a book that was never whole, or has been empty so far."""
        top = self.of(name).top()
        empty = (None, None, None, None)
        if name in self._whole and top != self._tops.get(name, empty):
            self._tops[name] = top
            yield self._rows.quote(name, time, *top)


class CoinbaseExchange:
    """The Exchange feed of some products."""

    messages_per_second = 50.0
    keepalive: Keepalive | None = None
    history_every = 0.2

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, CoinbaseFeedOptions)
        options = plan.options
        self.url = str(plan.vendor_options.url)
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        self._rest_url = str(plan.vendor_options.rest_url)
        self._books = _Books(self._rows)
        channels = {"trades": "matches", "quotes": "level2_batch"}
        self._channels = [channels[stream] for stream in options.streams]
        symbols = self._rows.symbols
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        self.topics = {
            f"{channel} {name}": symbols.of(name)[0]
            for name in symbols.names
            for channel in self._channels
        }
        self._said = False
        self._make: dict[str, Callable[[_Frame, bytes, int], Iterator[Event]]] = {
            "match": self._match,
            "last_match": self._match,
            "snapshot": self._snapshot,
            "l2update": self._changes,
        }

    def subscribe(self) -> Sequence[str]:
        """One product a message, with the heartbeat that tells its last trade."""
        self._said = True
        return self._messages("subscribe", self._rows.symbols.names)

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """One product a message here too."""
        other = CoinbaseExchange(plan)
        added, gone = differing(self._rows.symbols.names, other._rows.symbols.names)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        self._names |= other._names
        if not self._said:
            return ()
        return [*self._messages("unsubscribe", gone), *self._messages("subscribe", added)]

    def _messages(self, kind: str, names: Iterable[str]) -> list[str]:
        channels = [*self._channels, "heartbeat"]
        return [
            msgspec.json.encode(
                {"type": kind, "product_ids": [name], "channels": channels}
            ).decode()
            for name in names
        ]

    def answer(self, frame: Frame) -> Answer | None:
        """Each answer lists all that is subscribed; an error may name the product."""
        try:
            said = _frame(frame.data)
        except UNREADABLE:
            return None
        if said.type == "subscriptions":
            names = {"level2_50": "level2_batch"}
            return Answer(
                accepted=[
                    f"{names.get(listed.name, listed.name)} {name}"
                    for listed in said.channels
                    for name in listed.product_ids
                ]
            )
        if said.type == "error":
            why = f"{said.message}: {said.reason}".rstrip(": ")
            named = [topic for topic in self.topics if topic.partition(" ")[2] in why]
            return Answer(refused=dict.fromkeys(named, why))
        return None

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a frame, or of a page of history."""
        if frame.status:
            return _answered(self._rows, frame)
        try:
            said = _frame(frame.data)
            make = self._make.get(said.type)
            if make is not None:
                return list(make(said, frame.data, frame.received_ns))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        if said.type in ("subscriptions", "heartbeat", "ticker"):
            return ()
        if said.type == "error":
            if "ErrSlow" in said.message:
                raise Skippable("notice", f"Coinbase: {said.message}")
            return ()
        raise Skippable("unknown", f"type {said.type!r}")

    def _match(self, said: _Frame, data: bytes, _received_ns: int) -> Iterator[Event]:
        yield _made(self._rows, _trade(data), said.product_id, by_maker=True)

    def _snapshot(self, said: _Frame, _data: bytes, received_ns: int) -> Iterator[Event]:
        self._books.snapshot(said.product_id, said.bids, said.asks)
        time = parse_iso(said.time) if said.time else received_ns
        yield from self._books.changed(said.product_id, time)

    def _changes(self, said: _Frame, _data: bytes, received_ns: int) -> Iterator[Event]:
        book = self._books.of(said.product_id)
        for side, price, size in said.changes:
            (book.bid if side == "buy" else book.ask)(price, size)
        time = parse_iso(said.time) if said.time else received_ns
        yield from self._books.changed(said.product_id, time)

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """A thousand trades older than the end of the hole, then older ones."""
        oldest = above_missing(hole, last)
        if oldest is None:
            return None
        return _request(self._rest_url, self._names[hole.symbol], str(oldest))


class CoinbaseAdvanced:
    """Advanced Trade's feed of some products."""

    messages_per_second = 7.0
    keepalive: Keepalive | None = None
    history_every = 0.5
    overlap = 2.0
    coarse = 0.0
    confirms = False

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, CoinbaseFeedOptions)
        assert isinstance(plan.vendor_options, CoinbaseVendorOptions)
        options = plan.options
        self.url = plan.vendor_options.advanced_url
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        self._by_maker = options.side_is == "maker"
        self._books = _Books(self._rows)
        channels = {"trades": "market_trades", "quotes": _BOOKS}
        self._channels = [channels[stream] for stream in options.streams]
        symbols = self._rows.symbols
        self.topics = {
            f"{channel} {name}": symbols.of(name)[0]
            for channel in self._channels
            for name in symbols.names
        }
        self._sequence: int | None = None
        self._rest_url = str(plan.vendor_options.advanced_rest_url)
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        trades = self._names if "trades" in options.streams else ()
        self.spans = [("trade", symbol) for symbol in trades]
        self._end = 0
        self._said = False

    def subscribe(self) -> Sequence[str]:
        """One channel a message, and the heartbeats that keep it open."""
        self._said = True
        heartbeats = msgspec.json.encode({"type": "subscribe", "channel": "heartbeats"}).decode()
        return [heartbeats, *self._messages("subscribe", self._rows.symbols.names)]

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Products come and go on each channel."""
        other = CoinbaseAdvanced(plan)
        added, gone = differing(self._rows.symbols.names, other._rows.symbols.names)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        if not self._said:
            return ()
        return [*self._messages("unsubscribe", gone), *self._messages("subscribe", added)]

    def _messages(self, kind: str, names: list[str]) -> list[str]:
        messages = [
            {"type": kind, "product_ids": names, "channel": channel} for channel in self._channels
        ]
        return [msgspec.json.encode(message).decode() for message in messages if names]

    def answer(self, frame: Frame) -> Answer | None:
        """Each answer lists all that is subscribed. Books that were lost are asked for anew."""
        if self._books.lost:
            self._books.lost = False
            names, channel = self._rows.symbols.names, _BOOKS
            again = [
                {"type": kind, "product_ids": names, "channel": channel}
                for kind in ("unsubscribe", "subscribe")
            ]
            return Answer(send=[msgspec.json.encode(message).decode() for message in again])
        try:
            said = _envelope(frame.data)
        except UNREADABLE:
            return None
        if said.channel != "subscriptions":
            return None
        return Answer(
            accepted=[
                f"{channel} {name}"
                for event in said.events
                for channel, names in event.subscriptions.items()
                for name in names
            ]
        )

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a frame, or of a page of history; a jump of the count is told."""
        if frame.status:
            return self._past(frame)
        try:
            said = _envelope(frame.data)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        jump = self._jump(said)
        if not jump:
            return self._events(said)
        self._books.forget()
        try:
            events = self._events(said)
        except Skippable as error:
            events = [event for event in error.events if isinstance(event, Event)]
        raise Skippable("sequence", f"{jump} messages before {said.sequence_num}", events)

    def _events(self, said: _Envelope) -> Sequence[Event]:
        if said.channel == "market_trades":
            events = each([raw for event in said.events for raw in event.trades], self._trade)
            return sorted(events, key=lambda event: getattr(event, "sequence", 0))
        if said.channel == "l2_data":
            return each(said.events, self._quotes)
        if said.type == "error":
            raise Skippable("notice", f"Coinbase: {said.message}")
        if said.channel not in ("subscriptions", "heartbeats", "ticker"):
            raise Skippable("unknown", f"channel {said.channel!r}")
        return ()

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """A thousand trades of a time, the newest of it; then those before them."""
        end = -(-hole.ended_at // SECOND)
        if last is not None:
            first = oldest(last)
            if len(last) < _PAGE or first is None or first < hole.started_at:
                return None
            end = -(-first // SECOND)
            if end >= self._end:  # a page of one second
                return None
        self._end = end
        name = self._names[hole.symbol]
        params = {"limit": str(_PAGE), "start": str(hole.started_at // SECOND), "end": str(end)}
        url = f"{self._rest_url}/api/v3/brokerage/market/products/{name}/ticker"
        return Request(url, params, _AGENT, about=name)

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """Where the last page begins before the hole, or is not full."""
        del asked_ns
        first = oldest(last)
        return len(last) < _PAGE or (first is not None and first < hole.started_at)

    def _past(self, frame: Frame) -> Sequence[Event]:
        wrong = refused(frame, "Coinbase", frame.data.decode(errors="replace"))
        if wrong is not None:
            raise wrong
        try:
            trades = msgspec.json.decode(frame.data, type=_Past).trades
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        return each(reversed(trades), self._trade)

    def _jump(self, said: _Envelope) -> int:
        last, self._sequence = self._sequence, said.sequence_num
        if last is None or said.sequence_num is None:
            return 0
        return max(0, said.sequence_num - last - 1)

    def _trade(self, raw: Raw) -> Iterator[Event]:
        data = _trade(raw)
        yield _made(self._rows, data, data.product_id, by_maker=self._by_maker)

    def _quotes(self, event: _Event) -> Iterator[Event]:
        book, time = self._books.of(event.product_id), 0
        if event.type == "snapshot":
            self._books.snapshot(event.product_id, (), ())
        for update in event.updates:
            take = book.bid if update.side == "bid" else book.ask
            take(update.price_level, update.new_quantity)
            time = max(time, parse_iso(update.event_time))
        if event.updates:
            yield from self._books.changed(event.product_id, time)


class CoinbaseRest:
    """The last trades of each product, from the Exchange."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, CoinbaseFeedOptions)
        self.interval = plan.options.interval
        self._url = str(plan.vendor_options.rest_url)
        self._rows = _rows(plan)

    def requests(self) -> Sequence[Request]:
        """One for each product."""
        return [_request(self._url, name) for name in self._rows.symbols.names]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return _answered(self._rows, frame)


def _request(url: str, name: str, after: str = "") -> Request:
    params = {"limit": str(_PAGE)} | ({"after": after} if after else {})
    return Request(f"{url}/products/{name}/trades", params, _AGENT, about=name)


def _answered(rows: Rows, frame: Frame) -> Sequence[Event]:
    """The trades of an answer, oldest first; whose they are, the request says."""
    raws = listed(frame, "Coinbase")

    def trade(raw: Raw) -> Iterator[Event]:
        yield _made(rows, _trade(raw), frame.about, by_maker=True)

    return each(reversed(raws), trade)


def _build(plan: FeedPlan) -> Adapter:
    if plan.options.channel == "advanced":
        return CoinbaseAdvanced(plan)
    rest = plan.options.channel == "exchange_rest"
    return CoinbaseRest(plan) if rest else CoinbaseExchange(plan)


def _lists(options: VendorOptions, channel: str) -> Sequence[Request]:
    assert isinstance(options, CoinbaseVendorOptions)
    if channel != "advanced":
        return [Request(f"{options.rest_url}/products", headers=_AGENT)]
    url = f"{options.advanced_rest_url}/api/v3/brokerage/market/products"
    return [Request(url, {"product_type": "SPOT"}, _AGENT, about="advanced")]


def _instruments(frame: Frame) -> Sequence[Instrument]:
    """The products of either API."""
    if not frame.about:
        found = [msgspec.json.decode(raw, type=_Product) for raw in listed(frame, "Coinbase")]
        return [Instrument(each.id, each.base_currency, each.quote_currency) for each in found]
    wrong = refused(frame, "Coinbase", frame.data.decode(errors="replace"))
    if wrong is not None:
        raise wrong
    products = msgspec.json.decode(frame.data, type=_Products).products
    return [
        Instrument(each.product_id, each.base_currency_id, each.quote_currency_id)
        for each in products
    ]


VENDOR = Vendor(
    title="Coinbase",
    needs_key=False,
    channels={
        "exchange": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote"),
            "the Exchange feed; streams: trades, quotes (from level2_batch)",
            sequenced=("trade",),
        ),
        "advanced": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote"),
            "Advanced Trade; streams: trades, quotes (from level2)",
        ),
        "exchange_rest": Channel("poll", ("crypto",), ("trade",), "last trades"),
    },
    vendor_options=CoinbaseVendorOptions,
    feed_options=CoinbaseFeedOptions,
    build=_build,
    instruments=Instruments(_lists, _instruments),
)
