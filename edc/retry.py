"""Waiting: the only back-off of edc, and the only sleep.

The back-off is capped, jittered, and reset only by a stretch of healthy data.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable


class Backoff:
    """Seconds to wait before each next try: random up to `first`, doubling up to `cap`.

    The jitter is full, so that many clients cut off at once do not come back at once. "Connected"
    resets nothing (a vendor may accept and refuse for ever); call `reset` after healthy data.
    `uniform` draws from an interval; tests give a fixed one.
    """

    def __init__(
        self,
        first: float = 1.0,
        cap: float = 60.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.first, self.cap = first, cap
        self._uniform = uniform
        self._tries = 0

    def next_delay(self) -> float:
        """The next delay in seconds, never under a tenth of its ceiling."""
        ceiling = min(self.cap, self.first * 2 ** min(self._tries, 32))
        self._tries += 1
        return self._uniform(ceiling / 10, ceiling)

    def reset(self) -> None:
        """Begin anew: the connection has delivered for long enough."""
        self._tries = 0


async def pause(stopping: asyncio.Event, seconds: float | None) -> None:
    """Sleep, but no longer than until `stopping` is set; None sleeps until then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()


async def first_of(one: asyncio.Event, other: asyncio.Event, seconds: float | None) -> None:
    """Return when one of two events is set, or after `seconds`."""
    waits = [asyncio.ensure_future(one.wait()), asyncio.ensure_future(other.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def heed() -> None:
    """Raise the cancellation of this task that was lost on the way, if one was.

    Before Python 3.12 `asyncio.wait_for`, with which brokers' clients wait, loses one that comes as
    what it waits for is done. To be called where no time-out is running.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
