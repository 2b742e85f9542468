"""Hyperliquid, by websocket, and its REST `recentTrades`. No key is needed.

Source: the venue's pages and its Python client, recordings of 2025. Symbols are the venue's own
names in lower case; its coins are case-sensitive (`kPEPE`, `@162`, `flx:TSLA`), so they are asked
for as the config writes them, plain lower case as upper case.

* `px` and `sz` are decimal strings, sizes in base currency. `side` B: the taker bought; A: sold.
  `time` is the block's, in milliseconds, which many trades share. `tid` is unique, and random: no
  jump can be seen. The first frame of a subscription brings up to 30 old trades.
* `bbo` is `[bid, ask]`; a side may be null. UNCONFIRMED: of an array of one element it is not said
  which side is missing; it is read as the bid, the first of the two.
* `activeAssetCtx` (of spot coins `activeSpotAssetCtx`) has no time: its mark and its oracle price
  become ref_px, mark and index, at the time of receipt, when they change.
* The venue ends a connection that has not spoken for a minute. A first frame may be plain text.
* REST knows only the last few trades: a longer gap is filled as far as they go, the rest is lost.
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
from edc.errors import Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import Rows, differing, each, listed, oldest, refused
from edc.symbols import Symbols
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

Stream = Literal["trades", "bbo", "activeAssetCtx"]
_MOST_SUBSCRIPTIONS = 1000
_JSON = {"Content-Type": "application/json"}
_GREETING = b"Websocket connection established."


class HyperliquidVendorOptions(VendorOptions):
    """`[vendors.hyperliquid]`."""

    url: WebsocketUrl = "wss://api.hyperliquid.xyz/ws"
    rest_url: HttpUrl = "https://api.hyperliquid.xyz"


class HyperliquidFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Hyperliquid. `interval` is for polling."""

    streams: tuple[Stream, ...] = Field(("trades", "bbo", "activeAssetCtx"), min_length=1)
    interval: Duration = Field(10.0, ge=1)


class _Trade(Struct, gc=False):
    coin: str
    side: Literal["A", "B"]
    px: Number
    sz: Number
    time: int
    tid: int


class _Level(Struct, gc=False):
    px: Number
    sz: Number


class _Bbo(Struct):
    coin: str
    time: int
    bbo: list[_Level | None]


class _Prices(Struct, rename="camel", gc=False):
    mark_px: Number | None = None
    oracle_px: Number | None = None


class _Context(Struct):
    coin: str
    ctx: _Prices


class _Subscription(Struct):
    type: str
    coin: str = ""


class _Subscribed(Struct):
    method: str
    subscription: _Subscription


class _Frame(Struct):
    channel: str
    data: Raw = Raw()


class _Coin(Struct, rename="camel"):
    name: str
    is_delisted: bool = False


class _Universe(Struct):
    universe: list[_Coin]


_frame = msgspec.json.Decoder(_Frame).decode
_trade = msgspec.json.Decoder(_Trade, strict=False).decode
_bbo = msgspec.json.Decoder(_Bbo, strict=False).decode
_context = msgspec.json.Decoder(_Context, strict=False).decode
_raws = msgspec.json.Decoder(list[Raw]).decode


def _call(symbol: str, _type: str, written: str) -> str:
    return symbol.upper() if written == symbol and symbol.isalnum() else written


def _made(rows: Rows, raw: Raw) -> Iterator[Event]:
    data = _trade(raw)
    yield rows.trade(
        *(data.coin, instant(data.time, MILLISECOND), data.px, data.sz),
        trade_id=str(data.tid),
        side="buy" if data.side == "B" else "sell",
    )


