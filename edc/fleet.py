"""The feeds that run: begun, stopped and replaced each by itself, and all stopped together."""

import asyncio

from edc.feeds import FeedRunner

_STOPS_WITHIN = 4.0
"""Seconds for saying goodbye and taking what the sockets still hold."""


class Fleet:
    """Runners and their tasks. `runners` is one list for as long as the fleet lives."""

    def __init__(self, runners: list[FeedRunner]) -> None:
        self.runners = runners
        self.changing = asyncio.Lock()
        """Held while feeds are replaced: that none is left for a moment does not end the run."""
        self.beside: list[asyncio.Task[None]] = []
        """What else the run goes on for, as it does for a feed: it ends by itself."""
        self._tasks: dict[FeedRunner, asyncio.Task[None]] = {}
        self._stops: dict[FeedRunner, asyncio.Event] = {}
        self._stir = asyncio.Event()
        self._closed = False

    def start(self, runner: FeedRunner) -> None:
        """Let a runner run, unless all are being stopped."""
        if runner not in self.runners:
            self.runners.append(runner)
        if self._closed:
            return
        stop = self._stops[runner] = asyncio.Event()
        name = f"feed {runner.feed.name}"
        self._tasks[runner] = asyncio.create_task(runner.run(stop), name=name)
        self._stir.set()

    async def stop(self, runner: FeedRunner) -> None:
        """Stop one in order; it is of the fleet no more, and its last gap is told."""
        await self._end([runner])
        self.runners.remove(runner)
        self._tasks.pop(runner, None)
        self._stir.set()

    async def ended(self, stop: asyncio.Task[None]) -> None:
        """Return when `stop` has, or all feeds have."""
        while not stop.done():
            self._stir.clear()
            running = (*self._tasks.values(), *self.beside)
            left = [task for task in running if not task.done()]
            if not left and not self.changing.locked():
                return
            stir = asyncio.create_task(self._stir.wait(), name="stir")
            try:
                await asyncio.wait((*left, stop, stir), return_when=asyncio.FIRST_COMPLETED)
            finally:
                stir.cancel()

    def settled(self) -> None:
        """Feeds have been replaced: look whether any is left."""
        self._stir.set()

    @property
    def all_done(self) -> bool:
        """No feed runs."""
        return all(task.done() for task in self._tasks.values())

    async def close(self) -> None:
        """Stop all; none is started any more."""
        self._closed = True
        await self._end(list(self.runners))

    async def _end(self, runners: list[FeedRunner]) -> None:
        tasks = [self._tasks[runner] for runner in runners if runner in self._tasks]
        for runner in runners:
            if runner in self._stops:
                self._stops[runner].set()
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=_STOPS_WITHIN)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for runner in runners:
                runner.ingest.finish()
