"""Bybit v5, by its public websockets and by REST. No key is needed.

Source: the venue's docs (`v5/websocket`, `v5/market/recent-trade`), 2026-07; recordings of 2023.
Each category has an address of its own; spot and linear share names, so each is a channel. Spot
pairs are spelled like all pairs, others by the venue's own names in lower case.

* `S` is the taker's side. Sizes are in base currency (spot, linear) or USD contracts (inverse, as
  the condition says). `i` is the trade's id; `seq` is no count. Block and RPI trades say so.
* `orderbook.1` is the best bid and offer. It was sent in deltas until 2025, with one side empty:
  both forms are read. It is repeated every three seconds with the same `u`, which is dropped; 1 in
  `u` is a restart. `cts`, the time of the match, is taken where there is one, else `ts`.
* `tickers` of derivatives come whole and then in changes. Last, mark and index price become ref_px.
  Spot's have no book; options' have it, since theirs has no level 1.
* Options' trades come by base coin: those of instruments that were not asked for are left out.
* One argument that does not exist fails its whole message (UNCONFIRMED): then each is tried by
  itself. Options answer with lists of both. The venue wants a ping every 20 s.
* REST has the last 60 (spot) or 1000 trades, and no older ones: a gap is filled as far as they go.
"""

import re
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
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number, decimal
from edc.rows import Rows, differing, each, oldest, refused, spaced
from edc.symbols import Symbols
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

Stream = Literal["publicTrade", "orderbook.1", "tickers"]
_AT_ONCE = 10
"""Arguments in one message: spot takes no more."""
_MOST_LETTERS = 21_000
"""Of all arguments of a connection."""
_OPTION = re.compile(r"([a-z0-9]+)-\d{1,2}[a-z]{3}\d{2}-[0-9.]+-[cp](?:-usdt)?")
"""`BTC-6JAN23-18000-C` in lower case; newer ones are settled in USDT and say so."""


class BybitVendorOptions(VendorOptions):
    """`[vendors.bybit]`. Some countries have hosts of their own (stream.bybit.eu …)."""

    url: WebsocketUrl = "wss://stream.bybit.com/v5/public"
    rest_url: HttpUrl = "https://api.bybit.com"


class BybitFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Bybit. `interval` is for polling."""

    streams: tuple[Stream, ...] = Field(("publicTrade", "orderbook.1", "tickers"), min_length=1)
    interval: Duration = Field(10.0, ge=1)


class _Trade(Struct, gc=False):
    s: str
    S: Literal["Buy", "Sell"]
    v: Number
    p: Number
    i: str
    T: int
    BT: bool = False
    RPI: bool = False
    seq: int | None = None


class _Book(Struct):
    s: str
    b: list[tuple[Number, Number]]
    a: list[tuple[Number, Number]]
    u: int


class _Ticker(Struct, rename="camel", gc=False):
    symbol: str
    last_price: str = ""
    mark_price: str = ""
    index_price: str = ""
    usd_index_price: str = ""
    bid_price: str = ""
    bid_size: str = ""
    ask_price: str = ""
    ask_size: str = ""


class _Topics(Struct, rename="camel"):
    success_topics: list[str] = []
    fail_topics: list[str] = []


class _Frame(Struct):
    topic: str = ""
    type: str = ""
    ts: int = 0
    cts: int | None = None
    data: Raw = Raw()
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""
    op: str = ""


class _RestTrade(Struct, rename="camel", gc=False):
    exec_id: str
    symbol: str
    price: Number
    size: Number
    side: Literal["Buy", "Sell"]
    time: int
    is_block_trade: bool = False
    is_r_p_i_trade: bool = msgspec.field(default=False, name="isRPITrade")
    seq: int | None = None


class _Listed(Struct, rename={"rows": "list", "cursor": "nextPageCursor"}):
    rows: list[Raw] = []
    cursor: str = ""


class _Instrument(Struct, rename="camel"):
    symbol: str
    base_coin: str = ""
    quote_coin: str = ""


class _Answer(Struct, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: _Listed = msgspec.field(default_factory=_Listed)


_frame = msgspec.json.Decoder(_Frame).decode
_trade = msgspec.json.Decoder(_Trade, strict=False).decode
_rest_trade = msgspec.json.Decoder(_RestTrade, strict=False).decode
_book = msgspec.json.Decoder(_Book, strict=False).decode
_ticker = msgspec.json.Decoder(_Ticker).decode
_raws = msgspec.json.Decoder(list[Raw]).decode


def _rows(plan: FeedPlan) -> Rows:
    return Rows(Symbols(plan, lambda symbol, _type, _written: symbol.upper()), "BYBIT")


class BybitStream:
    """Some streams of some instruments of one category on one connection."""

    messages_per_second = 10.0
    keepalive: Keepalive | None = Keepalive('{"op":"ping"}', 20.0)
    history_every = 0.2
    overlap = 2.0
    coarse = 0.0
    confirms = False

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BybitFeedOptions)
        options = plan.options
        self._category = options.channel
        self.url = f"{plan.vendor_options.url}/{options.channel}"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        symbols = self._rows.symbols
        self.topics: dict[str, str] = {}
        for stream in options.streams:
            for name in symbols.names:
                if options.channel == "option" and stream == "orderbook.1":
                    continue  # its book begins at depth 25; the tickers have the best level
                by_coin = options.channel == "option" and stream == "publicTrade"
                told = name.partition("-")[0] if by_coin else name
                self.topics.setdefault(f"{stream}.{told}", symbols.of(name)[0])
        self._rest_url = str(plan.vendor_options.rest_url)
        self.spans: list[tuple[str, str]] = []
        if "publicTrade" in options.streams:
            self._names = {symbols.of(name)[0]: name for name in symbols.names}
            self.spans = [("trade", symbol) for symbol in self._names]
        self._asked: dict[str, Sequence[str]] = {}
        self._books: dict[str, tuple[int, tuple[float, float] | None, tuple[float, float] | None]]
        self._books = {}
        self._prices: dict[tuple[str, str], float] = {}

    def subscribe(self) -> Sequence[str]:
        """Ten arguments a message."""
        return self._say("subscribe", list(self.topics))

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Ten arguments a message here too."""
        other = BybitStream(plan)
        added, gone = differing(self.topics, other.topics)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        if not self._asked:
            return ()
        return [*self._say("unsubscribe", gone), *self._say("subscribe", added)]

    def _say(self, operation: str, topics: Sequence[str]) -> list[str]:
        said = []
        for some in spaced(topics, _AT_ONCE):
            number = str(len(self._asked) + 1)
            self._asked[number] = some if operation == "subscribe" else ()
            said.append(_message(number, some, operation))
        return said

    def answer(self, frame: Frame) -> Answer | None:
        """A message is accepted or refused whole; refused ones are tried piece by piece."""
        try:
            said = _frame(frame.data)
            if said.type == "COMMAND_RESP":
                told = msgspec.json.decode(said.data, type=_Topics)
                why = dict.fromkeys(told.fail_topics, "there is no such topic")
                return Answer(accepted=told.success_topics, refused=why)
        except UNREADABLE:
            return None
        if said.success is None or said.op == "ping":
            return None
        asked = self._asked.get(said.req_id)
        if asked is None:  # a reply without its number is about the first message that is open
            asked = next(iter(self._asked.values()), None) if not said.req_id else None
        if asked is None:
            return None
        if said.success:
            return Answer(accepted=asked)
        if len(asked) == 1:
            return Answer(refused={asked[0]: said.ret_msg})
        again = {f"{said.req_id}.{number}": [topic] for number, topic in enumerate(asked, 1)}
        self._asked |= again
        return Answer(send=[_message(number, topics) for number, topics in again.items()])

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a push, or the trades of a list of recent ones."""
        if frame.status:
            return _trades(self._rows, self._category, frame)
        try:
            said = _frame(frame.data)
            kind = said.topic.rpartition(".")[0]
            if kind == "publicTrade":
                return each(_raws(said.data), self._trade)
            if kind == "orderbook.1":
                return list(self._quote(said))
            if kind == "tickers":
                return list(self._priced(_ticker(said.data), said.ts))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        if said.success is not None or said.op == "pong" or said.type == "COMMAND_RESP":
            return ()
        raise Skippable("unknown", f"topic {said.topic!r}")

    def _trade(self, raw: Raw) -> Iterator[Event]:
        data = _trade(raw)
        if self._category == "option" and not self._rows.symbols.has(data.s):
            return  # the topic brings all of its base coin
        yield self._rows.trade(
            *(data.s, instant(data.T, MILLISECOND), data.p, data.v),
            trade_id=data.i,
            side=data.S.lower(),
            sequence=data.seq,
            conditions=_conditions(self._category, block=data.BT, rpi=data.RPI),
        )

    def _quote(self, said: _Frame) -> Iterator[Event]:
        book = _book(said.data)
        u, bid, ask = self._books.get(book.s, (0, None, None))
        if said.type == "snapshot":
            bid = ask = None
        elif book.u == u:
            return
        if said.type == "snapshot" and book.u == u and u != 1:
            return  # it is repeated every three seconds
        bid, ask = _best(bid, book.b), _best(ask, book.a)
        self._books[book.s] = (book.u, bid, ask)
        time = instant(said.ts if said.cts is None else said.cts, MILLISECOND)
        sides = (*(bid or (None, None)), *(ask or (None, None)))
        yield self._rows.quote(book.s, time, *sides, sequence=book.u)

    def _priced(self, data: _Ticker, ts: int) -> Iterator[Event]:
        time = instant(ts, MILLISECOND)
        if data.bid_price or data.ask_price:
            yield self._rows.quote(
                *(data.symbol, time, decimal(data.bid_price), decimal(data.bid_size)),
                *(decimal(data.ask_price), decimal(data.ask_size)),
            )
        prices = {"last": data.last_price, "mark": data.mark_price}
        prices["index"] = data.index_price or data.usd_index_price
        for kind, text in prices.items():
            price = decimal(text)
            if price is not None and price != self._prices.get((data.symbol, kind)):
                yield self._rows.price(data.symbol, time, price, kind)
                self._prices[data.symbol, kind] = price

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The list of recent trades: there is no other."""
        if last is not None:
            return None
        return _recent(self._rest_url, self._category, self._names[hole.symbol])

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """Where the list begins before the hole, or is not full."""
        del asked_ns
        first = oldest(last)
        return len(last) < _most(self._category) or (first is not None and first < hole.started_at)


