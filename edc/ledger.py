"""The gap ledger: what is missing, or may be, and why.

Causes: `disconnected`, `refused`, `stale`, `half_open`, `timeout`, `rate_limited`, `server_error`
and `crashed` span the time from the last data of a feed to its next; `queue_full` and `undecodable`
count rows. They become rows of the `gap` table by the way of every other event.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from edc.events import Gap, Origin
from edc.queues import Queue


@dataclass(slots=True)
class _Loss:
    started_at: int
    ended_at: int
    rows: int | None


class Ledger:
    """Collects losses and puts them on the gap queue.

    Single losses (a dropped event, an unreadable frame) are summed by feed and cause until
    `settle`, so that a flood of them is one row and not a flood.
    """

    def __init__(self, queue: Queue, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._queue = queue
        self._now_ns = now_ns
        self._losses: dict[tuple[Origin, str], _Loss] = {}

    def lost(self, origin: Origin, cause: str, at_ns: int, rows: int | None = 1) -> None:
        """One loss at a time; `rows` is None where a frame's events cannot be counted."""
        loss = self._losses.get((origin, cause))
        if loss is None:
            self._losses[origin, cause] = _Loss(at_ns, at_ns, rows)
            return
        loss.started_at, loss.ended_at = min(loss.started_at, at_ns), max(loss.ended_at, at_ns)
        loss.rows = None if loss.rows is None or rows is None else loss.rows + rows

    def silent(self, origin: Origin, cause: str, started_at: int, ended_at: int) -> None:
        """A span in which a feed delivered nothing that can be trusted to be all."""
        self._add(origin, cause, _Loss(started_at, ended_at, None))

    def settle(self) -> None:
        """Turn the losses so far into rows."""
        losses, self._losses = self._losses, {}
        for (origin, cause), loss in losses.items():
            self._add(origin, cause, loss)

    def _add(self, origin: Origin, cause: str, loss: _Loss) -> None:
        self._queue.put(
            Gap(
                feed=origin.feed,
                vendor=origin.vendor,
                source=origin.source,
                started_at=loss.started_at,
                ended_at=max(loss.started_at, loss.ended_at),
                cause=cause,
                rows_lost=loss.rows,
                created_at=self._now_ns(),
            )
        )
