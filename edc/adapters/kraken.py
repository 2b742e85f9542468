"""Kraken spot, websocket v2, and its REST trades. No key is needed.

Source: the venue's pages on websocket v2 (trade, ticker, heartbeat, status) and on REST
GetRecentTrades, read 2026. Prices and sizes are JSON numbers, sizes in base currency, `side` is the
taker's. `trade_id` counts up by one within a book.

* `ticker` is asked for with `event_trigger: bbo`; by default it comes with trades only. It is the
  best bid and offer, and its `last` a ref_px whenever it changes. `timestamp` came in 2025: without
  it the time of receipt counts. An empty book has zeros and the year 1970: no quote.
* Subscribing brings the last trades (`snapshot`), which are in the lake once all the same.
* Each symbol is acknowledged or refused by itself. `{"Error": …}` without a method is a limit.
* REST has the time as seconds with a fraction, of which every digit is kept. It may have more
  digits than the websocket's, so a back-fill adds only ids that are missing. Its names are older:
  XBT, XDG.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
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
from edc.events import Event, Trade
from edc.fields import UNREADABLE, Number
from edc.rows import Rows, differing, each, refused, spaced
from edc.symbols import Symbols, parted, usual_pair
from edc.times import SECOND, exact_instant, parse_iso
from edc.transport import Frame, Request

Stream = Literal["trade", "ticker"]
_AT_ONCE = 100
_PAGE = 1000
_OLD_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
_NEW_NAMES = {old: new for new, old in _OLD_NAMES.items()}


class KrakenVendorOptions(VendorOptions):
    """`[vendors.kraken]`."""

    url: WebsocketUrl = "wss://ws.kraken.com/v2"
    rest_url: HttpUrl = "https://api.kraken.com"


class KrakenFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Kraken. `interval` is for polling."""

    streams: tuple[Stream, ...] = Field(("trade", "ticker"), min_length=1)
    interval: Duration = Field(10.0, ge=1)


class _Trade(Struct, gc=False):
    symbol: str
    side: str
    price: Number
    qty: Number
    trade_id: int
    timestamp: str


class _Ticker(Struct, gc=False):
    symbol: str
    bid: Number | None = None
    bid_qty: Number | None = None
    ask: Number | None = None
    ask_qty: Number | None = None
    last: Number | None = None
    timestamp: str | None = None


class _Result(Struct):
    channel: str = ""
    symbol: str = ""


class _Frame(Struct, rename={"problem": "Error"}):
    channel: str = ""
    type: str = ""
    data: list[Raw] = []
    method: str = ""
    success: bool | None = None
    error: str = ""
    symbol: str = ""
    req_id: int | None = None
    result: _Result | None = None
    problem: str = ""


class _Pair(Struct):
    wsname: str = ""


class _Answer(Struct):
    error: list[str] = []
    result: dict[str, Raw] = {}


_frame = msgspec.json.Decoder(_Frame).decode
_trade = msgspec.json.Decoder(_Trade).decode
_ticker = msgspec.json.Decoder(_Ticker).decode
_rest_trade = msgspec.json.Decoder(
    tuple[Number, Number, Decimal, Literal["b", "s"], str, str, int], strict=False
).decode


def _rows(plan: FeedPlan) -> Rows:
    def call(symbol: str, _type: str, written: str) -> str:
        return "/".join(parted(symbol, written))

    return Rows(Symbols(plan, call), "KRAKEN")


