"""Deribit, JSON-RPC over a websocket, and its REST trades. No key is needed.

Source: the venue's pages on subscriptions and trades, and recordings of 2021 and 2025. Symbols are
the venue's own names in lower case (`btc-perpetual`, `btc-26dec25-100000-c`).

* Sizes (`amount`) are in USD for inverse perpetuals and futures, in base currency for options and
  linear ones; nothing is multiplied. `direction` is the taker's. `trade_seq` counts up by one for
  each instrument; `trade_id` is unique within a currency.
* A channel that does not exist is missing from the `result` of a subscription, and nothing is said.
* `ticker` gives last, mark and index price; each becomes a ref_px when it changes. An empty side of
  a quote is null or 0 (UNCONFIRMED which, when): both are read as missing.
* Liquidations, block and combo trades carry that as conditions; a leg of a combo is also a trade of
  its own instrument.
* The venue asks for life signs (`test_request`) once `set_heartbeat` has said so; one that is not
  answered ends the connection at once.
* REST keeps a day of trades of a currency, and all by an instrument's `trade_seq`.
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
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import Rows, differing, each, first_missing, refused, spaced
from edc.symbols import Symbols
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

Stream = Literal["trades", "quote", "ticker"]
_AT_ONCE = 200
"""Channels in one message: under its limit of 32,768 bytes, and one costs as much as many."""
_PAGE = 1000
_LIMITED = (10028, 13028)
_RAW_NEEDS_LOGIN = 13778


class DeribitVendorOptions(VendorOptions):
    """`[vendors.deribit]`."""

    url: WebsocketUrl = "wss://www.deribit.com/ws/api/v2"
    rest_url: HttpUrl = "https://www.deribit.com/api/v2"


class DeribitFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Deribit. `interval` is for polling."""

    streams: tuple[Stream, ...] = Field(("trades", "quote", "ticker"), min_length=1)
    interval: Duration = Field(10.0, ge=1)


class _Trade(Struct, gc=False):
    instrument_name: str
    trade_seq: int
    trade_id: str
    timestamp: int
    price: Number
    amount: Number
    direction: Literal["buy", "sell"]
    liquidation: str | None = None
    block_trade_id: str | None = None
    combo_trade_id: str | int | None = None


class _Quote(Struct, gc=False):
    instrument_name: str
    timestamp: int
    best_bid_price: Number | None
    best_bid_amount: Number | None
    best_ask_price: Number | None
    best_ask_amount: Number | None


class _Ticker(Struct, gc=False):
    instrument_name: str
    timestamp: int
    last_price: Number | None = None
    mark_price: Number | None = None
    index_price: Number | None = None


class _Listed(Struct):
    instrument_name: str
    is_active: bool = True


class _Params(Struct):
    channel: str = ""
    type: str = ""
    data: Raw = Raw()


class _Problem(Struct):
    code: int = 0
    message: str = ""


class _Frame(Struct):
    id: int | None = None
    method: str = ""
    params: _Params | None = None
    result: Raw = Raw()
    error: _Problem | None = None


class _Trades(Struct):
    trades: list[Raw]


_frame = msgspec.json.Decoder(_Frame).decode
_trade = msgspec.json.Decoder(_Trade).decode
_quote = msgspec.json.Decoder(_Quote).decode
_ticker = msgspec.json.Decoder(_Ticker).decode
_raws = msgspec.json.Decoder(list[Raw]).decode


def _rows(plan: FeedPlan) -> Rows:
    return Rows(Symbols(plan, lambda symbol, _type, _written: symbol.upper()), "DERIBIT")


def _message(number: int, method: str, params: dict[str, object]) -> str:
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return msgspec.json.encode(message).decode()


