"""Back-fill: what a gap has missed is asked of the vendor's REST, until nothing is missing.

A hole is a jump in the numbers of a symbol's trades; it is known exactly, and so is whether it is
filled. Where nothing is numbered it is a silence of the feed: the time is asked for, symbol by
symbol, and what the lake has already is left out. After a restart the last number in the lake is
held against the first one received, and holes that the last run left open are taken up again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import cast

from edc.adapters import Converses, WebsocketAdapter
from edc.errors import Fatal, Refused, Retriable, Skippable
from edc.events import Event, Gap, Trade
from edc.held import Held, mark_of
from edc.history import HasHistory, HasNumberedIds, HasOverlap, HasSpans, Hole
from edc.ingest import Ingest
from edc.ledger import Ledger
from edc.logs import about
from edc.plan import Feed
from edc.retry import Backoff
from edc.times import SECOND
from edc.transport import fetch

log = logging.getLogger(__name__)

_MOST_WAITING = 10_000
_TRIES = 5
_NEAR = 3600 * SECOND
"""How far from its span in the ledger the ends of a hole are looked for."""


def by_time(feed: Feed) -> bool:
    """True for a feed of which a silence can be filled, though nothing in it is numbered."""
    return isinstance(feed.build(), HasSpans)


class Healer:
    """Fills the holes of one feed, one after the other, no faster than its vendor allows.

    `within` is how long ago a hole may have begun, in seconds; older ones stay open. `safe` returns
    when what is queued of these event types can be read by `held`, `settle` is how many seconds
    after a silence it is asked for: what was on its way then has arrived.
    """

    def __init__(
        self,
        feed: Feed,
        ledger: Ledger,
        held: Held,
        within: float,
        backoff: Callable[[], Backoff],
        now_ns: Callable[[], int] = time.time_ns,
        *,
        safe: Callable[[Collection[str]], Awaitable[None]],
        settle: float = 0.0,
    ) -> None:
        self._safe = safe
        self._settle = settle
        self._feed = feed
        self._build()
        self._ledger = ledger
        self._held = held
        self.within = within
        self._backoff = backoff
        self._now_ns = now_ns
        self._waiting: deque[tuple[Hole | None, Gap]] = deque(maxlen=_MOST_WAITING)
        self._stir = asyncio.Event()
        self._asked = 0.0
        self._busy = False
        self._next: Feed | None = None
        self.pending = 0
        """Holes that wait or are being filled."""

    def change(self, feed: Feed) -> None:
        """Ask for what this feed has missed, from the next hole on.

        Holes of symbols that it does not have stay open.
        """
        self._next = feed
        if not self._busy:
            self._go_on()

    def _go_on(self) -> None:
        feed, self._next = self._next, None
        if feed is None:
            return
        self._feed = feed
        self._build()
        waiting = [
            (hole, gap)
            for hole, gap in self._waiting
            if hole is None or hole.symbol in feed.asks_for
        ]
        self._waiting.clear()
        self._waiting.extend(waiting)
        self.pending = len(waiting)

    def _build(self) -> None:
        adapter = self._feed.build()
        self._spans = tuple(adapter.spans) if isinstance(adapter, HasSpans) else ()
        self._history = adapter if isinstance(adapter, HasHistory) else None
        self._early = self._late = 0.0
        self._subscribing = 0.0
        if isinstance(adapter, HasOverlap):
            self._early = adapter.overlap
            self._subscribing = _subscribing(adapter)
            self._late = self._subscribing + self._settle / 2
        self._decode = adapter.decode

    def hole(self, hole: Hole, gap: Gap) -> None:
        """A hole has been found. Where there is no history it stays open."""
        if self._history is not None:
            self._await(hole, gap)

    def silence(self, gap: Gap) -> None:
        """Nothing came for a while. Where the vendor's history is not asked by time it stays so."""
        if self._spans:
            self._await(None, gap)

    def _await(self, hole: Hole | None, gap: Gap) -> None:
        self._waiting.append((hole, gap))
        self.pending = len(self._waiting) + self._busy
        self._stir.set()

    async def begin(self, ingest: Ingest) -> None:
        """Tell `ingest` where the last run ended, and take up the holes that it left open.

        What the venue trades is known by now: names may be others than those of the spelling.
        """
        self._build()
        since = self._now_ns() - int(self.within * SECOND)
        source = self._feed.source
        if self._spans:
            name = self._feed.name
            for gap in await asyncio.to_thread(self._held.open_spans, source, name, since):
                self.silence(gap)
        if not self._feed.channel.sequenced:
            return
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
                    if hole is None:
                        await self._heal_silence(client, self._history, gap, ingest)
                    else:
                        await self._heal(client, self._history, hole, gap, ingest)
                    self._busy = False
                    self._go_on()
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
        """Fill one hole and tell the ledger."""
        if self._too_old(gap, ingest):
            return
        found = _Numbered(hole)
        try:
            if not await self._fill(client, history, found, ingest):
                return
        except (Fatal, Refused) as error:
            log.error("back-fill of %s: %s", hole.symbol, error, extra=about(ingest.stats))
        self._ledger.healed(gap, found.count)
        log.info(
            "back-fill of %s: %d of %s missing trades",
            *(hole.symbol, found.count, gap.rows_lost),
            extra=about(ingest.stats),
        )

    async def _heal_silence(
        self, client: fetch.Client, history: HasHistory, gap: Gap, ingest: Ingest
    ) -> None:
        """Ask for all that a silence has missed, and tell the ledger."""
        if self._too_old(gap, ingest):
            return
        due = gap.ended_at / SECOND + self._subscribing + self._settle
        await asyncio.sleep(due - self._now_ns() / SECOND)
        await self._safe({event_type for event_type, _ in self._spans})
        span = (gap.started_at - int(self._early * SECOND), gap.ended_at + int(self._late * SECOND))
        filled, whole, over = 0, True, False
        numbered = isinstance(history, HasNumberedIds)
        for event_type, symbol in self._spans:
            known = await asyncio.to_thread(
                partial(self._held.marks, numbered=numbered),
                *(event_type, self._feed.source, symbol, span),
            )
            hole = Hole(symbol, None, None, *span, event_type)
            found = _Timed(hole, known, gap.started_at, numbered=numbered)
            if isinstance(history, HasOverlap):
                found.confirmed = not history.confirms
                found.coarse = int(history.coarse * SECOND)
            try:
                if not await self._fill(client, history, found, ingest):
                    return
            except (Fatal, Refused) as error:
                log.error("back-fill of %s: %s", symbol, error, extra=about(ingest.stats))
                whole = False
                over = isinstance(error, Fatal)  # the others would be refused for the same reason
            filled += found.count
            whole = whole and found.whole
            if over:
                break
        self._ledger.healed(gap, filled, whole=whole)
        log.info("back-fill of a silence: %d events", filled, extra=about(ingest.stats))

    def _too_old(self, gap: Gap, ingest: Ingest) -> bool:
        old = gap.started_at < self._now_ns() - int(self.within * SECOND)
        if old:
            log.warning("a gap of %s is too old to be filled", gap.feed, extra=about(ingest.stats))
        return old

    async def _fill(
        self,
        client: fetch.Client,
        history: HasHistory,
        found: "_Numbered | _Timed",
        ingest: Ingest,
    ) -> bool:
        """Ask until all has come, again where it may heal; False if it did not.

        Raises Fatal, or Refused where it is this symbol alone that cannot be had.
        """
        backoff = self._backoff()
        for left in reversed(range(_TRIES)):
            try:
                await self._ask(client, history, found, ingest)
            except Retriable as error:
                delay = error.after if error.after is not None else backoff.next_delay()
                log.warning(
                    "back-fill of %s: %s; %d tries left",
                    *(found.hole.symbol, error, left),
                    extra=about(ingest.stats),
                )
                await asyncio.sleep(delay)
            else:
                return True
        return False

    async def _ask(
        self,
        client: fetch.Client,
        history: HasHistory,
        found: "_Numbered | _Timed",
        ingest: Ingest,
    ) -> None:
        """Ask page after page, and queue what is missing. Raises Fatal, Refused or Retriable."""
        last: list[Event] | None = None
        hole = found.hole
        while (request := history.page(hole, last)) is not None:
            await asyncio.sleep(max(0.0, self._asked + history.history_every - time.monotonic()))
            self._asked = time.monotonic()
            frame = await fetch.fetch(client, request, lambda: 0, self._now_ns)
            try:
                last = list(self._decode(frame))
            except Refused:
                raise
            except Skippable as error:
                last = [event for event in error.events if isinstance(event, Event)]
                log.warning("back-fill of %s: %s", hole.symbol, error, extra=about(ingest.stats))
            if isinstance(found, _Timed):
                found.look(last)
            missing = [event for event in last if event.symbol == hole.symbol and found.new(event)]
            ingest.fill(missing, frame.received_ns)
            await ingest.room()
            if isinstance(found, _Timed) and isinstance(history, HasOverlap):
                silence = replace(hole, started_at=found.since)
                found.whole = found.confirmed and history.reaches(silence, last, frame.received_ns)


