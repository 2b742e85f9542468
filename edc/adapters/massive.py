"""Massive (Polygon.io until 2025-10): stocks, FX and crypto, by websocket and by REST.

Source: the vendor's pages, its Python client and that one's tests, messages seen in 2026. Every
frame is an array, in which status and data may be mixed. The key is sent after the greeting,
subscriptions after `auth_success`; each topic is acknowledged by itself.

* Websocket times are in milliseconds, REST times of stocks in nanoseconds. A trade's `i` is unique
  for a ticker, an exchange and a reporting facility; `q` rises within a ticker, with holes: no jump
  can be seen. `x` is the exchange's number, as sent. `ds`, a size with fractions, goes before `s`.
* Sizes of stock quotes are disputed: round lots by old pages, shares since 2025-11-03 by later
  ones. They are taken as shares unless `quote_size_unit` says `lots`.
* FX quotes have no sizes. Pairs are written `USD/CNH`, `EUR-USD` or `C:EUR-USD`, in quotes as in
  acknowledgements, whichever was asked for. UNCONFIRMED: that crypto conditions 1 and 2 are sides;
  they are kept as conditions.
* `max_connections` comes after a subscription was accepted, and then the end: a minute is waited. A
  status that the pages do not list is kept as a dead letter.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Raw, Struct
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
    Keepalive,
    Silence,
    Vendor,
    VendorOptions,
    WebsocketUrl,
)
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number, decimal
from edc.rows import Rows, each, refused, spaced
from edc.symbols import Symbols, parted, share_class
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

Take = Literal["trades", "quotes"]
_TOPICS: dict[str, dict[Take, str]] = {
    "stocks": {"trades": "T", "quotes": "Q"},
    "forex": {"quotes": "C"},
    "crypto": {"trades": "XT", "quotes": "XQ"},
}
_AT_ONCE = 200
_LOT = 100
_SUBSCRIBED = "subscribed to: "
_FINE = ("connected", "auth_success", "success")
_PAST: dict[str, str] = {"stocks": "", "forex": "", "crypto": "quotes"}
"""What there is no history of."""
_POLLED: dict[str, tuple[Take, ...]] = {
    "stocks_rest": ("trades", "quotes"),
    "forex_rest": ("quotes",),
    "crypto_rest": ("trades",),
}


class MassiveVendorOptions(VendorOptions):
    """`[vendors.massive]`. The old hosts (socket.polygon.io, api.polygon.io) work too."""

    url: WebsocketUrl = "wss://socket.massive.com"
    rest_url: HttpUrl = "https://api.massive.com"


class MassiveFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Massive. `interval` is for polling: the free plan has five a minute."""

    take: tuple[Take, ...] = Field(("trades", "quotes"), min_length=1)
    quote_size_unit: Literal["shares", "lots"] = "shares"
    interval: Duration = Field(60.0, ge=1)
    backfill: tuple[Take, ...] | None = Field(
        None, description="what a gap is filled with: trades where there are some, unless said"
    )
    history_every: Duration = Field(12.5, ge=0, description="between two requests of a back-fill")

    @model_validator(mode="after")
    def _some(self) -> "MassiveFeedOptions":
        offered = _POLLED.get(self.channel) or tuple(_TOPICS.get(self.channel, self.take))
        if not set(offered) & set(self.take):
            raise ValueError(f"{self.channel} has {' and '.join(offered)}; take some of it")
        return self


class _Status(Struct, tag_field="ev", tag="status"):
    status: str
    message: str = ""


class _Told(Struct):
    """Any message, as far as it may be a status: data that is bad hides no acknowledgement."""

    ev: str = ""
    status: str = ""
    message: str = ""


class _StockTrade(Struct, tag_field="ev", tag="T", gc=False):
    sym: str
    p: Number
    t: int
    i: str = ""
    x: int | None = None
    s: Number | None = None
    ds: str = ""
    c: list[int] | None = None
    q: int | None = None


class _StockQuote(Struct, tag_field="ev", tag="Q", gc=False):
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


class _ForexQuote(Struct, tag_field="ev", tag="C", gc=False):
    p: str
    t: int
    a: Number | None = None
    b: Number | None = None
    x: int | str | None = None


