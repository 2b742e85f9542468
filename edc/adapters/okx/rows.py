"""What both protocols share: how instruments are called, and their trades."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from edc.adapters import FeedPlan
from edc.adapters.okx.messages import Trade
from edc.errors import Skippable
from edc.events import Event
from edc.rows import Rows
from edc.symbols import Symbols, parted
from edc.times import MILLISECOND, instant

_trade = msgspec.json.Decoder(Trade, strict=False).decode


def rows_of(plan: FeedPlan) -> Rows:
    """Spot pairs are called `BTC-USDT`, derivatives by the symbol in capitals."""
    derivatives = plan.options.channel.startswith("derivatives")

    def call(symbol: str, _type: str, written: str) -> str:
        return symbol.upper() if derivatives else "-".join(parted(symbol, written))

    return Rows(Symbols(plan, call), "OKX")


class Trades:
    """Makes trades, and watches the numbers of merged ones."""

    def __init__(self, rows: Rows, *, in_contracts: bool, numbered: bool) -> None:
        self._rows = rows
        self._in_contracts = in_contracts
        self._numbered = numbered
        self._last: dict[str, int] = {}

    def of(self, raw: Raw) -> Iterator[Event]:
        """The trade of a row. Raises Skippable, with it, where some are missing before it."""
        data = _trade(raw)
        flags = {"contracts": self._in_contracts, "rpi": data.source == "1"}
        flags["merged"] = data.count > 1
        number = int(data.id)
        made = self._rows.trade(
            *(data.instId, instant(data.ts, MILLISECOND), data.px, data.sz),
            trade_id=data.id,
            side=data.side,
            sequence=number if self._numbered else None,
            conditions=",".join(name for name, flag in flags.items() if flag) or None,
        )
        last = self._last.get(data.instId)
        self._last[data.instId] = max(number, last or 0)
        if not self._numbered and last is not None and last + data.count < number:
            missing = number - last - data.count
            problem = f"{missing} trades of {data.instId} are missing before {number}"
            raise Skippable("sequence", problem, [made], missing)
        yield made
