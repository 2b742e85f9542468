"""The frames of the bench: distinct, made before the first is sent, one cycle of them at a time.

A cycle is sent again and again. What makes its events differ from those of another cycle is one
text in each of them, the `stamp` of a second: the vendor replaces it, so that a frame costs no more
than a copy of its bytes.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from edc.simulator.tape import text_frame

BEGIN = 1_771_005_600
"""2026-02-13T18:00:00Z in seconds: the second whose stamp the frames are made with."""
PREFIX = b"sym"
"""With what each symbol begins, in either case, and nothing else in a frame."""
_VENUES = ("gdax", "kraken", "gemini", "bitfinex")
_TAPES = "NPQVZ"
_BACK = 51
"""How far back a repeated event lies: an odd number, so that it is of the other kind."""
_LEAST_CYCLE, _MOST_CYCLE = 20_000, 400_000


class Made(NamedTuple):
    """What an event is made of; `nth` tells apart the trades of a symbol in its cycle."""

    symbol: str
    number: int
    micros: int
    nth: str
    rng: random.Random


@dataclass(frozen=True, slots=True)
class Workload:
    """What a vendor sends. `event` makes one: a quote for each odd number, a trade for each even.

    A frame is a list of `per_frame` of them, or the one alone. Where the venue numbers the trades
    of each symbol (`numbered`), all symbols take turns, and have a power of ten of them in a cycle:
    a stamp followed by `nth` then counts them without a jump, over cycles too. `repeats` is the
    table of what is sent twice; `timed` are those whose rows carry a time of the vendor's.
    """

    name: str
    path: str
    text: str
    symbol: Callable[[int], str]
    stamp: Callable[[int], bytes]
    event: Callable[[Made], object]
    per_frame: int = 1
    numbered: bool = False
    repeats: str = "quote"
    timed: tuple[str, ...] = ("trade", "quote")

    def cycle(self, rate: int, symbols: int, *, live: bool = False) -> int:
        """How many events carry one stamp: a second's, or so many that the numbers go on."""
        if live:
            return rate
        if not self.numbered:
            return min(rate, _MOST_CYCLE)
        turns = 10
        while 2 * symbols * turns < _LEAST_CYCLE:
            turns *= 10
        return 2 * symbols * turns

    def repeated(self, cycle: int, duplicates: float) -> Sequence[int]:
        """The numbers of the events that repeat another one: 1000 * `duplicates` of 1,000.

        Quotes, where the vendor numbers no trades: two equal trades on one connection are two.
        Trades, where its quotes carry no time: such a quote is told apart by when it came.
        """
        step = round(1 / duplicates) if duplicates else 0
        odd = self.repeats == "trade"  # it takes the place of a quote, so that no trade is missing
        return range(2 * step + odd, cycle, step) if step else range(0)

    def frames(self, cycle: int, symbols: int, duplicates: float = 0.0) -> list[tuple[int, bytes]]:
        """The websocket frames of a cycle, each with the number of its first event's symbol."""
        events = self._events(cycle, symbols, duplicates)
        if self.per_frame == 1:
            return [(owner, text_frame(event)) for owner, event in events]
        parts = [events[at : at + self.per_frame] for at in range(0, cycle, self.per_frame)]
        return [
            (part[0][0], text_frame(b"[%b]" % b",".join(event for _, event in part)))
            for part in parts
        ]

    def _events(self, cycle: int, symbols: int, duplicates: float) -> list[tuple[int, bytes]]:
        rng, again = random.Random(1), self.repeated(cycle, duplicates)
        names = [self.symbol(number) for number in range(symbols)]
        digits = len(str((cycle - 1) // 2 // symbols))
        events: list[tuple[int, bytes]] = []
        for number in range(cycle):
            if number in again:
                events.append(events[number - _BACK])
                continue
            turn, owner = divmod(number // 2, symbols)
            if not self.numbered:
                owner = rng.randrange(symbols)
            micros = number * 1_000_000 // cycle
            made = Made(names[owner], number, micros, f"{turn:0{digits}d}", rng)
            text = json.dumps(self.event(made), separators=(",", ":"))
            events.append((owner, text.encode()))
        return events


def _iso(second: int) -> bytes:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.".encode()


def _digits(second: int) -> bytes:
    return str(second).encode()


def _tiingo(made: Made) -> object:
    rng, stamp = made.rng, f"{_iso(BEGIN).decode()}{made.micros:06d}+00:00"
    venue, price = rng.choice(_VENUES), round(50 + rng.random() * 100, 4)
    size = round(rng.uniform(0.001, 5), 8)
    data: list[object] = ["T", made.symbol, stamp, venue, size, price]
    if made.number % 2:
        ends = [round(price - 0.01, 4), price, round(size * 2, 8), round(price + 0.01, 4)]
        data = ["Q", made.symbol, stamp, venue, size, *ends]
    return {"service": "crypto_data", "messageType": "A", "data": data}


def _binance(channel: str, made: Made) -> object:
    rng, name = made.rng, made.symbol.upper()
    price, size = 50 + rng.random() * 100, f"{rng.uniform(0.001, 5):.8f}"
    if made.number % 2:
        sides = {"b": f"{price:.8f}", "B": size, "a": f"{price + 0.01:.8f}", "A": size}
        data = {"u": BEGIN * 1_000_000 + made.number, "s": name, **sides}
        return {"stream": f"{made.symbol}@bookTicker", "data": data}
    moment, number = BEGIN * 1_000_000 + made.micros, int(f"{BEGIN}{made.nth}")
    told = {"e": channel, "E": moment, "s": name}
    paid = {"p": f"{price:.8f}", "q": size}
    ends = {"T": moment, "m": rng.random() < 0.5, "M": True}
    if channel == "trade":
        return {"stream": f"{made.symbol}@trade", "data": told | {"t": number} | paid | ends}
    parts = {"f": number, "l": number}
    return {"stream": f"{made.symbol}@aggTrade", "data": told | {"a": number} | paid | parts | ends}


def _alpaca(made: Made) -> object:
    rng = made.rng
    stamp = f"{_iso(BEGIN).decode()}{made.micros:06d}{rng.randrange(1000):03d}Z"
    price, size = round(50 + rng.random() * 100, 2), rng.randrange(1, 500)
    if made.number % 2:
        bid = {"bx": rng.choice(_TAPES), "bp": price, "bs": size}
        ask = {"ax": rng.choice(_TAPES), "ap": round(price + 0.01, 2), "as": size + 1}
        return {"T": "q", "S": made.symbol, **bid, **ask, "c": ["R"], "z": "C", "t": stamp}
    trade = {"T": "t", "S": made.symbol, "i": made.number + 52_983_525_000_000}
    more = {"x": rng.choice(_TAPES), "p": price, "s": size, "c": ["@", "I"], "z": "C", "t": stamp}
    return trade | more


def _pair(number: int) -> str:
    return f"sym{number:05d}usdt"


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            *("tiingo", "/crypto", "Tiingo crypto: one event a frame, an array, ISO times"),
            lambda number: f"sym{number:05d}usd",
            _iso,
            _tiingo,
        ),
        Workload(
            *("binance", "/stream", "Binance bookTicker and aggTrade: one event a frame, strings"),
            *(_pair, _digits, partial(_binance, "aggTrade")),
            numbered=True,
            repeats="trade",
            timed=("trade",),
        ),
        Workload(
            *("binance_trade", "/stream", "Binance bookTicker and trade, checked for jumps"),
            *(_pair, _digits, partial(_binance, "trade")),
            numbered=True,
            repeats="trade",
            timed=("trade",),
        ),
        Workload(
            *("alpaca", "/v2/sip", "Alpaca stocks: 20 events a frame, ISO times with nanoseconds"),
            lambda number: f"SYM{number:05d}",
            _iso,
            _alpaca,
            per_frame=20,
        ),
    )
}
