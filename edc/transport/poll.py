"""The polling transport: a round of GETs every so often, each answer a frame."""

import asyncio
import math
import time
from collections.abc import Callable

from edc.adapters import FeedPlan, HasPace, PollAdapter
from edc.retry import pause
from edc.transport import Receiver, fetch


class PollTransport:
    """Fetches an adapter's requests in rounds, `interval` seconds from start to start."""

    def __init__(
        self,
        adapter: PollAdapter,
        *,
        once: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.speaking, self.leaving = asyncio.Event(), asyncio.Event()
        self._adapter = adapter
        self._pace = adapter.request_every if isinstance(adapter, HasPace) else 0.0
        self._asked = -math.inf
        self._once = once
        self._now_ns = now_ns

    def change(self, plan: FeedPlan) -> bool:
        """The next one's first round comes at once, this one's last is over by then."""
        del plan
        return False

    async def run(self, receiver: Receiver, stopping: asyncio.Event) -> None:
        """Poll until told to stop (or one round only); see `Transport.run`.

        Each answer is a connection of its own: the same last trade in two answers is one trade.
        """
        self.speaking.set()  # no round outlives itself: the next one may take over at once
        async with fetch.client() as client:
            while not stopping.is_set():
                started = time.monotonic()
                for request in self._adapter.requests():
                    await pause(stopping, max(0.0, self._asked + self._pace - time.monotonic()))
                    if stopping.is_set():
                        return
                    self._asked = time.monotonic()
                    frame = await fetch.fetch(
                        client, request, lambda: receiver.connected(self._adapter), self._now_ns
                    )
                    if not receiver.receive(frame):
                        await receiver.room()
                if self._once:
                    return
                rest = self._adapter.interval - (time.monotonic() - started)
                await pause(stopping, max(0.0, rest))
