"""Binance's commonest frames, many at once: see `edc.wire`; the adapter tells what they mean."""

import re
from collections.abc import Collection, Mapping

import polars as pl

from edc.binance_wire import time
from edc.events import Values
from edc.forms import Cells, Form
from edc.rows import Rows
from edc.wire import Columns, Numbers, Short, Wire, book

_EVENT = '{"stream":"<_topic:word>@%s","data":{"e":"%s","E":<_E:integer>,"s":"<s:word>",'
_PRICE = '"p":"<p:decimal>","q":"<q:decimal>",'
_TAKER = '"T":<T:integer>,"m":<m:flag>,"M":<_M:flag>}}'
_TRADE = Form(_EVENT % ("trade", "trade") + '"t":<id:integer>,' + _PRICE + _TAKER)
_AGGREGATE = Form(
    _EVENT % ("aggTrade", "aggTrade")
    + '"a":<id:integer>,'
    + _PRICE
    + '"f":<_f:integer>,"l":<_l:integer>,'
    + _TAKER
)
_BOOK = Form(
    '{"stream":"<_topic:word>@bookTicker","data":{"u":<u:integer>,"s":"<s:word>",'
    '"b":"<b:decimal>","B":"<B:decimal>","a":"<a:decimal>","A":"<A:decimal>"}}'
)
_IS_BOOK = b'@bookTicker","data":{"u":'
_BEFORE_END = -len(b"?}}")
"""Trades end with a flag, `true` or `false`, quotes with a text."""
_TRADE_NUMBERS = re.compile(
    rb'"s":"([^"]+)",(?:"t":([0-9]+)|"a":[0-9]+),"p":"[0-9.]+","q":"[0-9.]+",'
    rb'(?:"f":[0-9]+,"l":[0-9]+,)?"T":[0-9]+,"m":[a-z]+,"M":'
)


def short_way(rows: Rows, streams: Collection[str]) -> Short:
    """For trades, aggregates and books. Only trades are numbered, where they are asked for."""
    symbols = rows.symbols

    def trades(cells: Cells) -> Mapping[str, Values]:
        sides = pl.DataFrame({"m": cells["m"]}).select(
            pl.when("m").then(pl.lit("sell")).otherwise(pl.lit("buy"))
        )
        return {
            "exchange": rows.exchange,
            "event_time": _times(cells["T"]),
            "last_price": cells["p"],
            "last_size": cells["q"],
            "trade_id": cells["id"].cast(pl.String),
            "side": sides.to_series(),
            "action": "new",
            "sequence": cells["id"],
        }

    def aggregates(cells: Cells) -> Mapping[str, Values]:
        return {**trades(cells), "conditions": "aggregate", "sequence": None}

    def books(cells: Cells) -> Mapping[str, Values]:
        sides = book(cells["b"], cells["B"], cells["a"], cells["A"], None)
        moment = {"event_time": cells["received_ns"], "sequence": cells["u"]}
        return {"exchange": rows.exchange, **sides, **moment}

    def numbers(text: bytes, size: int) -> list[tuple[str, int]]:
        found = _TRADE_NUMBERS.findall(text)
        if len(found) != size:
            raise ValueError("a frame of another form")
        return [(symbols.named[s], int(t)) for s, t in found if t]

    def wire(event_type: str, forms: list[tuple[Form, Columns]], numbers: Numbers) -> Wire:
        alike = ("binance", event_type, rows.exchange)
        numbered = numbers if "trade" in streams else None
        return Wire(event_type, forms, "s", symbols, alike, numbered)

    trade = wire("trade", [(_TRADE, trades), (_AGGREGATE, aggregates)], numbers)
    quote = wire("quote", [(_BOOK, books)], _no_numbers)
    return Short(_BEFORE_END, {ord("e"): trade, ord('"'): quote})


def _no_numbers(text: bytes, size: int) -> list[tuple[str, int]]:
    """None, since these are books. Raises ValueError for what may be a trade, perhaps of others."""
    if text.count(_IS_BOOK) != size:
        raise ValueError("a frame of another form")
    return []


def _times(numbers: pl.Series) -> pl.Series:
    """As `time`, for many."""
    least, greatest = numbers.min(), numbers.max()
    assert isinstance(least, int)
    assert isinstance(greatest, int)
    if not least or time(least) // least != time(greatest) // greatest:
        return pl.Series(list(map(time, numbers)), dtype=pl.Int64)
    return numbers * (time(least) // least)
