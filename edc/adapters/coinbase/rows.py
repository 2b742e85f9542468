"""Events of Coinbase's messages, and the books that they are kept in."""

from collections.abc import Iterable, Iterator

from edc.adapters import FeedPlan
from edc.adapters.coinbase.messages import Trade as Told
from edc.book import Book, Level
from edc.events import Event, Trade
from edc.rows import Rows
from edc.symbols import Symbols, parted
from edc.times import parse_iso

PAGE = 1000
"""Trades that an answer of REST has at most."""
AGENT = {"User-Agent": "edc"}
"""The venue refuses requests that do not say what sends them."""
_OTHER = {"buy": "sell", "sell": "buy"}


def rows_of(plan: FeedPlan) -> Rows:
    """What makes the rows of a feed."""

    def call(symbol: str, _type: str, written: str) -> str:
        return "-".join(parted(symbol, written))

    symbols = Symbols(plan, call)
    if plan.options.channel == "advanced":
        usdc = [name for name in symbols.names if name.endswith("-USDC")]
        symbols.also((name.removesuffix("C"), name) for name in usdc)
    return Rows(symbols, "COINBASE")


def trade_of(rows: Rows, data: Told, name: str, *, by_maker: bool) -> Trade:
    """The trade of a match, with the taker's side."""
    side = data.side.lower()
    return rows.trade(
        *(name, parse_iso(data.time), data.price, data.size),
        trade_id=str(data.trade_id),
        side=_OTHER[side] if by_maker else side,
        sequence=data.trade_id,
    )


class Books:
    """The best levels of some products; a quote where one has changed."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._books: dict[str, Book] = {}
        self._tops: dict[str, tuple[float | None, ...]] = {}
        self._whole: set[str] = set()
        self.lost = False
        """Books were forgotten and have to be asked for."""

    def of(self, name: str) -> Book:
        """The book of a product."""
        return self._books.setdefault(name, Book())

    def snapshot(self, name: str, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """A book has come whole."""
        self.of(name).snapshot(bids, asks)
        self._whole.add(name)

    def forget(self) -> None:
        """Changes are missing: no book is right until it comes whole again."""
        self.lost = self.lost or bool(self._whole)
        for known in (self._books, self._tops, self._whole):
            known.clear()

    def changed(self, name: str, time: int) -> Iterator[Event]:
        """Nothing of a book that was never whole, or has been empty so far."""
        top = self.of(name).top()
        empty = (None, None, None, None)
        if name in self._whole and top != self._tops.get(name, empty):
            self._tops[name] = top
            yield self._rows.quote(name, time, *top)
