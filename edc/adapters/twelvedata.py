"""Twelve Data: prices by websocket and by REST.

Source: the vendor's pages on its websocket, 2026-03, and messages seen in production, 2026-08. The
key is part of the URL. A price is a ref_px, last; where bid and ask come with it (FX, metals), it
is a quote too. `timestamp` has seconds; `day_volume` is no size.

* One status answers a subscription: `success` and `fails` by symbol. A partial failure leaves the
  connection as it is. UNCONFIRMED: the answer to a heartbeat.
* The vendor wants a heartbeat every ten seconds; a fourth connection closes the oldest.
* REST errors may come under status 200: the body's `code` counts. Of a quota, the text says whether
  it is the minute's or the day's. `/quote` has the time of its price; `/price` has none, so that it
  counts as the price of the moment in which it was received.
"""

from collections.abc import Iterator, Sequence
from functools import partial
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
    HttpUrl,
    Keepalive,
    Silence,
    Vendor,
    VendorOptions,
    WebsocketUrl,
)
from edc.errors import EdcError, Fatal, Refused, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number, decimal
from edc.rows import Asked, Rows, differing, each, spaced
from edc.symbols import Symbols, parted, share_class
from edc.times import SECOND, instant
from edc.transport import Frame, Request

_AT_ONCE = 100


class TwelveDataVendorOptions(VendorOptions):
    """`[vendors.twelvedata]`."""

    url: WebsocketUrl = "wss://ws.twelvedata.com/v1"
    rest_url: HttpUrl = "https://api.twelvedata.com"


class TwelveDataFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Twelve Data. `interval` is for polling; a symbol costs a credit a round."""

    interval: Duration = Field(60.0, ge=1)
    endpoint: Literal["quote", "price"] = Field("quote", description="what is polled")


class _Symbol(Struct):
    symbol: str
    message: str = "refused"


class _Price(Struct):
    event: str
    symbol: str = ""
    timestamp: int = 0
    price: Number | None = None
    bid: Number | None = None
    ask: Number | None = None
    status: str = ""
    success: list[_Symbol] | None = None
    fails: list[_Symbol] | None = None
    messages: list[str] = []


class _Quote(Struct):
    symbol: str = ""
    close: str = ""
    price: str = ""
    timestamp: int | None = None
    last_quote_at: int | None = None
    code: int | None = None
    message: str = ""
    status: str = ""


_ONE_SYMBOL = (400, 403, 404)
"""The key itself is refused with 401."""
_price = msgspec.json.Decoder(_Price).decode


def _rows(plan: FeedPlan) -> Rows:
    def call(symbol: str, asset_type: str, written: str) -> str:
        pair = asset_type in ("fx", "crypto")
        return "/".join(parted(symbol, written)) if pair else share_class(symbol, ".")

    return Rows(Symbols(plan, call))


class TwelveDataStream:
    """The prices of some symbols."""

    messages_per_second = 5.0
    keepalive: Keepalive | None = Keepalive('{"action":"heartbeat"}', 10.0)

    def __init__(self, plan: FeedPlan) -> None:
        options = plan.options
        self.url = f"{plan.vendor_options.url}/quotes/price?apikey={plan.key}"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        self.topics = self._rows.symbols.topics(lambda name: name)
        self._said = False

    def subscribe(self) -> Sequence[str]:
        """A hundred symbols a message."""
        self._said = True
        return _messages("subscribe", self._rows.symbols.names)

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """A hundred symbols a message here too."""
        other = TwelveDataStream(plan)
        added, gone = differing(self._rows.symbols.names, other._rows.symbols.names)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        if not self._said:
            return ()
        return [*_messages("unsubscribe", gone), *_messages("subscribe", added)]

    def answer(self, frame: Frame) -> Answer | None:
        """What was accepted, and what was not."""
        try:
            said = _price(frame.data)
        except UNREADABLE:
            return None
        if said.event != "subscribe-status":
            return None
        fails = {each.symbol: each.message for each in said.fails or ()}
        if said.status == "error" and not fails:
            fails = dict.fromkeys(self.topics, "; ".join(said.messages))
        return Answer(accepted=[each.symbol for each in said.success or ()], refused=fails)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The price of a frame, and its quote."""
        try:
            said = _price(frame.data)
            if said.event == "price":
                return list(self._events(said))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        if said.event in ("subscribe-status", "unsubscribe-status", "reset-status", "heartbeat"):
            return ()
        raise Skippable("unknown", f"event {said.event!r}")

    def _events(self, said: _Price) -> Iterator[Event]:
        if said.price is None:
            raise ValueError("a price that is none")
        time = instant(said.timestamp, SECOND)
        yield self._rows.price(said.symbol, time, said.price, "last")
        if said.bid and said.ask:
            yield self._rows.quote(said.symbol, time, said.bid, None, said.ask, None)


