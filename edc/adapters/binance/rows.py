"""What both protocols share: how symbols are called, and aggregates."""

from edc.adapters import FeedPlan
from edc.binance_wire import AggTrade, trade
from edc.events import Trade
from edc.rows import Rows
from edc.symbols import Symbols

AGGREGATE = "aggregate"


def rows_of(plan: FeedPlan) -> Rows:
    """Symbols are called by themselves, in capitals."""
    return Rows(Symbols(plan, lambda symbol, _type, _written: symbol.upper()), "BINANCE")


def aggregated(rows: Rows, data: AggTrade) -> Trade:
    """An aggregate as a trade: its condition says so, and its id is no sequence."""
    made = trade(rows, data.s, data.a, data.p, data.q, data.T, maker_bought=data.m)
    made.conditions, made.sequence = AGGREGATE, None
    return made
