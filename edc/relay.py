"""From one connection to the next without a gap.

Where a vendor says in time that a connection ends, or ends each at a certain age, the next one is
made before: it is subscribed and delivers while the old one still does, and what both bring is
kept once.
"""

import asyncio
import logging
from collections.abc import Callable

from edc.errors import Retriable
from edc.retry import Backoff, pause
from edc.transport import Receiver, Transport

log = logging.getLogger(__name__)


class _Connection:
    """A connection that runs until it ends by itself or is told to."""

    def __init__(self, transport: Transport, receiver: Receiver) -> None:
        self.transport = transport
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(transport.run(receiver, self._stop), name="connection")

    async def end(self) -> None:
        """Say goodbye. Why it ends no longer matters."""
        self._stop.set()
        await asyncio.gather(self.task, return_exceptions=True)


class Relay:
    """Keeps one connection of a feed, made by `make`, and hands over to the next in time.

    `make` is told whether it is for a successor, beside a connection that stands. `lost` is told
    when the old one ended before the next one delivered: there is a gap after all.
    """

    def __init__(
        self,
        make: Callable[[bool], Transport],
        receiver: Receiver,
        lost: Callable[[Exception], None],
        backoff: Callable[[], Backoff],
    ) -> None:
        self._make = make
        self._receiver = receiver
        self._lost = lost
        self._backoff = backoff

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until told to stop. Raises what ended a connection that had no successor."""
        current = self._connection(successor=False)
        try:
            while await _leaves(current, stopping):
                current = await self._succeeded(current, stopping)
        finally:
            await current.end()

    def _connection(self, *, successor: bool) -> _Connection:
        return _Connection(self._make(successor), self._receiver)

    async def _succeeded(self, old: _Connection, stopping: asyncio.Event) -> _Connection:
        """The connection that has taken over from `old`, or `old` itself where none could."""
        backoff = self._backoff()
        while True:
            new = self._connection(successor=True)
            try:
                speaks = await self._until_it_speaks(old, new, stopping)
            except BaseException:
                await new.end()
                raise
            if speaks:
                await old.end()
                return new
            await new.end()
            if not stopping.is_set():
                await pause(stopping, backoff.next_delay())
            if stopping.is_set() or old.task.done():
                return old

    async def _until_it_speaks(
        self, old: _Connection, new: _Connection, stopping: asyncio.Event
    ) -> bool:
        """True once `new` delivers, False if it has ended or is no longer wanted."""
        events = [asyncio.create_task(event.wait()) for event in (new.transport.speaking, stopping)]
        watched: set[asyncio.Task[object]] = {*events, new.task, old.task}
        try:
            while True:
                done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                if new.transport.speaking.is_set():
                    return True
                if stopping.is_set():
                    return False
                if new.task in done:
                    log.warning("the next connection was not to be had: %s", new.task.exception())
                    return False
                if old.task in done:
                    self._lost(_why(old))
        finally:
            for event in events:
                event.cancel()


def _why(ended: _Connection) -> Exception:
    error = ended.task.exception()
    return error if isinstance(error, Exception) else Retriable("disconnected", "it has ended")


async def _leaves(connection: _Connection, stopping: asyncio.Event) -> bool:
    """True once a successor is due, False when told to stop. Raises what has ended it."""
    events = [
        asyncio.create_task(event.wait()) for event in (connection.transport.leaving, stopping)
    ]
    try:
        await asyncio.wait([*events, connection.task], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for event in events:
            event.cancel()
    if connection.task.done():
        connection.task.result()
        return False
    return not stopping.is_set()
