"""Alpaca: stocks (IEX, SIP, the test stream) and crypto, by websocket and by REST.

Source: the vendor's pages on streaming and real-time stock data, its Python client and its tests,
2021 to 2026. Every frame is an array; control messages come in arrays of one. Key and secret are
sent after the greeting, subscriptions after `authenticated`; each answer lists all that is
subscribed. Subscribing trades brings their corrections (`c`) and cancels (`x`) too.

* Times are RFC 3339 with 0 to 9 digits, in msgpack the extension -1: seconds and nanoseconds.
* A trade's `i` is unique for an exchange and a day. `x` is the exchange, a letter as sent. Sizes of
  trades are shares. Sizes of stock quotes are round lots, which are taken as `lot` shares, 100
  unless said otherwise (UNCONFIRMED what the lots of 2025-11, which follow the price, changed).
* A correction becomes two rows: the old trade with `action` cancel, the new one with correct. A
  cancel is one row.
* Crypto has neither exchange nor conditions; `tks` is the taker's side, sizes are in base currency.
* 402 refuses the key, 409 the plan, 410 the channel. 400 is a bad symbol, 405 too many of them:
  both refuse a request whole, and leave what was subscribed before as it is. So requests wait for
  their answers, one after the other, and one that is refused is parted until the bad symbols are
  known, or the plan is full.
* 406: one connection an endpoint, and one that broke off is held for about 90 s. 429 answers a
  handshake that follows too soon on another.
* History (`/v2/stocks/trades`, `/v1beta3/crypto/us/trades`, the same for quotes) is the latest
  rows' form in lists, page by page with `next_page_token`; 200 requests a minute on every plan.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct, msgpack
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
    Keepalive,
    Message,
    SecretVendorOptions,
    Silence,
    Vendor,
    WebsocketUrl,
)
from edc.alpaca_short import short_way
from edc.errors import EdcError, Fatal, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import Asked, Rows, differing, each, refused, spaced
from edc.symbols import Symbols, parted, share_class
from edc.times import SECOND, format_iso, instant, parse_iso
from edc.transport import Frame, Request

Take = Literal["trades", "quotes"]
Time = str | msgpack.Ext
_PATHS = {
    "iex": "v2/iex",
    "sip": "v2/sip",
    "delayed_sip": "v2/delayed_sip",
    "test": "v2/test",
    "crypto": "v1beta3/crypto/us",
}
_AT_ONCE = 200
"""Symbols in one message: under the vendor's limit of 32,768 bytes a frame."""
_FULL = 405
_PARTED = (400, _FULL)
"""Codes that refuse a request of which parts may be accepted."""
_BAD_SYMBOLS = (400, 404, 422)
"""Of a polled answer: the request itself is wrong."""
_TIMESTAMP = -1


class AlpacaVendorOptions(SecretVendorOptions):
    """`[vendors.alpaca]`."""

    url: WebsocketUrl = "wss://stream.data.alpaca.markets"
    rest_url: HttpUrl = "https://data.alpaca.markets"


class AlpacaFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Alpaca. `interval` is for polling."""

    take: tuple[Take, ...] = Field(("trades", "quotes"), min_length=1)
    encoding: Literal["json", "msgpack"] = "json"
    lot: int = Field(100, ge=1)
    interval: Duration = Field(10.0, ge=1)
    backfill: tuple[Take, ...] = Field(("trades",), description="what a gap is filled with")


class _Trade(Struct, tag_field="T", tag="t", gc=False):
    S: str
    p: Number
    s: Number
    t: Time
    i: int | None = None
    x: str = ""
    c: list[str] | None = None
    tks: str = ""


class _Quote(Struct, tag_field="T", tag="q", gc=False):
    S: str
    t: Time
    bp: Number | None = None
    bs: Number | None = None
    ap: Number | None = None
    as_: Number | None = msgspec.field(default=None, name="as")
    bx: str = ""
    ax: str = ""
    c: list[str] | None = None


class _Cancel(Struct, tag_field="T", tag="x", gc=False):
    S: str
    i: int
    p: Number
    s: Number
    t: Time
    x: str = ""


class _Correction(Struct, tag_field="T", tag="c", gc=False):
    S: str
    oi: int
    op: Number
    os: Number
    ci: int
    cp: Number
    cs: Number
    t: Time
    x: str = ""
    oc: list[str] | None = None
    cc: list[str] | None = None


class _Success(Struct, tag_field="T", tag="success"):
    msg: str


class _Error(Struct, tag_field="T", tag="error"):
    code: int
    msg: str = ""


class _Subscription(Struct, tag_field="T", tag="subscription"):
    trades: list[str] | None = None
    quotes: list[str] | None = None


class _Status(Struct, tag_field="T", tag="s"):
    pass


class _Band(Struct, tag_field="T", tag="l"):
    pass


class _Bar(Struct, tag_field="T", tag="b"):
    pass


class _DailyBar(Struct, tag_field="T", tag="d"):
    pass


class _UpdatedBar(Struct, tag_field="T", tag="u"):
    pass


class _OrderBook(Struct, tag_field="T", tag="o"):
    pass


_Data = _Trade | _Quote | _Cancel | _Correction
_Control = _Success | _Error | _Subscription
_Other = _Status | _Band | _Bar | _DailyBar | _UpdatedBar | _OrderBook
_Any = _Data | _Control | _Other


class _Past(Struct):
    trades: dict[str, list[Raw]] | None = None
    quotes: dict[str, list[Raw]] | None = None
    next_page_token: str | None = None
    message: str = ""


class _Latest(Struct):
    trades: dict[str, Raw] = {}
    quotes: dict[str, Raw] = {}
    message: str = ""


def _time(told: Time) -> int:
    if isinstance(told, str):
        return parse_iso(told)
    data = bytes(told.data)
    if told.code != _TIMESTAMP or len(data) not in (4, 8, 12):
        raise ValueError("an extension that is no time")
    if len(data) == 4:  # noqa: PLR2004 - seconds; the forms are those of the msgpack format
        return instant(int.from_bytes(data, "big"), SECOND)
    if len(data) == 8:  # noqa: PLR2004 - 30 bits of nanoseconds, 34 of seconds
        both = int.from_bytes(data, "big")
        ns, seconds = both >> 34, both & ((1 << 34) - 1)
    else:
        ns = int.from_bytes(data[:4], "big")
        seconds = int.from_bytes(data[4:], "big", signed=True)
    if ns >= SECOND:
        raise ValueError("a time with more than a second of nanoseconds")
    return instant(seconds * SECOND + ns, 1)


def _conditions(codes: Sequence[str] | None) -> str | None:
    return ",".join(code for code in codes or () if code.strip()) or None


class _Makes:
    """Events of the messages of one feed."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, AlpacaFeedOptions)
        self.crypto = plan.options.channel.startswith("crypto")

        def call(symbol: str, asset_type: str, written: str) -> str:
            pair = asset_type == "crypto"
            return "/".join(parted(symbol, written)) if pair else share_class(symbol, ".")

        self.rows = Rows(Symbols(plan, call))
        self._lot = 1 if self.crypto else plan.options.lot
        self._event: dict[type, Callable[[Any], Iterable[Event]]] = {
            _Trade: self._trade,
            _Quote: self._quote,
            _Cancel: self._cancel,
            _Correction: self._correction,
        }

    def of(self, message: _Any) -> Iterable[Event]:
        make = self._event.get(type(message))
        return () if make is None else make(message)

    def _trade(self, data: _Trade) -> Iterator[Event]:
        yield self.rows.trade(
            *(data.S, _time(data.t), data.p, data.s),
            trade_id=None if data.i is None else str(data.i),
            side={"B": "buy", "S": "sell"}.get(data.tks),
            exchange=data.x or None,
            conditions=_conditions(data.c),
        )

    def _quote(self, data: _Quote) -> Iterator[Event]:
        lot = self._lot
        yield self.rows.quote(
            *(data.S, _time(data.t)),
            *(data.bp, None if data.bs is None else data.bs * lot),
            *(data.ap, None if data.as_ is None else data.as_ * lot),
            conditions=_conditions(data.c),
            bid_exchange=data.bx or None,
            ask_exchange=data.ax or None,
        )

    def _cancel(self, data: _Cancel) -> Iterator[Event]:
        yield self.rows.trade(
            *(data.S, _time(data.t), data.p, data.s),
            trade_id=str(data.i),
            exchange=data.x or None,
            action="cancel",
        )

    def _correction(self, data: _Correction) -> Iterator[Event]:
        time, exchange = _time(data.t), data.x or None
        yield self.rows.trade(
            *(data.S, time, data.op, data.os),
            trade_id=str(data.oi),
            exchange=exchange,
            conditions=_conditions(data.oc),
            action="cancel",
        )
        yield self.rows.trade(
            *(data.S, time, data.cp, data.cs),
            trade_id=str(data.ci),
            exchange=exchange,
            conditions=_conditions(data.cc),
            action="correct",
        )