def _subscribing(adapter: HasOverlap) -> float:
    """Seconds from the first message of a subscription to its last: until then trades are missed.

    A feed is live with its first data, which may be those of the first topic.
    """
    if not isinstance(adapter, Converses):
        return 0.0
    messages = cast("WebsocketAdapter", adapter).subscribe()
    return max(0, len(messages) - 1) / adapter.messages_per_second


class _Numbered:
    """The trades of a jump that have come, by number."""

    def __init__(self, hole: Hole) -> None:
        self.hole = hole
        self._found: set[int] = set()

    @property
    def count(self) -> int:
        return len(self._found)

    def new(self, event: Event) -> bool:
        """True for a trade that is missing, once."""
        hole, number = self.hole, event.sequence if isinstance(event, Trade) else None
        if number is None or hole.after is None or hole.before is None:
            return False
        if not hole.after < number < hole.before or number in self._found:
            return False
        self._found.add(number)
        return True


class _Timed:
    """The events of a silence that have come and were not `known`.

    `since` is when the silence began; the hole is what is asked for, which may be more.
    """

    def __init__(
        self, hole: Hole, known: set[tuple[object, ...]], since: int, *, numbered: bool = False
    ) -> None:
        self.hole = hole
        self.since = since
        self.count = 0
        self.whole = True
        self.confirmed = True
        self.coarse = 0
        self._known = known
        self._mark_of = partial(mark_of, numbered=numbered)

    def look(self, events: Collection[Event]) -> None:
        """An answer has come: ids that are known say that all of its ids are to be trusted."""
        self.confirmed = self.confirmed or any(
            self._mark_of(each) in self._known for each in events
        )

    def new(self, event: Event) -> bool:
        """True for an event that is missing, once."""
        hole = self.hole
        if event.event_type != hole.event_type or not self.confirmed:
            return False
        mark = self._mark_of(event)
        first, last = event.event_time, event.event_time + self.coarse
        if first < hole.started_at or last > hole.ended_at or mark in self._known:
            return False
        self._known.add(mark)
        self.count += 1
        return True
