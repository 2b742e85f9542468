"""The venue's messages, by websocket and by REST; the letters are the venue's."""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from edc.fields import Number


class Trade(Struct, gc=False):
    """`publicTrade`; `S` is the taker's side, `BT` a block trade."""

    s: str
    S: Literal["Buy", "Sell"]
    v: Number
    p: Number
    i: str
    T: int
    BT: bool = False
    RPI: bool = False
    seq: int | None = None


class Book(Struct):
    """`orderbook.1`; `b` and `a` are bids and asks."""

    s: str
    b: list[tuple[Number, Number]]
    a: list[tuple[Number, Number]]
    u: int


class Ticker(Struct, rename="camel", gc=False):
    """`tickers`: of a change, what has not changed is empty."""

    symbol: str
    last_price: str = ""
    mark_price: str = ""
    index_price: str = ""
    usd_index_price: str = ""
    bid_price: str = ""
    bid_size: str = ""
    ask_price: str = ""
    ask_size: str = ""


class Topics(Struct, rename="camel"):
    """How options are answered."""

    success_topics: list[str] = []
    fail_topics: list[str] = []


class Said(Struct):
    """Any message: a push, or an answer to what was sent."""

    topic: str = ""
    type: str = ""
    ts: int = 0
    cts: int | None = None
    data: Raw = Raw()
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""
    op: str = ""


class RestTrade(Struct, rename="camel", gc=False):
    """A row of the list of recent trades."""

    exec_id: str
    symbol: str
    price: Number
    size: Number
    side: Literal["Buy", "Sell"]
    time: int
    is_block_trade: bool = False
    is_r_p_i_trade: bool = msgspec.field(default=False, name="isRPITrade")
    seq: int | None = None


class Listed(Struct, rename={"rows": "list", "cursor": "nextPageCursor"}):
    """What an answer lists, and where its next page begins."""

    rows: list[Raw] = []
    cursor: str = ""


class Polled(Struct, rename="camel"):
    """Any polled answer."""

    ret_code: int
    ret_msg: str = ""
    result: Listed = msgspec.field(default_factory=Listed)
