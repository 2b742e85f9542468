"""The events of one service of the simulated Tiingo, as the vendor writes them.

What they are follows from the seed, except the times, which are those of the clock: strictly rising
by at least a microsecond, so that no two events are the same.
"""

import json
import random
import struct
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

_NEW_YORK = ZoneInfo("America/New_York")
_EXCHANGES = ("gdax", "kraken", "gemini", "bitfinex")

TICKERS = {"iex": ["aapl", "spy"], "fx": ["eurusd"], "crypto_data": ["btcusd", "ethusd"]}
"""By service: what a subscription to everything gets."""


class Made(NamedTuple):
    """An event: whose it is, and the text frame's payload."""

    ticker: str
    payload: bytes


class Tape:
    """The events of one service, one after the other, whoever they go to."""

    def __init__(self, service: str, seed: int, now_ns: Callable[[], int]) -> None:
        self.service = service
        self.sent = 0
        self.recent: deque[bytes] = deque(maxlen=4096)
        self._random = random.Random(f"{seed} {service}")
        self._now_ns = now_ns
        self._last_us = 0
        self._prices: dict[str, float] = {}

    def next(self, level: int, tickers: Sequence[str]) -> Made:
        """The next event, of one of `tickers`."""
        rng = self._random
        ticker = tickers[rng.randrange(len(tickers))]
        price = self._prices.get(ticker) or 50.0 + rng.random() * 100
        price = round(max(1.0, price + rng.gauss(0, 0.02)), 4)
        self._prices[ticker] = price
        self._last_us = max(self._last_us + 1, self._now_ns() // 1000)
        data = self._data(level, ticker, price, self._last_us)
        payload = json.dumps(
            {"service": self.service, "messageType": "A", "data": data}, separators=(",", ":")
        ).encode()
        self.sent += 1
        self.recent.append(payload)
        return Made(ticker, payload)

    def _data(self, level: int, ticker: str, price: float, us: int) -> list[object]:
        rng = self._random
        bid, ask = round(price - 0.01, 4), round(price + 0.01, 4)
        if self.service == "iex":
            ns = us * 1000 + rng.randrange(1000)
            stamp = new_york(ns)
            if level == 6:  # noqa: PLR2004 - the vendor's number
                return [stamp, ticker, price]
            size = 100 * rng.randrange(1, 50)
            if rng.random() < 0.5:  # noqa: PLR2004 - half and half
                book = [size, bid, price, ask, size + 100, None, None, 0, 0, None, None, None]
                return ["Q", stamp, ns, ticker, *book]
            return ["T", stamp, ns, ticker, *[None] * 5, price, size, None, 0, 0, 0, 0]
        stamp = datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        stamp += f".{us % 1_000_000:06d}+00:00"
        volume = round(rng.uniform(0.001, 5), 8)
        if self.service == "fx":
            return ["Q", ticker, stamp, 1e6 * rng.randrange(1, 9), bid, price, 5e6, ask]
        exchange = _EXCHANGES[rng.randrange(len(_EXCHANGES))]
        if level == 5 or rng.random() < 0.5:  # noqa: PLR2004 - the vendor's number, half and half
            return ["T", ticker, stamp, exchange, volume, price]
        return ["Q", ticker, stamp, exchange, volume, bid, price, round(volume * 2, 8), ask]


def text_frame(payload: bytes) -> bytes:
    """A whole text message as a server sends it: RFC 6455, section 5.2."""
    return _frame(0x81, payload)


def binary_frame(payload: bytes) -> bytes:
    """The same for a binary message."""
    return _frame(0x82, payload)


def _frame(head: int, payload: bytes) -> bytes:
    if len(payload) < 126:  # noqa: PLR2004 - the RFC's
        return struct.pack("!BB", head, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", head, 126, len(payload)) + payload
    return struct.pack("!BBQ", head, 127, len(payload)) + payload


def new_york(ns: int) -> str:
    """`2019-01-30T13:33:45.383129126-05:00`: nine digits and New York's offset."""
    moment = datetime.fromtimestamp(ns // 1_000_000_000, _NEW_YORK)
    offset = moment.strftime("%z")
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % 1_000_000_000:09d}{offset[:3]}:{offset[3:]}"
