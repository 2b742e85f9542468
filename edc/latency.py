"""How long events take, from the vendor's clock to the lake: histograms of about four per cent.

    event_time ──receive──► created_at ──queue──► queued ──────► in a chunk ──lake──► in the lake
                                └───────────────spool──────────────┘

A bucket is a part of a decade: sixty of them from 1 µs to 10 µs, from 10 µs to 100 µs and so on, so
that a value is known to four per cent. Negative values, where the vendor's clock is ahead of ours,
have buckets of their own. Least and greatest values are exact. Counted for a chunk, a read or a
batch at a time; nothing here is done for a single event.
"""

import math
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import polars as pl

Stage = Literal["receive", "queue", "spool", "lake"]
"""From the vendor's time to receipt; to the queue; from receipt to safe on disk; on to the lake."""
STAGES: tuple[Stage, ...] = get_args(Stage)

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_A_DECADE = 60
_DECADES = 12  # to eleven days; what takes longer is in the last bucket
_FIRST = 1000
"""The upper end of the first bucket, ns."""
_ROUND = {24: 2.5, 42: 5.0}
"""Buckets that end at a round number instead (within 0.5 %), so that `le` is exact."""
SLOT = 5.0
_SLOTS = 12
"""The last minute is the slot that is filling and the twelve before it."""
_MOST_EPOCHS = 65_536
_MOST_READS = 1000
"""A second, of each feed."""
_FEW = 128
_ENOUGH = 512
"""Rows that are measured of a chunk which several feeds share."""


def _uppers() -> list[int]:
    parts = [_ROUND.get(part, 10 ** (part / _A_DECADE)) for part in range(_A_DECADE)]
    return [round(_FIRST * 10**decade * part) for decade in range(_DECADES) for part in parts] + [
        _FIRST * 10**_DECADES
    ]


_UPPERS = _uppers()
"""The upper ends of buckets 1, 2, 3 …, ns, inclusive."""
_LAST = len(_UPPERS)
_EDGES = [-upper - 1 for upper in reversed(_UPPERS[:-1])] + [-1, 0, *_UPPERS]
"""The greatest value of each bucket in order, from the least negative-most bucket on, ns."""
_HIGHEST = len(_EDGES) - 1
_ZERO = len(_UPPERS)
"""The place of bucket 0 in `_EDGES`."""


def _middle(bucket: int) -> float:
    """The value that stands for a bucket, ns."""
    if abs(bucket) <= 1:
        return bucket * _FIRST / 2
    size = math.sqrt(_UPPERS[abs(bucket) - 1] * _UPPERS[abs(bucket) - 2])
    return math.copysign(size, bucket)


def bucket_of(delay: pl.Expr) -> pl.Expr:
    """The bucket of each of a column of delays in ns; negative for negative ones, 0 for 0."""
    part = (delay.abs().cast(pl.Float64).log(10) - math.log10(_FIRST)) * _A_DECADE
    size = 1 + (part - 1e-9).ceil().clip(0, _LAST - 1)
    return pl.when(delay == 0).then(0).otherwise(delay.sign() * size).cast(pl.Int16)


