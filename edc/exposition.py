"""What is counted, in Prometheus' format: names in base units, bounded labels, never a symbol.

A feed has at most a hundred series or so, most of them of its latency histogram.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TypeVar, get_args

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from edc import __version__
from edc.bus import BusStats
from edc.latency import Histogram
from edc.metrics import DaemonStats, FeedStats, LaneStats, Stage
from edc.queues import Queue
from edc.times import SECOND

LATENCY = (
    *(0.0, 0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 25.0, 50.0, 100.0),
)
"""Upper ends of buckets, in seconds; what is at most 0 came before the vendor's clock said so."""
_WORK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
"""The same, of writes, requests and the event loop."""

Labels = Sequence[str]
Key = TypeVar("Key", bound=tuple[str, ...])
"""The values of the labels."""
_FEED = ("feed", "vendor")
_LANE = ("event_type",)
_FEED_GAUGES: dict[str, tuple[str, Callable[[FeedStats], float]]] = {
    "up": ("1 while the feed delivers data.", lambda feed: float(feed.state == "live")),
    "market_open": (
        "1 while one of its assets trades.",
        lambda feed: float(feed.market_open),
    ),
    "last_event_timestamp_seconds": (
        "Receipt of the last event.",
        lambda feed: feed.last_received_ns / SECOND,
    ),
    "connected_timestamp_seconds": (
        "The last connection made.",
        lambda feed: feed.connected_ns / SECOND,
    ),
    "refused_symbols": (
        "Symbols that the vendor does not deliver.",
        lambda feed: len(feed.refused),
    ),
}
_FEED_COUNTERS: dict[str, tuple[str, Callable[[FeedStats], float]]] = {
    "frames": ("Frames received.", lambda feed: feed.frames),
    "received_bytes": ("Bytes received.", lambda feed: feed.received_bytes),
    "connects": ("Connections made.", lambda feed: feed.connects),
    "repeated_events": (
        "Events that another of its connections had brought.",
        lambda feed: feed.repeated,
    ),
    "filled_events": ("Back-filled.", lambda feed: feed.filled),
}
_FEED_BY: dict[str, tuple[str, str, Callable[[FeedStats], Mapping[str, float]]]] = {
    "events": ("event_type", "Events decoded.", lambda feed: feed.events),
    "skipped_frames": ("reason", "Frames kept as dead letters.", lambda feed: feed.skipped),
    "disconnects": ("reason", "Connections ended.", lambda feed: feed.disconnects),
    "path_first_events": (
        "path",
        "Events in which this connection was first.",
        lambda feed: {str(path + 1): each.first for path, each in feed.paths.items()},
    ),
    "path_behind_seconds": (
        "path",
        "By how much it was late in the others.",
        lambda feed: {str(path + 1): each.behind_ns / SECOND for path, each in feed.paths.items()},
    ),
}
_LANE_COUNTERS = {
    "chunks_written": ("edc_spool_chunks", "Spool chunks written."),
    "rows_spooled": ("edc_spool_rows", "Rows written to the spool."),
    "bytes_spooled": ("edc_spool_written_bytes", "Bytes of chunks written."),
    "rows_recovered": ("edc_spool_recovered_rows", "Rows that an earlier run left."),
    "spool_errors": ("edc_spool_errors", "Chunk writes that failed and were retried."),
    "rows_written": ("edc_sink_rows", "Rows written to the lake."),
    "duplicates": ("edc_sink_duplicate_rows", "Rows that the lake already had."),
    "files_written": ("edc_sink_files", "Parquet files written."),
    "bytes_written": ("edc_sink_written_bytes", "Bytes of Parquet written."),
    "sink_errors": ("edc_sink_errors", "Batches that failed and were retried."),
}