class AlpacaStream:
    """One endpoint of Alpaca."""

    messages_per_second = 10.0
    keepalive: Keepalive | None = None

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, AlpacaFeedOptions)
        options = plan.options
        self.url = f"{plan.vendor_options.url}/{_PATHS[options.channel]}"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._binary = options.encoding == "msgpack"
        self.headers: Mapping[str, str] = {"Content-Type": f"application/{options.encoding}"}
        self._makes = _Makes(plan)
        self._take = options.take
        self._key, self._secret = plan.key, plan.secret
        self._waiting: deque[list[str]] = deque()
        self._asking: list[str] = []
        """The topics of the request that is not answered yet."""
        self._welcome = False
        self._history = _History(plan, self._makes)
        self.history_every = _History.every
        self.spans = self._history.spans
        commonest = not (self._binary or self._makes.crypto)
        self.short = short_way(self._makes.rows, options.lot) if commonest else None
        symbols = self._makes.rows.symbols
        self.topics = {
            f"{kind} {name}": symbols.of(name)[0] for name in symbols.names for kind in options.take
        }
        decoder: Any = msgpack.Decoder if self._binary else msgspec.json.Decoder
        self._all: Callable[[bytes], list[_Any]] = decoder(list[_Any]).decode
        self._one: Callable[[Raw], _Any] = decoder(_Any).decode
        self._raws: Callable[[bytes], list[Raw]] = decoder(list[Raw]).decode

    def subscribe(self) -> Sequence[Message]:
        """Nothing: the vendor speaks first."""
        return ()

    def answer(self, frame: Frame) -> Answer | None:
        """Key and secret after the greeting, then one request after the other."""
        try:
            messages = self._all(frame.data)
        except UNREADABLE:
            return None
        send: list[Message] = []
        accepted: list[str] = []
        refused: dict[str, str] = {}
        for message in messages:
            if isinstance(message, _Success) and message.msg == "connected":
                send.append(self._said(action="auth", key=self._key, secret=self._secret))
            elif isinstance(message, _Success) and message.msg == "authenticated":
                self._welcome = True
                self._waiting.extend(self._pieces())
                send += self._next()
            elif isinstance(message, _Subscription):
                accepted += [f"trades {name}" for name in message.trades or ()]
                accepted += [f"quotes {name}" for name in message.quotes or ()]
                send += self._next()
            elif isinstance(message, _Error) and message.code in _PARTED and self._asking:
                refused |= self._part(message)
                send += self._next()
        return Answer(send=send, accepted=accepted, refused=refused)

    def change(self, plan: FeedPlan) -> Sequence[Message]:
        """Symbols come and go; before the vendor knows us there is nothing to say."""
        other = AlpacaStream(plan)
        symbols = self._makes.rows.symbols
        added, gone = differing(symbols.names, other._makes.rows.symbols.names)
        symbols.become(other._makes.rows.symbols)
        self.topics, self.spans = other.topics, other.spans
        self._history = _History(plan, self._makes)
        if not self._welcome:
            return ()
        said = [
            self._said(action="unsubscribe", **{kind: list(some) for kind in self._take})
            for some in spaced(gone, _AT_ONCE)
        ]
        self._waiting.extend(self._pieces(added))
        return said if self._asking else [*said, *self._next()]

    def _pieces(self, names: Sequence[str] | None = None) -> list[list[str]]:
        """Topics for one request each; of all names where none are given."""
        symbols = self._makes.rows.symbols
        if names is None:
            names = ["*"] if symbols.everything else symbols.names
        topics = [f"{kind} {name}" for name in names for kind in self._take]
        return [list(piece) for piece in spaced(topics, _AT_ONCE * len(self._take))]

    def _next(self) -> list[Message]:
        """The next request, if there is one more to make."""
        self._asking = self._waiting.popleft() if self._waiting else []
        if not self._asking:
            return []
        asked: dict[str, list[str]] = {}
        for topic in self._asking:
            kind, _, name = topic.partition(" ")
            asked.setdefault(kind, []).append(name)
        return [self._said(action="subscribe", **asked)]

    def _part(self, error: _Error) -> dict[str, str]:
        """What a refused request means: topics with the reason, or two requests in its place."""
        asked = self._asking
        if len(asked) > 1 and not self._makes.rows.symbols.everything:
            middle = len(asked) // 2
            self._waiting.extendleft((asked[middle:], asked[:middle]))
            return {}
        said = f"Alpaca: {error.msg} ({error.code})"
        if asked[0] not in self.topics:
            raise Fatal(said, "list the feed's symbols, or take a larger plan")
        if error.code == _FULL:  # so it is for all that would follow
            asked = [*asked, *(topic for piece in self._waiting for topic in piece)]
            self._waiting.clear()
        return {topic: f"{topic.partition(' ')[0]}: {said}" for topic in asked}

    def _said(self, **message: object) -> Message:
        if self._binary:
            return msgpack.encode(message)
        return msgspec.json.encode(message).decode()

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """What a silence has missed of one symbol."""
        return self._history.page(hole, last)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a frame; an error of the vendor's is raised as what it means."""
        if frame.status:
            return self._history.decode(frame)
        try:
            messages: Sequence[_Any] = self._all(frame.data)
        except UNREADABLE as error:
            try:
                raws = self._raws(frame.data)
            except UNREADABLE:
                raise Skippable("malformed", str(error)) from None
            return each(raws, self._of)
        for message in messages:
            if isinstance(message, _Error):
                self._tell(message)
        return each(messages, self._makes.of)

    def _of(self, raw: Raw) -> Iterable[Event]:
        """One of several messages, of which some cannot be read."""
        try:
            message = self._one(raw)
        except msgspec.ValidationError as error:
            unknown = "`$.T`" in str(error)
            raise Skippable("unknown" if unknown else "malformed", str(error)) from None
        if isinstance(message, _Error):
            self._tell(message)
        return self._makes.of(message)

    def _tell(self, error: _Error) -> None:
        """Raise what a code means, unless `answer` deals with it."""
        if error.code not in _PARTED:
            _tell(error)
        elif not self._asking:
            raise Skippable("notice", f"Alpaca: {error.msg} ({error.code})")


