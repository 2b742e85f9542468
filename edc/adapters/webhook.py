"""Any sender, by a mapping in the config: which JSON field is which column, and how times are told.

    [feeds.relay]
    vendor = "webhook"
    channel = "events"
    event_type = "trade"
    rows = "data"
    time_format = "ms"
    fields = { symbol = "s", event_time = "t", last_price = "p", last_size = "v" }
    symbols = { stock = ["*"] }

`rows` is where in the message the list of events stands, `""` if the message is one event or a list
of them. A field is a name, or several joined by dots (`price.last`). Numbers may be written as
text. By default the sender signs: `X-Edc-Signature: t=<unix seconds>,v1=<hex of the HMAC-SHA256,
under the vendor's key, of "<t>." and the body>`, the form that several services have in common.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field, StringConstraints, model_validator

from edc.adapters import Adapter, Channel, FeedPlan, Vendor, VendorOptions, WebhookOptions
from edc.errors import Skippable
from edc.events import Event, Quote, RefPx, Trade, mid_of, side_of
from edc.fields import UNREADABLE, decimal
from edc.symbols import Symbols
from edc.times import MICROSECOND, MILLISECOND, SECOND, exact_instant, parse_iso
from edc.transport import Frame

_KINDS: dict[str, type[Trade | Quote | RefPx]] = {"trade": Trade, "quote": Quote, "ref_px": RefPx}
_NUMBERS = frozenset(
    ("last_price", "last_size", "price", "bid", "ask", "mid", "bid_size", "ask_size")
)
_TEXTS = frozenset(
    (
        *("symbol", "event_time", "exchange", "bid_exchange", "ask_exchange"),
        *("trade_id", "side", "conditions", "action", "price_type", "sequence"),
    )
)
_NEEDED = {
    "trade": ("symbol", "event_time", "last_price"),
    "quote": ("symbol", "event_time"),
    "ref_px": ("symbol", "event_time", "price"),
}
_LONGEST_NUMBER = 20
_UNITS = {"s": SECOND, "ms": MILLISECOND, "us": MICROSECOND, "ns": 1}
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
Path = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class WebhookFeedOptions(WebhookOptions):
    """`[feeds.NAME]` of a sender of your own."""

    event_type: Literal["trade", "quote", "ref_px"]
    fields: dict[str, Path]
    rows: str = Field("", max_length=200)
    time_format: Literal["iso", "s", "ms", "us", "ns"] = "iso"
    price_type: Literal["reference", "last", "mark", "index", "mid"] = "last"

    @model_validator(mode="after")
    def _fields_fit(self) -> "WebhookFeedOptions":
        columns = set(_KINDS[self.event_type].__struct_fields__) & (_NUMBERS | _TEXTS)
        for name in self.fields:
            if name not in columns:
                raise ValueError(
                    f"a {self.event_type} has no column {name!r}; "
                    f"columns are {', '.join(sorted(columns))}"
                )
        missing = [name for name in _NEEDED[self.event_type] if name not in self.fields]
        if missing:
            raise ValueError(f"fields lacks {', '.join(missing)}, which every event needs")
        return self


class Webhook:
    """What one sender posts."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, WebhookFeedOptions)
        options = self.options = plan.options
        self.secret = plan.key
        self.header = options.header or (
            "X-Edc-Signature" if options.auth == "hmac" else "X-Edc-Secret"
        )
        self._fields = {name: path.split(".") for name, path in options.fields.items()}
        self._rows = options.rows.split(".") if options.rows else []
        self._symbols = Symbols(plan, lambda symbol, _type, _written: symbol)
        self._make: Callable[[dict[str, Any]], Event] = {
            "trade": self._trade,
            "quote": self._quote,
            "ref_px": self._ref_px,
        }[options.event_type]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a body; one that cannot be read does not cost the others."""
        try:
            rows = _at(_decode(frame.data), self._rows)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        listed = rows if isinstance(rows, list) else [rows]
        events: list[Event] = []
        problems: list[str] = []
        for row in listed:
            try:
                events.append(self._make(self._values(row)))
            except (*UNREADABLE, Skippable) as error:
                problems.append(str(error))
        if problems:
            raise Skippable("malformed", "; ".join(problems[:3]), events)
        return events

    def _values(self, row: object) -> dict[str, Any]:
        """The columns of a row, but for its symbol and type."""
        if not isinstance(row, dict):
            raise msgspec.ValidationError("an event is no object")
        values: dict[str, Any] = {}
        for name, path in self._fields.items():
            value = _at(row, path)
            if name in _NUMBERS:
                values[name] = decimal(str(value) if isinstance(value, Decimal) else value)
            elif value is not None and name != "event_time":
                values[name] = _number(value) if name == "sequence" else _text(value)
        given = values.pop("symbol", "").lower()
        symbol, asset_type = self._symbols.of("".join(given.split()))
        told = _at(row, self._fields["event_time"])
        time = _time(told, self.options.time_format)
        return values | {"symbol": symbol, "asset_type": asset_type, "event_time": time}

    def _trade(self, values: dict[str, Any]) -> Event:
        if values["last_price"] is None:
            raise ValueError("a trade without a price")
        if values.get("side") is not None:
            values["side"] = _side(values["side"])
        return Trade(**{"last_size": None, **values})

    def _quote(self, values: dict[str, Any]) -> Event:
        bid, bid_size = side_of(values.get("bid"), values.get("bid_size"))
        ask, ask_size = side_of(values.get("ask"), values.get("ask_size"))
        sides = {"bid": bid, "bid_size": bid_size, "ask": ask, "ask_size": ask_size}
        return Quote(**{**values, **sides, "mid": mid_of(bid, ask, values.get("mid"))})

    def _ref_px(self, values: dict[str, Any]) -> Event:
        if values["price"] is None:
            raise ValueError("a price that is none")
        return RefPx(**{"price_type": self.options.price_type, **values})


def _at(value: object, path: Sequence[str]) -> Any:
    """What stands at a path of names; None where there is nothing."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _text(value: object) -> str:
    if isinstance(value, str | int | Decimal) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f"{value!r} is no text")


def _number(value: object) -> int:
    """An integer, as number or as text; no power of ten, which is few letters and many digits."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, int) else ""
    if not (text.lstrip("-").isdigit() and text.isascii() and len(text) < _LONGEST_NUMBER):
        raise ValueError(f"{text or value!r} is no whole number")
    return int(text)


def _side(text: str) -> str:
    side = {"b": "buy", "buy": "buy", "s": "sell", "sell": "sell", "a": "sell"}.get(text.lower())
    if side is None:
        raise ValueError(f"{text!r} is no side")
    return side


def _time(told: object, form: str) -> int:
    if form == "iso" and isinstance(told, str):
        return parse_iso(told)
    if form == "iso" or isinstance(told, bool) or not isinstance(told, int | str | Decimal):
        raise ValueError(f"{told!r} is no time")
    try:
        return exact_instant(Decimal(told), _UNITS[form])
    except ArithmeticError:
        raise ValueError(f"{told!r} is no time") from None


def _build(plan: FeedPlan) -> Adapter:
    return Webhook(plan)


VENDOR = Vendor(
    title="any sender, by webhook",
    needs_key=True,
    channels={
        "events": Channel(
            "webhook",
            ("stock", "etf", "fx", "crypto"),
            ("trade", "quote", "ref_px"),
            "JSON, by a mapping of its fields; signed",
        )
    },
    vendor_options=VendorOptions,
    feed_options=WebhookFeedOptions,
    build=_build,
)
