"""The frames of the bench: distinct, made before the first is sent, one second of them at a time.

What makes a second's frames differ from those of another second is one text in each of them, the
`stamp`: the vendor replaces it, so that a frame costs no more than a copy of its bytes.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from edc.simulator.tape import text_frame

BEGIN = 1_771_005_600
"""2026-02-13T18:00:00Z in seconds: the second whose stamp the frames are made with."""
PREFIX = b"sym"
"""With what each symbol begins, and nothing else in a frame."""
_VENUES = ("gdax", "kraken", "gemini", "bitfinex")
_BACK = 51
"""How far back a repeated frame lies: an odd number, so that it is a quote (see `repeated`)."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a vendor sends. `frame` makes the payload of an event, a quote at each odd number."""

    name: str
    path: str
    text: str
    symbol: Callable[[int], str]
    stamp: Callable[[int], bytes]
    frame: Callable[[str, int, int, random.Random], object]

    def second(self, rate: int, symbols: int, duplicates: float = 0.0) -> list[bytes]:
        """`rate` websocket frames, half of them trades; of 1,000, 1000 * `duplicates` repeated."""
        rng = random.Random(1)
        names = [self.symbol(number) for number in range(symbols)]
        again = repeated(rate, duplicates)
        frames: list[bytes] = []
        for number in range(rate):
            if number in again:
                frames.append(frames[number - _BACK])
                continue
            payload = self.frame(rng.choice(names), number, number * 1_000_000 // rate, rng)
            frames.append(text_frame(json.dumps(payload, separators=(",", ":")).encode()))
        return frames


def repeated(rate: int, duplicates: float) -> Sequence[int]:
    """The numbers of the frames that repeat another frame of their second.

    Only quotes: two equal trades on one connection are two trades where the vendor numbers none.
    """
    step = round(1 / duplicates) if duplicates else 0
    return range(2 * step, rate, step) if step else range(0)


def _tiingo_stamp(second: int) -> bytes:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.".encode()


def _tiingo(symbol: str, number: int, micros: int, rng: random.Random) -> object:
    stamp = f"{_tiingo_stamp(BEGIN).decode()}{micros:06d}+00:00"
    venue, price = rng.choice(_VENUES), round(50 + rng.random() * 100, 4)
    size = round(rng.uniform(0.001, 5), 8)
    data: list[object] = ["T", symbol, stamp, venue, size, price]
    if number % 2:
        ends = [round(price - 0.01, 4), price, round(size * 2, 8), round(price + 0.01, 4)]
        data = ["Q", symbol, stamp, venue, size, *ends]
    return {"service": "crypto_data", "messageType": "A", "data": data}


def _binance(symbol: str, number: int, micros: int, rng: random.Random) -> object:
    price, size = 50 + rng.random() * 100, f"{rng.uniform(0.001, 5):.8f}"
    unique = BEGIN * 1_000_000 + number
    if number % 2:
        data: dict[str, object] = {
            "u": unique,
            "s": symbol.upper(),
            "b": f"{price:.8f}",
            "B": size,
            "a": f"{price + 0.01:.8f}",
            "A": size,
        }
        return {"stream": f"{symbol}@bookTicker", "data": data}
    moment = BEGIN * 1_000_000 + micros
    data = {
        "e": "aggTrade",
        "E": moment,
        "s": symbol.upper(),
        "a": unique,
        "p": f"{price:.8f}",
        "q": size,
        "f": unique,
        "l": unique,
        "T": moment,
        "m": rng.random() < 0.5,
        "M": True,
    }
    return {"stream": f"{symbol}@aggTrade", "data": data}


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            *("tiingo", "/crypto", "Tiingo crypto: one event a frame, an array, ISO times"),
            lambda number: f"sym{number:05d}usd",
            _tiingo_stamp,
            _tiingo,
        ),
        Workload(
            *("binance", "/stream", "Binance combined stream: one event a frame, decimal strings"),
            lambda number: f"sym{number:05d}usdt",
            lambda second: str(second).encode(),
            _binance,
        ),
    )
}
