"""Keeping the books: what the ledger says is durable before the watermarks move past it.

An event is safe in a chunk, or it is in the ledger; a watermark moves to a moment only once both
are on disk for everything before it. So whatever ends the daemon, the next run knows from when on
something may be missing.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import msgspec

from edc.deliver import Deliver
from edc.errors import Unwritten
from edc.events import Event, Row
from edc.feeds import FeedRunner
from edc.files import Damage
from edc.ledger import Ledger
from edc.retry import pause
from edc.watermarks import Watermark, Watermarks

log = logging.getLogger(__name__)


class Bookkeeper:
    """The ledger and the watermarks of a daemon, over its feeds and lanes (see `oversee`)."""

    def __init__(self, ledger: Ledger, watermarks: Watermarks) -> None:
        self.ledger = ledger
        self._watermarks = watermarks
        self._feeds: Sequence[FeedRunner] = ()
        self._saving = asyncio.Lock()
        self._lanes: Mapping[str, Deliver] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._problem = ""

    def oversee(self, feeds: Sequence[FeedRunner], lanes: Mapping[str, Deliver]) -> None:
        """Keep the books of these; call once, before anything else.

        The feeds may come and go; see `enter` and `leave`.
        """
        self._feeds, self._lanes = feeds, lanes

    def begin(self) -> None:
        """Open the gaps that the last run left. Raises OSError or DiskFailed."""
        fresh = {each.feed.name: each.ingest.watermark() for each in self._feeds}
        marks = self._watermarks.begin(fresh)
        for each in self._feeds:
            mark = marks[each.feed.name]
            if mark != fresh[each.feed.name]:
                each.ingest.resume(mark)

    async def enter(self, runner: FeedRunner) -> None:
        """Open the gap that a feed has left which begins now. Raises OSError or DiskFailed."""
        fresh = runner.ingest.watermark()
        async with self._saving:
            marks = await asyncio.to_thread(self._watermarks.begin, {runner.feed.name: fresh})
        if marks[runner.feed.name] != fresh:
            runner.ingest.resume(marks[runner.feed.name])

    async def leave(self, name: str, mark: Watermark) -> None:
        """What comes after `mark` of this feed is put down to its stop. Call once it is on disk.

        Raises OSError or DiskFailed.
        """
        await self._save({name: msgspec.structs.replace(mark, cause="stopped")})

    def refused(self, row: Row) -> None:
        """A row fits no column."""
        if isinstance(row, Event):
            self.ledger.refused(row, "undecodable")

    async def damaged(self, damage: Damage) -> None:
        """Put a damaged file into the ledger, durably: only then may it be set aside."""
        self.ledger.damaged(damage)
        await self._lanes["gap"].write_chunk()

    async def forgotten(self, since: int) -> None:
        """What a broker has forgotten that it had confirmed is in the ledger, durably, from now on.

        Raises OSError or DiskFailed.
        """
        self.ledger.forgotten(since)
        await self._lanes["gap"].write_chunk()

    def damaged_in_thread(self, damage: Damage) -> None:
        """As `damaged`, for the threads that a lane writes in; see `attach`."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self.damaged(damage), self._loop).result()

    def attach(self) -> None:
        """Run on the present event loop."""
        self._loop = asyncio.get_running_loop()

    def reach(self) -> dict[str, int]:
        """How far each feed has got: what is before it was received, or is in the ledger."""
        return {each.feed.name: each.ingest.reach() for each in self._feeds}

    async def keep(self, stopping: asyncio.Event, interval: float) -> None:
        """Save the watermarks every `interval` seconds. Raises DiskFailed; waits out the rest."""
        while not stopping.is_set():
            await pause(stopping, interval)
            try:
                await self._save(self._marks())
                self._problem = ""
            except OSError as error:
                if str(error) != self._problem:
                    log.error("the watermarks cannot be written: %s", error)
                self._problem = str(error)

    async def close(self) -> None:
        """What comes after is put down to the stop. Raises Unwritten or DiskFailed."""
        marks = {
            name: msgspec.structs.replace(mark, cause="stopped")
            for name, mark in self._marks().items()
        }
        try:
            await self._save(marks)
        except OSError as error:
            raise Unwritten(error, 0) from error

    def _marks(self) -> dict[str, Watermark]:
        """Until when each feed's events are on disk; held to by the ledger as it is now."""
        lanes = [lane for kind, lane in self._lanes.items() if kind != "gap"]
        marks = {}
        for each in self._feeds:
            name, mark = each.feed.name, each.ingest.watermark()
            if all(name in lane.durable for lane in lanes):
                until = min(mark.until, *(lane.durable[name] for lane in lanes))
                marks[name] = msgspec.structs.replace(mark, until=until)
        return marks

    async def _save(self, marks: Mapping[str, Watermark]) -> None:
        """Save marks, once all that the ledger knew when they were taken is durable."""
        self.ledger.settle()
        await self._lanes["gap"].write_chunk()
        async with self._saving:
            await asyncio.to_thread(self._watermarks.save, marks)
