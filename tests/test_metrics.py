"""Metrics: names, labels and values, as a scraper reads them."""

import platform
from collections import Counter
from importlib.metadata import version

import polars as pl
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edc import together
from edc.events import Trade
from edc.exposition import DaemonCollector, registry
from edc.latency import of_series
from edc.metrics import DaemonStats, FeedStats, LaneStats, Rate
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
        chunks_pending=2,
        recovery_seconds=1.5,
        rows_written=55,
        duplicates=5,
        files_written=6,
        bytes_written=6000,
        flush_seconds=of_series(pl.Series([500_000_000, 250_000_000])),
        spool_errors=1,
        sink_errors=2,
        last_flush_ns=1_771_006_160_250_000_000,
    )
    stocks.latency.stages["receive"].add(of_series(pl.Series([-1, 1_000_000, 1_000_001, 10**12])))
    feeds = [stocks, FeedStats("fx", "tiingo", "tiingo_fx")]
    daemon = DaemonStats(
        gaps=Counter({("stocks", "tiingo", "stale"): 2, ("", "", "damaged"): 1}),
        hooked=Counter({("alerts", 200): 3, ("alerts", 401): 1}),
        hook_seconds={"alerts": of_series(pl.Series([4_000_000] * 4))},
        logged={"warning": 4, "error": 0},
        reloaded_ns=1_771_006_000_500_000_000,
        reload_failed=True,
        disk_free=10**9,
        compacted_ns=1_771_006_100_000_000_000,
        compaction_failed=True,
        loop_lag=of_series(pl.Series([100_000, 30_000_000])),
    )
    return DaemonCollector(lambda: feeds, {"trade": queue}, {"trade": lane}, daemon=daemon)


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
        ("edc_spool_pending_chunks", 2),
        ("edc_recovery_duration_seconds", 1.5),
        ("edc_sink_rows_total", 55),
        ("edc_sink_duplicate_rows_total", 5),
        ("edc_sink_files_total", 6),
        ("edc_sink_written_bytes_total", 6000),
        ("edc_sink_flush_seconds_count", 2),
        ("edc_sink_flush_seconds_sum", 0.75),
        ("edc_sink_errors_total", 2),
        ("edc_sink_last_success_timestamp_seconds", 1_771_006_160.25),
    ],
)
def test_queue_spool_and_sink_are_counted(values: Values, name: str, expected: float) -> None:
    assert value(values, name, event_type="trade") == expected


@pytest.mark.parametrize(
    ("end", "expected"),
    [("0.0", 1), ("0.0001", 1), ("0.001", 2), ("0.0025", 3), ("100.0", 3), ("+Inf", 4)],
)
def test_latency_is_a_histogram_whose_buckets_end_exactly(
    values: Values, end: str, expected: float
) -> None:
    labels = {"feed": "stocks", "vendor": "tiingo", "stage": "receive"}

    assert value(values, "edc_feed_latency_seconds_bucket", **labels, le=end) == expected
    assert value(values, "edc_feed_latency_seconds_count", **labels) == 4
    total = value(values, "edc_feed_latency_seconds_sum", **labels)
    assert total == pytest.approx(1000.002)
    assert value(values, "edc_feed_clock_skew_seconds", feed="stocks", vendor="tiingo") == -1e-9


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("edc_feed_gaps_total", {"feed": "stocks", "vendor": "tiingo", "reason": "stale"}, 2),
        ("edc_feed_gaps_total", {"feed": "", "vendor": "", "reason": "damaged"}, 1),
        ("edc_webhook_requests_total", {"feed": "alerts", "code": "200"}, 3),
        ("edc_webhook_requests_total", {"feed": "alerts", "code": "401"}, 1),
        ("edc_webhook_request_seconds_sum", {"feed": "alerts"}, 0.016),
        ("edc_log_messages_total", {"level": "warning"}, 4),
        ("edc_log_messages_total", {"level": "error"}, 0),
        ("edc_config_last_reload_successful", {}, 0),
        ("edc_config_last_reload_success_timestamp_seconds", {}, 1_771_006_000.5),
        ("edc_disk_free_bytes", {}, 1e9),
        ("edc_compaction_last_timestamp_seconds", {}, 1_771_006_100.0),
        ("edc_compaction_failed", {}, 1),
        ("edc_event_loop_lag_seconds_count", {}, 2),
    ],
)
def test_what_concerns_the_whole_daemon(
    values: Values, name: str, labels: dict[str, str], expected: float
) -> None:
    assert value(values, name, **labels) == expected


def test_a_feed_that_has_not_spoken_is_down(values: Values) -> None:
    assert value(values, "edc_feed_up", feed="fx", vendor="tiingo") == 0
    assert value(values, "edc_feed_frames_total", feed="fx", vendor="tiingo") == 0


@pytest.mark.parametrize("state", ["starting", "connected", "waiting", "stopped"])
def test_only_a_live_feed_is_up(state: str) -> None:
    stats = FeedStats("fx", "tiingo", "tiingo_fx", state=state)

    values = scrape(registry(DaemonCollector(lambda: [stats], {}, {})))

    assert value(values, "edc_feed_up", feed="fx", vendor="tiingo") == 0


def test_the_build_is_told(values: Values) -> None:
    versions = {name: version(name) for name in ("polars",)}
    python = platform.python_version()
    assert value(values, "edc_build_info", version=version("edc"), python=python, **versions) == 1


def test_every_metric_has_a_known_name_and_bounded_labels(collector: DaemonCollector) -> None:
    only_ours = CollectorRegistry()
    only_ours.register(collector)

    samples = scrape(only_ours)

    labels = {name for _, pairs in samples for name, _ in pairs}
    assert labels == {
        *("version", "python", "polars", "feed", "vendor", "event_type", "reason", "stage"),
        *("code", "le", "level"),
    }
    assert all(name.startswith("edc_") for name, _ in samples)
    assert len({name for name, _ in samples}) == 56


def test_a_recovery_that_goes_on_has_no_duration_yet() -> None:
    lanes = {"trade": LaneStats("trade", recovery_seconds=None), "quote": LaneStats("quote")}

    values = scrape(registry(DaemonCollector(list, {}, lanes)))

    told = {labels for name, labels in values if name == "edc_recovery_duration_seconds"}
    assert told == {frozenset({("event_type", "quote")})}
    assert value(values, "edc_recovery_duration_seconds", event_type="quote") == 0


def test_of_several_processes_the_longest_recovery_is_told_and_lines_are_added_up() -> None:
    def one(seconds: float, warnings: int) -> DaemonCollector:
        lanes = {"trade": LaneStats("trade", recovery_seconds=seconds, chunks_pending=2)}
        return DaemonCollector(list, {}, lanes, daemon=DaemonStats(logged={"warning": warnings}))

    others = [together.told(one(2.5, 3).collect()), together.told(one(0.5, 4).collect())]
    families = together.families(one(1.0, 5).collect(), others)
    told = {sample.name: sample.value for family in families for sample in family.samples}

    assert told["edc_recovery_duration_seconds"] == 2.5
    assert told["edc_config_last_reload_successful"] == 1
    assert told["edc_log_messages_total"] == 12
    assert told["edc_spool_pending_chunks"] == 6


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
