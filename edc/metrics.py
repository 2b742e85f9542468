"""Counters, kept as plain integers where the work is done and read when somebody asks.

The hot path adds to an attribute; the control socket and the Prometheus endpoint read the same
attributes, so that they never disagree.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edc import __version__
from edc.bus import BusStats
from edc.latency import FeedLatency
from edc.queues import Queue
from edc.times import SECOND


@dataclass(slots=True)
class PathStats:
    """Of a feed that is taken several times: how often one way was first, and how late it was."""

    first: int = 0
    behind: int = 0
    behind_ns: int = 0
    """Of all events in which another was first, together."""


@dataclass(slots=True)
class FeedStats:
    """What one feed has done since the start. `state` is a word of the status table."""

    feed: str
    vendor: str
    source: str
    state: str = "starting"
    problem: str = ""
    frames: int = 0
    data_frames: int = 0
    received_bytes: int = 0
    events: dict[str, int] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    connects: int = 0
    disconnects: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)
    """Symbols that the vendor will not deliver, each with its reason."""
    paths: dict[int, PathStats] = field(default_factory=dict)
    """Where the feed has several connections to the same stream."""
    repeated: int = 0
    """Events that another connection had brought, and that only this says."""
    filled: int = 0
    """Events that a back-fill has brought."""
    latency: FeedLatency = field(default_factory=FeedLatency)
    epoch: int = 0
    connected_ns: int = 0
    last_event_ns: int = 0
    last_received_ns: int = 0

    @property
    def event_count(self) -> int:
        """Events of all types."""
        return sum(self.events.values())


Stage = Literal["spool", "lake"]


@dataclass(slots=True)
class LaneStats:
    """What became of the events of one type after the queue."""

    event_type: str
    chunks_written: int = 0
    rows_spooled: int = 0
    rows_pending: int = 0
    rows_written: int = 0
    duplicates: int = 0
    files_written: int = 0
    bytes_written: int = 0
    flush_seconds: float = 0.0
    flushes: int = 0
    spool_errors: int = 0
    sink_errors: int = 0
    last_flush_ns: int = 0
    last_file: str = ""
    problems: dict[Stage, str] = field(default_factory=dict)
    """Why the disk does not take what it should, while it does not."""


class DaemonCollector(Collector):
    """Feeds, queues and lanes as Prometheus metrics, read at the moment of the scrape."""

    def __init__(
        self,
        feeds: Callable[[], list[FeedStats]],
        queues: dict[str, Queue],
        lanes: dict[str, LaneStats],
        bus: BusStats | None = None,
    ) -> None:
        self._feeds, self._queues, self._lanes, self._bus = feeds, queues, lanes, bus

    def collect(self) -> Iterator[Metric]:
        """All families. Labels: feed, vendor, event_type, reason; never the symbol."""
        build = GaugeMetricFamily("edc_build_info", "Version of edc.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield from self._of_feeds()
        yield from self._of_queues()
        yield from self._of_lanes()
        if self._bus is not None:
            yield from _of_bus(self._bus)

    def _of_feeds(self) -> Iterator[Metric]:
        labels = ["feed", "vendor"]
        up = GaugeMetricFamily("edc_feed_up", "1 while the feed delivers data.", labels=labels)
        last = GaugeMetricFamily(
            "edc_feed_last_event_timestamp_seconds", "Receipt of the last event.", labels=labels
        )
        frames = CounterMetricFamily("edc_feed_frames", "Frames received.", labels=labels)
        size = CounterMetricFamily("edc_feed_received_bytes", "Bytes received.", labels=labels)
        connects = CounterMetricFamily("edc_feed_connects", "Connections made.", labels=labels)
        ends = CounterMetricFamily(
            "edc_feed_disconnects", "Connections ended.", labels=[*labels, "reason"]
        )
        events = CounterMetricFamily(
            "edc_feed_events", "Events decoded.", labels=[*labels, "event_type"]
        )
        skipped = CounterMetricFamily(
            "edc_feed_skipped_frames", "Frames kept as dead letters.", labels=[*labels, "reason"]
        )
        filled = CounterMetricFamily("edc_feed_filled_events", "Back-filled.", labels=labels)
        refused = GaugeMetricFamily(
            "edc_feed_refused_symbols", "Symbols that the vendor does not deliver.", labels=labels
        )
        first = CounterMetricFamily(
            "edc_feed_path_first_events",
            "Events in which this connection was first.",
            labels=[*labels, "path"],
        )
        behind = CounterMetricFamily(
            "edc_feed_path_behind_seconds",
            "By how much it was late in the others.",
            labels=[*labels, "path"],
        )
        for stats in self._feeds():
            names = [stats.feed, stats.vendor]
            up.add_metric(names, float(stats.state == "live"))
            last.add_metric(names, stats.last_received_ns / SECOND)
            frames.add_metric(names, stats.frames)
            size.add_metric(names, stats.received_bytes)
            connects.add_metric(names, stats.connects)
            filled.add_metric(names, stats.filled)
            refused.add_metric(names, len(stats.refused))
            for path, each in stats.paths.items():
                first.add_metric([*names, str(path + 1)], each.first)
                behind.add_metric([*names, str(path + 1)], each.behind_ns / SECOND)
            for family, counts in (
                (ends, stats.disconnects),
                (events, stats.events),
                (skipped, stats.skipped),
            ):
                for label, count in counts.items():
                    family.add_metric([*names, label], count)
        yield from (up, last, frames, size, connects, ends, events, skipped)
        yield from (filled, refused, first, behind)

    def _of_queues(self) -> Iterator[Metric]:
        labels = ["event_type"]
        depth = GaugeMetricFamily("edc_queue_events", "Events waiting.", labels=labels)
        capacity = GaugeMetricFamily("edc_queue_capacity_events", "Queue capacity.", labels=labels)
        dropped = CounterMetricFamily("edc_queue_dropped_events", "Dropped.", labels=labels)
        for event_type, queue in self._queues.items():
            depth.add_metric([event_type], len(queue))
            capacity.add_metric([event_type], queue.capacity)
            dropped.add_metric([event_type], queue.dropped)
        yield from (depth, capacity, dropped)

    def _of_lanes(self) -> Iterator[Metric]:
        counters = {
            "chunks_written": ("edc_spool_chunks", "Spool chunks written."),
            "rows_spooled": ("edc_spool_rows", "Rows written to the spool."),
            "spool_errors": ("edc_spool_errors", "Chunk writes that failed and were retried."),
            "rows_written": ("edc_sink_rows", "Rows written to the lake."),
            "duplicates": ("edc_sink_duplicate_rows", "Rows that the lake already had."),
            "files_written": ("edc_sink_files", "Parquet files written."),
            "bytes_written": ("edc_sink_written_bytes", "Bytes of Parquet written."),
            "flushes": ("edc_sink_flushes", "Batches written."),
            "flush_seconds": ("edc_sink_flush_seconds", "Time spent writing batches."),
            "sink_errors": ("edc_sink_errors", "Batches that failed and were retried."),
        }
        for attribute, (name, text) in counters.items():
            family = CounterMetricFamily(name, text, labels=["event_type"])
            for event_type, stats in self._lanes.items():
                family.add_metric([event_type], getattr(stats, attribute))
            yield family
        pending = GaugeMetricFamily(
            "edc_spool_pending_rows", "Rows spooled but not yet in the lake.", labels=["event_type"]
        )
        last = GaugeMetricFamily(
            "edc_sink_last_success_timestamp_seconds", "Last batch written.", labels=["event_type"]
        )
        for event_type, stats in self._lanes.items():
            pending.add_metric([event_type], stats.rows_pending)
            last.add_metric([event_type], stats.last_flush_ns / SECOND)
        degraded = GaugeMetricFamily(
            "edc_degraded",
            "1 while the disk does not take what it should.",
            labels=["event_type", "stage"],
        )
        for event_type, stats in self._lanes.items():
            for stage in get_args(Stage):
                degraded.add_metric([event_type, stage], float(stage in stats.problems))
        yield from (pending, last, degraded)


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


class Rate:
    """Events a second over the last few calls of `sample`."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last = (now(), 0)
        self.value = 0.0

    def sample(self, count: int) -> float:
        """The rate since the last sample, smoothed a little; `count` is the running total."""
        then, before = self._last
        elapsed = (now := self._now()) - then
        if elapsed > 0:
            latest = (count - before) / elapsed
            self.value = latest if not self.value else 0.5 * self.value + 0.5 * latest
            self._last = (now, count)
        return self.value