def _best(
    known: tuple[float, float] | None, levels: list[tuple[float, float]]
) -> tuple[float, float] | None:
    """The best level after a change; a size of 0 takes it away."""
    for price, size in levels:
        if size:
            known = (price, size)
        elif known is not None and known[0] == price:
            known = None
    return known


def _message(number: str, topics: Sequence[str], operation: str = "subscribe") -> str:
    return msgspec.json.encode({"req_id": number, "op": operation, "args": topics}).decode()


def _conditions(category: str, *, block: bool, rpi: bool) -> str | None:
    flags = {"contracts": category == "inverse", "block": block, "rpi": rpi}
    return ",".join(name for name, flag in flags.items() if flag) or None


class BybitRest:
    """The last trades of each instrument; `category` is the channel's, without its ending."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BybitFeedOptions)
        self.interval = plan.options.interval
        self._category = plan.options.channel.removesuffix("_rest")
        self._url = str(plan.vendor_options.rest_url)
        self._rows = _rows(plan)

    def requests(self) -> Sequence[Request]:
        """One for each instrument."""
        return [_recent(self._url, self._category, name) for name in self._rows.symbols.names]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return _trades(self._rows, self._category, frame)


def _most(category: str) -> int:
    """Trades that the list of recent ones holds."""
    return 60 if category == "spot" else 1000


def _recent(url: str, category: str, name: str) -> Request:
    params = {"category": category, "limit": str(_most(category)), "symbol": name}
    return Request(f"{url}/v5/market/recent-trade", params)


def _answered(frame: Frame) -> _Listed:
    """What an answer holds. Raises what it means where it is an error."""
    if frame.status == 403:  # noqa: PLR2004 - how the venue says: too many
        raise Retriable("rate_limited", "Bybit answered 403: too many requests", 600.0)
    wrong = refused(frame, "Bybit", frame.data.decode(errors="replace"))
    if wrong is not None:
        raise wrong
    try:
        said = msgspec.json.decode(frame.data, type=_Answer)
    except UNREADABLE as error:
        raise Skippable("malformed", str(error)) from None
    told = f"Bybit: {said.ret_msg} ({said.ret_code})"
    if said.ret_code == 10006:  # noqa: PLR2004 - too many visits
        raise Retriable("rate_limited", told, 5.0)
    if said.ret_code:
        raise Fatal(told, "correct the feed's symbols")
    return said.result


def _trades(rows: Rows, category: str, frame: Frame) -> Sequence[Event]:
    """The trades of an answer."""

    def trade(raw: Raw) -> Iterator[Event]:
        data = _rest_trade(raw)
        flags = {"block": data.is_block_trade, "rpi": data.is_r_p_i_trade}
        yield rows.trade(
            *(data.symbol, instant(data.time, MILLISECOND), data.price, data.size),
            trade_id=data.exec_id,
            side=data.side.lower(),
            sequence=data.seq,
            conditions=_conditions(category, **flags),
        )

    return each(_answered(frame).rows, trade)


def _build(plan: FeedPlan) -> Adapter:
    return BybitRest(plan) if plan.options.channel.endswith("_rest") else BybitStream(plan)


def _most_symbols(options: FeedOptions) -> int:
    assert isinstance(options, BybitFeedOptions)
    return _MOST_LETTERS // (40 * len(options.streams))


def _stream(text: str, *, own_names: bool) -> Channel:
    kinds = ("trade", "quote", "ref_px")
    return Channel("websocket", ("crypto",), kinds, text, rising=("quote",), own_names=own_names)


def _lists(options: VendorOptions, channel: str) -> Sequence[Request]:
    """Options are listed for one coin at a time: see `_part`."""
    category = channel.removesuffix("_rest")
    params = {"category": category, "limit": "1000"}
    url = f"{options.rest_url}/v5/market/instruments-info"
    return [] if category == "option" else [Request(url, params)]


def _family(symbol: str) -> str:
    """`BTC` of `btc-6jan23-18000-c`."""
    option = _OPTION.fullmatch(symbol)
    return option[1].upper() if option else ""


def _part(options: VendorOptions, family: str) -> Request:
    params = {"category": "option", "baseCoin": family, "limit": "1000"}
    return Request(f"{options.rest_url}/v5/market/instruments-info", params)


def _instruments(frame: Frame) -> Sequence[Instrument]:
    found = [msgspec.json.decode(raw, type=_Instrument) for raw in _answered(frame).rows]
    return [Instrument(each.symbol, each.base_coin, each.quote_coin) for each in found]


def _more(request: Request, frame: Frame) -> Request | None:
    cursor = _answered(frame).cursor
    params = {**request.params, "cursor": cursor}
    return msgspec.structs.replace(request, params=params) if cursor else None


VENDOR = Vendor(
    title="Bybit",
    needs_key=False,
    channels={
        "spot": _stream("spot; streams: publicTrade, orderbook.1, tickers", own_names=False),
        "linear": _stream("USDT and USDC perpetuals and futures", own_names=True),
        "inverse": _stream("inverse perpetuals and futures, in contracts", own_names=True),
        "option": _stream("options; books from their tickers", own_names=True),
        "spot_rest": Channel("poll", ("crypto",), ("trade",), "spot, the last 60 trades"),
        "linear_rest": Channel(
            "poll", ("crypto",), ("trade",), "linear, the last 1000 trades", own_names=True
        ),
    },
    vendor_options=BybitVendorOptions,
    feed_options=BybitFeedOptions,
    build=_build,
    most_symbols=_most_symbols,
    instruments=Instruments(_lists, _instruments, _more, family=_family, part=_part),
)