def _messages(action: str, names: Sequence[str]) -> list[str]:
    return [
        msgspec.json.encode({"action": action, "params": {"symbols": ",".join(some)}}).decode()
        for some in spaced(names, _AT_ONCE)
    ]


class TwelveDataRest:
    """The last price of each symbol, with its time."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, TwelveDataFeedOptions)
        self.interval = plan.options.interval
        self._url = f"{plan.vendor_options.rest_url}/{plan.options.endpoint}"
        self._headers = {"Authorization": f"apikey {plan.key}"}
        self._rows = _rows(plan)
        self._asked = Asked(self._rows.symbols, _AT_ONCE)

    def requests(self) -> Sequence[Request]:
        """One for a hundred symbols; of one alone the answer has no keys."""
        return [
            Request(
                self._url,
                {"symbol": ",".join(names)},
                self._headers,
                about=",".join(names),
            )
            for names in self._asked.pieces()
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The prices of an answer, whatever its status."""
        try:
            whole = msgspec.json.decode(frame.data, type=_Quote)
            if whole.code is not None or whole.status == "error":
                raise self._failure(whole, frame)
            if "," not in frame.about:
                return list(self._event(frame, (frame.about, Raw(frame.data))))
            rows = msgspec.json.decode(frame.data, type=dict[str, Raw])
            refused = {name: why for name, raw in rows.items() if (why := _refusal(raw))}
        except UNREADABLE as error:
            if frame.status >= 500:  # noqa: PLR2004 - HTTP's
                raise Retriable("server_error", f"Twelve Data answered {frame.status}") from None
            raise Skippable("malformed", str(error)) from None
        sound = [row for row in rows.items() if row[0] not in refused]
        events = each(sound, partial(self._event, frame))
        if refused:
            raise self._refused(refused, events)
        return events

    def _refused(self, why: dict[str, str], events: Sequence[Event]) -> EdcError:
        told = f"Twelve Data: {'; '.join(dict.fromkeys(why.values()))}"
        refusal = self._asked.refuse(why, Fatal(told, "correct the feed's symbols"))
        if isinstance(refusal, Refused):
            refusal.events = events
        return refusal

    def _event(self, frame: Frame, row: tuple[str, Raw]) -> Iterator[Event]:
        name, raw = row
        quote = msgspec.json.decode(raw, type=_Quote)
        if quote.code is not None:
            raise Skippable("notice", f"{name}: {quote.message}")
        price, told = decimal(quote.close), quote.last_quote_at or quote.timestamp
        if quote.price:
            price = decimal(quote.price)
        time = instant(told, SECOND) if told else frame.received_ns if quote.price else None
        if price is not None and time is not None:
            yield self._rows.price(name, time, price, "last")

    def _failure(self, said: _Quote, frame: Frame) -> EdcError:
        """What an answer that is an error means: some of its symbols, or the whole feed."""
        error = _failure(said, frame.status)
        if (said.code or frame.status) in _ONE_SYMBOL and frame.about:
            return self._asked.refuse_whole(frame.about.split(","), error)
        return error


def _refusal(raw: Raw) -> str:
    """Why a symbol among others will not be had, if it will not."""
    try:
        quote = msgspec.json.decode(raw, type=_Quote)
    except UNREADABLE:
        return ""
    return quote.message or "refused" if quote.code in _ONE_SYMBOL else ""


def _failure(said: _Quote, status: int) -> EdcError:
    code = said.code or status
    told = f"Twelve Data answered {code}: {said.message}"
    if code == 429:  # noqa: PLR2004 - HTTP's
        return Retriable("rate_limited", told, 60.0 if "minute" in said.message else 3600.0)
    if code >= 500:  # noqa: PLR2004 - HTTP's
        return Retriable("server_error", told)
    if code in (401, 403):
        return Fatal(told, "check the API key (TWELVEDATA_API_KEY) and the plan it belongs to")
    return Fatal(told, "correct the feed's symbols")


def _build(plan: FeedPlan) -> Adapter:
    return TwelveDataRest(plan) if plan.options.channel == "rest" else TwelveDataStream(plan)


_ALL = ("stock", "etf", "fx", "crypto")
VENDOR = Vendor(
    title="Twelve Data",
    needs_key=True,
    channels={
        "price": Channel("websocket", _ALL, ("ref_px", "quote"), "prices; FX with bid and ask"),
        "rest": Channel("poll", _ALL, ("ref_px",), "last prices"),
    },
    vendor_options=TwelveDataVendorOptions,
    feed_options=TwelveDataFeedOptions,
    build=_build,
)
