"""What the status page shows of a daemon: its status, and of today's gaps what the lake says.

Times of gaps and of the day are ms since the epoch, as browsers count.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from edc import __version__
from edc.events import Gap
from edc.latency import STAGES
from edc.ledger import Ledger
from edc.metrics import FeedStats
from edc.queues import Queue
from edc.seal import UNREADABLE
from edc.times import SECOND

_MS = SECOND // 1000
_MOST_GAPS = 500
_READ_EVERY = 60.0


class GapsOfToday:
    """The gaps that reach into the present day of the lake: its rows, and the ledger's since.

    `lake` is None where it is not on a disk: then only those of this run are known. The lake is
    read once a minute at most, in a thread, and only while somebody asks.
    """

    def __init__(self, lake: Path | None, timezone: str, ledger: Ledger) -> None:
        self._lake, self._zone, self._ledger = lake, ZoneInfo(timezone), ledger
        self._kept: list[Gap] = []
        self._day = datetime.min  # noqa: DTZ901 - no day yet
        self._read_at = 0.0

    async def read(self, now_ns: int) -> dict[str, object]:
        """`day` with its start and end, and `gaps`, the latest 500, by their beginning."""
        now = datetime.fromtimestamp(now_ns / SECOND, self._zone)
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        if day != self._day or time.monotonic() - self._read_at > _READ_EVERY:
            self._kept = await asyncio.to_thread(self._from_lake, day)
            self._day, self._read_at = day, time.monotonic()
        start, end = day.timestamp() * 1000, (day + timedelta(days=1)).timestamp() * 1000
        since = int(start) * _MS
        newest: dict[tuple[object, ...], Gap] = {}
        for gap in (*self._kept, *self._ledger.recent):
            if gap.ended_at >= since:
                newest[_identity(gap)] = gap  # what a back-fill brought is told by a later row
        gaps = sorted(newest.values(), key=lambda gap: gap.started_at)[-_MOST_GAPS:]
        return {"day": {"start": start, "end": end}, "gaps": [_shown(gap) for gap in gaps]}

    def _from_lake(self, day: datetime) -> list[Gap]:
        """The rows of today's partitions, and of yesterday's; those of the last time if unread."""
        if self._lake is None:
            return []
        rows: list[Gap] = []
        names = set(Gap.__struct_fields__)
        for date in (day - timedelta(days=1), day):
            for file in sorted((self._lake / "gap" / f"date={date:%Y-%m-%d}").rglob("*.parquet")):
                try:
                    frame = pl.read_parquet(file, hive_partitioning=False)
                except (OSError, *UNREADABLE):  # compacted meanwhile, or the audit's matter
                    continue
                frame = frame.with_columns(pl.col(pl.Datetime).to_physical())
                present = [name for name in frame.columns if name in names]
                rows += [Gap(**row) for row in frame.select(present).iter_rows(named=True)]
        return sorted(rows, key=lambda gap: gap.created_at)


def _identity(gap: Gap) -> tuple[object, ...]:
    return (gap.feed, gap.source, gap.symbol, gap.started_at, gap.ended_at, gap.cause)


def _shown(gap: Gap) -> dict[str, object]:
    return {
        "feed": gap.feed,
        "symbol": gap.symbol,
        "cause": gap.cause,
        "started": gap.started_at / _MS,
        "ended": gap.ended_at / _MS,
        "rows": gap.rows_lost,
        "state": gap.state,
    }


class Overview:
    """What is shown now, and what is remembered of it every five seconds."""

    def __init__(
        self,
        status: Callable[[], Mapping[str, object]],
        checks: Callable[[], Mapping[str, bool]],
        feeds: Callable[[], Iterable[tuple[FeedStats, float]]],
        queues: Mapping[str, Queue],
        gaps: GapsOfToday,
        timezone: str,
    ) -> None:
        self._status, self._checks, self._feeds = status, checks, feeds
        self._queues, self._gaps, self._timezone = queues, gaps, timezone

    async def look(self) -> dict[str, object]:
        """All of it, as it is now."""
        return {
            **self._status(),
            **await self._gaps.read(time.time_ns()),
            "checks": self._checks(),
            "timezone": self._timezone,
            "version": __version__,
        }

    def point(self) -> dict[str, object]:
        """Rates and depths now, and p50 and p99 of the last five seconds, in seconds."""
        feeds: dict[str, dict[str, object]] = {}
        for stats, rate in self._feeds():
            point: dict[str, object] = {"rate": round(rate, 1)}
            for stage in STAGES:
                summary = stats.latency.stages[stage].latest().summary()
                point[stage] = [summary["p50"], summary["p99"]] if summary["count"] else None
            feeds[stats.feed] = point
        queues = {kind: len(queue) for kind, queue in self._queues.items()}
        return {"t": time.time_ns() // _MS, "feeds": feeds, "queues": queues}