class HyperliquidStream:
    """The trades, books and prices of some coins on one connection."""

    messages_per_second = 20.0
    """Two thousand a minute are allowed."""
    keepalive: Keepalive | None = Keepalive('{"method":"ping"}', 30.0)
    history_every = 1.1
    """`recentTrades` weighs 20 and more of 1,200 a minute."""
    overlap = 2.0
    coarse = 0.0
    confirms = False

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, HyperliquidFeedOptions)
        options = plan.options
        self.url = str(plan.vendor_options.url)
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = Rows(Symbols(plan, _call), "HYPERLIQUID")
        symbols = self._rows.symbols
        self.topics = {
            f"{stream} {name}": symbols.of(name)[0]
            for stream in options.streams
            for name in symbols.names
        }
        self._rest_url = str(plan.vendor_options.rest_url)
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        trades = self._names if "trades" in options.streams else ()
        self.spans = [("trade", symbol) for symbol in trades]
        self._prices: dict[tuple[str, str], float] = {}
        self._said = False
        self._events: dict[str, Callable[[Raw, int], Sequence[Event]]] = {
            "trades": self._trades,
            "bbo": self._quote,
            "activeAssetCtx": self._context,
            "activeSpotAssetCtx": self._context,
        }

    def subscribe(self) -> Sequence[str]:
        """One topic a message: the venue takes no more."""
        self._said = True
        return _messages("subscribe", self.topics)

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """One topic a message here too."""
        other = HyperliquidStream(plan)
        added, gone = differing(self.topics, other.topics)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        if not self._said:
            return ()
        return [*_messages("unsubscribe", gone), *_messages("subscribe", added)]

    def answer(self, frame: Frame) -> Answer | None:
        """Each topic is acknowledged by repeating it; an error names the message it is about."""
        try:
            said = _frame(frame.data)
            if said.channel == "subscriptionResponse":
                topic = msgspec.json.decode(said.data, type=_Subscribed).subscription
                return Answer(accepted=(f"{topic.type} {topic.coin}",))
            if said.channel != "error":
                return None
            text = msgspec.json.decode(said.data, type=str)
        except UNREADABLE:
            return None
        if text.startswith("Already subscribed"):
            return None
        named = [
            topic
            for topic in self.topics
            if f'"type":"{topic.split(" ", 1)[0]}"' in text.replace(" ", "")
            and f'"coin":"{topic.split(" ", 1)[1]}"' in text.replace(" ", "")
        ]
        return Answer(refused=dict.fromkeys(named, text[:200]))

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a channel's frame, or the trades of a list of recent ones."""
        if frame.status:
            return _answered(self._rows, frame)
        try:
            said = _frame(frame.data)
            make = self._events.get(said.channel)
            if make is not None:
                return make(said.data, frame.received_ns)
        except UNREADABLE as error:
            if frame.data == _GREETING:
                return ()
            raise Skippable("malformed", str(error)) from None
        if said.channel in ("subscriptionResponse", "pong", "error"):
            return ()
        raise Skippable("unknown", f"channel {said.channel!r}")

    def _trades(self, data: Raw, _received_ns: int) -> Sequence[Event]:
        return each(_raws(data), lambda raw: _made(self._rows, raw))

    def _quote(self, data: Raw, _received_ns: int) -> Sequence[Event]:
        top = _bbo(data)
        bid, ask = (*top.bbo, None, None)[:2]
        return (
            self._rows.quote(
                *(top.coin, instant(top.time, MILLISECOND)),
                *((bid.px, bid.sz) if bid else (None, None)),
                *((ask.px, ask.sz) if ask else (None, None)),
            ),
        )

    def _context(self, data: Raw, received_ns: int) -> Sequence[Event]:
        told = _context(data)
        events = []
        for kind, price in (("mark", told.ctx.mark_px), ("index", told.ctx.oracle_px)):
            if price is not None and price != self._prices.get((told.coin, kind)):
                events.append(self._rows.price(told.coin, received_ns, price, kind))
                self._prices[told.coin, kind] = price
        return events

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The list of recent trades: there is no other."""
        return None if last is not None else _recent(self._rest_url, self._names[hole.symbol])

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """Where the list begins before the hole; how long it may be, nobody says."""
        del asked_ns
        first = oldest(last)
        return first is not None and first < hole.started_at


def _messages(method: str, topics: Iterable[str]) -> list[str]:
    pairs = [topic.split(" ", 1) for topic in topics]
    return [
        msgspec.json.encode(
            {"method": method, "subscription": {"type": stream, "coin": name}}
        ).decode()
        for stream, name in pairs
    ]


class HyperliquidRest:
    """The few last trades of each coin."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, HyperliquidFeedOptions)
        self.interval = plan.options.interval
        self._url = str(plan.vendor_options.rest_url)
        self._rows = Rows(Symbols(plan, _call), "HYPERLIQUID")

    def requests(self) -> Sequence[Request]:
        """One for each coin."""
        return [_recent(self._url, name) for name in self._rows.symbols.names]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return _answered(self._rows, frame)


def _recent(url: str, name: str) -> Request:
    body = msgspec.json.encode({"type": "recentTrades", "coin": name})
    return Request(f"{url}/info", headers=_JSON, body=body)


def _answered(rows: Rows, frame: Frame) -> Sequence[Event]:
    return each(listed(frame, "Hyperliquid"), lambda raw: _made(rows, raw))


def _build(plan: FeedPlan) -> Adapter:
    return HyperliquidRest(plan) if plan.options.channel == "rest" else HyperliquidStream(plan)


def _most_symbols(options: FeedOptions) -> int:
    assert isinstance(options, HyperliquidFeedOptions)
    return _MOST_SUBSCRIPTIONS // len(options.streams)


def _lists(options: VendorOptions, _channel: str) -> Sequence[Request]:
    return [
        Request(f"{options.rest_url}/info", headers=_JSON, body=msgspec.json.encode({"type": kind}))
        for kind in ("meta", "spotMeta")
    ]


def _instruments(frame: Frame) -> Sequence[Instrument]:
    """Perpetuals (`meta`) and spot pairs (`spotMeta`, as `@162` or `PURR/USDC`)."""
    wrong = refused(frame, "Hyperliquid", frame.data.decode(errors="replace"))
    if wrong is not None:
        raise wrong
    coins = msgspec.json.decode(frame.data, type=_Universe).universe
    return [Instrument(coin.name) for coin in coins if not coin.is_delisted]


def _covers(symbol: str) -> bool:
    """Coins of other builders (`flx:tsla`) are on lists of their own."""
    return ":" not in symbol


VENDOR = Vendor(
    title="Hyperliquid",
    needs_key=False,
    channels={
        "public": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote", "ref_px"),
            "perpetuals and spot; streams: trades, bbo, activeAssetCtx (mark and index)",
            untimed=("ref_px",),
            own_names=True,
        ),
        "rest": Channel("poll", ("crypto",), ("trade",), "the few last trades", own_names=True),
    },
    vendor_options=HyperliquidVendorOptions,
    feed_options=HyperliquidFeedOptions,
    build=_build,
    most_symbols=_most_symbols,
    instruments=Instruments(_lists, _instruments, covers=_covers),
)
