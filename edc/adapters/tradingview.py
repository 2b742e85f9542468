"""TradingView alerts, posted to `/hooks/<feed>/<secret>`.

Source: the vendor's pages on webhooks and alert variables. The body is the alert's message after
substitution, as `application/json` if it is JSON, else as `text/plain`; nothing else identifies the
sender, so the secret is part of the path, and the vendor's four addresses are the default `allow`.
A message is cancelled after three seconds. It is one of:

* JSON, with the alert's message
  `{"symbol":"{{ticker}}","exchange":"{{exchange}}","price":{{close}},"time":"{{timenow}}"}`; keys
  that are not named here are ignored. `fired_at` or `bar_time` may stand for `time`.
* Text, `{{exchange}}:{{ticker}} {{close}} {{timenow}}`.

A price is a bar's close and no print, so it becomes a ref_px, `price_type` last; `{{timenow}}` has
seconds only. A placeholder that was not resolved, or NaN, makes a message malformed.
"""

import re
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from edc.adapters import (
    Adapter,
    Channel,
    FeedPlan,
    Networks,
    Vendor,
    VendorOptions,
    WebhookOptions,
)
from edc.errors import Skippable
from edc.events import Event, RefPx
from edc.fields import UNREADABLE, Number
from edc.symbols import Symbols
from edc.times import parse_iso
from edc.transport import Frame

_SENDERS = ("52.89.214.238", "34.212.75.30", "54.218.53.128", "52.32.178.7")
_TEXT = re.compile(r"(?P<exchange>[^\s:]+):(?P<symbol>\S+)\s+(?P<price>\S+)\s+(?P<time>\S+)")


class TradingViewOptions(WebhookOptions):
    """`[feeds.NAME]` of TradingView. `allow` is empty where a proxy of yours checks addresses."""

    auth: Literal["hmac", "header", "path"] = "path"
    allow: tuple[Networks, ...] = _SENDERS


class _Alert(Struct):
    symbol: str
    price: Number
    exchange: str | None = None
    time: str | None = None
    fired_at: str | None = None
    bar_time: str | None = None


class TradingView:
    """The alerts that are posted to one feed."""

    header = ""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, TradingViewOptions)
        self.options = plan.options
        self.secret = plan.key
        self._symbols = Symbols(plan, lambda symbol, _type, _written: symbol.upper())

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The price of an alert; see `Adapter.decode`."""
        try:
            return (self._price(_alert(frame.data.decode().strip())),)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None

    def _price(self, alert: _Alert) -> Event:
        told = alert.time or alert.fired_at or alert.bar_time
        if told is None:
            raise ValueError("an alert without a time")
        symbol, asset_type = self._symbols.of(alert.symbol.rpartition(":")[2].upper())
        return RefPx(
            symbol=symbol,
            asset_type=asset_type,
            event_time=parse_iso(told),
            price=alert.price,
            price_type="last",
            exchange=alert.exchange or None,
        )


def _alert(text: str) -> _Alert:
    if text.startswith("{"):
        return msgspec.json.decode(text, type=_Alert, strict=False)
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError("neither JSON nor EXCHANGE:TICKER PRICE TIME")
    return msgspec.convert(match.groupdict(), _Alert, strict=False)


def _build(plan: FeedPlan) -> Adapter:
    return TradingView(plan)


VENDOR = Vendor(
    title="TradingView",
    needs_key=True,
    channels={
        "alerts": Channel(
            "webhook", ("stock", "etf", "fx", "crypto"), ("ref_px",), "alerts posted by webhook"
        )
    },
    vendor_options=VendorOptions,
    feed_options=TradingViewOptions,
    build=_build,
)
