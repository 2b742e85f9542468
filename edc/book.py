"""The best level of a book that is kept from a venue's changes."""

from collections.abc import Iterable

Level = tuple[float, float]
"""Price and size."""


class Book:
    """One symbol's price levels. Sizes are absolute; 0 takes a level away.

    The best level is looked for anew only where it was taken away: a change costs O(1), the loss of
    the best one O(n).
    """

    __slots__ = ("_asks", "_best_ask", "_best_bid", "_bids")

    def __init__(self) -> None:
        self._bids: dict[float, float] = {}
        self._asks: dict[float, float] = {}
        self._best_bid: float | None = None
        self._best_ask: float | None = None

    def snapshot(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """The whole book; what was known before is forgotten."""
        self._bids = {price: size for price, size in bids if size}
        self._asks = {price: size for price, size in asks if size}
        self._best_bid = max(self._bids, default=None)
        self._best_ask = min(self._asks, default=None)

    def bid(self, price: float, size: float) -> None:
        """The size that is bid at a price now."""
        if size:
            self._bids[price] = size
            if self._best_bid is None or price > self._best_bid:
                self._best_bid = price
        elif self._bids.pop(price, None) is not None and price == self._best_bid:
            self._best_bid = max(self._bids, default=None)

    def ask(self, price: float, size: float) -> None:
        """The size that is offered at a price now."""
        if size:
            self._asks[price] = size
            if self._best_ask is None or price < self._best_ask:
                self._best_ask = price
        elif self._asks.pop(price, None) is not None and price == self._best_ask:
            self._best_ask = min(self._asks, default=None)

    def top(self) -> tuple[float | None, float | None, float | None, float | None]:
        """Bid, its size, ask, its size; None for a side that is empty."""
        bid, ask = self._best_bid, self._best_ask
        return (
            bid,
            None if bid is None else self._bids[bid],
            ask,
            None if ask is None else self._asks[ask],
        )
