"""A market that goes on whether or not somebody listens, as a real vendor's does."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from edc.simulator.tape import TICKERS, Made, Tape, text_frame

_TICK = 0.01
_MOST_AT_ONCE = 5_000


class Sent(NamedTuple):
    """An event that the market has made: its text, and how many connections it was written to."""

    payload: bytes
    listeners: int


@dataclass(slots=True, eq=False)
class Listener:
    """A connection that has subscribed."""

    transport: asyncio.WriteTransport
    tickers: frozenset[str]
    waiting: list[bytes] = field(default_factory=list)

    def hears(self, made: Made) -> bool:
        """True where it has asked for the event and still stands."""
        return made.ticker in self.tickers and not self.transport.is_closing()

    def flush(self) -> int:
        """Write what has come for it; the number of bytes that it has yet to read."""
        if self.waiting:
            self.transport.write(b"".join(map(text_frame, self.waiting)))
            self.waiting.clear()
        return self.transport.get_write_buffer_size()


class Market:
    """The events of one service at one level, `rate` a second, to everyone who listens.

    A connection that leaves more than `patience` bytes unread is dropped; `dropped` counts those.
    `record` is what was made so far, in order, and `heard` how many of them somebody got. While
    `mute`, nothing is written to anybody. The frames of `garbage` are written in place of the next
    events, which nobody gets.
    """

    def __init__(self, tape: Tape, level: int, rate: float, patience: int) -> None:
        self.level = level
        self.mute = False
        self.garbage: deque[bytes] = deque()
        self.record: list[Sent] = []
        self.heard = 0
        self.dropped = 0
        self._tape = tape
        self._tickers: Sequence[str] = TICKERS[tape.service]
        self._rate = rate
        self._patience = patience
        self._listeners: set[Listener] = set()

    async def run(self) -> None:
        """Make events until cancelled."""
        loop = asyncio.get_running_loop()
        started, first = loop.time(), self._tape.sent
        while True:
            owed = int((loop.time() - started) * self._rate) + first - self._tape.sent
            for _ in range(min(owed, _MOST_AT_ONCE)):
                self._make()
            for listener in self._listeners:
                if listener.flush() > self._patience:
                    listener.transport.abort()
                    self.dropped += 1
            await asyncio.sleep(_TICK)

    @contextmanager
    def listened_to(
        self, transport: asyncio.WriteTransport, tickers: Sequence[str]
    ) -> Iterator[Listener]:
        """A connection gets every event that is made while inside."""
        listener = Listener(transport, frozenset(tickers))
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def _make(self) -> None:
        made = self._tape.next(self.level, self._tickers)
        listeners = [] if self.mute else [each for each in self._listeners if each.hears(made)]
        spoiled = bool(listeners and self.garbage)
        written = self.garbage.popleft() if spoiled else made.payload
        for listener in listeners:
            listener.waiting.append(written)
        self.record.append(Sent(made.payload, 0 if spoiled else len(listeners)))
        self.heard += bool(listeners) and not spoiled
