"""The bounded queue between the sockets and the spool, and what happens when it is full.

One queue per event type. Everything runs on the event loop: there is no lock, and no await in
`put`.
"""

import asyncio
from collections import deque
from enum import StrEnum

from edc.events import Row


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

    Under `block` the events of the frame that filled it are still taken, so the length is bounded
    by the capacity and one frame; the reader must then await `room` before it reads again.
    """

    __slots__ = (
        *("_has_room", "_rows", "_taken", "capacity", "dropped", "event_type"),
        *("must_wait", "when_full"),
    )

    def __init__(self, event_type: str, capacity: int, when_full: WhenFull) -> None:
        self.event_type = event_type
        self.capacity = capacity
        self.when_full = when_full
        self.dropped = 0
        self.must_wait = False
        """True where a reader has to await `room` before it takes another frame."""
        self._taken = 0
        self._rows: deque[Row] = deque()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def accepted(self) -> int:
        """Rows that were taken so far, dropped later or not."""
        return self._taken + len(self._rows)

    def put(self, row: Row) -> Row | None:
        """Take a row. The row that was dropped for it, or itself refused, is returned."""
        rows = self._rows
        rows.append(row)
        return None if len(rows) < self.capacity else self._filled()

    def _filled(self) -> Row | None:
        """There is no room, or no more after the last row."""
        rows = self._rows
        if self.when_full is WhenFull.BLOCK:
            self.must_wait = True
            return None
        if len(rows) <= self.capacity:
            return None
        self.dropped += 1
        if self.when_full is WhenFull.DROP_NEWEST:
            return rows.pop()
        self._taken += 1
        return rows.popleft()

    async def room(self) -> None:
        """Wait until there is room again."""
        while self.must_wait:
            self._has_room.clear()
            await self._has_room.wait()

    def drain(self) -> deque[Row]:
        """Take everything, and let waiting readers go on."""
        rows, self._rows = self._rows, deque()
        self._taken += len(rows)
        self.must_wait = False
        self._has_room.set()
        return rows
