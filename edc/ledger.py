"""The gap ledger: what is missing, or may be, and why.

Spans, from the last data of a feed to its next: `disconnected`, `refused`, `stale`, `half_open`,
`timeout`, `rate_limited`, `server_error`, `unconfirmed`, `crashed` and `failed` (the feed),
`stopped` and `killed` (edc itself), `unsubscribed` (one symbol, which the vendor does not deliver).
Counts: `queue_full`, `undecodable`, `sequence` (numbers that a vendor left out), `notice` (the
vendor says so), `book` (quotes of one symbol, whose book was not the vendor's) and `damaged` (a
file that was set aside). A span of nobody in particular: `forgotten` (by a broker that had
confirmed it). They become rows of the `gap` table by the way of every other event.

What a back-fill brings back is told by a second row, equal but for `state` (`filled`, or
`unfillable` where some of it is gone for good) and `rows_filled`.

A span covers both clocks, ours and the vendor's: an event that is not in the lake has its
`event_time` between `started_at` and `ended_at` of a row.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from edc.events import Event, Gap, Origin
from edc.files import Damage
from edc.queues import Queue

_END_OF_TIME = 1 << 63  # of a column of nanoseconds

_REMEMBERED = 500

OWN = ("stopped", "killed")
"""The causes that lie with edc itself."""


@dataclass(slots=True)
class _Loss:
    started_at: int
    ended_at: int
    rows: int | None


class Ledger:
    """Collects losses and puts them on the gap queue.

    Single losses (a dropped event, an unreadable frame) are summed by feed, cause and symbol until
    `settle`, so that a flood of them is one row and not a flood.
    """

    def __init__(self, queue: Queue, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._queue = queue
        self._now_ns = now_ns
        self._losses: dict[tuple[Origin, str, str | None], _Loss] = {}
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """Rows so far, by feed, vendor and cause; what is damaged or forgotten has only a cause."""
        self.recent: deque[Gap] = deque(maxlen=_REMEMBERED)
        """The last rows, for those who look."""
        self._settled: dict[tuple[Origin, str, str | None], _Loss] = {}

        self.tell: Callable[[Gap], None] = lambda _gap: None
        """Called with every row as it is put on the queue; must be quick and raise nothing."""

    def lost(
        self,
        origin: Origin,
        cause: str,
        started_at: int,
        ended_at: int,
        rows: int | None = 1,
        symbol: str | None = None,
    ) -> None:
        """Rows lost within a span; `rows` is None where they cannot be counted."""
        loss = self._losses.get((origin, cause, symbol))
        if loss is None:
            self._losses[origin, cause, symbol] = _Loss(started_at, ended_at, rows)
            return
        loss.started_at = min(loss.started_at, started_at)
        loss.ended_at = max(loss.ended_at, ended_at)
        loss.rows = None if loss.rows is None or rows is None else loss.rows + rows

    def silent(self, origin: Origin, cause: str, started_at: int, ended_at: int) -> Gap:
        """A span in which a feed delivered nothing that can be trusted to be all."""
        return self._add(origin, cause, None, _Loss(started_at, ended_at, None))

    def hole(
        self, origin: Origin, cause: str, span: tuple[int, int], rows: int, symbol: str
    ) -> Gap:
        """Rows of a symbol that are missing and may come back. A row of its own, which is given."""
        loss = _Loss(*span, rows)
        return self._add(origin, cause, symbol, loss)

    def healed(self, gap: Gap, filled: int, *, whole: bool | None = None) -> None:
        """What has become of a hole: a second row, which says how many rows came back.

        `whole` says whether that is all, where the ledger has not counted what is missing.
        """
        if whole is None:
            whole = gap.rows_lost is not None and filled >= gap.rows_lost
        told = msgspec.structs.replace(
            gap,
            state="filled" if whole else "unfillable",
            rows_filled=filled,
            created_at=self._now_ns(),
        )
        self._put(told)

    def refused(self, event: Event, cause: str) -> None:
        """An event that was received but goes nowhere."""
        if event.origin is None:
            return
        told = event.event_time if 0 < event.event_time < _END_OF_TIME else event.created_at
        ends = (told, event.created_at)
        self.lost(event.origin, cause, min(ends), max(ends))

    def damaged(self, damage: Damage) -> None:
        """A file of the lake or the spool cannot be read; whose rows it held is not known."""
        self._anybodys("damaged", damage.started_at, damage.ended_at, damage.rows)

    def forgotten(self, since: int) -> None:
        """A broker has no more what it had confirmed from `since` until now; whose is not known."""
        now = self._now_ns()
        self._anybodys("forgotten", min(since, now), now, None)

    def _anybodys(self, cause: str, started_at: int, ended_at: int, rows: int | None) -> None:
        self.counts["", "", cause] += 1
        self._put(
            Gap(
                feed=None,
                vendor=None,
                source=None,
                started_at=started_at,
                ended_at=ended_at,
                cause=cause,
                rows_lost=rows,
                created_at=self._now_ns(),
            )
        )

    def settle(self) -> None:
        """Turn the losses so far into rows."""
        losses, self._losses = self._losses, {}
        for key, loss in losses.items():
            before = self._settled.get(key)
            if before and (before.started_at, before.rows) == (loss.started_at, loss.rows):
                # equal rows would be one row in the lake, and count once
                loss.ended_at = max(loss.ended_at, before.ended_at + 1)
            self._add(*key, loss)
        self._settled = losses or self._settled

    def _add(self, origin: Origin, cause: str, symbol: str | None, loss: _Loss) -> Gap:
        gap = Gap(
            feed=origin.feed,
            vendor=origin.vendor,
            source=origin.source,
            symbol=symbol,
            started_at=loss.started_at,
            ended_at=max(loss.started_at, loss.ended_at),
            cause=cause,
            rows_lost=loss.rows,
            created_at=self._now_ns(),
        )
        self.counts[origin.feed, origin.vendor, cause] += 1
        self._put(gap)
        return gap

    def _put(self, gap: Gap) -> None:
        self.recent.append(gap)
        self._queue.put(gap)
        self.tell(gap)
