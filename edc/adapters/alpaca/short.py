"""Alpaca's commonest messages, many at once: see `edc.wire`; the adapter tells what they mean.

An array of many messages is as good as that many arrays of one. They differ in how many conditions
they carry, and older ones in the order of their fields. UNCONFIRMED: the order within trades of
today, which is taken to be as within quotes; one of another order goes the long way.
"""

from collections.abc import Callable, Mapping
from functools import partial

import polars as pl

from edc.events import Values
from edc.forms import Cells, Form
from edc.rows import Rows
from edc.wire import Columns, Seam, Short, Wire, book

_MOST_CONDITIONS = 4
_TRADE = '"x":"<x:text>","p":<p:real>,"s":<s:real>,'
_BID = '"bx":"<bx:text>","bp":<bp:real>,"bs":<bs:real>,'
_QUOTE = f'{{"T":"q","S":"<S:word>",{_BID}"ax":"<ax:text>","ap":<ap:real>,"as":<as:real>,'
_TRADES = (
    f'[{{"T":"t","S":"<S:word>","i":<i:integer>,{_TRADE}%s"z":"<_z:text>","t":"<t:zulu>"}}]',
    f'[{{"T":"t","i":<i:integer>,"S":"<S:word>",{_TRADE}"t":"<t:zulu>",%s"z":"<_z:text>"}}]',
)
_QUOTES = (
    f'[{_QUOTE}%s"z":"<_z:text>","t":"<t:zulu>"}}]',
    f'[{_QUOTE}"t":"<t:zulu>",%s"z":"<_z:text>"}}]',
)
_KIND = len('[{"T":"')
_SEAM = Seam(between=b'},{"T":"', end=b"}]", begin=b'[{"T":"')
"""Found nowhere else: within a text, the quotes would be escaped."""


def short_way(rows: Rows, lot: int) -> Short:
    """For trades and quotes of stocks; a size of a quote is so many shares."""

    def trades(count: int, cells: Cells) -> Mapping[str, Values]:
        return {
            "event_time": cells["t"],
            "last_price": cells["p"],
            "last_size": cells["s"],
            "exchange": _told(cells["x"]),
            "trade_id": cells["i"].cast(pl.String),
            "conditions": _conditions(count, cells),
            "action": "new",
        }

    def quotes(count: int, cells: Cells) -> Mapping[str, Values]:
        sides = book(cells["bp"], cells["bs"] * lot, cells["ap"], cells["as"] * lot, None)
        return {
            **sides,
            "event_time": cells["t"],
            "bid_exchange": _where(sides["bid"], _told(cells["bx"])),
            "ask_exchange": _where(sides["ask"], _told(cells["ax"])),
            "conditions": _conditions(count, cells),
        }

    def wire(event_type: str, forms: list[tuple[Form, Columns]]) -> Wire:
        return Wire(event_type, forms, "S", rows.symbols, ("alpaca", event_type, lot))

    wires = {
        ord("t"): wire("trade", _forms(_TRADES, trades)),
        ord("q"): wire("quote", _forms(_QUOTES, quotes)),
    }
    return Short(_KIND, wires, _SEAM)


def _forms(
    patterns: tuple[str, ...], columns: Callable[[int, Cells], Mapping[str, Values]]
) -> list[tuple[Form, Columns]]:
    """Each pattern with one condition, two, and so on."""
    made: list[tuple[Form, Columns]] = []
    for pattern in patterns:
        for count in range(1, _MOST_CONDITIONS + 1):
            codes = ",".join(f'"<c{number}:text>"' for number in range(count))
            made.append((Form(pattern % f'"c":[{codes}],'), partial(columns, count)))
    return made


def _conditions(count: int, cells: Cells) -> pl.Series:
    """Those that say anything, joined by commas; null where none does."""
    codes = [cells[f"c{number}"] for number in range(count)]
    if not any((code < "!").any() for code in codes):  # none is empty or begins with a blank
        return codes[0] if count == 1 else _joined(codes)
    told = [code.set(code.str.strip_chars() == "", None) for code in codes]
    return _told(_joined(told))


def _joined(codes: list[pl.Series]) -> pl.Series:
    every = pl.DataFrame([code.alias(f"{number}") for number, code in enumerate(codes)])
    return every.select(pl.concat_str(pl.all(), separator=",", ignore_nulls=True)).to_series()


def _told(texts: pl.Series) -> pl.Series:
    """Null where nothing is said."""
    silent = texts == ""
    return texts.set(silent, None) if silent.any() else texts


def _where(price: pl.Series, exchange: pl.Series) -> pl.Series:
    """The exchange of a side that is there."""
    return exchange.set(price.is_null(), None) if price.null_count() else exchange
