"""Finnhub: trades by websocket, quotes by REST, and its webhook.

Source: the vendor's pages on websocket trades and webhooks, 2026-03, and recordings of 2022. One
message a symbol subscribes, and nothing acknowledges it. The key is part of the URL; the vendor
allows one connection a key and refuses a second one's handshake with 429, for some minutes: ten are
waited, as other clients do.

* A frame has several trades, of any symbols. Nothing numbers them, and equal ones are legal: they
  are told apart by `ordinal`. Where an exchange has no trades, a price comes with a volume of 0: a
  ref_px, last.
* FX and crypto are named by an exchange: `OANDA:EUR_USD`, `BINANCE:BTCUSDT`; which one, the feed
  says. `c` is a list of condition codes, null, or absent.
* `ping` wants no answer. How often it comes is not said: five minutes without anything are taken
  for the end. Connections are dropped twice a day, as a rule.
* The vendor posts earnings, news and filings to the webhook, and no prices: they are acknowledged,
  with the secret in `X-Finnhub-Secret`, and nothing is recorded.
* UNCONFIRMED: REST answers zeros for a symbol that it does not know; they are no price. That the
  key may stand in a header of REST.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import Raw, Struct
from pydantic import Field, field_validator

from edc.adapters import (
    Adapter,
    Channel,
    Duration,
    FeedPlan,
    HttpUrl,
    Silence,
    Vendor,
    VendorOptions,
    WebhookOptions,
    WebsocketUrl,
)
from edc.errors import Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import Asked, Rows, differing, each, refused
from edc.symbols import Symbols, parted, share_class
from edc.times import MILLISECOND, SECOND, instant
from edc.transport import Frame, Request

_MUTE = ("FXCM", "FOREX.COM", "FHFX")


class FinnhubVendorOptions(VendorOptions):
    """`[vendors.finnhub]`."""

    url: WebsocketUrl = "wss://ws.finnhub.io"
    rest_url: HttpUrl = "https://finnhub.io/api/v1"


class FinnhubFeedOptions(WebhookOptions):
    """`[feeds.NAME]` of Finnhub. `interval` is for polling, what webhooks have for the webhook.

    The free plan has 60 requests a minute, and no plan more than 30 a second.
    """

    fx_exchange: str = Field("OANDA", pattern="^[A-Z0-9. ]+$")
    crypto_exchange: str = Field("BINANCE", pattern="^[A-Z0-9 ]+$")
    interval: Duration = Field(60.0, ge=1)
    request_every: Duration = Field(1.0, ge=0.034, description="between two requests of a round")
    auth: Literal["hmac", "header", "path"] = "header"

    @field_validator("fx_exchange")
    @classmethod
    def _streams(cls, exchange: str) -> str:
        if exchange in _MUTE:
            raise ValueError(f"{exchange} is not streamed; write another, like OANDA")
        return exchange


class _Trade(Struct, gc=False):
    s: str
    p: Number
    t: int
    v: Number
    c: list[str] | None = None


class _Frame(Struct):
    type: str
    data: list[Raw] = []
    msg: str = ""


class _Quote(Struct, gc=False):
    c: Number | None
    t: int | None


_ONE_SYMBOL = (403, 404)
"""The key itself is refused with 401."""
_frame = msgspec.json.Decoder(_Frame).decode
_trade = msgspec.json.Decoder(_Trade).decode


def _rows(plan: FeedPlan) -> Rows:
    assert isinstance(plan.options, FinnhubFeedOptions)
    options = plan.options

    def call(symbol: str, asset_type: str, written: str) -> str:
        if asset_type == "fx":
            return f"{options.fx_exchange}:{'_'.join(parted(symbol, written))}"
        if asset_type == "crypto":
            return f"{options.crypto_exchange}:{symbol.upper()}"
        return share_class(symbol, ".")

    return Rows(Symbols(plan, call))


class FinnhubStream:
    """The trades of some symbols."""

    beats_within = 300.0
    cool_down = 600.0

    def __init__(self, plan: FeedPlan) -> None:
        options = plan.options
        self.url = f"{plan.vendor_options.url}?token={plan.key}"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        self._said = False

    def subscribe(self) -> Sequence[str]:
        """One symbol a message."""
        self._said = True
        return _messages("subscribe", self._rows.symbols.names)

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """One symbol a message here too."""
        other = FinnhubStream(plan)
        added, gone = differing(self._rows.symbols.names, other._rows.symbols.names)
        self._rows.symbols.become(other._rows.symbols)
        if not self._said:
            return ()
        return [*_messages("unsubscribe", gone), *_messages("subscribe", added)]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of a frame."""
        try:
            said = _frame(frame.data)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        match said.type:
            case "trade":
                return each(said.data, self._trade)
            case "ping":
                return ()
            case "error":
                raise Skippable("notice", f"Finnhub: {said.msg}")
        raise Skippable("unknown", f"type {said.type!r}")

    def _trade(self, raw: Raw) -> Iterable[Event]:
        data = _trade(raw)
        time = instant(data.t, MILLISECOND)
        if not data.v:
            return (self._rows.price(data.s, time, data.p, "last"),)
        exchange = data.s.partition(":")[0] if ":" in data.s else None
        conditions = ",".join(data.c or ()) or None
        return (
            self._rows.trade(
                data.s, time, data.p, data.v, exchange=exchange, conditions=conditions
            ),
        )