@dataclass(slots=True)
class Histogram:
    """Counted delays. `least` and `greatest` are exact, ns; `total` sums the positive ones, ns."""

    counts: dict[int, int] = field(default_factory=dict)
    least: int | None = None
    greatest: int | None = None
    total: int = 0

    @property
    def count(self) -> int:
        """How many were counted."""
        return sum(self.counts.values())

    def add(self, other: "Histogram") -> None:
        """Count what another has counted, too."""
        if other.least is None or other.greatest is None:
            return
        counts = self.counts
        for bucket, number in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + number
        self._extend(other.least, other.greatest, other.total)

    def add_one(self, delay: int, times: int = 1) -> None:
        """Count one delay, ns, `times` times."""
        place = min(bisect_left(_EDGES, delay), _HIGHEST) - _ZERO
        self.counts[place] = self.counts.get(place, 0) + times
        self._extend(delay, delay, max(0, delay) * times)

    def _extend(self, least: int, greatest: int, total: int) -> None:
        self.least = least if self.least is None else min(self.least, least)
        self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)
        self.total += total

    def percentile(self, part: float) -> float | None:
        """The nearest-rank percentile in ns, to four per cent; None of nothing."""
        if self.least is None or self.greatest is None:
            return None
        rank, seen = part * self.count, 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return min(max(_middle(bucket), self.least), self.greatest)
        return float(self.greatest)

    def summary(self) -> dict[str, float | int | None]:
        """`count`, `least`, the percentiles and `max`, in seconds; negative where clocks differ."""
        found: dict[str, float | int | None] = {"count": self.count, "least": _seconds(self.least)}
        found |= {name: _seconds(self.percentile(part)) for name, part in PERCENTILES.items()}
        return found | {"max": _seconds(self.greatest)}

    def cumulative(self, bounds: Sequence[float]) -> list[int]:
        """How many are at most each bound, in seconds and rising; exact where a bucket ends."""
        places = sorted(self.counts)
        sums = [0]
        for place in places:
            sums.append(sums[-1] + self.counts[place])
        tops = [_EDGES[place + _ZERO] for place in places]
        return [sums[bisect_right(tops, round(bound * 1e9))] for bound in bounds]

    def parts(self, most: int) -> list[tuple[float, float, int]]:
        """The distribution in at most `most` parts of equal width on its logarithmic scale.

        Each is its lower and upper end, in seconds, and the number of delays in it.
        """
        if not self.counts:
            return []
        first, last = min(self.counts), max(self.counts)
        width = -(-(last - first + 1) // most)
        found = []
        for begin in range(first, last + 1, width):
            end = begin + width - 1
            number = sum(self.counts.get(place, 0) for place in range(begin, end + 1))
            found.append((_edge(begin - 1) / 1e9, _edge(end) / 1e9, number))
        return found


def _edge(bucket: int) -> int:
    return _EDGES[min(max(bucket + _ZERO, 0), _HIGHEST)]


def _seconds(ns: float | None) -> float | None:
    """Of ns, with three digits that count."""
    return None if ns is None else float(f"{ns / 1e9:.3g}")


def of_series(delays: pl.Series, times: int = 1) -> Histogram:
    """The histogram of a column of delays in ns, each counted `times` times."""
    known = delays.drop_nulls() if delays.null_count() else delays
    number = known.len()
    if number <= _FEW:
        return _of_few(known.to_list(), times)
    ordered = known.sort(multithreaded=False)
    least, greatest = int(ordered[0]), int(ordered[-1])
    first = bisect_left(_EDGES, least)
    edges = _EDGES[first : bisect_left(_EDGES, greatest)]
    below = ordered.search_sorted(pl.Series(edges, dtype=pl.Int64), side="right").to_list()
    counts = {
        min(first + place, _HIGHEST) - _ZERO: (upper - lower) * times
        for place, (lower, upper) in enumerate(pairwise([0, *below, number]))
        if upper > lower
    }
    total = ordered.sum() if least >= 0 else ordered.clip(0, None).sum()
    return Histogram(counts, least, greatest, int(total) * times)


def _of_few(delays: Sequence[int], times: int) -> Histogram:
    """Of so few that the calls into Polars would cost more than the counting."""
    if not delays:
        return Histogram()
    counts: dict[int, int] = {}
    for delay in delays:
        bucket = min(bisect_left(_EDGES, delay), _HIGHEST) - _ZERO
        counts[bucket] = counts.get(bucket, 0) + times
    total = sum([delay for delay in delays if delay > 0])
    return Histogram(counts, min(delays), max(delays), total * times)


def of_rows(rows: pl.LazyFrame, by: Sequence[str] = ()) -> dict[tuple[str, ...], Histogram]:
    """From the vendor's time to receipt, of rows of trade, quote or ref_px, by some columns.

    `of_rows(rows, ["source", "symbol"])[("tiingo_fx", "eurusd")].summary()`. Without columns the
    only key is `()`. Memory grows with the number of keys, not of rows.
    """
    delay = pl.col("created_at").to_physical() - pl.col("event_time").to_physical()
    parts = (
        rows.select(*by, delay.alias("delay"))
        .drop_nulls("delay")
        .with_columns(bucket_of(pl.col("delay")).alias("bucket"))
        .group_by(*by, "bucket")
        .agg(
            pl.len().alias("number"),
            pl.col("delay").min().alias("least"),
            pl.col("delay").max().alias("greatest"),
            pl.col("delay").clip(0, None).sum().alias("total"),
        )
        .collect(engine="streaming")
    )
    found: dict[tuple[str, ...], Histogram] = {}
    for *key, bucket, number, least, greatest, total in parts.iter_rows():
        histogram = found.setdefault(tuple(key), Histogram())
        histogram.add(Histogram({bucket: number}, least, greatest, total))
    return found


class Windowed:
    """A histogram of the whole run and one of the last minute."""

    __slots__ = ("_now", "_slots", "run")

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.run = Histogram()
        self._slots: deque[tuple[int, Histogram]] = deque(maxlen=_SLOTS + 1)

    def add(self, some: Histogram) -> None:
        """Count what has been measured just now."""
        self.run.add(some)
        self._slot().add(some)

    def _slot(self) -> Histogram:
        number = int(self._now() // SLOT)
        if not self._slots or self._slots[-1][0] != number:
            self._slots.append((number, Histogram()))
        return self._slots[-1][1]

    def minute(self) -> Histogram:
        """Of the last minute, and of up to five seconds more."""
        found, since = Histogram(), int(self._now() // SLOT) - _SLOTS
        for number, some in self._slots:
            if number >= since:
                found.add(some)
        return found

    def latest(self) -> Histogram:
        """Of the last five seconds that are over; empty where nothing was measured in them."""
        wanted = int(self._now() // SLOT) - 1
        return next((some for number, some in self._slots if number == wanted), Histogram())


class FeedLatency:
    """The delays of one feed's live events, by stage."""

    __slots__ = ("_reads", "stages")

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.stages: dict[Stage, Windowed] = {stage: Windowed(now) for stage in STAGES}
        self._reads: list[tuple[int, int]] = []

    def queued(self, delay_ns: int, frames: int) -> None:
        """The frames of one read took so long to be decoded and queued.

        A thousand reads are remembered until the next `settle`, and no more.
        """
        if len(self._reads) < _MOST_READS:
            self._reads.append((delay_ns, frames))

    def settle(self) -> None:
        """Count the reads; call it about once a second."""
        reads, self._reads = self._reads, []
        some = Histogram()
        for delay, frames in reads:
            some.add_one(delay, frames)
        if reads:
            self.stages["queue"].add(some)

    @property
    def clock_skew_ns(self) -> int | None:
        """The least delay to receipt within the last minute; None without data.

        It is what our clock is ahead of the vendor's, and the quickest way from there: where it is
        negative, the vendor's clock is ahead of ours by at least as much.
        """
        return self.stages["receive"].minute().least

    def summary(self) -> dict[str, dict[str, dict[str, float | int | None]]]:
        """By stage, of the last `minute` and of the `run`; see `Histogram.summary`."""
        return {
            stage: {"minute": some.minute().summary(), "run": some.run.summary()}
            for stage, some in self.stages.items()
        }


class Measured(NamedTuple):
    """What a chunk says about one feed: its rows, their way to us, and from there to the disk."""

    feed: FeedLatency
    rows: int
    received: Histogram
    spooled: Histogram


class Latencies:
    """Whose events carry which connection epoch, and what their chunks say about them.

    Only live events have an epoch that is known here: what was recorded earlier, replayed or
    back-filled is as late as it is for another reason, and is not measured.
    """

    def __init__(self) -> None:
        self._feeds: OrderedDict[int, FeedLatency] = OrderedDict()

    def connected(self, epoch: int, feed: FeedLatency) -> None:
        """The events of a connection are those of a feed."""
        self._feeds[epoch] = feed
        if len(self._feeds) > _MOST_EPOCHS:
            self._feeds.popitem(last=False)

    def measure(self, rows: pl.DataFrame, epochs: pl.Series, spooled_ns: int) -> list[Measured]:
        """Of the rows of a chunk that is on disk since `spooled_ns`. May run in a thread.

        Where several feeds share a chunk of more than 512 rows, about so many of it are
        measured, and stand for the others.
        """
        if not rows.height or "event_time" not in rows.columns:
            return []
        received = rows["created_at"].cast(pl.Int64)
        delays = (received - rows["event_time"].cast(pl.Int64), spooled_ns - received)
        lowest, highest = epochs.min(), epochs.max()
        if lowest == highest:
            feed = self._feeds.get(int(epochs[0]))
            return [] if feed is None else [_measured(feed, delays, 1)]
        every = -(-rows.height // _ENOUGH)
        late, taken = delays
        parts = pl.DataFrame([epochs.alias("epoch"), late.alias("late"), taken.alias("taken")])
        if every > 1:  # at random: feeds may take turns
            parts = parts.sample(rows.height // every)
        by_feed: dict[FeedLatency, list[pl.DataFrame]] = {}
        for part in parts.partition_by("epoch"):
            if (feed := self._feeds.get(int(part["epoch"][0]))) is not None:
                by_feed.setdefault(feed, []).append(part)
        joined = {feed: pl.concat(some) for feed, some in by_feed.items()}
        return [
            _measured(feed, (each["late"], each["taken"]), every) for feed, each in joined.items()
        ]


def _measured(feed: FeedLatency, delays: Iterable[pl.Series], every: int) -> Measured:
    received, spooled = (of_series(each, every) for each in delays)
    return Measured(feed, received.count, received, spooled)


def spooled(measured: Iterable[Measured]) -> dict[FeedLatency, int]:
    """Count what a chunk says; how many rows each feed has in it."""
    rows: dict[FeedLatency, int] = {}
    for each in measured:
        each.feed.stages["receive"].add(each.received)
        each.feed.stages["spool"].add(each.spooled)
        rows[each.feed] = rows.get(each.feed, 0) + each.rows
    return rows


def in_the_lake(rows: Mapping[FeedLatency, int], delay_ns: int) -> None:
    """Count the rows of a chunk that came into the lake `delay_ns` after it was on disk."""
    for feed, number in rows.items():
        some = Histogram()
        some.add_one(delay_ns, number)
        feed.stages["lake"].add(some)
