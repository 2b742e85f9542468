"""The vendor's messages, by websocket and by REST; the letters are the vendor's."""

import msgspec
from msgspec import Raw, Struct, msgpack

from edc.fields import Number

Time = str | msgpack.Ext
"""RFC 3339, or in msgpack an extension."""


class Trade(Struct, tag_field="T", tag="t", gc=False):
    """`t`; `i` is the id, `x` the exchange, `tks` the taker's side (crypto)."""

    S: str
    p: Number
    s: Number
    t: Time
    i: int | None = None
    x: str = ""
    c: list[str] | None = None
    tks: str = ""


class Quote(Struct, tag_field="T", tag="q", gc=False):
    """`q`; sizes of stocks are in round lots."""

    S: str
    t: Time
    bp: Number | None = None
    bs: Number | None = None
    ap: Number | None = None
    as_: Number | None = msgspec.field(default=None, name="as")
    bx: str = ""
    ax: str = ""
    c: list[str] | None = None


class Cancel(Struct, tag_field="T", tag="x", gc=False):
    """`x`: a trade that does not count."""

    S: str
    i: int
    p: Number
    s: Number
    t: Time
    x: str = ""


class Correction(Struct, tag_field="T", tag="c", gc=False):
    """`c`: the trade as it was (`o`) and as it is (`c`)."""

    S: str
    oi: int
    op: Number
    os: Number
    ci: int
    cp: Number
    cs: Number
    t: Time
    x: str = ""
    oc: list[str] | None = None
    cc: list[str] | None = None


class Success(Struct, tag_field="T", tag="success"):
    """`connected`, then `authenticated`."""

    msg: str


class Error(Struct, tag_field="T", tag="error"):
    """What was refused, by its code."""

    code: int
    msg: str = ""


class Subscription(Struct, tag_field="T", tag="subscription"):
    """All that is subscribed."""

    trades: list[str] | None = None
    quotes: list[str] | None = None


class Status(Struct, tag_field="T", tag="s"):
    """Of trading; not taken."""


class Band(Struct, tag_field="T", tag="l"):
    """Limit up, limit down; not taken."""


class Bar(Struct, tag_field="T", tag="b"):
    """Of a minute; not taken."""


class DailyBar(Struct, tag_field="T", tag="d"):
    """Not taken."""


class UpdatedBar(Struct, tag_field="T", tag="u"):
    """Not taken."""


class OrderBook(Struct, tag_field="T", tag="o"):
    """Of crypto; not taken."""


Data = Trade | Quote | Cancel | Correction
Control = Success | Error | Subscription
Other = Status | Band | Bar | DailyBar | UpdatedBar | OrderBook
Message = Data | Control | Other


class Past(Struct):
    """A page of history, by symbol."""

    trades: dict[str, list[Raw]] | None = None
    quotes: dict[str, list[Raw]] | None = None
    next_page_token: str | None = None
    message: str = ""


class Latest(Struct):
    """The latest rows, by symbol."""

    trades: dict[str, Raw] = {}
    quotes: dict[str, Raw] = {}
    message: str = ""
