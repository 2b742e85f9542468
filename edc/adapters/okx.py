"""OKX v5, by its public and business websockets and by REST. No key is needed.

Source: the venue's docs-v5, client libraries that follow them, recordings of 2021 to 2026. Spot
pairs are spelled like all pairs (`btcusdt` is BTC-USDT), derivatives by the venue's own names in
lower case (`btc-usdt-swap`).

* `trades` are merged: `tradeId` is that of the last of `count` trades of one taker at one price, so
  the id before it plus `count` is this one; what is missing is told, and cannot be filled. Channels
  `…_trades` have `trades-all`, one row for each match, on the business address; their ids count up
  by one, so that jumps are filled. UNCONFIRMED: whether `trades-all` wants a login some day.
* `side` is the taker's. Sizes are in base currency for spot; of derivatives in contracts, which
  their condition says, since a contract's size is known to REST only. `source` 1 is a retail price
  improvement order.
* `bbo-tbt` is the best bid and offer; its `seqId` does not count by one. `tickers` gives the last
  price, `mark-price` and `index-tickers` theirs, each a ref_px when it changes.
* Each argument is acknowledged by itself; 60018 names the one that does not exist. The venue wants
  the text `ping` after 30 s of silence and announces the end of a connection (64008).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

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
from edc.rows import Rows, above_missing, differing, each, refused
from edc.symbols import Symbols, parted
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

Stream = Literal["trades", "trades-all", "bbo-tbt", "tickers", "mark-price", "index-tickers"]
_STREAMS: dict[str, tuple[Stream, ...]] = {
    "spot": ("trades", "bbo-tbt", "tickers", "index-tickers"),
    "spot_trades": ("trades-all",),
    "derivatives": ("trades", "bbo-tbt", "tickers", "mark-price"),
    "derivatives_trades": ("trades-all",),
    "spot_rest": ("trades",),
    "derivatives_rest": ("trades",),
}
"""What each channel may carry; the first two are the default."""
_AT_ONCE = 50
_PAGE = 100
_NAMED = re.compile(r"channel:(?P<channel>[\w-]+),\s*instId:(?P<name>[\w-]+)")


_OPTION = re.compile(r"([a-z0-9]+-[a-z0-9_]+)-\d{6}-[0-9.]+-[cp]")
"""`BTC-USD-260925-60000-C` in lower case."""


class OkxVendorOptions(VendorOptions):
    """`[vendors.okx]`. Accounts of the EEA and the US have hosts of their own (wseea, wsus)."""

    url: WebsocketUrl = "wss://ws.okx.com:8443/ws/v5"
    rest_url: HttpUrl = "https://www.okx.com"


class OkxFeedOptions(FeedOptions):
    """`[feeds.NAME]` of OKX. `interval` is for polling."""

    streams: tuple[Stream, ...] = ()
    interval: Duration = Field(10.0, ge=1)

    @model_validator(mode="after")
    def _fit(self) -> "OkxFeedOptions":
        known = _STREAMS.get(self.channel, self.streams)
        wrong = [stream for stream in self.streams if stream not in known]
        if wrong:
            raise ValueError(
                f"channel {self.channel} has no stream {wrong[0]}; streams are {', '.join(known)}"
            )
        return self

    @property
    def chosen(self) -> tuple[Stream, ...]:
        """The streams asked for, or the default."""
        return self.streams or _STREAMS[self.channel][:2]


class _Trade(Struct, rename={"id": "tradeId"}, gc=False):
    instId: str  # noqa: N815 - the venue's word
    id: str
    px: Number
    sz: Number
    side: Literal["buy", "sell"]
    ts: int
    count: int = 1
    source: str = "0"


class _Book(Struct, rename="camel"):
    asks: list[tuple[Number, Number, str, str]]
    bids: list[tuple[Number, Number, str, str]]
    ts: int
    seq_id: int | None = None


class _Price(Struct, gc=False):
    instId: str  # noqa: N815 - the venue's word
    ts: int
    last: str = ""
    markPx: str = ""  # noqa: N815
    idxPx: str = ""  # noqa: N815


class _Listed(Struct, rename="camel"):
    inst_id: str
    base_ccy: str = ""
    quote_ccy: str = ""


class _Argument(Struct, rename="camel"):
    channel: str = ""
    inst_id: str = ""


class _Frame(Struct):
    event: str = ""
    arg: _Argument | None = None
    data: list[Raw] | None = None
    code: str = ""
    msg: str = ""


_frame = msgspec.json.Decoder(_Frame).decode
_trade = msgspec.json.Decoder(_Trade, strict=False).decode
_book = msgspec.json.Decoder(_Book, strict=False).decode
_price = msgspec.json.Decoder(_Price, strict=False).decode


def _rows(plan: FeedPlan) -> Rows:
    derivatives = plan.options.channel.startswith("derivatives")

    def call(symbol: str, _type: str, written: str) -> str:
        return symbol.upper() if derivatives else "-".join(parted(symbol, written))

    return Rows(Symbols(plan, call), "OKX")


class _Trades:
    """Makes trades, and watches the numbers of merged ones."""

    def __init__(self, rows: Rows, *, in_contracts: bool, numbered: bool) -> None:
        self._rows = rows
        self._in_contracts = in_contracts
        self._numbered = numbered
        self._last: dict[str, int] = {}

    def of(self, raw: Raw) -> Iterator[Event]:
        data = _trade(raw)
        flags = {"contracts": self._in_contracts, "rpi": data.source == "1"}
        flags["merged"] = data.count > 1
        number = int(data.id)
        made = self._rows.trade(
            *(data.instId, instant(data.ts, MILLISECOND), data.px, data.sz),
            trade_id=data.id,
            side=data.side,
            sequence=number if self._numbered else None,
            conditions=",".join(name for name, flag in flags.items() if flag) or None,
        )
        last = self._last.get(data.instId)
        self._last[data.instId] = max(number, last or 0)
        if not self._numbered and last is not None and last + data.count < number:
            missing = number - last - data.count
            problem = f"{missing} trades of {data.instId} are missing before {number}"
            raise Skippable("sequence", problem, [made], missing)
        yield made


class OkxStream:
    """Some streams of some instruments on one connection."""

    messages_per_second = 3.0
    keepalive: Keepalive | None = Keepalive("ping", 20.0)
    history_every = 0.2

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, OkxFeedOptions)
        options = plan.options
        business = options.channel.endswith("_trades")
        self.url = f"{plan.vendor_options.url}/{'business' if business else 'public'}"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        self._rest_url = str(plan.vendor_options.rest_url)
        symbols = self._rows.symbols
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        self.topics = {
            f"{stream} {name}": symbols.of(name)[0]
            for stream in options.chosen
            for name in symbols.names
        }
        in_contracts = options.channel.startswith("derivatives")
        self._trades = _Trades(self._rows, in_contracts=in_contracts, numbered=business)
        self._prices: dict[tuple[str, str], float] = {}
        self._said = 0
        self._make: dict[str, Callable[[Raw, str], Iterator[Event]]] = {
            "trades": lambda raw, _name: self._trades.of(raw),
            "trades-all": lambda raw, _name: self._trades.of(raw),
            "bbo-tbt": self._quote,
            "tickers": self._priced,
            "mark-price": self._priced,
            "index-tickers": self._priced,
        }

    def subscribe(self) -> Sequence[str]:
        """Fifty arguments a message: under its limit of 64 KB by far."""
        return self._say("subscribe", list(self.topics))

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Each change counts as a subscription; fifty arguments a message here too."""
        other = OkxStream(plan)
        added, gone = differing(self.topics, other.topics)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        self._names |= other._names
        if not self._said:
            return ()
        return [*self._say("unsubscribe", gone), *self._say("subscribe", added)]

    def _say(self, operation: str, topics: Sequence[str]) -> list[str]:
        pairs = [topic.split(" ", 1) for topic in topics]
        arguments = [{"channel": stream, "instId": name} for stream, name in pairs]
        said = []
        for start in range(0, len(arguments), _AT_ONCE):
            self._said += 1
            some = arguments[start : start + _AT_ONCE]
            message = {"id": str(self._said), "op": operation, "args": some}
            said.append(msgspec.json.encode(message).decode())
        return said

    def answer(self, frame: Frame) -> Answer | None:
        """An acknowledgement, a refusal, or the notice that the connection ends."""
        try:
            said = _frame(frame.data)
        except UNREADABLE:
            return None
        match said.event:
            case "subscribe" if said.arg is not None:
                return Answer(accepted=(f"{said.arg.channel} {said.arg.inst_id}",))
            case "notice" if said.code == "64008":
                return Answer(leaving=True)
            case "error":
                why = f"{said.msg} ({said.code})"
                named = _NAMED.search(said.msg)
                if named is not None:
                    return Answer(refused={f"{named['channel']} {named['name']}": why})
                return Answer(refused=dict.fromkeys(self.topics, why))
        return None

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a push, or of a page of history."""
        if frame.status:
            return _answered(self._trades, frame)
        if frame.data == b"pong":
            return ()
        try:
            said = _frame(frame.data)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        if said.arg is not None and said.data is not None:
            make = self._make.get(said.arg.channel)
            if make is None:
                raise Skippable("unknown", f"channel {said.arg.channel!r}")
            name = said.arg.inst_id
            return each(said.data, lambda raw: make(raw, name))
        if said.event in ("subscribe", "unsubscribe", "notice", "error", "channel-conn-count"):
            return ()
        raise Skippable("unknown", f"event {said.event!r}")

    def _quote(self, raw: Raw, name: str) -> Iterator[Event]:
        book = _book(raw)
        bid = book.bids[0][:2] if book.bids else (None, None)
        ask = book.asks[0][:2] if book.asks else (None, None)
        time = instant(book.ts, MILLISECOND)
        yield self._rows.quote(name, time, *bid, *ask, sequence=book.seq_id)

    def _priced(self, raw: Raw, _name: str) -> Iterator[Event]:
        data = _price(raw)
        for kind, text in (("last", data.last), ("mark", data.markPx), ("index", data.idxPx)):
            price = decimal(text)
            if price is not None and price != self._prices.get((data.instId, kind)):
                yield self._rows.price(data.instId, instant(data.ts, MILLISECOND), price, kind)
                self._prices[data.instId, kind] = price

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """`history-trades`, a hundred older than the end of the hole, then older ones."""
        oldest = above_missing(hole, last)
        if oldest is None:
            return None
        params = {"instId": self._names[hole.symbol], "type": "1", "after": str(oldest)}
        params["limit"] = str(_PAGE)
        return Request(f"{self._rest_url}/api/v5/market/history-trades", params)


class OkxRest:
    """The last trades of each instrument."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, OkxFeedOptions)
        self.interval = plan.options.interval
        self._url = f"{plan.vendor_options.rest_url}/api/v5/market/trades"
        self._rows = _rows(plan)
        in_contracts = plan.options.channel.startswith("derivatives")
        self._trades = _Trades(self._rows, in_contracts=in_contracts, numbered=True)

    def requests(self) -> Sequence[Request]:
        """One for each instrument."""
        return [
            Request(self._url, {"instId": name, "limit": "500"})
            for name in self._rows.symbols.names
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return _answered(self._trades, frame)


def _data(frame: Frame) -> Sequence[Raw]:
    """The rows of a polled answer. Raises what it means where it is an error."""
    try:
        said = _frame(frame.data)
    except UNREADABLE as error:
        wrong = refused(frame, "OKX", frame.data.decode(errors="replace"))
        raise wrong or Skippable("malformed", str(error)) from None
    if said.code == "50011":
        raise Retriable("rate_limited", f"OKX: {said.msg} (50011)", 2.0)
    wrong = refused(frame, "OKX", f"{said.msg} ({said.code})", wait=2.0)
    if wrong is not None:
        raise wrong
    if said.code not in ("", "0"):
        raise Fatal(f"OKX: {said.msg} ({said.code})", "correct the feed's symbols")
    if said.data is None:
        raise Skippable("malformed", "an answer without data")
    return said.data


def _answered(trades: _Trades, frame: Frame) -> Sequence[Event]:
    return each(_data(frame), trades.of)


def _build(plan: FeedPlan) -> Adapter:
    return OkxRest(plan) if plan.options.channel.endswith("_rest") else OkxStream(plan)


def _most_symbols(options: FeedOptions) -> int:
    assert isinstance(options, OkxFeedOptions)
    return 400 // len(options.chosen)  # of 480 subscriptions an hour on a connection


_CRYPTO = ("crypto",)


def _lists(options: VendorOptions, channel: str) -> Sequence[Request]:
    url = f"{options.rest_url}/api/v5/public/instruments"
    kinds = ("SPOT",) if channel.startswith("spot") else ("SWAP", "FUTURES")
    return [Request(url, {"instType": kind}) for kind in kinds]


def _instruments(frame: Frame) -> Sequence[Instrument]:
    found = [msgspec.json.decode(raw, type=_Listed) for raw in _data(frame)]
    return [Instrument(each.inst_id, each.base_ccy, each.quote_ccy) for each in found]


def _covers(symbol: str) -> bool:
    """False for what looks like an option, of which no one knows on what."""
    return not symbol.endswith(("-c", "-p"))


def _family(symbol: str) -> str:
    """`BTC-USD` of `btc-usd-260925-60000-c`."""
    option = _OPTION.fullmatch(symbol)
    return option[1].upper() if option else ""


def _part(options: VendorOptions, family: str) -> Request:
    """Options are listed for one family at a time."""
    url = f"{options.rest_url}/api/v5/public/instruments"
    return Request(url, {"instType": "OPTION", "instFamily": family})


VENDOR = Vendor(
    title="OKX",
    needs_key=False,
    channels={
        "spot": Channel(
            "websocket",
            _CRYPTO,
            ("trade", "quote", "ref_px"),
            "spot; streams: trades (merged), bbo-tbt, tickers, index-tickers",
        ),
        "spot_trades": Channel(
            "websocket", _CRYPTO, ("trade",), "spot, every single trade", sequenced=("trade",)
        ),
        "derivatives": Channel(
            "websocket",
            _CRYPTO,
            ("trade", "quote", "ref_px"),
            "swaps, futures, options; streams: trades (merged), bbo-tbt, tickers, mark-price",
            own_names=True,
        ),
        "derivatives_trades": Channel(
            "websocket",
            _CRYPTO,
            ("trade",),
            "swaps, futures, options, every single trade",
            sequenced=("trade",),
            own_names=True,
        ),
        "spot_rest": Channel("poll", _CRYPTO, ("trade",), "spot, last trades"),
        "derivatives_rest": Channel(
            "poll", _CRYPTO, ("trade",), "derivatives, last trades", own_names=True
        ),
    },
    vendor_options=OkxVendorOptions,
    feed_options=OkxFeedOptions,
    build=_build,
    most_symbols=_most_symbols,
    instruments=Instruments(_lists, _instruments, covers=_covers, family=_family, part=_part),
)