class KrakenStream:
    """The trades and tickers of some symbols on one connection."""

    messages_per_second = 5.0
    keepalive: Keepalive | None = None
    history_every = 1.1
    """The public limit is about one request a second."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, KrakenFeedOptions)
        options = plan.options
        self.url = str(plan.vendor_options.url)
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        self._rest_url = str(plan.vendor_options.rest_url)
        self._streams = options.streams
        symbols = self._rows.symbols
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        self.topics = {
            f"{stream} {name}": symbols.of(name)[0]
            for stream in options.streams
            for name in symbols.names
        }
        self._last: dict[str, float] = {}
        self._said = False

    def subscribe(self) -> Sequence[str]:
        """A message for each channel and hundred symbols; `req_id` says which channel it was."""
        self._said = True
        return self._messages("subscribe", self._rows.symbols.names)

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Symbols come and go on each channel."""
        other = KrakenStream(plan)
        added, gone = differing(self._rows.symbols.names, other._rows.symbols.names)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        self._names |= other._names
        if not self._said:
            return ()
        return [*self._messages("unsubscribe", gone), *self._messages("subscribe", added)]

    def _messages(self, method: str, names: Sequence[str]) -> list[str]:
        messages = []
        for number, stream in enumerate(self._streams, 1):
            for some in spaced(names, _AT_ONCE):
                params: dict[str, object] = {"channel": stream, "symbol": some}
                if stream == "ticker":
                    params["event_trigger"] = "bbo"
                if method == "subscribe":
                    params["snapshot"] = True
                message = {"method": method, "params": params, "req_id": number}
                messages.append(msgspec.json.encode(message).decode())
        return messages

    def answer(self, frame: Frame) -> Answer | None:
        """One acknowledgement or refusal for each symbol."""
        try:
            said = _frame(frame.data)
        except UNREADABLE:
            return None
        if said.method != "subscribe" or said.success is None:
            return None
        if said.success and said.result is not None:
            return Answer(accepted=(f"{said.result.channel} {said.result.symbol}",))
        number = said.req_id or 0
        asked = self._streams[number - 1 : number] if number > 0 else self._streams
        return Answer(refused={f"{stream} {said.symbol}": said.error for stream in asked})

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a frame with data, or of a page of history."""
        if frame.status:
            return _answered(self._rows, frame)
        try:
            said = _frame(frame.data)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        match said.channel:
            case "trade":
                events = each(said.data, self._trade)
                if said.type == "snapshot":  # whatever their order: numbers rise
                    events.sort(key=lambda event: getattr(event, "sequence", 0))
                return events
            case "ticker":
                return each(said.data, lambda raw: self._ticker(raw, frame.received_ns))
            case "heartbeat" | "status":
                return ()
        if said.method in ("subscribe", "unsubscribe", "pong"):
            return ()
        if "msg rate" in said.problem:
            raise Retriable("rate_limited", f"Kraken: {said.problem}", 60.0)
        raise Skippable("unknown", said.problem or f"channel {said.channel!r}")

    def _trade(self, raw: Raw) -> Iterator[Event]:
        data = _trade(raw)
        if data.side not in ("buy", "sell"):
            raise ValueError(f"{data.side!r} is no side")
        yield self._rows.trade(
            *(data.symbol, parse_iso(data.timestamp), data.price, data.qty),
            trade_id=str(data.trade_id),
            side=data.side,
            sequence=data.trade_id,
        )

    def _ticker(self, raw: Raw, received_ns: int) -> Iterator[Event]:
        data = _ticker(raw)
        time = received_ns if data.timestamp is None else parse_iso(data.timestamp)
        if data.bid or data.ask:
            sides = (data.bid, data.bid_qty, data.ask, data.ask_qty)
            yield self._rows.quote(data.symbol, time, *sides)
        if data.last and data.last != self._last.get(data.symbol):
            yield self._rows.price(data.symbol, time, data.last, "last")
            self._last[data.symbol] = data.last

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """REST trades after a time, a thousand at once, until the missing ids have passed."""
        if hole.after is None or hole.before is None or last == []:
            return None
        since = hole.started_at - 60 * SECOND
        if last:
            ids = [event.sequence for event in last if isinstance(event, Trade)]
            if len(last) < _PAGE or max(number or 0 for number in ids) >= hole.before - 1:
                return None
            since = max(event.event_time for event in last)
        return _request(self._rest_url, self._names[hole.symbol], since)


class KrakenRest:
    """The last trades of each symbol."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, KrakenFeedOptions)
        self.interval = plan.options.interval
        self._url = str(plan.vendor_options.rest_url)
        self._rows = _rows(plan)

    def requests(self) -> Sequence[Request]:
        """One for each symbol."""
        return [_request(self._url, name) for name in self._rows.symbols.names]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return _answered(self._rows, frame)