def _made(rows: Rows, raw: Raw) -> Iterator[Event]:
    """The trade of an element, on the websocket and in REST alike."""
    data = _trade(raw)
    flags = {
        "liquidation": data.liquidation,
        "block": data.block_trade_id,
        "combo": data.combo_trade_id,
    }
    yield rows.trade(
        *(data.instrument_name, instant(data.timestamp, MILLISECOND), data.price, data.amount),
        trade_id=data.trade_id,
        side=data.direction,
        sequence=data.trade_seq,
        conditions=",".join(name for name, flag in flags.items() if flag) or None,
    )


class DeribitStream:
    """The trades, quotes and tickers of some instruments on one connection."""

    messages_per_second = 3.0
    keepalive: Keepalive | None = None
    history_every = 0.1

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, DeribitFeedOptions)
        options = plan.options
        self.url = str(plan.vendor_options.url)
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        self._rest_url = str(plan.vendor_options.rest_url)
        symbols = self._rows.symbols
        forms = {"trades": "trades.{}.100ms", "quote": "quote.{}", "ticker": "ticker.{}.100ms"}
        self.topics = {
            forms[stream].format(name): symbols.of(name)[0]
            for stream in options.streams
            for name in symbols.names
        }
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        self._asked: dict[int, Sequence[str]] = {}
        self._prices: dict[tuple[str, str], float] = {}

    def subscribe(self) -> Sequence[str]:
        """The channels, two hundred a message, and that life signs are to be asked for."""
        messages = self._say("subscribe", list(self.topics))
        return [*messages, _message(0, "public/set_heartbeat", {"interval": 30})]

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Two hundred channels a message here too."""
        other = DeribitStream(plan)
        added, gone = differing(self.topics, other.topics)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        if not self._asked:
            return ()
        return [*self._say("unsubscribe", gone), *self._say("subscribe", added)]

    def _say(self, action: str, channels: Sequence[str]) -> list[str]:
        said = []
        for some in spaced(channels, _AT_ONCE):
            number = len(self._asked) + 1
            self._asked[number] = some if action == "subscribe" else ()
            said.append(_message(number, f"public/{action}", {"channels": some}))
        return said

    def answer(self, frame: Frame) -> Answer | None:
        """A life sign is answered; channels that a result lacks are refused."""
        try:
            said = _frame(frame.data)
            if said.method == "heartbeat":
                asks = said.params is not None and said.params.type == "test_request"
                return Answer(send=(_message(-1, "public/test", {}),)) if asks else None
            asked = self._asked.get(said.id or 0)
            if asked is None or said.method:
                return None
            if said.error is not None:
                why = f"{said.error.message} ({said.error.code})"
                return Answer(refused=dict.fromkeys(asked, why))
            accepted = msgspec.json.decode(said.result, type=list[str]) if asked else []
        except UNREADABLE:
            return None
        lacking = [channel for channel in asked if channel not in accepted]
        return Answer(accepted=accepted, refused=dict.fromkeys(lacking, "there is no such channel"))

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a notification, or of a page of history."""
        if frame.status:
            return _answered(self._rows, frame)
        try:
            said = _frame(frame.data)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        if said.method == "subscription" and said.params is not None:
            return self._notified(said.params.channel, said.params.data)
        if said.error is not None:
            return _failed(said.error)
        if said.method == "heartbeat" or said.result:
            return ()
        raise Skippable("unknown", f"method {said.method!r}")

    def _notified(self, channel: str, data: Raw) -> Sequence[Event]:
        kind = channel.partition(".")[0]
        try:
            if kind == "trades":
                return each(_raws(data), lambda raw: _made(self._rows, raw))
            if kind == "quote":
                quote = _quote(data)
                return (
                    self._rows.quote(
                        *(quote.instrument_name, instant(quote.timestamp, MILLISECOND)),
                        *(quote.best_bid_price, quote.best_bid_amount),
                        *(quote.best_ask_price, quote.best_ask_amount),
                    ),
                )
            if kind == "ticker":
                return list(self._changed(_ticker(data)))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        raise Skippable("unknown", f"channel {channel!r}")

    def _changed(self, data: _Ticker) -> Iterator[Event]:
        """The prices of a ticker that are not those of the one before."""
        prices = {"last": data.last_price, "mark": data.mark_price, "index": data.index_price}
        for kind, price in prices.items():
            key = (data.instrument_name, kind)
            if price is not None and price != self._prices.get(key):
                time = instant(data.timestamp, MILLISECOND)
                yield self._rows.price(data.instrument_name, time, price, kind)
                self._prices[key] = price

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """Trades by their numbers, a thousand at once."""
        start = first_missing(hole, last)
        if start is None or hole.before is None:
            return None
        params = {"instrument_name": self._names[hole.symbol], "start_seq": str(start)}
        params |= {"end_seq": str(hole.before - 1), "count": str(_PAGE), "sorting": "asc"}
        return Request(f"{self._rest_url}/public/get_last_trades_by_instrument", params)


