"""Tiingo's commonest frames, many at once: see `edc.wire`. `stream` tells what they mean."""

from collections.abc import Mapping

from edc.adapters.tiingo.rows import Rows
from edc.events import Values
from edc.forms import Cells, Form
from edc.wire import Columns, Short, Wire, book

_HEAD = '{"service":"%s","messageType":"A","data":["%s","<ticker:word>","<date:iso>",'
_BOOK = "<bid_size:real?>,<bid:real?>,<mid:real?>,<ask_size:real?>,<ask:real?>]}"
_CRYPTO_TRADE = _HEAD % ("crypto_data", "T") + '"<exchange:text>",<size:real>,<price:real>]}'
_CRYPTO_QUOTE = _HEAD % ("crypto_data", "Q") + '"<exchange:text>",' + _BOOK
_FX_QUOTE = _HEAD % ("fx", "Q") + _BOOK


def short_way(channel: str, rows: Rows) -> Short | None:
    """For the channels that send much: crypto and FX."""

    def shared(cells: Cells) -> dict[str, Values]:
        told: dict[str, Values] = {"event_time": cells["date"]}
        return told | ({"exchange": cells["exchange"]} if channel == "crypto" else {})

    def trades(cells: Cells) -> Mapping[str, Values]:
        sizes = {"last_price": cells["price"], "last_size": cells["size"]}
        return {**shared(cells), **sizes, "action": "new"}

    def quotes(cells: Cells) -> Mapping[str, Values]:
        sides = (cells[name] for name in ("bid", "bid_size", "ask", "ask_size", "mid"))
        return {**shared(cells), **book(*sides)}

    def wire(event_type: str, form: Form, columns: Columns) -> Wire:
        alike = ("tiingo", channel, event_type)
        return Wire(event_type, [(form, columns)], "ticker", rows, alike)

    match channel:
        case "crypto":
            trade, quote = Form(_CRYPTO_TRADE), Form(_CRYPTO_QUOTE)
            wires = {trade: wire("trade", trade, trades), quote: wire("quote", quote, quotes)}
        case "fx":
            quote = Form(_FX_QUOTE)
            wires = {quote: wire("quote", quote, quotes)}
        case _:
            return None
    at = len(quote.head) - len('Q","')
    return Short(at, {ord(form.head[at]): wire for form, wire in wires.items()})
