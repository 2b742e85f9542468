"""What both protocols share: how pairs are called, and their trades."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from edc.adapters import FeedPlan
from edc.adapters.bitfinex.instruments import CODES
from edc.adapters.bitfinex.messages import parts_of
from edc.events import Event
from edc.fields import Number
from edc.rows import Rows
from edc.symbols import Symbols, parted
from edc.times import MILLISECOND, instant

_trade = msgspec.json.Decoder(tuple[int, int, Number, Number]).decode


def rows_of(plan: FeedPlan) -> Rows:
    """Spot pairs are called `tBTCUSD` or `tDOGE:USD`, derivatives by the venue's own names."""
    derivatives = plan.options.channel == "derivatives"

    def call(symbol: str, _type: str, written: str) -> str:
        if derivatives:
            return f"t{(written or symbol)[1:].upper()}"
        base, quote = (CODES.get(code, code) for code in parted(symbol, written))
        return f"t{base}{':' if len(base) > 3 or len(quote) > 3 else ''}{quote}"  # noqa: PLR2004

    return Rows(Symbols(plan, call), "BITFINEX")


def made(rows: Rows, name: str, raw: Raw) -> Iterator[Event]:
    """The trade of a row, `[id, ms, amount, price]`."""
    number, ms, amount, price = _trade(_first_four(raw))
    yield rows.trade(
        *(name, instant(ms, MILLISECOND), price, abs(amount)),
        trade_id=str(number),
        side="buy" if amount > 0 else "sell",
    )


def _first_four(raw: Raw) -> bytes:
    """A row without what the venue may have added at its end."""
    parts = parts_of(raw)
    return bytes(raw) if len(parts) <= 4 else b"[" + b",".join(map(bytes, parts[:4])) + b"]"  # noqa: PLR2004