def _tell(error: _Error) -> None:
    """Raise what a code means; 403 (authenticated before) means nothing."""
    said = f"Alpaca: {error.msg} ({error.code})"
    means: dict[int, EdcError] = {
        401: Retriable("refused", said),
        402: Fatal(said, "check the API key and secret (ALPACA_API_KEY, ALPACA_API_SECRET)"),
        404: Retriable("timeout", said),
        406: Retriable("refused", said, 90.0),
        407: Retriable("refused", said),
        409: Fatal(said, "take a channel that your plan includes"),
        410: Fatal(said, "take a channel that has what this feed asks for"),
    }
    if error.code in means:
        raise means[error.code]
    if error.code != 403:  # noqa: PLR2004 - the vendor's number
        raise Retriable("server_error", said)


def _row(makes: _Makes, row: tuple[str, str, Raw]) -> Iterable[Event]:
    """A row of REST is the websocket's message without its type and symbol."""
    kind, name, raw = row
    fields = msgspec.json.decode(raw, type=dict[str, Any])
    return makes.of(msgspec.convert({**fields, "T": kind, "S": name}, _Data))


def _headers(plan: FeedPlan) -> dict[str, str]:
    return {"APCA-API-KEY-ID": plan.key, "APCA-API-SECRET-KEY": plan.secret}