def _messages(kind: str, names: Iterable[str]) -> list[str]:
    return [msgspec.json.encode({"type": kind, "symbol": name}).decode() for name in names]


class FinnhubRest:
    """The last price of each symbol."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, FinnhubFeedOptions)
        self.interval = plan.options.interval
        self.request_every = plan.options.request_every
        self._url = f"{plan.vendor_options.rest_url}/quote"
        self._headers = {"X-Finnhub-Token": plan.key}
        self._rows = _rows(plan)
        self._asked = Asked(self._rows.symbols)

    def requests(self) -> Sequence[Request]:
        """One for each symbol; the answer does not say whose it is."""
        return [
            Request(self._url, {"symbol": name}, self._headers, about=name)
            for (name,) in self._asked.pieces()
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The price of an answer."""
        wrong = refused(frame, "Finnhub", frame.data.decode(errors="replace"))
        if wrong is not None and frame.status in _ONE_SYMBOL:
            raise self._asked.refuse({frame.about: str(wrong)}, wrong)
        if wrong is not None:
            raise wrong
        try:
            quote = msgspec.json.decode(frame.data, type=_Quote)
            if not quote.c or not quote.t:
                return ()
            return (self._rows.price(frame.about, instant(quote.t, SECOND), quote.c, "last"),)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None


class FinnhubWebhook:
    """What is posted: acknowledged, and not recorded, since no prices come this way."""

    header = "X-Finnhub-Secret"

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, FinnhubFeedOptions)
        self.options: WebhookOptions = plan.options
        self.secret = plan.key

    def decode(self, frame: Frame) -> Sequence[Event]:
        """Nothing, of whatever it is: a test may even be empty."""
        del frame
        return ()


def _build(plan: FeedPlan) -> Adapter:
    if plan.options.channel == "webhook":
        return FinnhubWebhook(plan)
    return FinnhubRest(plan) if plan.options.channel == "rest" else FinnhubStream(plan)


_ALL = ("stock", "etf", "fx", "crypto")
VENDOR = Vendor(
    title="Finnhub",
    needs_key=True,
    channels={
        "trades": Channel(
            "websocket", _ALL, ("trade", "ref_px"), "trades, and prices", one_connection=True
        ),
        "rest": Channel("poll", _ALL, ("ref_px",), "last prices"),
        "webhook": Channel(
            "webhook", _ALL, (), "acknowledges what is posted; the key is the shared secret"
        ),
    },
    vendor_options=FinnhubVendorOptions,
    feed_options=FinnhubFeedOptions,
    build=_build,
)