class _CryptoTrade(Struct, tag_field="ev", tag="XT", gc=False):
    pair: str
    p: Number
    s: Number
    t: int
    i: str | int = ""
    x: int | None = None
    c: list[int] | None = None


class _CryptoQuote(Struct, tag_field="ev", tag="XQ", gc=False):
    pair: str
    t: int
    bp: Number | None = None
    bs: Number | None = None
    ap: Number | None = None
    as_: Number | None = msgspec.field(default=None, name="as")
    x: int | None = None


_Any = _Status | _StockTrade | _StockQuote | _ForexQuote | _CryptoTrade | _CryptoQuote


class _LastTrade(Struct, gc=False):
    p: Number
    t: int
    i: str = ""
    x: int | None = None
    s: Number | None = None
    c: list[int] | None = None
    q: int | None = None


class _LastQuote(Struct, gc=False):
    t: int
    p: Number | None = None
    s: Number | None = None
    x: int | None = None
    P: Number | None = None
    S: Number | None = None
    X: int | None = None
    q: int | None = None


class _LastPair(Struct, gc=False):
    timestamp: int
    ask: Number | None = None
    bid: Number | None = None
    price: Number | None = None
    size: Number | None = None
    exchange: int | None = None
    conditions: list[int] | None = None


class _Past(Struct, gc=False):
    """A row of `/v3/trades` or `/v3/quotes`."""

    participant_timestamp: int = 0
    sip_timestamp: int = 0
    id: str | int = ""
    price: Number | None = None
    size: Number | None = None
    exchange: int | None = None
    conditions: list[int] | None = None
    sequence_number: int | None = None
    bid_price: Number | None = None
    bid_size: Number | None = None
    bid_exchange: int | None = None
    ask_price: Number | None = None
    ask_size: Number | None = None
    ask_exchange: int | None = None


class _Page(Struct):
    results: list[Raw] = []
    next_url: str = ""
    error: str = ""
    message: str = ""


class _Answered(Struct):
    results: Raw = Raw()
    last: Raw = Raw()
    error: str = ""
    message: str = ""


_told = msgspec.json.Decoder(list[_Told]).decode
_all = msgspec.json.Decoder(list[_Any]).decode
_one = msgspec.json.Decoder(_Any).decode
_raws = msgspec.json.Decoder(list[Raw]).decode


def _text(number: object) -> str | None:
    return None if number is None else str(number)


def _conditions(codes: Sequence[int] | None) -> str | None:
    return ",".join(map(str, codes or ())) or None


