"""Metrics: names, labels and values, as a scraper reads them."""

from collections import Counter
from importlib.metadata import version

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edc.events import Trade
from edc.metrics import DaemonCollector, FeedStats, LaneStats, Rate, registry
from edc.queues import Queue, WhenFull

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(made: CollectorRegistry) -> Values:
    """Every sample of a registry by name and labels."""
    text = generate_latest(made).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(values: Values, name: str, **labels: str) -> float:
    """One sample."""
    return values[name, frozenset(labels.items())]


@pytest.fixture
def collector() -> DaemonCollector:
    """A daemon with two feeds, that has done something of everything."""
    stocks = FeedStats(
        "stocks",
        "tiingo",
        "tiingo_iex",
        state="live",
        frames=11,
        data_frames=9,
        received_bytes=1200,
        events={"trade": 5, "quote": 4, "ref_px": 0},
        skipped=Counter(malformed=2),
        connects=3,
        disconnects=Counter(stale=1, disconnected=2),
        last_received_ns=1_771_006_162_500_000_000,
    )
    queue = Queue("trade", 2, WhenFull.DROP_OLDEST)
    for time in range(5):
        queue.put(
            Trade(
                symbol="aapl", asset_type="stock", event_time=time, last_price=1.0, last_size=None
            )
        )
    lane = LaneStats(
        "trade",
        chunks_written=7,
        rows_spooled=70,
        rows_pending=10,
        rows_written=55,
        duplicates=5,
        files_written=6,
        bytes_written=6000,
        flush_seconds=0.75,
        flushes=4,
        spool_errors=1,
        sink_errors=2,
        last_flush_ns=1_771_006_160_250_000_000,
    )
    return DaemonCollector(
        lambda: [stocks, FeedStats("fx", "tiingo", "tiingo_fx")], {"trade": queue}, {"trade": lane}
    )


@pytest.fixture
def values(collector: DaemonCollector) -> Values:
    """What a scrape of that daemon gives."""
    return scrape(registry(collector))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("edc_feed_up", 1),
        ("edc_feed_last_event_timestamp_seconds", 1_771_006_162.5),
        ("edc_feed_frames_total", 11),
        ("edc_feed_received_bytes_total", 1200),
        ("edc_feed_connects_total", 3),
    ],
)
def test_a_feed_is_counted(values: Values, name: str, expected: float) -> None:
    assert value(values, name, feed="stocks", vendor="tiingo") == expected


@pytest.mark.parametrize(
    ("name", "label", "expected"),
    [
        ("edc_feed_events_total", ("event_type", "trade"), 5),
        ("edc_feed_events_total", ("event_type", "quote"), 4),
        ("edc_feed_events_total", ("event_type", "ref_px"), 0),
        ("edc_feed_skipped_frames_total", ("reason", "malformed"), 2),
        ("edc_feed_disconnects_total", ("reason", "stale"), 1),
        ("edc_feed_disconnects_total", ("reason", "disconnected"), 2),
    ],
)
def test_a_feed_is_counted_by_type_and_reason(
    values: Values, name: str, label: tuple[str, str], expected: float
) -> None:
    labels = {"feed": "stocks", "vendor": "tiingo", label[0]: label[1]}

    assert value(values, name, **labels) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("edc_queue_events", 2),
        ("edc_queue_capacity_events", 2),
        ("edc_queue_dropped_events_total", 3),
        ("edc_spool_chunks_total", 7),
        ("edc_spool_rows_total", 70),
        ("edc_spool_errors_total", 1),
        ("edc_spool_pending_rows", 10),
        ("edc_sink_rows_total", 55),
        ("edc_sink_duplicate_rows_total", 5),
        ("edc_sink_files_total", 6),
        ("edc_sink_written_bytes_total", 6000),
        ("edc_sink_flushes_total", 4),
        ("edc_sink_flush_seconds_total", 0.75),
        ("edc_sink_errors_total", 2),
        ("edc_sink_last_success_timestamp_seconds", 1_771_006_160.25),
    ],
)
def test_queue_spool_and_sink_are_counted(values: Values, name: str, expected: float) -> None:
    assert value(values, name, event_type="trade") == expected


def test_a_feed_that_has_not_spoken_is_down(values: Values) -> None:
    assert value(values, "edc_feed_up", feed="fx", vendor="tiingo") == 0
    assert value(values, "edc_feed_frames_total", feed="fx", vendor="tiingo") == 0


@pytest.mark.parametrize("state", ["starting", "connected", "waiting", "stopped"])
def test_only_a_live_feed_is_up(state: str) -> None:
    stats = FeedStats("fx", "tiingo", "tiingo_fx", state=state)

    values = scrape(registry(DaemonCollector(lambda: [stats], {}, {})))

    assert value(values, "edc_feed_up", feed="fx", vendor="tiingo") == 0


def test_the_build_is_told(values: Values) -> None:
    assert value(values, "edc_build_info", version=version("edc")) == 1


def test_every_metric_has_a_known_name_and_bounded_labels(collector: DaemonCollector) -> None:
    only_ours = CollectorRegistry()
    only_ours.register(collector)

    samples = scrape(only_ours)

    labels = {name for _, pairs in samples for name, _ in pairs}
    assert labels == {"version", "feed", "vendor", "event_type", "reason", "stage"}
    assert all(name.startswith("edc_") for name, _ in samples)
    assert len({name for name, _ in samples}) == 27


def test_the_process_itself_is_told_too(values: Values) -> None:
    assert "python_info" in {name for name, _ in values}
    assert value(values, "process_resident_memory_bytes") > 0


def test_a_scrape_reads_the_present(collector: DaemonCollector) -> None:
    stats = FeedStats("fx", "tiingo", "tiingo_fx")
    made = registry(DaemonCollector(lambda: [stats], {}, {}))
    scrape(made)

    stats.frames = 8

    assert value(scrape(made), "edc_feed_frames_total", feed="fx", vendor="tiingo") == 8


def test_events_of_all_types_are_summed() -> None:
    stats = FeedStats("fx", "tiingo", "tiingo_fx", events={"trade": 2, "quote": 3})

    assert stats.event_count == 5


def test_a_rate_is_events_by_seconds_smoothed() -> None:
    times = iter([0.0, 2.0, 4.0, 6.0])
    rate = Rate(now=lambda: next(times))

    assert rate.sample(200) == 100.0
    assert rate.sample(600) == 150.0
    assert rate.sample(600) == 75.0


def test_a_rate_without_time_passed_stays_as_it_was() -> None:
    times = iter([0.0, 1.0, 1.0, 2.0])
    rate = Rate(now=lambda: next(times))
    rate.sample(10)

    assert rate.sample(99) == 10.0
    assert rate.sample(20) == 10.0
