"""The state of the daemon as plain values, for the control socket and for `--json`.

Times are ns since the epoch, UTC, or None where there was none yet.
"""

import time
from collections.abc import Mapping

from edc.bus import BusStats
from edc.metrics import FeedStats, LaneStats
from edc.parts import Parts
from edc.queues import Queue
from edc.sinks import Written
from edc.times import SECOND


def daemon_status(parts: Parts) -> dict[str, object]:
    """What `edc status` shows of one process."""
    storage = parts.settings.storage
    return {
        "instance": storage.instance,
        "path": str(storage.path),
        "started": parts.started_ns,
        "now": time.time_ns(),
        "feeds": [feed_status(each.stats, each.rate.value, each.healing) for each in parts.feeds],
        "tables": {
            kind: table_status(parts.queues[kind], lane.stats) for kind, lane in parts.lanes.items()
        },
        "bus": None if parts.bus is None else bus_status(parts.bus.stats),
        "compaction": {
            "last": parts.housekeeper.last_ns or None,
            "problem": parts.housekeeper.problem,
        },
    }


def feed_status(stats: FeedStats, rate: float, healing: int) -> dict[str, object]:
    """One feed; `rate` is events a second, `lag_seconds` from the vendor's time to receipt;
    `latency_seconds` and `clock_skew_seconds` are `FeedLatency.summary` and `.clock_skew_ns`.

    `healing` is the number of gaps that wait for their back-fill or are in it.
    """
    lag = stats.last_received_ns - stats.last_event_ns
    skew = stats.latency.clock_skew_ns
    return {
        "feed": stats.feed,
        "vendor": stats.vendor,
        "source": stats.source,
        "state": stats.state,
        "market_open": stats.market_open,
        "problem": stats.problem,
        "refused": dict(stats.refused),
        "rate": round(rate, 1),
        "events": dict(stats.events),
        "paths": [
            {
                "path": path + 1,
                "first": each.first,
                "behind": each.behind,
                "behind_ms": each.behind_ns / each.behind / 1e6 if each.behind else None,
            }
            for path, each in sorted(stats.paths.items())
        ],
        "filled": stats.filled,
        "healing": healing,
        "frames": stats.frames,
        "skipped": dict(stats.skipped),
        "connects": stats.connects,
        "disconnects": dict(stats.disconnects),
        "last_received": stats.last_received_ns or None,
        "last_event": stats.last_event_ns or None,
        "lag_seconds": lag / SECOND if stats.last_event_ns else None,
        "clock_skew_seconds": None if skew is None else skew / SECOND,
        "latency_seconds": stats.latency.summary(),
    }


def table_status(queue: Queue, stats: LaneStats) -> dict[str, object]:
    """One table, from its queue to its files."""
    return {
        "queued": len(queue),
        "capacity": queue.capacity,
        "dropped": queue.dropped,
        "spooled": stats.rows_pending,
        "written": stats.rows_written,
        "duplicates": stats.duplicates,
        "files": stats.files_written,
        "last_flush": stats.last_flush_ns or None,
        "last_file": stats.last_file or None,
        "last_files": [
            {"written": file.written_ns, "path": file.path} for file in stats.last_files
        ],
        "errors": stats.spool_errors + stats.sink_errors,
        "problems": dict(stats.problems),
    }


def bus_status(stats: BusStats) -> dict[str, object]:
    """The bus of a daemon with a role; counts are messages, `lag` those that nobody has stored."""
    return {
        "bus": stats.name,
        "role": stats.role,
        "problem": stats.problem,
        "errors": dict(stats.errors),
        "topics": {
            kind: {
                "lag": topic.lag,
                "published": topic.published,
                "unconfirmed": topic.unconfirmed,
                "consumed": topic.consumed,
                "redelivered": topic.redelivered,
                "dead": topic.dead,
                "rows": topic.rows,
            }
            for kind, topic in stats.topics.items()
        },
    }


def flush_status(written: Mapping[str, Written]) -> dict[str, object]:
    """What a flush did, by table."""
    return {
        kind: {
            "rows": each.rows,
            "duplicates": each.duplicates,
            "files": [str(file) for file in each.files],
        }
        for kind, each in written.items()
    }