class _Makes:
    """Events of the messages of one feed."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, MassiveFeedOptions)
        options = plan.options
        self.kind = options.channel.removesuffix("_rest")
        mark = {"forex": "/", "crypto": "-"}.get(self.kind, "")

        def call(symbol: str, _type: str, written: str) -> str:
            return mark.join(parted(symbol, written)) if mark else share_class(symbol, ".")

        symbols = Symbols(plan, call)
        if self.kind == "forex":
            for form in ("{}-{}", "{}{}"):
                parts = [(form.format(*name.split("/")), name) for name in symbols.names]
                symbols.also(parts)
        self.rows = Rows(symbols)
        self.lot = _LOT if options.quote_size_unit == "lots" and self.kind == "stocks" else 1
        self._event: dict[type, Callable[[Any], Iterable[Event]]] = {
            _StockTrade: self._stock_trade,
            _StockQuote: self._stock_quote,
            _ForexQuote: self._forex_quote,
            _CryptoTrade: self._crypto_trade,
            _CryptoQuote: self._crypto_quote,
        }

    def of(self, message: _Any) -> Iterable[Event]:
        make = self._event.get(type(message))
        return () if make is None else make(message)

    def _stock_trade(self, data: _StockTrade) -> Iterator[Event]:
        yield self.rows.trade(
            *(data.sym, instant(data.t, MILLISECOND), data.p),
            decimal(data.ds) if data.ds else data.s,
            trade_id=data.i or None,
            exchange=_text(data.x),
            conditions=_conditions(data.c),
            sequence=data.q,
        )

    def _stock_quote(self, data: _StockQuote) -> Iterator[Event]:
        yield self.rows.quote(
            *(data.sym, instant(data.t, MILLISECOND)),
            *(data.bp, None if data.bs is None else data.bs * self.lot),
            *(data.ap, None if data.as_ is None else data.as_ * self.lot),
            conditions=_text(data.c),
            bid_exchange=_text(data.bx),
            ask_exchange=_text(data.ax),
            sequence=data.q,
        )

    def _forex_quote(self, data: _ForexQuote) -> Iterator[Event]:
        exchange = _text(data.x)
        yield self.rows.quote(
            *(data.p.removeprefix("C:"), instant(data.t, MILLISECOND)),
            *(data.b, None, data.a, None),
            bid_exchange=exchange,
            ask_exchange=exchange,
        )

    def _crypto_trade(self, data: _CryptoTrade) -> Iterator[Event]:
        yield self.rows.trade(
            *(data.pair, instant(data.t, MILLISECOND), data.p, data.s),
            trade_id=str(data.i) or None,
            exchange=_text(data.x),
            conditions=_conditions(data.c),
        )

    def _crypto_quote(self, data: _CryptoQuote) -> Iterator[Event]:
        exchange = _text(data.x)
        yield self.rows.quote(
            *(data.pair, instant(data.t, MILLISECOND)),
            *(data.bp, data.bs, data.ap, data.as_),
            bid_exchange=exchange,
            ask_exchange=exchange,
        )


class MassiveStream:
    """One cluster of Massive."""

    messages_per_second = 10.0
    keepalive: Keepalive | None = None

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, MassiveFeedOptions)
        options = plan.options
        self.url = f"{plan.vendor_options.url}/{options.channel}"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._makes = _Makes(plan)
        self._key = plan.key
        kinds = [kind for take, kind in _TOPICS[options.channel].items() if take in options.take]
        symbols = self._makes.rows.symbols
        self.topics = {
            f"{kind}.{name}": symbols.of(name)[0] for kind in kinds for name in symbols.names
        }
        self._topic_of = {
            (topic.partition(".")[0], symbol): topic for topic, symbol in self.topics.items()
        }
        self._history = _History(plan, self._makes)
        self.history_every = options.history_every
        self.spans = self._history.spans
        self._wanted = [f"{kind}.*" for kind in kinds] if symbols.everything else list(self.topics)

    def subscribe(self) -> Sequence[str]:
        """Nothing: the vendor speaks first."""
        return ()

    def answer(self, frame: Frame) -> Answer | None:
        """The key after the greeting, subscriptions after it was accepted."""
        try:
            messages = [message for message in _told(frame.data) if message.ev == "status"]
        except UNREADABLE:
            return None
        send: list[str] = []
        accepted: list[str] = []
        for message in messages:
            if message.status == "connected":
                send.append(_said("auth", self._key))
            elif message.status == "auth_success":
                send += [_said("subscribe", ",".join(some)) for some in self._pieces()]
            elif message.status == "success" and message.message.startswith(_SUBSCRIBED):
                told = message.message.removeprefix(_SUBSCRIBED).split(",")
                accepted += [self._asked(topic.strip()) for topic in told]
        return Answer(send=send, accepted=accepted) if send or accepted else None

    def _asked(self, topic: str) -> str:
        """How we have written a topic that is acknowledged; pairs come in several spellings."""
        kind, _, name = topic.partition(".")
        symbols, name = self._makes.rows.symbols, name.removeprefix("C:")
        if symbols.everything or not symbols.has(name):
            return topic
        return self._topic_of.get((kind, symbols.of(name)[0]), topic)

    def _pieces(self) -> list[Sequence[str]]:
        return spaced(self._wanted, _AT_ONCE)

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """What a silence has missed of one symbol."""
        return self._history.page(hole, last)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a frame; a status that ends the connection is raised."""
        if frame.status:
            return self._history.decode(frame)
        try:
            messages: Sequence[_Any] = _all(frame.data)
        except UNREADABLE as error:
            try:
                raws = _raws(frame.data)
            except UNREADABLE:
                raise Skippable("malformed", str(error)) from None
            return each(raws, self._read)
        return each(messages, self._of)

    def _read(self, raw: Raw) -> Iterable[Event]:
        """One of several messages, of which some cannot be read."""
        try:
            message = _one(raw)
        except msgspec.ValidationError as error:
            unknown = "`$.ev`" in str(error)
            raise Skippable("unknown" if unknown else "malformed", str(error)) from None
        return self._of(message)

    def _of(self, message: _Any) -> Iterable[Event]:
        if isinstance(message, _Status):
            _tell(message)
        return self._makes.of(message)


