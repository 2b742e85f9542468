"""Latency: histograms against exact percentiles, and who is measured."""

import random
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edc import latency
from edc.latency import FeedLatency, Histogram, Latencies, Windowed, of_rows, of_series
from edc.simulator.tiingo import TiingoSimulator
from tests import harness

MS = 1_000_000
NOON = 1_771_006_162_000_000_000


def exact(values: list[int], part: float) -> int:
    """The nearest-rank percentile of all values."""
    ordered = sorted(values)
    return ordered[max(0, -int(-(part * len(ordered)) // 1) - 1)]


def spread(number: int, seed: int = 7) -> list[int]:
    """Delays from microseconds to minutes, a tenth of them negative."""
    dice = random.Random(seed)
    return [
        round(dice.lognormvariate(16, 2)) * (-1 if dice.random() < 0.1 else 1)
        for _ in range(number)
    ]


@pytest.mark.parametrize("number", [1, 100, 129, 20_000], ids="{} delays".format)
def test_percentiles_are_right_to_two_per_cent_and_the_ends_exactly(number: int) -> None:
    values = spread(number)

    found = of_series(pl.Series(values, dtype=pl.Int64))

    assert (found.count, found.least, found.greatest) == (number, min(values), max(values))
    assert found.total == sum(value for value in values if value > 0)
    for part in (0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
        assert found.percentile(part) == pytest.approx(exact(values, part), rel=0.021)


def test_few_and_many_and_rows_of_a_lake_fall_into_the_same_buckets() -> None:
    values = [*spread(3000), 0, 1, -1, 999, 1000, 1001, -1000, MS, MS + 1, 10**18, -(10**18)]
    many = of_series(pl.Series(values, dtype=pl.Int64))
    few = Histogram()
    for value in values:
        few.add_one(value)
    rows = pl.DataFrame({"d": values}).select(latency.bucket_of(pl.col("d"))).to_series()

    assert few == many
    by_rows = dict(rows.value_counts().iter_rows())
    differ = {
        bucket: (many.counts.get(bucket), by_rows.get(bucket))
        for bucket in many.counts.keys() | by_rows.keys()
        if many.counts.get(bucket) != by_rows.get(bucket)
    }
    # but within half a per cent of 2.5 and 5, where an end was rounded
    assert all(abs(bucket) % 60 in (24, 25, 26, 42, 43, 44) for bucket in differ), differ
    assert sum(by_rows.values()) == len(values)


def test_bounds_are_counted_exactly_up_to_and_with_them() -> None:
    values = [-5, 0, 1, MS - 1, MS, MS + 1, 2_500_000, 2_500_001, 5 * MS, 10 * MS, 10 * MS + 1]
    found = of_series(pl.Series(values, dtype=pl.Int64))

    assert found.cumulative([0.0, 0.001, 0.0025, 0.005, 0.01, 1.0]) == [2, 5, 7, 9, 10, 11]


def test_negative_values_are_shown_and_add_nothing_to_the_sum() -> None:
    found = of_series(pl.Series([-2_000 * MS, -3 * MS, 4 * MS]))

    assert found.summary()["least"] == -2.0
    assert found.summary()["p50"] == pytest.approx(-0.003, rel=0.021)
    assert found.total == 4 * MS


def test_of_nothing_nothing_is_said() -> None:
    found = of_series(pl.Series([], dtype=pl.Int64))

    assert found.summary() == dict.fromkeys(("least", *latency.PERCENTILES, "max")) | {"count": 0}
    assert found.parts(8) == []
    assert found.cumulative([1.0]) == [0]


def test_two_histograms_added_are_that_of_both() -> None:
    one, other = spread(500, 1), spread(700, 2)
    both = of_series(pl.Series(one))
    both.add(of_series(pl.Series(other)))
    both.add(Histogram())

    assert both == of_series(pl.Series(one + other))


def test_parts_hold_everything_once_and_join() -> None:
    found = of_series(pl.Series(spread(5000)))

    parts = found.parts(30)

    assert len(parts) <= 30
    assert sum(number for *_, number in parts) == 5000
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    assert parts[0][0] <= found.least / 1e9 <= parts[0][1]  # type: ignore[operator]
    assert parts[-1][0] <= found.greatest / 1e9 <= parts[-1][1]  # type: ignore[operator]


def table(*rows: tuple[str, str, int]) -> pl.DataFrame:
    """Symbol, source and delay in ms, as rows of a lake."""
    times = pl.Series([NOON - delay * MS for *_, delay in rows])
    return pl.DataFrame(
        {
            "symbol": [symbol for symbol, *_ in rows],
            "source": [source for _, source, _ in rows],
            "event_time": times.cast(pl.Datetime("ns", "UTC")),
            "created_at": pl.Series([NOON] * len(rows)).cast(pl.Datetime("ns", "UTC")),
        }
    )


def test_rows_of_a_lake_by_source_and_symbol() -> None:
    rows = table(("a", "x", 1), ("a", "x", 3), ("a", "y", -7), ("b", "x", 100), ("b", "x", 100))

    found = of_rows(rows.lazy(), ["source", "symbol"])

    assert {key: each.count for key, each in found.items()} == {
        ("x", "a"): 2,
        ("y", "a"): 1,
        ("x", "b"): 2,
    }
    assert found["x", "a"].summary()["max"] == 0.003
    assert found["y", "a"].summary()["least"] == -0.007
    assert list(of_rows(rows.lazy())) == [()]
    assert of_rows(rows.head(0).lazy()) == {}


class Clock:
    """A monotonic clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def one(delay: int) -> Histogram:
    """A histogram of one delay."""
    made = Histogram()
    made.add_one(delay)
    return made


def test_a_minute_later_only_the_run_remembers() -> None:
    clock = Clock()
    some = Windowed(clock)
    some.add(one(5 * MS))
    clock.now += 30
    some.add(one(7 * MS))

    assert (some.minute().least, some.minute().count) == (5 * MS, 2)
    clock.now += 35  # the first is more than a minute ago, and its slot too
    assert (some.minute().least, some.minute().count) == (7 * MS, 1)
    clock.now += 3600
    assert some.minute().count == 0
    assert some.run.count == 2


def test_the_latest_slot_is_the_last_that_is_over() -> None:
    clock = Clock()
    some = Windowed(clock)
    some.add(one(5 * MS))
    assert some.latest().count == 0
    clock.now += latency.SLOT
    assert some.latest().count == 1
    clock.now += latency.SLOT
    assert some.latest().count == 0


def test_the_clock_skew_is_the_least_of_the_minute() -> None:
    clock = Clock()
    feed = FeedLatency(clock)
    assert feed.clock_skew_ns is None
    feed.stages["receive"].add(of_series(pl.Series([40 * MS, -3 * MS, 9 * MS])))
    assert feed.clock_skew_ns == -3 * MS
    clock.now += 120
    assert feed.clock_skew_ns is None


def test_reads_are_counted_by_their_frames_and_no_more_than_a_thousand_are_kept() -> None:
    feed = FeedLatency(Clock())
    for _ in range(1500):
        feed.queued(2 * MS, 3)
    feed.settle()
    assert feed.stages["queue"].run.count == 3000
    feed.queued(MS, 1)
    feed.settle()
    feed.settle()
    assert feed.stages["queue"].run.count == 3001


def chunk(*delays: int, spooled: int = 0) -> pl.DataFrame:
    """Rows received at noon, each so many ms after the vendor's time."""
    return table(*(("a", "x", delay) for delay in delays))


def test_a_chunk_is_measured_by_feed_whatever_its_connections() -> None:
    known, one_feed, other = Latencies(), FeedLatency(Clock()), FeedLatency(Clock())
    known.connected(1, one_feed)
    known.connected(2, other)
    known.connected(3, one_feed)

    measured = known.measure(
        chunk(1, 2, 3, 4, 500), pl.Series([1, 2, 3, 1, 9], dtype=pl.Int64), NOON + 20 * MS
    )
    rows = latency.spooled(measured)
    latency.in_the_lake(rows, 3000 * MS)

    assert rows == {one_feed: 3, other: 1}  # nobody knows the ninth: it was back-filled
    assert one_feed.stages["receive"].run.greatest == 4 * MS
    assert other.stages["receive"].run.greatest == 2 * MS
    for feed, number in rows.items():
        assert feed.stages["spool"].run.least == feed.stages["spool"].run.greatest == 20 * MS
        assert feed.stages["lake"].run.count == number
        assert feed.summary()["lake"]["run"]["max"] == 3.0


def test_a_chunk_of_one_connection_is_measured_whole() -> None:
    known, feed = Latencies(), FeedLatency(Clock())
    known.connected(4, feed)
    delays = spread(20_000)
    rows = table(*(("a", "x", 0) for _ in delays)).with_columns(
        (pl.lit(NOON) - pl.Series(delays)).cast(pl.Datetime("ns", "UTC")).alias("event_time")
    )

    (measured,) = known.measure(rows, pl.Series([4] * len(delays)), NOON + MS)

    assert measured.rows == measured.spooled.count == 20_000
    assert measured.received == of_series(pl.Series(delays))


def test_of_a_great_chunk_that_feeds_share_a_part_stands_for_all() -> None:
    known, feeds = Latencies(), [FeedLatency(Clock()) for _ in range(3)]
    for number, feed in enumerate(feeds):
        known.connected(number, feed)
    many = 20_000
    rows = table(*(("a", "x", 1 + number % 50) for number in range(many)))
    epochs = pl.Series([number % 3 for number in range(many)])

    pl.set_random_seed(1)  # what is measured of a chunk is drawn by lot
    measured = known.measure(rows, epochs, NOON + MS)

    assert {id(each.feed) for each in measured} == {id(feed) for feed in feeds}
    for each in measured:
        assert each.rows == pytest.approx(many / 3, rel=0.2)
        assert each.received.percentile(0.5) == pytest.approx(25 * MS, rel=0.2)


def test_gaps_and_empty_chunks_are_not_measured() -> None:
    known = Latencies()
    gaps = pl.DataFrame({"feed": ["a"], "created_at": [datetime(2026, 2, 13, tzinfo=UTC)]})
    none = pl.Series([], dtype=pl.Int64)

    assert known.measure(gaps, pl.Series([0]), NOON) == []
    assert known.measure(chunk().head(0), none, NOON) == []


def test_connections_of_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_MOST_EPOCHS", 2)
    known, feed = Latencies(), FeedLatency(Clock())
    for epoch in (1, 2, 3):
        known.connected(epoch, feed)

    assert known.measure(chunk(1), pl.Series([1]), NOON) == []
    assert len(known.measure(chunk(1), pl.Series([3]), NOON)) == 1


async def test_a_daemon_measures_every_event_at_every_stage(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=harness.KEY, rate=2000, events=400)
    async with harness.serving(simulator):
        daemon = harness.supervisor(harness.write_config(tmp_path, simulator.url))
        async with harness.running(daemon):
            await harness.until_events(daemon, 400)
            await daemon.flush()
            stages = daemon.feeds[0].stats.latency.stages
            await harness.until(lambda: stages["queue"].run.count >= 400)
            told: Any = daemon.status()["feeds"]

    rows = pl.concat(
        [
            harness.read(tmp_path / "lake", kind).select("created_at", "event_time", "source")
            for kind in ("trade", "quote")
        ]
    )
    (kept,) = of_rows(rows.lazy(), ["source"]).values()
    assert stages["receive"].run.count == stages["spool"].run.count == 400
    assert stages["lake"].run.count == 400
    assert stages["receive"].run.greatest == kept.greatest  # the lake says the same
    assert stages["receive"].run.least == kept.least
    assert 0 < told[0]["latency_seconds"]["spool"]["run"]["p50"] < 5
    assert told[0]["clock_skew_seconds"] == kept.least / 1e9  # type: ignore[operator]
