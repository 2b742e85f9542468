"""The bounded queue between the sockets and the spool, and what happens when it is full.

One queue per event type. Everything runs on the event loop: there is no lock, and no await in
`put`.
"""

import asyncio
from collections import deque
from enum import StrEnum

from edc.events import Row
from edc.wire import Batch

PLENTY = 16_384
"""Rows that are worth a chunk before its time has come: more of them would only use memory."""

MOST_TEXT = 8 << 20
"""Bytes of messages that wait as they came: where they are long, fewer rows fill a queue."""


class WhenFull(StrEnum):
    """What a full queue does with the next event."""

    BLOCK = "block"
    """Take it and ask the sockets to stop reading, so that TCP pushes back. Loses nothing."""
    DROP_OLDEST = "drop_oldest"
    """Drop the event that has waited longest. The newest market is kept, the past has a hole."""
    DROP_NEWEST = "drop_newest"
    """Drop this event. What was received first is kept, the present has a hole."""


class Queue:
    """Events of one type, first in first out, `capacity` of them.

    Under `block` the events of the read that filled it are still taken, so the length is bounded
    by the capacity and one read; the reader must then await `room` before it reads again. It is
    full as well where the text of its batches is more than `MOST_TEXT`.
    """

    __slots__ = (
        *("_batched", "_has_room", "_rows", "_text", "_untroubled", "capacity", "dropped"),
        *("event_type", "must_wait", "plenty", "stored", "taken", "when_full"),
    )

    def __init__(self, event_type: str, capacity: int, when_full: WhenFull) -> None:
        self.event_type = event_type
        self.capacity = capacity
        self.when_full = when_full
        self.dropped = 0
        self.must_wait = False
        """True where a reader has to await `room` before it takes another frame."""
        self.plenty = asyncio.Event()
        """Set while there is enough for a chunk."""
        self._untroubled = min(PLENTY, capacity)
        self.taken = 0
        """Rows that have left it so far, dropped or drained."""
        self.stored = 0
        """How many of the rows that were taken are on disk, or dropped: all up to that one."""
        self._batched = 0
        """Rows in batches, but for one each: how many more rows there are than items."""
        self._text = 0
        """Bytes of the batches' text."""
        self._rows: deque[Row | Batch] = deque()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._rows) + self._batched

    @property
    def accepted(self) -> int:
        """Rows that were taken so far, dropped later or not."""
        return self.taken + len(self)

    def put(self, row: Row) -> Row | None:
        """Take a row. The row that was dropped for it, or itself refused, is returned."""
        rows = self._rows
        rows.append(row)
        return None if len(rows) + self._batched < self._untroubled else self._filled(row)

    def put_batch(self, batch: Batch) -> None:
        """Take all rows of a batch. Only for a queue that drops none."""
        assert self.when_full is WhenFull.BLOCK
        self._rows.append(batch)
        self._batched += batch.size - 1
        self._text += len(batch.text)
        if len(self) >= self._untroubled or self._text >= MOST_TEXT:
            self.plenty.set()
            self.must_wait = self.is_full

    def _filled(self, row: Row) -> Row | None:
        """There is much, or no room, or no more after the last row."""
        rows = self._rows
        self.plenty.set()
        if self.when_full is WhenFull.BLOCK:
            self.must_wait = self.is_full
            return None
        if len(rows) <= self.capacity:
            return None
        self.dropped += 1
        if self.when_full is WhenFull.DROP_NEWEST:
            rows.pop()
            return row
        self.taken += 1
        oldest = rows.popleft()
        assert not isinstance(oldest, Batch)
        return oldest

    @property
    def is_full(self) -> bool:
        """True where no more is to come for now: of rows, or of text."""
        return len(self) >= self.capacity or self._text >= MOST_TEXT

    async def room(self) -> None:
        """Wait until there is room again."""
        while self.must_wait:
            self._has_room.clear()
            await self._has_room.wait()

    def drain(self, most: int | None = None) -> deque[Row | Batch]:
        """Take what came first, and let waiting readers go on.

        Everything, or `most` rows; the last batch that is taken may bring some more.
        """
        before, rows = len(self), self._rows
        if most is None or most >= before:
            taken, self._rows, self._batched, self._text = rows, deque(), 0, 0
        else:
            taken = deque()
            while before - len(self) < most:
                each = rows.popleft()
                taken.append(each)
                if isinstance(each, Batch):
                    self._batched -= each.size - 1
                    self._text -= len(each.text)
        self.taken += before - len(self)
        if len(self) < self._untroubled and self._text < MOST_TEXT:
            self.plenty.clear()
        if not self.is_full:
            self.must_wait = False
            self._has_room.set()
        return taken
