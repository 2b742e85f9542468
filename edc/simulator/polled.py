"""The polled endpoints of the simulated Tiingo."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from edc.simulator.tape import new_york

PATHS = ("/iex/", "/tiingo/fx/top", "/tiingo/crypto/top")


class Polled:
    """Last values, of which each request finds about half moved since the one before."""

    def __init__(self, seed: int, now_ns: Callable[[], int]) -> None:
        self._random = random.Random(f"{seed} polled")
        self._now_ns = now_ns
        self._rows: dict[tuple[str, str], dict[str, object]] = {}

    def answer(self, path: str, tickers: Sequence[str]) -> list[dict[str, object]]:
        """One row for each ticker, in another order than they were asked for."""
        rows = []
        for ticker in sorted(tickers, reverse=True):
            row = self._rows.get((path, ticker))
            if row is None or self._random.random() < 0.5:  # noqa: PLR2004 - about half
                row = self._rows[path, ticker] = self._row(path, ticker)
            rows.append(row)
        return rows

    def _row(self, path: str, ticker: str) -> dict[str, object]:
        price = round(50 + 100 * self._random.random(), 4)
        ns = self._now_ns()
        book: dict[str, object] = {"bidPrice": price - 0.01, "bidSize": 100.0}
        book |= {"askPrice": price + 0.01, "askSize": 200.0}
        if path == "/iex/":
            stamp = new_york(ns)
            times = dict.fromkeys(("timestamp", "lastSaleTimestamp", "quoteTimestamp"), stamp)
            last = {"tngoLast": price, "last": price, "lastSize": 100, "mid": price}
            return {"ticker": ticker.upper(), **times, **last, **book, "volume": 680}
        stamp = datetime.fromtimestamp(ns // 1000 / 1e6, UTC).isoformat(timespec="microseconds")
        if path == "/tiingo/fx/top":
            return {"ticker": ticker, "quoteTimestamp": stamp, "midPrice": price, **book}
        book |= {"quoteTimestamp": stamp, "bidExchange": "GDAX", "askExchange": "BULLISH"}
        book |= {"lastSaleTimestamp": stamp, "lastPrice": price, "lastSize": 0.5}
        book |= {"lastExchange": "KRAKEN", "lastSizeNotional": price / 2}
        return {"ticker": ticker, "topOfBookData": [book]}
