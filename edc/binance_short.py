"""Binance's commonest frames, many at once: see `edc.wire`; the adapter tells what they mean."""

import re
from collections.abc import Callable, Mapping, Sequence

import polars as pl

from edc.binance_wire import time
from edc.forms import Cells, Form
from edc.rows import Rows
from edc.wire import Short, Values, Wire, book

_EVENT = '{"stream":"<topic:word>@%s","data":{"e":"%s","E":<sent:integer>,"s":"<s:word>",'
_PRICE = '"p":"<p:decimal>","q":"<q:decimal>",'
_TAKER = '"T":<T:integer>,"m":<m:flag>,"M":<M:flag>}}'
_TRADE = Form(_EVENT % ("trade", "trade") + '"t":<id:integer>,' + _PRICE + _TAKER)
_AGGREGATE = Form(
    _EVENT % ("aggTrade", "aggTrade")
    + '"a":<id:integer>,'
    + _PRICE
    + '"f":<f:integer>,"l":<l:integer>,'
    + _TAKER
)
_BOOK = Form(
    '{"stream":"<topic:word>@bookTicker","data":{"u":<u:integer>,"s":"<s:word>",'
    '"b":"<b:decimal>","B":"<B:decimal>","a":"<a:decimal>","A":"<A:decimal>"}}'
)
_ENDS = slice(-3, None)
"""Trades end with a flag, quotes with a text, and no other frame does as they."""
_TRADE_NUMBERS = re.compile(
    rb'"s":"([^"]+)",(?:"t":([0-9]+)|"a":[0-9]+),"p":"[0-9.]+","q":"[0-9.]+",'
    rb'(?:"f":[0-9]+,"l":[0-9]+,)?"T":[0-9]+,"m":[a-z]+,"M":'
)
_BOOK_NUMBERS = re.compile(rb'"u":([0-9]+),"s":"([^"]+)","b"')


def short_way(rows: Rows) -> Short:
    """For trades, aggregates and books."""
    symbols = rows.symbols

    def shared(cells: Cells) -> dict[str, Values]:
        return {**symbols.all_of(cells["s"]), "exchange": rows.exchange}

    def trades(cells: Cells) -> Mapping[str, Values]:
        sides = pl.DataFrame({"m": cells["m"]}).select(
            pl.when("m").then(pl.lit("sell")).otherwise(pl.lit("buy"))
        )
        return {
            **shared(cells),
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
        return {**shared(cells), **sides, **moment}

    names = symbols.named
    trade = Wire(
        "trade",
        [(_TRADE, trades), (_AGGREGATE, aggregates)],
        lambda frames: [(names[s], int(t)) for s, t in _all(_TRADE_NUMBERS.findall, frames) if t],
    )
    quote = Wire(
        "quote",
        [(_BOOK, books)],
        lambda frames: [(names[s], int(u)) for u, s in _all(_BOOK_NUMBERS.findall, frames)],
    )
    return Short(_ENDS, {b"e}}": trade, b'"}}': quote})


def _all(
    find: Callable[[bytes], list[tuple[bytes, bytes]]], frames: Sequence[bytes]
) -> list[tuple[bytes, bytes]]:
    found = find(b"\n".join(frames))
    if len(found) != len(frames):
        raise ValueError("a frame of another form")
    return found


def _times(numbers: pl.Series) -> pl.Series:
    """As `time`, for many."""
    least, greatest = numbers.min(), numbers.max()
    assert isinstance(least, int)
    assert isinstance(greatest, int)
    if not least or time(least) // least != time(greatest) // greatest:
        return pl.Series(list(map(time, numbers)), dtype=pl.Int64)
    return numbers * (time(least) // least)
