"""From one connection to the next without a gap.

Where a vendor says in time that a connection ends, or ends each at a certain age, or where the feed
is to go on by another plan than that of its connection, the next one is made before: it is
subscribed and delivers while the old one still does, and what both bring is kept once.
"""

import asyncio
import logging
from collections.abc import Callable

from edc.adapters import FeedPlan
from edc.errors import Retriable
from edc.logs import Named, about
from edc.retry import Backoff, pause
from edc.transport import Receiver, Transport

log = logging.getLogger(__name__)

_PATIENCE = 30.0
"""Seconds in which a connection has stood and been answered, or has failed."""


class _Connection:
    """A connection that runs until it ends by itself or is told to."""

    def __init__(self, transport: Transport, receiver: Receiver) -> None:
        self.transport = transport
        self.outdated = False
        """The feed is to go on by another plan than this connection's."""
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(transport.run(receiver, self._stop), name="connection")

    async def end(self) -> None:
        """Say goodbye. Why it ends no longer matters."""
        self._stop.set()
        await asyncio.gather(self.task, return_exceptions=True)


class Relay:
    """Keeps one connection of a feed, made by `make`, and hands over to the next in time.

    `make` is told whether it is for a successor, beside a connection that stands. `lost` is told
    when the old one ended before the next one delivered: there is a gap after all. `feed` is whose
    they are, for the log. `alone` says
    that the vendor allows no second connection: then the old one goes first. A connection that is
    made for another plan takes over after `patience` seconds even if it is quiet.
    """

    def __init__(
        self,
        make: Callable[[bool], Transport],
        receiver: Receiver,
        lost: Callable[[Exception], None],
        backoff: Callable[[], Backoff],
        *,
        feed: Named,
        alone: bool = False,
        patience: float = _PATIENCE,
    ) -> None:
        self._make = make
        self._receiver = receiver
        self._lost = lost
        self._backoff = backoff
        self._feed = feed
        self._alone = alone
        self._patience = patience
        self._standing: list[_Connection] = []

    def change(self, plan: FeedPlan, *, live: bool) -> bool:
        """Let every connection go on by another plan; `make` builds by it from now on.

        `live` says that it differs in its symbols only. False where another connection is made.
        """
        alike = True
        for each in self._standing:
            if not (live and each.transport.change(plan)):
                alike = False
                each.outdated = True
                each.transport.leaving.set()
        return alike

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until told to stop. Raises what ended a connection that had no successor."""
        current = self._connection(successor=False)
        try:
            while await _leaves(current, stopping):
                current = await self._succeeded(current, stopping)
        finally:
            await self._end(current)

    def _connection(self, *, successor: bool) -> _Connection:
        made = _Connection(self._make(successor), self._receiver)
        self._standing.append(made)
        return made

    async def _end(self, connection: _Connection) -> None:
        self._standing.remove(connection)
        await connection.end()

    async def _succeeded(self, old: _Connection, stopping: asyncio.Event) -> _Connection:
        """The connection that has taken over from `old`, or `old` itself where none could."""
        if self._alone:
            await self._end(old)
            self._lost(Retriable("stopped", "it is made anew"))
            return self._connection(successor=False)
        backoff = self._backoff()
        while True:
            new = self._connection(successor=True)
            try:
                speaks = await self._until_it_speaks(old, new, stopping)
            except BaseException:
                await self._end(new)
                raise
            if speaks:
                await self._end(old)
                return new
            await self._end(new)
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
        left = self._patience if old.outdated else None
        try:
            while True:
                done, watched = await asyncio.wait(
                    watched, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                if new.transport.speaking.is_set() or not done:
                    return True
                if stopping.is_set():
                    return False
                if new.task in done:
                    log.warning(
                        "the next connection was not to be had: %s",
                        new.task.exception(),
                        extra=about(self._feed),
                    )
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
