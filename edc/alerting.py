"""Alerts of a daemon, looked for once a second beside the data and posted as JSON.

{"id": "…", "event": "stale", "status": "firing", "key": "stale/crypto", "instance": "main",
 "feed": "crypto", "vendor": "tiingo", "message": "…", "since": "…", "at": "…", "repeats": 0,
 "details": {…}}
"""

import asyncio
import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from edc.alerts import Look, Told, Watch, of_gap, wrong
from edc.events import Gap
from edc.logs import redact
from edc.retry import Backoff, pause
from edc.settings import AlertSettings
from edc.transport.posting import Poster

log = logging.getLogger(__name__)

_WINDOW = 300.0
"""Seconds in which skipped frames are counted: without one for so long, they are over."""


class Alerting:
    """`look` says how the daemon is; `gap` is to be called with every row of its ledger."""

    def __init__(
        self,
        settings: AlertSettings,
        instance: str,
        look: Callable[[], Look],
        counts: Counter[tuple[str, str]],
        backoff: Callable[[], Backoff] = Backoff,
        window: float = _WINDOW,
    ) -> None:
        self._instance = instance
        self._look = look
        self._window = window
        self._watch = Watch()
        self._poster = Poster(counts, backoff)
        self._looks: deque[tuple[float, Look]] = deque()
        self.change(settings)

    def change(self, settings: AlertSettings) -> None:
        """Go on by these settings; what has been said stays said."""
        self._poster.url = settings.address
        self._poster.secret = settings.signs_with
        self._watch.events = settings.events
        self._watch.repeat_after = settings.repeat_after
        self._watch.lasts = settings.stale_after

    def gap(self, gap: Gap) -> None:
        """A row was put into the gap table."""
        alert = of_gap(gap) if self._poster.url else None
        told = alert and self._watch.happened(alert, time.monotonic())
        if told:
            self._say(told)

    async def run(self, stopping: asyncio.Event, interval: float) -> None:
        """Look and post until cancelled; from `stopping` on, feeds that end are no news."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._poster.run(), name="alerts: post")
                while not stopping.is_set():
                    await pause(stopping, interval)
                    if self._poster.url and not stopping.is_set():
                        self.look(time.monotonic())
        except* Exception as group:  # noqa: BLE001 - the recording goes on
            log.error("no alerts are told any more: %r", group.exceptions[0])

    async def close(self) -> None:
        """After `run`: one last try of what is left."""
        await self._poster.close()

    def look(self, now: float) -> None:
        """Say what has changed."""
        self._looks.append((now, self._look()))
        while len(self._looks) > 1 and self._looks[1][0] <= now - self._window:
            self._looks.popleft()
        # the first look is at a beginning: what came before it is since then as well
        first, before = self._looks[0]
        found = wrong(before if first <= now - self._window else Look(), self._looks[-1][1])
        for told in self._watch.look(found, now):
            self._say(told)

    def _say(self, told: Told) -> None:
        alert, now = told.alert, time.time()
        since = now - (time.monotonic() - told.since)
        payload = {
            "id": uuid.uuid4().hex,
            "event": alert.event,
            "status": told.status,
            "key": alert.key,
            "instance": self._instance,
            "feed": alert.feed,
            "vendor": alert.vendor,
            "message": alert.message,
            "since": _iso(since),
            "at": _iso(now),
            "repeats": told.repeats,
            "details": alert.details,
        }
        log.debug("alert: %s is %s", alert.key, told.status)
        self._poster.put(alert.event, redact(msgspec.json.encode(payload).decode()).encode())


def _iso(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
