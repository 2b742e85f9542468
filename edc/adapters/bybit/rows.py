"""What both protocols share: how instruments are called, and what is said of a trade."""

from edc.adapters import FeedPlan
from edc.rows import Rows
from edc.symbols import Symbols


def rows_of(plan: FeedPlan) -> Rows:
    """Instruments are called by the symbol in capitals."""
    return Rows(Symbols(plan, lambda symbol, _type, _written: symbol.upper()), "BYBIT")


def conditions(category: str, *, block: bool, rpi: bool) -> str | None:
    """What is said of a trade, joined by commas."""
    flags = {"contracts": category == "inverse", "block": block, "rpi": rpi}
    return ",".join(name for name, flag in flags.items() if flag) or None
