"""The venue's messages, by websocket and by REST; the words are the venue's."""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from edc.fields import Number


class Trade(Struct, rename={"id": "tradeId"}, gc=False):
    """A row of `trades`, `trades-all` or REST; `side` is the taker's."""

    instId: str  # noqa: N815 - the venue's word
    id: str
    px: Number
    sz: Number
    side: Literal["buy", "sell"]
    ts: int
    count: int = 1
    source: str = "0"


class Book(Struct, rename="camel"):
    """`bbo-tbt`."""

    asks: list[tuple[Number, Number, str, str]]
    bids: list[tuple[Number, Number, str, str]]
    ts: int
    seq_id: int | None = None


class Price(Struct, gc=False):
    """`tickers`, `mark-price` and `index-tickers`."""

    instId: str  # noqa: N815 - the venue's word
    ts: int
    last: str = ""
    markPx: str = ""  # noqa: N815
    idxPx: str = ""  # noqa: N815


class Argument(Struct, rename="camel"):
    """A channel, and of which instrument."""

    channel: str = ""
    inst_id: str = ""


class Said(Struct):
    """Any message of the websockets, and any polled answer."""

    event: str = ""
    arg: Argument | None = None
    data: list[Raw] | None = None
    code: str = ""
    msg: str = ""


read = msgspec.json.Decoder(Said).decode