def _said(action: str, params: str) -> str:
    return msgspec.json.encode({"action": action, "params": params}).decode()


def _tell(status: _Status) -> None:
    """Raise what a status means, if it is no good one."""
    said = f"Massive: {status.message.strip()} ({status.status})"
    match status.status:
        case "auth_failed":
            raise Fatal(said, "check the API key (MASSIVE_API_KEY)")
        case "auth_timeout":
            raise Retriable("timeout", said)
        case "max_connections":
            raise Retriable("refused", said, 60.0)
        case "not_authorized":
            raise Fatal(said, "take a channel that your plan includes")
        case "error":
            raise Fatal(said, "correct the feed's symbols or channel")
    if status.status not in _FINE:
        raise Skippable("unknown", said)


class _History:
    """Trades and quotes of a time, one symbol after the other, by `/v3`.

    Times are ns there and ms on the websocket: of a trade that both have, the rows differ, which
    is why only what is missing by id is taken.
    """

    def __init__(self, plan: FeedPlan, makes: _Makes) -> None:
        assert isinstance(plan.options, MassiveFeedOptions)
        options = plan.options
        self._makes = makes
        self._url = f"{plan.vendor_options.rest_url}/v3"
        self._headers = {"Authorization": f"Bearer {plan.key}"}
        self._cursor: str | None = None
        symbols = makes.rows.symbols
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        kinds: list[Take] = [kind for kind in _TOPICS[options.channel] if kind in options.take]
        wanted = kinds[:1] if options.backfill is None else options.backfill
        self.spans = [
            (kind[:-1], symbol)
            for kind in kinds
            if kind in wanted and _PAST[makes.kind] != kind
            for symbol in self._names
            if not symbols.everything
        ]

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The first page; then the one that the answer before has named, if any."""
        cursor = None if last is None else self._cursor
        if last is not None and cursor is None:
            return None
        name = self._names[hole.symbol]
        mark = {"forex": "C:", "crypto": "X:"}.get(self._makes.kind, "")
        ticker = f"{mark}{name.replace('/', '-')}" if mark else name
        asked = (
            {"cursor": cursor}
            if cursor is not None
            else {
                "timestamp.gte": str(hole.started_at),
                "timestamp.lte": str(hole.ended_at),
                "order": "asc",
                "sort": "timestamp",
                "limit": "50000",
            }
        )
        about = f"{hole.event_type} {name}"
        return Request(f"{self._url}/{hole.event_type}s/{ticker}", asked, self._headers, about)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a page. Where the next one is said to be, only its cursor is believed."""
        self._cursor = None
        try:
            said = msgspec.json.decode(frame.data, type=_Page)
        except UNREADABLE as error:
            wrong = refused(frame, "Massive", frame.data.decode(errors="replace"))
            raise wrong or Skippable("malformed", str(error)) from None
        wrong = refused(frame, "Massive", said.error or said.message)
        if wrong is not None:
            raise wrong
        cursors = parse_qs(urlsplit(said.next_url).query).get("cursor", [])
        self._cursor = cursors[0] if cursors else None
        event_type, _, name = frame.about.partition(" ")
        make = self._trade if event_type == "trade" else self._quote
        return each(said.results, lambda raw: make(name, msgspec.json.decode(raw, type=_Past)))

    def _trade(self, name: str, data: _Past) -> Iterator[Event]:
        if data.price is None:
            raise Skippable("malformed", "a trade without a price")
        yield self._makes.rows.trade(
            *(name, _told_at(data), data.price, data.size),
            trade_id=str(data.id) or None,
            exchange=_text(data.exchange),
            conditions=_conditions(data.conditions),
            sequence=data.sequence_number,
        )

    def _quote(self, name: str, data: _Past) -> Iterator[Event]:
        lot = self._makes.lot
        yield self._makes.rows.quote(
            *(name, _told_at(data)),
            *(data.bid_price, None if data.bid_size is None else data.bid_size * lot),
            *(data.ask_price, None if data.ask_size is None else data.ask_size * lot),
            conditions=_conditions(data.conditions),
            bid_exchange=_text(data.bid_exchange),
            ask_exchange=_text(data.ask_exchange),
            sequence=data.sequence_number,
        )


