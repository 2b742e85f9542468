"""Back-fill: what a gap has missed is asked of the vendor's REST, until nothing is missing.

A hole is a jump in the numbers of a symbol's trades; it is known exactly, and so is whether it is
filled. After a restart the last number in the lake is held against the first one received, and
holes that the last run left open are taken up again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

from edc.adapters import HasHistory, Hole
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event, Gap, Trade
from edc.held import Held
from edc.ingest import Ingest
from edc.ledger import Ledger
from edc.plan import Feed
from edc.retry import Backoff
from edc.times import SECOND
from edc.transport import fetch

log = logging.getLogger(__name__)

_MOST_WAITING = 10_000
_TRIES = 5
_NEAR = 3600 * SECOND
"""How far from its span in the ledger the ends of a hole are looked for."""


class Healer:
    """Fills the holes of one feed, one after the other, no faster than its vendor allows.

    `within` is how long ago a hole may have begun, in seconds; older ones stay open.
    """

    def __init__(
        self,
        feed: Feed,
        ledger: Ledger,
        held: Held,
        within: float,
        backoff: Callable[[], Backoff],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        adapter = feed.build()
        self._history = adapter if isinstance(adapter, HasHistory) else None
        self._decode = adapter.decode
        self._feed = feed
        self._ledger = ledger
        self._held = held
        self._within = within
        self._backoff = backoff
        self._now_ns = now_ns
        self._waiting: deque[tuple[Hole, Gap]] = deque(maxlen=_MOST_WAITING)
        self._stir = asyncio.Event()
        self._asked = 0.0
        self._busy = False
        self.pending = 0
        """Holes that wait or are being filled."""

    def hole(self, hole: Hole, gap: Gap) -> None:
        """A hole has been found. Where there is no history it stays open."""
        if self._history is not None:
            self._waiting.append((hole, gap))
            self.pending = len(self._waiting) + self._busy
            self._stir.set()

    async def begin(self, ingest: Ingest) -> None:
        """Tell `ingest` where the last run ended, and take up the holes that it left open."""
        since = self._now_ns() - int(self._within * SECOND)
        source = self._feed.source
        ingest.remember(await asyncio.to_thread(self._held.last, source, since))
        if self._history is None:
            return
        for gap in await asyncio.to_thread(self._held.open_holes, source, since):
            holes = await asyncio.to_thread(self._holes_of, gap)
            for hole in holes:
                self.hole(hole, gap)
            if not holes:  # it was filled, but its second row was never written
                self._ledger.healed(gap, gap.rows_lost or 0)

    def _holes_of(self, gap: Gap) -> list[Hole]:
        """Where the numbers jump in and around the span of a row of the ledger."""
        assert gap.symbol is not None
        span = (gap.started_at, gap.ended_at)
        numbers = self._held.numbers(
            self._feed.source, gap.symbol, span[0] - _NEAR, span[1] + _NEAR
        )
        return [
            Hole(gap.symbol, one, other, *span)
            for one, other in pairwise(numbers)
            if other - one > 1
        ]

    async def run(self, ingest: Ingest) -> None:
        """Fill holes as they come. Ends only by being cancelled; what is not filled stays open."""
        if self._history is None:
            return
        async with fetch.client() as client:
            while True:
                while self._waiting:
                    self._busy = True
                    hole, gap = self._waiting.popleft()
                    await self._heal(client, self._history, hole, gap, ingest)
                    self._busy = False
                    self.pending = len(self._waiting)
                self._stir.clear()
                await self._stir.wait()

    async def _heal(
        self,
        client: fetch.Client,
        history: HasHistory,
        hole: Hole,
        gap: Gap,
        ingest: Ingest,
    ) -> None:
        """Fill one hole and tell the ledger; try again what may heal."""
        fields = {"feed": self._feed.name, "vendor": self._feed.vendor}
        if hole.started_at < self._now_ns() - int(self._within * SECOND):
            log.warning("a gap of %s is too old to be filled", hole.symbol, extra=fields)
            return
        backoff = self._backoff()
        for left in reversed(range(_TRIES)):
            try:
                filled = await self._fill(client, history, hole, ingest)
            except Retriable as error:
                delay = error.after if error.after is not None else backoff.next_delay()
                log.warning(
                    "back-fill of %s: %s; %d tries left", hole.symbol, error, left, extra=fields
                )
                await asyncio.sleep(delay)
                continue
            except Fatal as error:
                log.error("back-fill of %s: %s", hole.symbol, error, extra=fields)
                filled = 0
            self._ledger.healed(gap, filled)
            log.info(
                "back-fill of %s: %d of %s missing trades",
                hole.symbol,
                filled,
                gap.rows_lost,
                extra=fields,
            )
            return

    async def _fill(
        self, client: fetch.Client, history: HasHistory, hole: Hole, ingest: Ingest
    ) -> int:
        """Ask page after page; how many of the missing trades came. Raises Fatal or Retriable."""
        last: list[Event] | None = None
        found: set[int] = set()
        while (request := history.page(hole, last)) is not None:
            await asyncio.sleep(max(0.0, self._asked + history.history_every - time.monotonic()))
            self._asked = time.monotonic()
            frame = await fetch.fetch(client, request, lambda: 0, self._now_ns)
            try:
                last = list(self._decode(frame))
            except Skippable as error:
                last = [event for event in error.events if isinstance(event, Event)]
                log.warning("back-fill of %s: %s", hole.symbol, error)
            missing = [
                event
                for event in last
                if isinstance(event, Trade)
                and event.symbol == hole.symbol
                and _within(hole, event)
                and event.sequence not in found
            ]
            found.update(event.sequence for event in missing if event.sequence is not None)
            ingest.fill(missing, frame.received_ns)
            await ingest.room()
        return len(found)


def _within(hole: Hole, trade: Trade) -> bool:
    number = trade.sequence
    if number is None or hole.after is None or hole.before is None:
        return False
    return hole.after < number < hole.before