class DaemonCollector(Collector):
    """Feeds, queues, lanes and the rest as Prometheus metrics, read at the moment of the scrape."""

    def __init__(
        self,
        feeds: Callable[[], list[FeedStats]],
        queues: Mapping[str, Queue],
        lanes: Mapping[str, LaneStats],
        bus: BusStats | None = None,
        daemon: DaemonStats | None = None,
    ) -> None:
        self._feeds, self._queues, self._lanes, self._bus = feeds, queues, lanes, bus
        self._daemon = daemon or DaemonStats()

    def collect(self) -> Iterator[Metric]:
        """All families. Labels: feed, vendor, event_type, stage, reason …; never the symbol."""
        build = {(__version__, platform.python_version(), version("polars")): 1.0}
        yield _gauge("edc_build_info", "Versions.", ("version", "python", "polars"), build)
        yield from self._of_feeds()
        yield from self._of_queues()
        yield from self._of_lanes()
        yield from _of_daemon(self._daemon)
        if self._bus is not None:
            yield from _of_bus(self._bus)

    def _of_feeds(self) -> Iterator[Metric]:
        feeds = {(stats.feed, stats.vendor): stats for stats in self._feeds()}
        for name, (text, read) in _FEED_GAUGES.items():
            values = {key: read(stats) for key, stats in feeds.items()}
            yield _gauge(f"edc_feed_{name}", text, _FEED, values)
        for name, (text, read) in _FEED_COUNTERS.items():
            values = {key: read(stats) for key, stats in feeds.items()}
            yield _counter(f"edc_feed_{name}", text, _FEED, values)
        for name, (label, text, read_all) in _FEED_BY.items():
            many = {
                (*key, each): value
                for key, stats in feeds.items()
                for each, value in read_all(stats).items()
            }
            yield _counter(f"edc_feed_{name}", text, (*_FEED, label), many)
        skews = {
            key: skew / SECOND
            for key, stats in feeds.items()
            if (skew := stats.latency.clock_skew_ns) is not None
        }
        yield _gauge(
            "edc_feed_clock_skew_seconds",
            "Least of the last minute from the vendor's time to receipt.",
            _FEED,
            skews,
        )
        late = {
            (*key, stage): some.run
            for key, stats in feeds.items()
            for stage, some in stats.latency.stages.items()
        }
        yield _histogram(
            "edc_feed_latency_seconds",
            "From one stage of an event's way to the next; what is negative adds 0 to the sum.",
            (*_FEED, "stage"),
            late,
            LATENCY,
        )

    def _of_queues(self) -> Iterator[Metric]:
        queues = {(kind,): queue for kind, queue in self._queues.items()}
        depth = {key: float(len(queue)) for key, queue in queues.items()}
        yield _gauge("edc_queue_events", "Events waiting.", _LANE, depth)
        capacity = {key: float(queue.capacity) for key, queue in queues.items()}
        yield _gauge("edc_queue_capacity_events", "Queue capacity.", _LANE, capacity)
        dropped = {key: float(queue.dropped) for key, queue in queues.items()}
        yield _counter("edc_queue_dropped_events", "Dropped.", _LANE, dropped)

    def _of_lanes(self) -> Iterator[Metric]:
        lanes = {(kind,): stats for kind, stats in self._lanes.items()}
        for attribute, (name, text) in _LANE_COUNTERS.items():
            yield _counter(
                name, text, _LANE, {key: getattr(lane, attribute) for key, lane in lanes.items()}
            )
        pending = {key: float(lane.rows_pending) for key, lane in lanes.items()}
        yield _gauge("edc_spool_pending_rows", "Spooled, not yet in the lake.", _LANE, pending)
        chunks = {key: float(lane.chunks_pending) for key, lane in lanes.items()}
        yield _gauge("edc_spool_pending_chunks", "Chunks of those rows.", _LANE, chunks)
        took = {
            key: lane.recovery_seconds
            for key, lane in lanes.items()
            if lane.recovery_seconds is not None
        }
        text = "Until what an earlier run had left was in the lake."
        yield _gauge("edc_recovery_duration_seconds", text, _LANE, took)
        last = {key: lane.last_flush_ns / SECOND for key, lane in lanes.items()}
        yield _gauge("edc_sink_last_success_timestamp_seconds", "Last batch.", _LANE, last)
        degraded = {
            (*key, stage): float(stage in lane.problems)
            for key, lane in lanes.items()
            for stage in get_args(Stage)
        }
        text = "1 while the disk does not take what it should."
        yield _gauge("edc_degraded", text, (*_LANE, "stage"), degraded)
        spooled = {key: lane.spool_seconds for key, lane in lanes.items()}
        yield _histogram("edc_spool_write_seconds", "A chunk, with fsync.", _LANE, spooled, _WORK)
        flushed = {key: lane.flush_seconds for key, lane in lanes.items()}
        yield _histogram("edc_sink_flush_seconds", "Of a batch.", _LANE, flushed, _WORK)


