"""Counters, kept as plain integers where the work is done and read when somebody asks.

The hot path adds to an attribute; the control socket, the status page and the Prometheus endpoint
(`edc.exposition`) read the same attributes, so that they never disagree.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from edc.latency import FeedLatency, Histogram
from edc.sinks import Written
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
    market_open: bool = True
    """As of the last second: while it is closed, silence is right."""
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
_FILES_REMEMBERED = 8


class LakeFile(NamedTuple):
    """A file that a batch has made, and when (ns)."""

    written_ns: int
    path: str


@dataclass(slots=True)
class LaneStats:
    """What became of the events of one type after the queue."""

    event_type: str
    chunks_written: int = 0
    rows_spooled: int = 0
    bytes_spooled: int = 0
    rows_recovered: int = 0
    rows_pending: int = 0
    chunks_pending: int = 0
    recovery_seconds: float | None = 0.0
    """Until what an earlier run had left was in the lake; None while it is not."""
    rows_written: int = 0
    duplicates: int = 0
    files_written: int = 0
    bytes_written: int = 0
    spool_seconds: Histogram = field(default_factory=Histogram)
    """Of each chunk, its fsync included."""
    flush_seconds: Histogram = field(default_factory=Histogram)
    """Of each batch."""
    spool_errors: int = 0
    sink_errors: int = 0
    last_flush_ns: int = 0
    last_file: str = ""
    last_files: deque[LakeFile] = field(default_factory=lambda: deque(maxlen=_FILES_REMEMBERED))
    problems: dict[Stage, str] = field(default_factory=dict)
    """Why the disk does not take what it should, while it does not."""

    def flushed(self, written: Written, seconds: float) -> None:
        """A batch is in the lake."""
        self.flush_seconds.add_one(int(seconds * SECOND))
        self.rows_written += written.rows
        self.duplicates += written.duplicates
        self.files_written += len(written.files)
        self.bytes_written += written.size
        self.last_flush_ns = time.time_ns()
        self.last_files += [LakeFile(self.last_flush_ns, str(file)) for file in written.files]
        if written.files:
            self.last_file = str(written.files[-1])


@dataclass(slots=True)
class DaemonStats:
    """What concerns no feed and no table."""

    loop_lag: Histogram = field(default_factory=Histogram)
    """By how much the event loop was late to wake, once a second."""
    gaps: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Rows of the ledger since the start, by feed, vendor and cause; damaged files have no feed."""
    hooked: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Requests to webhooks, by feed and status; "" for a feed that does not exist."""
    hook_seconds: dict[str, Histogram] = field(default_factory=dict)
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What became of alerts, by event: delivered, failed (a try), refused, dropped."""
    logged: Mapping[str, int] = field(default_factory=dict)
    """Log lines by level."""
    reloaded_ns: int = field(default_factory=time.time_ns)
    """When the config that is in force was read."""
    reload_failed: bool = False
    """The last reload was refused, and an older config goes on."""
    disk_free: int = 0
    """Bytes that the disk of the lake has left."""
    compacted_ns: int = 0
    compaction_failed: bool = False


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