class _History:
    """Trades and quotes of a time, one symbol after the other."""

    every = 0.3
    """Seconds: 200 requests a minute."""

    def __init__(self, plan: FeedPlan, makes: _Makes) -> None:
        assert isinstance(plan.options, AlpacaFeedOptions)
        options = plan.options
        self._makes = makes
        path = "v1beta3/crypto/us/{}" if makes.crypto else "v2/stocks/{}"
        self._url = f"{plan.vendor_options.rest_url}/{path}"
        self._asked = {} if makes.crypto else {"feed": options.channel.removeprefix("delayed_")}
        self._headers = _headers(plan)
        self._token: str | None = None
        symbols = makes.rows.symbols
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        kinds = [kind for kind in options.backfill if kind in options.take]
        has_none = options.channel == "test" or symbols.everything
        self.spans = [] if has_none else [(k[:-1], name) for k in kinds for name in self._names]

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The first page; then the one that the answer before has named, if any."""
        token = None if last is None else self._token
        if last is not None and token is None:
            return None
        asked = {
            "symbols": self._names[hole.symbol],
            "start": format_iso(hole.started_at),
            "end": format_iso(hole.ended_at),
            "limit": "10000",
            "sort": "asc",
            **self._asked,
        }
        if token is not None:
            asked["page_token"] = token
        return Request(self._url.format(f"{hole.event_type}s"), asked, self._headers)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a page."""
        self._token = None
        try:
            said = msgspec.json.decode(frame.data, type=_Past)
        except UNREADABLE as error:
            wrong = refused(frame, "Alpaca", frame.data.decode(errors="replace"))
            raise wrong or Skippable("malformed", str(error)) from None
        wrong = refused(frame, "Alpaca", said.message)
        if wrong is not None:
            raise wrong
        self._token = said.next_page_token or None
        rows = [("t", name, raw) for name, raws in (said.trades or {}).items() for raw in raws]
        rows += [("q", name, raw) for name, raws in (said.quotes or {}).items() for raw in raws]
        return each(rows, partial(_row, self._makes))


class AlpacaRest:
    """The latest trades and quotes of all symbols."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, AlpacaFeedOptions)
        self.interval = plan.options.interval
        self._makes = _Makes(plan)
        base = "v1beta3/crypto/us/latest/{}" if self._makes.crypto else "v2/stocks/{}/latest"
        self._urls = [
            f"{plan.vendor_options.rest_url}/{base.format(kind)}" for kind in plan.options.take
        ]
        self.request_every = _History.every
        self._headers = _headers(plan)
        self._asked = Asked(self._makes.rows.symbols, _AT_ONCE)

    def requests(self) -> Sequence[Request]:
        """Two hundred symbols a request."""
        pieces = self._asked.pieces()
        return [
            Request(url, {"symbols": ",".join(some)}, self._headers, about=",".join(some))
            for url in self._urls
            for some in pieces
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of an answer, by symbol."""
        try:
            said = msgspec.json.decode(frame.data, type=_Latest)
        except UNREADABLE as error:
            wrong = refused(frame, "Alpaca", frame.data.decode(errors="replace"))
            raise wrong or Skippable("malformed", str(error)) from None
        wrong = refused(frame, "Alpaca", said.message)
        if wrong is not None and frame.status in _BAD_SYMBOLS and frame.about:
            raise self._asked.refuse_whole(frame.about.split(","), wrong)
        if wrong is not None:
            raise wrong
        rows = [("t", name, raw) for name, raw in said.trades.items()]
        rows += [("q", name, raw) for name, raw in said.quotes.items()]
        return each(rows, partial(_row, self._makes))


def _build(plan: FeedPlan) -> Adapter:
    return AlpacaRest(plan) if plan.options.channel.endswith("_rest") else AlpacaStream(plan)


_STOCKS = ("stock", "etf")


def _stream(kinds: tuple[str, ...], text: str) -> Channel:
    return Channel("websocket", kinds, ("trade", "quote"), text, one_connection=True)


VENDOR = Vendor(
    title="Alpaca",
    needs_key=True,
    channels={
        "iex": _stream(_STOCKS, "stocks and ETFs on IEX"),
        "sip": _stream(_STOCKS, "stocks and ETFs, consolidated"),
        "delayed_sip": _stream(_STOCKS, "the same, fifteen minutes late"),
        "test": _stream(_STOCKS, "a stream that is always on; its symbol is FAKEPACA"),
        "crypto": _stream(("crypto",), "crypto"),
        "stocks_rest": Channel("poll", _STOCKS, ("trade", "quote"), "stocks, last values"),
        "crypto_rest": Channel("poll", ("crypto",), ("trade", "quote"), "crypto, last values"),
    },
    vendor_options=AlpacaVendorOptions,
    feed_options=AlpacaFeedOptions,
    build=_build,
)