def _told_at(data: _Past) -> int:
    """The SIP's time, as on the websocket; pairs have none."""
    return instant(data.sip_timestamp or data.participant_timestamp, 1)


class MassiveRest:
    """The last trade and quote of each symbol."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, MassiveFeedOptions)
        self.interval = plan.options.interval
        self._take = plan.options.take
        self._makes = _Makes(plan)
        self._url = str(plan.vendor_options.rest_url)
        self._headers = {"Authorization": f"Bearer {plan.key}"}

    def requests(self) -> Sequence[Request]:
        """One or two for each symbol; `about` says whose it is, and of what."""
        made = []
        for name in self._makes.rows.symbols.names:
            paths: dict[str, str] = {}
            if self._makes.kind == "stocks":
                paths = {"trades": f"/v2/last/trade/{name}", "quotes": f"/v2/last/nbbo/{name}"}
            elif self._makes.kind == "forex":
                paths = {"quotes": f"/v1/last_quote/currencies/{name}"}
            else:
                paths = {"trades": f"/v1/last/crypto/{name.replace('-', '/')}"}
            for take in self._take:
                if take in paths:
                    url = f"{self._url}{paths[take]}"
                    made.append(Request(url, headers=self._headers, about=f"{take} {name}"))
        return made

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The event of an answer."""
        try:
            said = msgspec.json.decode(frame.data, type=_Answered)
        except UNREADABLE as error:
            wrong = refused(frame, "Massive", frame.data.decode(errors="replace"))
            raise wrong or Skippable("malformed", str(error)) from None
        wrong = refused(frame, "Massive", said.error or said.message)
        if wrong is not None:
            raise wrong
        take, _, name = frame.about.partition(" ")
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
            trade = msgspec.json.decode(raw, type=_LastTrade)
            yield self._makes.rows.trade(
                *(name, instant(trade.t, 1), trade.p, trade.s),
                trade_id=trade.i or None,
                exchange=_text(trade.x),
                conditions=_conditions(trade.c),
                sequence=trade.q,
            )
            return
        quote = msgspec.json.decode(raw, type=_LastQuote)
        lot = self._makes.lot
        yield self._makes.rows.quote(
            *(name, instant(quote.t, 1)),
            *(quote.p, None if quote.s is None else quote.s * lot),
            *(quote.P, None if quote.S is None else quote.S * lot),
            bid_exchange=_text(quote.x),
            ask_exchange=_text(quote.X),
            sequence=quote.q,
        )

    def _pair(self, take: str, name: str, raw: Raw) -> Iterator[Event]:
        last = msgspec.json.decode(raw, type=_LastPair)
        time, exchange = instant(last.timestamp, MILLISECOND), _text(last.exchange)
        if take == "trades" and last.price is not None:
            yield self._makes.rows.trade(
                *(name, time, last.price, last.size),
                exchange=exchange,
                conditions=_conditions(last.conditions),
            )
        elif take == "quotes":
            yield self._makes.rows.quote(
                *(name, time, last.bid, None, last.ask, None),
                bid_exchange=exchange,
                ask_exchange=exchange,
            )


def _build(plan: FeedPlan) -> Adapter:
    return MassiveRest(plan) if plan.options.channel.endswith("_rest") else MassiveStream(plan)


_STOCKS = ("stock", "etf")
VENDOR = Vendor(
    title="Massive",
    needs_key=True,
    channels={
        "stocks": Channel(
            "websocket", _STOCKS, ("trade", "quote"), "stocks and ETFs", one_connection=True
        ),
        "forex": Channel("websocket", ("fx",), ("quote",), "FX quotes", one_connection=True),
        "crypto": Channel(
            "websocket", ("crypto",), ("trade", "quote"), "crypto", one_connection=True
        ),
        "stocks_rest": Channel("poll", _STOCKS, ("trade", "quote"), "stocks, last values"),
        "forex_rest": Channel("poll", ("fx",), ("quote",), "FX, last quotes"),
        "crypto_rest": Channel("poll", ("crypto",), ("trade",), "crypto, last trades"),
    },
    vendor_options=MassiveVendorOptions,
    feed_options=MassiveFeedOptions,
    build=_build,
)