def _of_daemon(stats: DaemonStats) -> Iterator[Metric]:
    gaps = {key: float(count) for key, count in stats.gaps.items()}
    yield _counter("edc_feed_gaps", "Rows of the gap table.", (*_FEED, "reason"), gaps)
    yield _gauge("edc_disk_free_bytes", "Left on the lake's disk.", (), {(): stats.disk_free})
    compacted = {(): stats.compacted_ns / SECOND}
    yield _gauge("edc_compaction_last_timestamp_seconds", "When it ended.", (), compacted)
    failed = {(): float(stats.compaction_failed)}
    yield _gauge("edc_compaction_failed", "1 where the last one failed.", (), failed)
    reloaded = {(): float(not stats.reload_failed)}
    text = "0 after a config was refused."
    yield _gauge("edc_config_last_reload_successful", text, (), reloaded)
    since = {(): stats.reloaded_ns / SECOND}
    text = "When the config in force was read."
    yield _gauge("edc_config_last_reload_success_timestamp_seconds", text, (), since)
    posted = {(feed, str(code)): float(count) for (feed, code), count in stats.hooked.items()}
    yield _counter("edc_webhook_requests", "Posted to webhooks.", ("feed", "code"), posted)
    told = {key: float(count) for key, count in stats.alerts.items()}
    yield _counter("edc_alerts", "Alerts posted.", ("event", "outcome"), told)
    said = {(level,): float(count) for level, count in stats.logged.items()}
    yield _counter("edc_log_messages", "Also those told as a number.", ("level",), said)
    took = {(feed,): some for feed, some in stats.hook_seconds.items()}
    yield _histogram("edc_webhook_request_seconds", "Until answered.", ("feed",), took, _WORK)
    lag = {(): stats.loop_lag}
    yield _histogram("edc_event_loop_lag_seconds", "How late it wakes.", (), lag, _WORK)


def _of_bus(stats: BusStats) -> Iterator[Metric]:
    up = GaugeMetricFamily("edc_bus_up", "1 while the broker answers.", labels=["role"])
    up.add_metric([stats.role], float(not stats.problem))
    errors = CounterMetricFamily("edc_bus_errors", "Failures, tried again.", labels=["reason"])
    for reason, count in stats.errors.items():
        errors.add_metric([reason], count)
    yield from (up, errors)
    lag = GaugeMetricFamily("edc_bus_lag_messages", "Not stored yet.", labels=["event_type"])
    unconfirmed = GaugeMetricFamily(
        "edc_bus_unconfirmed_messages", "Sent and not confirmed.", labels=["event_type"]
    )
    for kind, topic in stats.topics.items():
        if topic.lag is not None:
            lag.add_metric([kind], topic.lag)
        unconfirmed.add_metric([kind], topic.unconfirmed)
    yield from (lag, unconfirmed)
    for attribute, text in {
        "published": "Messages that the broker has confirmed.",
        "consumed": "Messages read.",
        "redelivered": "Messages that were read before and not acknowledged.",
        "dead": "Messages that cannot be stored.",
    }.items():
        family = CounterMetricFamily(f"edc_bus_{attribute}_messages", text, labels=["event_type"])
        for kind, topic in stats.topics.items():
            family.add_metric([kind], getattr(topic, attribute))
        yield family


def registry(collector: Collector) -> CollectorRegistry:
    """A registry of our metrics and the process's own; no global state."""
    made = CollectorRegistry()
    made.register(collector)
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    GCCollector(registry=made)
    return made


def _gauge(name: str, text: str, labels: Labels, values: Mapping[Key, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, labels: Labels, values: Mapping[Key, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(
    name: str,
    text: str,
    labels: Labels,
    values: Mapping[Key, Histogram],
    bounds: Iterable[float],
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    ends = list(bounds)
    for key, some in values.items():
        buckets = [(str(end), float(n)) for end, n in zip(ends, some.cumulative(ends), strict=True)]
        family.add_metric(key, [*buckets, ("+Inf", float(some.count))], some.total / SECOND)
    return family
