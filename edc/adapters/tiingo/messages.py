"""The messages of Tiingo's websockets that carry data, as `stream` tells what they mean."""

from typing import Literal

import msgspec
from msgspec import Struct


class IexTop(Struct, array_like=True, gc=False):
    """What IEX's three messages share."""

    date: str
    ns: int
    ticker: str
    bid_size: float | None
    bid: float | None
    mid: float | None
    ask: float | None
    ask_size: float | None
    last: float | None
    last_size: float | None
    halted: int | None
    after_hours: int | None
    sweep: int | None
    odd_lot: int | None
    nms_exempt: int | None


class IexQuote(IexTop, array_like=True, gc=False, tag="Q"):
    """IEX: the top of the book."""


class IexTrade(IexTop, array_like=True, gc=False, tag="T"):
    """IEX: a trade."""


class IexBreak(IexTop, array_like=True, gc=False, tag="B"):
    """IEX: a trade that is taken back."""


class Reference(Struct, array_like=True, gc=False):
    """IEX and equity, level 6: a reference price."""

    date: str
    ticker: str
    price: float


class Liquidity(Struct, array_like=True, gc=False):
    """Equity, level 4: an estimated quote."""

    date: str
    ticker: str
    spread: float | None
    bid_size: float | None
    bid: float | None
    reference: float | None
    ask: float | None
    ask_size: float | None


class FxQuote(Struct, array_like=True, gc=False, tag="Q"):
    """FX: the top of the book."""

    ticker: str
    date: str
    bid_size: float | None
    bid: float | None
    mid: float | None
    ask_size: float | None
    ask: float | None


class CryptoTrade(Struct, array_like=True, gc=False, tag="T"):
    """Crypto: an exchange's trades of a moment, summed."""

    ticker: str
    date: str
    exchange: str
    size: float
    price: float


class CryptoQuote(Struct, array_like=True, gc=False, tag="Q"):
    """Crypto: the top of an exchange's book."""

    ticker: str
    date: str
    exchange: str
    bid_size: float | None
    bid: float | None
    mid: float | None
    ask_size: float | None
    ask: float | None


class CryptoSynthetic(Struct, array_like=True, gc=False, tag="SA"):
    """Crypto: Tiingo's own price."""

    ticker: str
    date: str
    exchange: str
    price: float


class Message(Struct, gc=False, rename="camel"):
    """What carries them: `A` for data."""

    message_type: Literal["A"]


class IexMessage(Message, gc=False):
    """IEX, level 5 or 0."""

    service: Literal["iex"]
    data: IexQuote | IexTrade | IexBreak


class IexReferenceMessage(Message, gc=False):
    """IEX, level 6."""

    service: Literal["iex"]
    data: Reference


class EquityReferenceMessage(Message, gc=False):
    """Equity, level 6."""

    service: Literal["cons"]
    data: Reference


class EquityMessage(Message, gc=False):
    """Equity, level 4."""

    service: Literal["cons"]
    data: Liquidity


class FxMessage(Message, gc=False):
    """FX."""

    service: Literal["fx"]
    data: FxQuote


class CryptoMessage(Message, gc=False):
    """Crypto."""

    service: Literal["crypto_data"]
    data: CryptoTrade | CryptoQuote | CryptoSynthetic


FX = msgspec.json.Decoder(FxMessage).decode
CRYPTO = msgspec.json.Decoder(CryptoMessage).decode
