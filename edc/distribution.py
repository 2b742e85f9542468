"""How rows are spread over time and over delays: counted in little memory, however many they are.

A `Rates` has at most 240 bins of equal length, which grow with the time that is to be covered:
milliseconds for seconds of data, days for months. `Delays` has a histogram for each source, and for
each symbol of it up to ten thousand of them; what is beyond is counted in its source alone.
"""

from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from edc.latency import Histogram, of_rows
from edc.times import SECOND

_MOST_BINS = 240
_MOST_SYMBOLS = 10_000
_MOST_PARTS = 60
_MS = 1_000_000
_DAY = 86_400_000
_STEPS = [
    *(1, 2, 10, 20, 100, 200, 1000, 5000, 15_000, 60_000, 300_000, 900_000, 3_600_000),
    *(10_800_000, 21_600_000, _DAY, 7 * _DAY, 28 * _DAY, 364 * _DAY, 3640 * _DAY),
]
"""Lengths of a bin in milliseconds; each is a multiple of the one before."""


class Rate(msgspec.Struct, frozen=True):
    """Events over time: `counts[n]` of them from `start + n * step_seconds` on."""

    start: str
    step_seconds: float
    counts: list[int]

    @property
    def highest(self) -> float:
        """Events a second in the fullest bin."""
        return max(self.counts) / self.step_seconds


class Late(msgspec.Struct, frozen=True):
    """The delays from the vendor's time to receipt, of a symbol or, without one, of a source.

    `latency_seconds` is `Histogram.summary()`: to four per cent, negative where clocks differ.
    """

    source: str
    symbol: str | None
    latency_seconds: dict[str, float | int | None]


class Rates:
    """Counts events by their time."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._first = self._last = 0
        self._place = 0

    @property
    def _step(self) -> int:
        return _STEPS[self._place] * _MS

    def add(self, times: pl.Series) -> None:
        """Count rows by their times, with or without a zone."""
        physical = times.drop_nulls().to_physical()
        least, greatest = physical.min(), physical.max()
        if not isinstance(least, int) or not isinstance(greatest, int):
            return
        self._first = min(self._first, least) if self._counts else least
        self._last = max(self._last, greatest) if self._counts else greatest
        while self._last // self._step - self._first // self._step >= _MOST_BINS:
            self._coarsen()
        self._counts.update(dict((physical // self._step).value_counts().iter_rows()))

    def _coarsen(self) -> None:
        factor = _STEPS[self._place + 1] // _STEPS[self._place]
        self._place += 1
        finer, self._counts = self._counts, Counter()
        for place, number in finer.items():
            self._counts[place // factor] += number

    def rate(self, timezone: str) -> Rate | None:
        """What was counted, its start in a zone; None of nothing."""
        if not self._counts:
            return None
        first, last = self._first // self._step, self._last // self._step
        start = datetime.fromtimestamp(first * self._step / SECOND, UTC)
        return Rate(
            start.astimezone(ZoneInfo(timezone)).isoformat(timespec="milliseconds"),
            self._step / SECOND,
            [self._counts[place] for place in range(first, last + 1)],
        )


class Delays:
    """Counts delays to receipt, by source and symbol."""

    def __init__(self) -> None:
        self._sources: dict[str, Histogram] = {}
        self._symbols: dict[tuple[str, ...], Histogram] = {}
        self._beyond: set[tuple[str, ...]] = set()

    def add(self, rows: pl.DataFrame) -> None:
        """Count rows of trade, quote or ref_px."""
        for key, some in of_rows(rows.lazy(), ["source", "symbol"]).items():
            self._sources.setdefault(key[0], Histogram()).add(some)
            known = self._symbols.get(key)
            if known is None and len(self._symbols) < _MOST_SYMBOLS:
                known = self._symbols[key] = Histogram()
            if known is None:
                self._beyond.add(key)
            else:
                known.add(some)

    @property
    def beyond(self) -> int:
        """How many symbols are counted in their source alone."""
        return len(self._beyond)

    def late(self) -> list[Late]:
        """Each source, followed by its symbols; those with most rows first."""
        found = []
        for source, whole in _fullest(self._sources):
            found.append(Late(source, None, whole.summary()))
            own = {key[1]: each for key, each in self._symbols.items() if key[0] == source}
            found += [Late(source, symbol, each.summary()) for symbol, each in _fullest(own)]
        return found

    def parts(self) -> list[tuple[float, float, int]]:
        """The distribution over all of them; see `Histogram.parts`."""
        whole = Histogram()
        for each in self._sources.values():
            whole.add(each)
        return whole.parts(_MOST_PARTS)


def _fullest(some: dict[str, Histogram]) -> list[tuple[str, Histogram]]:
    return sorted(some.items(), key=lambda item: (-item[1].count, item[0]))
