"""How a daemon fares, as briefly as those ask for it who look after it.

Probes want yes or no (`readiness`, `alive`), the service manager a sentence (`summary`), and alerts
what is wrong (`look`). What people may want to know is in `status`.
"""

import time
from collections.abc import Iterable
from typing import get_args

from edc.alerts import FeedLook, Look
from edc.deliver import Deliver
from edc.metrics import Stage
from edc.parts import Parts

_BEATS_WITHIN = 15.0
"""Seconds."""
_DELIVERS = ("live", "listening")


def readiness(parts: Parts) -> dict[str, bool]:
    """Each check by name. A feed is ready while it delivers, or its market is closed."""
    checks = {
        f"feed {runner.feed.name}": runner.stats.state in _DELIVERS or not runner.market_open()
        for runner in parts.feeds
        if runner.feed.required
    }
    for kind, queue in parts.queues.items():
        checks[f"queue {kind}"] = not queue.is_full
    for kind, lane in parts.lanes.items():
        for stage in get_args(Stage):
            checks[f"{stage} {kind}"] = stage not in lane.stats.problems
    return checks


def alive(lanes: Iterable[Deliver]) -> bool:
    """True while every lane has looked at its queue within 15 s, as it does between writes."""
    now = time.monotonic()
    beats = [lane.beat for lane in lanes if lane.beat is not None]
    return all(now - beat < _BEATS_WITHIN for beat in beats)


def summary(parts: Parts) -> str:
    """The state in a sentence."""
    live = sum(runner.stats.state in _DELIVERS for runner in parts.feeds)
    rate = sum(runner.rate.value for runner in parts.feeds)
    pending = sum(lane.stats.rows_pending for lane in parts.lanes.values())
    problems = [each for lane in parts.lanes.values() for each in lane.stats.problems.values()]
    text = f"{live} of {len(parts.feeds)} feeds deliver, {rate:,.0f} events/s"
    text += f", {pending:,} rows in the spool"
    return f"{text}; {problems[0]}" if problems else text


def look(parts: Parts) -> Look:
    """What alerts are about, of this process."""
    stages = {
        f"{stage} {kind}": problem
        for kind, lane in parts.lanes.items()
        for stage, problem in lane.stats.problems.items()
    }
    if parts.housekeeper.problem:
        stages["compaction"] = parts.housekeeper.problem
    if parts.bus is not None and parts.bus.stats.problem:
        stages["bus"] = parts.bus.stats.problem
    feeds = {each.feed.name: FeedLook.of(each.stats) for each in parts.feeds}
    return Look(feeds, stages, parts.stats.disk_free, int(parts.settings.storage.reserve))