def _request(url: str, name: str, since: int | None = None) -> Request:
    base, _, quote = name.partition("/")
    pair = _OLD_NAMES.get(base, base) + _OLD_NAMES.get(quote, quote)
    params = {"pair": pair, "count": str(_PAGE)}
    if since is not None:
        params["since"] = str(since)
    return Request(f"{url}/0/public/Trades", params, about=name)


def _result(frame: Frame) -> dict[str, Raw]:
    """What an answer holds. Raises what it means where it is an error."""
    try:
        answer = msgspec.json.decode(frame.data, type=_Answer)
    except UNREADABLE as error:
        wrong = refused(frame, "Kraken", frame.data.decode(errors="replace"))
        raise wrong or Skippable("malformed", str(error)) from None
    if answer.error:
        said = f"Kraken: {', '.join(answer.error)}"
        if "Unknown asset pair" in said:
            raise Fatal(said, "correct the feed's symbols")
        limited = "Too many requests" in said or "Rate limit" in said
        raise Retriable("rate_limited" if limited else "server_error", said, 60.0)
    wrong = refused(frame, "Kraken", "")
    if wrong is not None:
        raise wrong
    return answer.result


def _answered(rows: Rows, frame: Frame) -> Sequence[Event]:
    """The trades of an answer, whose own name of the pair does not matter: `about` has ours."""
    result = _result(frame)

    def trade(raw: Raw) -> Iterable[Event]:
        price, size, seconds, side, _kind, _misc, number = _rest_trade(raw)
        yield rows.trade(
            *(frame.about, exact_instant(seconds, SECOND), price, size),
            trade_id=str(number),
            side="buy" if side == "b" else "sell",
            sequence=number,
        )

    try:
        listed = [
            msgspec.json.decode(raw, type=list[Raw])
            for name, raw in result.items()
            if name != "last"
        ]
    except UNREADABLE as error:
        raise Skippable("malformed", str(error)) from None
    return each([raw for some in listed for raw in some], trade)


def _build(plan: FeedPlan) -> Adapter:
    return KrakenRest(plan) if plan.options.channel == "spot_rest" else KrakenStream(plan)


def _lists(options: VendorOptions, _channel: str) -> Sequence[Request]:
    return [Request(f"{options.rest_url}/0/public/AssetPairs")]


def _instruments(frame: Frame) -> Sequence[Instrument]:
    """`wsname` is that of websocket v1: v2 has the newer names of two currencies."""
    found = []
    for raw in _result(frame).values():
        base, _, quote = msgspec.json.decode(raw, type=_Pair).wsname.partition("/")
        base, quote = _NEW_NAMES.get(base, base), _NEW_NAMES.get(quote, quote)
        if quote:
            found.append(Instrument(f"{base}/{quote}", base, quote))
    return found


def _usual(symbol: str) -> str:
    return usual_pair(symbol, _NEW_NAMES)


VENDOR = Vendor(
    title="Kraken",
    needs_key=False,
    channels={
        "spot": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote", "ref_px"),
            "spot; streams: trade, ticker (best bid and offer, last price)",
            sequenced=("trade",),
            untimed=("quote", "ref_px"),
        ),
        "spot_rest": Channel("poll", ("crypto",), ("trade",), "spot, last trades"),
    },
    vendor_options=KrakenVendorOptions,
    feed_options=KrakenFeedOptions,
    build=_build,
    instruments=Instruments(_lists, _instruments),
    usual=_usual,
)
