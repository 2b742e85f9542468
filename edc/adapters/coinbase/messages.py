"""The messages of both APIs, by websocket and by REST."""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from edc.fields import Number

Side = Literal["buy", "sell", "BUY", "SELL"]


class Trade(Struct, gc=False):
    """A match, or a row of either REST."""

    trade_id: int
    price: Number
    size: Number
    side: Side
    time: str
    product_id: str = ""


class Subscribed(Struct):
    """A channel of the Exchange, and for which products."""

    name: str
    product_ids: list[str] = []


class Product(Struct):
    """What is traded; the fields of both APIs."""

    id: str = ""
    base_currency: str = ""
    quote_currency: str = ""
    product_id: str = ""
    base_currency_id: str = ""
    quote_currency_id: str = ""


class Past(Struct):
    """Advanced's history."""

    trades: list[Raw]


class Products(Struct):
    """Advanced's list."""

    products: list[Product]


class Said(Struct):
    """Any message of the Exchange."""

    type: str
    product_id: str = ""
    channels: list[Subscribed] = []
    message: str = ""
    reason: str = ""
    time: str | None = None
    bids: list[tuple[Number, Number]] = []
    asks: list[tuple[Number, Number]] = []
    changes: list[tuple[Literal["buy", "sell"], Number, Number]] = []


class Update(Struct, gc=False):
    """A level of Advanced's book."""

    side: Literal["bid", "offer"]
    event_time: str
    price_level: Number
    new_quantity: Number


class Happened(Struct):
    """One of the events of an envelope."""

    type: str = ""
    product_id: str = ""
    trades: list[Raw] = []
    updates: list[Update] = []
    subscriptions: dict[str, list[str]] = {}


class Envelope(Struct):
    """Any message of Advanced."""

    channel: str = ""
    timestamp: str = ""
    sequence_num: int | None = None
    events: list[Happened] = []
    type: str = ""
    message: str = ""


read_frame = msgspec.json.Decoder(Said, strict=False).decode
read_envelope = msgspec.json.Decoder(Envelope, strict=False).decode
read_trade = msgspec.json.Decoder(Trade, strict=False).decode
