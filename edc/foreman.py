"""A daemon with workers: what they do looks from outside like one daemon.

    edc run --workers 2
      │  instance main: control socket, HTTP, webhooks, housekeeping
      ├─ instance main-w1 ─ feeds a, c ─ spool ─ lake
      └─ instance main-w2 ─ feeds b ──── spool ─ lake

The foreman is a Supervisor that records webhooks only, since they come to its address. Status,
flushes, metrics and readiness of all are answered by it, of the workers as they told a second ago.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edc import together
from edc.crew import Crew
from edc.errors import EdcError
from edc.family import dealt, take_over
from edc.metrics import FeedStats
from edc.plan import Feed
from edc.settings import Settings
from edc.status import feed_status, flush_status
from edc.supervisor import Outcome, Supervisor

log = logging.getLogger(__name__)


class Foreman(Supervisor):
    """See the module. `planned` are the feeds of all; `options` are Supervisor's."""

    def __init__(
        self, settings: Settings, planned: Sequence[Feed], crew: Crew, **options: Any
    ) -> None:
        super().__init__(settings, _hooks(planned), **options)
        self._crew = crew
        self._planned = planned
        self._takers: dict[str, int] = {}
        self._collector = together.Together(self._collector, self._told)

    async def run(self) -> Outcome:
        """As a Supervisor, and raises DiskFailed where a worker does."""
        self._deal(self._planned)
        hooks = dict.fromkeys((feed.name for feed in _hooks(self._planned)), 0)
        await take_over(self.settings, {**self._takers, **hooks})
        return await super().run()

    def _deal(self, planned: Sequence[Feed]) -> None:
        """Feeds that are recorded already stay with their worker."""
        shared = [feed for feed in planned if feed.channel.kind != "webhook"]
        self._takers = dealt(shared, len(self._crew.workers), self._takers)
        self._crew.deal(self._takers)
        for worker in self._crew.workers:
            names = ", ".join(worker.feeds) or "no feeds"
            log.info("worker %d (%s): %s", worker.number, worker.instance, names)

    async def _run_feeds(self) -> None:
        crew = asyncio.create_task(self._crew.run(self._stopping), name="workers")
        crew.add_done_callback(self._crew_ended)
        self.parts.fleet.beside.append(crew)
        try:
            await super()._run_feeds()
        finally:
            self._stopping.set()
            await crew

    def _crew_ended(self, crew: asyncio.Task[None]) -> None:
        if crew.cancelled() or crew.exception() is not None:
            self._stopping.set()

    async def reload(self) -> Mapping[str, object]:
        """Refused: workers are dealt their feeds when they start. Raises EdcError."""
        error = EdcError("a daemon with workers is not reloaded: stop it and start it again")
        log.error("%s", error)
        raise error

    def _told(self) -> list[together.Told]:
        return [
            together.Told(each.number, each.state == "running", each.restarts, metrics)
            for each in self._crew.workers
            for metrics in [each.report.get("metrics", ())]
        ]

    async def _flushed(self) -> Mapping[str, object]:
        """All at once; see Supervisor."""
        own, others = await asyncio.gather(self.flush(), self._crew.flush())
        return together.flushed([flush_status(own), *others])

    def status(self) -> dict[str, object]:
        """See Supervisor; `workers` are told beside."""
        workers = self._crew.workers
        told = {each.number: each.report["status"] for each in workers if each.report}
        own = super().status()
        made = together.status(own, told, self._silent())
        return {**made, "workers": [worker.status() for worker in workers]}

    def _silent(self) -> Iterator[dict[str, object]]:
        """The feeds of workers that say nothing."""
        feeds = {feed.name: feed for feed in self._planned}
        for worker in self._crew.workers:
            for name in () if worker.report else worker.feeds:
                feed, problem = feeds[name], f"worker {worker.number}: {worker.problem}"
                stats = FeedStats(name, feed.vendor, feed.source, worker.state)
                stats.problem = problem if worker.problem else ""
                yield {**feed_status(stats, 0.0, 0), "worker": worker.number}

    def _readiness(self) -> dict[str, bool]:
        checks = super()._readiness()
        for worker in self._crew.workers:
            checks[f"worker {worker.number}"] = worker.state == "running"
            for name, fine in worker.report.get("checks", {}).items():
                checks[name] = checks.get(name, True) and fine
        return checks

    def _outcome(self) -> Outcome:
        own, code = super()._outcome(), self._crew.exit_code
        if not self.feeds or own.exit_code == code:
            return Outcome(own.written, own.failed, code)
        return Outcome(own.written, own.failed, 1)


def _hooks(planned: Sequence[Feed]) -> list[Feed]:
    return [feed for feed in planned if feed.channel.kind == "webhook"]