class DeribitRest:
    """The last trades of each instrument."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, DeribitFeedOptions)
        self.interval = plan.options.interval
        self._url = f"{plan.vendor_options.rest_url}/public/get_last_trades_by_instrument"
        self._rows = _rows(plan)

    def requests(self) -> Sequence[Request]:
        """One for each instrument."""
        return [
            Request(self._url, {"instrument_name": name, "count": str(_PAGE), "sorting": "asc"})
            for name in self._rows.symbols.names
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return _answered(self._rows, frame)


def _failed(problem: _Problem) -> Sequence[Event]:
    """An error: of a subscription it is `answer`'s to name."""
    said = f"Deribit: {problem.message} ({problem.code})"
    if problem.code in _LIMITED:
        raise Retriable("rate_limited", said, 10.0)
    if problem.code == _RAW_NEEDS_LOGIN:
        raise Fatal(said, "take channels of 100ms")
    return ()


def _result(frame: Frame) -> _Frame:
    """A polled answer that is no error. Raises what it means if it is one."""
    try:
        said = _frame(frame.data)
    except UNREADABLE as error:
        wrong = refused(frame, "Deribit", frame.data.decode(errors="replace"))
        raise wrong or Skippable("malformed", str(error)) from None
    if said.error is not None:
        _failed(said.error)
        raise Fatal(
            f"Deribit: {said.error.message} ({said.error.code})", "correct the feed's symbols"
        )
    return said


def _answered(rows: Rows, frame: Frame) -> Sequence[Event]:
    said = _result(frame)
    try:
        trades = msgspec.json.decode(said.result, type=_Trades).trades
    except UNREADABLE as error:
        wrong = refused(frame, "Deribit", frame.data.decode(errors="replace"))
        raise wrong or Skippable("malformed", str(error)) from None
    return each(trades, lambda raw: _made(rows, raw))


def _build(plan: FeedPlan) -> Adapter:
    return DeribitRest(plan) if plan.options.channel == "rest" else DeribitStream(plan)


def _lists(options: VendorOptions, _channel: str) -> Sequence[Request]:
    params = {"currency": "any", "expired": "false"}
    return [Request(f"{options.rest_url}/public/get_instruments", params)]


def _instruments(frame: Frame) -> Sequence[Instrument]:
    """All kinds and currencies; a strike's decimal point stays a `d` in lower case."""
    said = _result(frame)
    found = msgspec.json.decode(said.result, type=list[_Listed])
    return [Instrument(each.instrument_name) for each in found if each.is_active]


VENDOR = Vendor(
    title="Deribit",
    needs_key=False,
    channels={
        "public": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote", "ref_px"),
            "derivatives and spot; streams: trades, quote, ticker (last, mark, index)",
            sequenced=("trade",),
            own_names=True,
        ),
        "rest": Channel("poll", ("crypto",), ("trade",), "last trades", own_names=True),
    },
    vendor_options=DeribitVendorOptions,
    feed_options=DeribitFeedOptions,
    build=_build,
    instruments=Instruments(_lists, _instruments),
)
