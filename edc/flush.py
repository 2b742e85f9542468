"""Everything received so far into the lake, at once: `edc flush`, and the end of every run."""

import asyncio
import logging

from edc.errors import BusDown, Unwritten
from edc.parts import Parts
from edc.sinks import Written

log = logging.getLogger(__name__)


async def flush(parts: Parts) -> dict[str, Written]:
    """What was written, by table. Raises OSError, after trying it all."""
    lanes = parts.lanes
    stored = {}
    if parts.bus is not None and parts.bus.consumer is not None:
        stored = await parts.bus.consumer.flush()
    # the ledger comes last: rows that fit no column and damaged chunks add to it
    kinds = [kind for kind in lanes if kind != "gap"]
    for kind in kinds:
        lanes[kind].handed_on = False
    results = await asyncio.gather(*(lanes[kind].flush() for kind in kinds), return_exceptions=True)
    if any(lanes[kind].handed_on for kind in kinds):  # to one that was done, perhaps
        again = await asyncio.gather(
            *(lanes[kind].flush() for kind in kinds), return_exceptions=True
        )
        results = list(map(_both, results, again))
    parts.books.ledger.settle()
    results += await asyncio.gather(lanes["gap"].flush(), return_exceptions=True)
    problems = [each for each in results if isinstance(each, BaseException)]
    if problems:
        raise next((each for each in problems if not isinstance(each, OSError)), problems[0])
    written = dict(zip([*kinds, "gap"], results, strict=True))
    for kind, more in stored.items():
        each = written[kind]
        assert isinstance(each, Written)
        each.add(more)
    return {kind: each for kind, each in written.items() if isinstance(each, Written)}


async def last_flush(parts: Parts) -> None:
    """The flush of a daemon that ends. Raises Unwritten where the lake does not take it.

    What a broker that is away does not take is safe in the spool, and no error.
    """
    try:
        await flush(parts)
    except OSError as error:
        lanes = parts.lanes.values()
        if isinstance(error, BusDown) and not any(lane.in_memory for lane in lanes):
            rows = sum(lane.stats.rows_pending for lane in lanes)
            log.warning("%s; %d rows wait in the spool for the next start", error, rows)
            return
        lost = sum(lane.in_memory for lane in lanes)
        raise Unwritten(error, lost) from error


def _both(
    first: Written | BaseException, second: Written | BaseException
) -> Written | BaseException:
    """What two flushes of a lane have written, or the problem of one of them."""
    if isinstance(first, Written) and isinstance(second, Written):
        first.add(second)
        return first
    return first if isinstance(first, BaseException) else second
