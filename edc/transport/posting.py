"""JSON posted to somebody's webhook, signed as edc's own webhooks ask for it, until it is taken.

A queue of at most a hundred, in order. What fails is tried again, ever more slowly, for as long as
there is room; what is refused (a status of 3xx or 4xx but 408, 425 and 429) is given up.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable

import httpx

from edc import __version__
from edc.retry import Backoff
from edc.transport import fetch
from edc.transport.webhook import signature

_MOST = 100
_ANSWERS_WITHIN = 10.0
_LAST_TRY = 0.8
_TRY_AGAIN = (408, 425, 429)

log = logging.getLogger(__name__)


class Poster:
    """`counts` gets, by event: delivered, failed (a try), refused, dropped (with what was said)."""

    def __init__(
        self,
        counts: Counter[tuple[str, str]],
        backoff: Callable[[], Backoff] = Backoff,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.url = self.secret = ""
        self._counts = counts
        self._backoff = backoff
        self._now = now
        self._queue: deque[tuple[str, bytes]] = deque()
        self._filled = asyncio.Event()
        self._problem = ""

    def put(self, event: str, body: bytes) -> None:
        """Have it posted. Where too many wait, the oldest of them goes that is not on its way."""
        if len(self._queue) >= _MOST:
            dropped, _ = self._queue[1]
            del self._queue[1]
            self._counts[dropped, "dropped"] += 1
        self._queue.append((event, body))
        self._filled.set()

    async def run(self) -> None:
        """Post for ever. Cancelled, it leaves what is not delivered to `close`."""
        while True:
            await self._filled.wait()
            url = self.url
            if not url:  # nobody is told any more
                self._queue.clear()
                self._filled.clear()
                continue
            async with await asyncio.to_thread(fetch.client, url) as by:
                backoff = self._backoff()
                while self._queue and self.url == url:
                    if await self._tried(by, url):
                        backoff.reset()
                    else:
                        await asyncio.sleep(backoff.next_delay())
            if not self._queue:
                self._filled.clear()

    async def close(self) -> None:
        """Try what is left once more, for less than a second in all."""
        try:
            async with asyncio.timeout(_LAST_TRY):
                if self._queue and self.url:
                    async with await asyncio.to_thread(fetch.client, self.url) as by:
                        while self._queue and await self._tried(by, self.url):
                            pass
        except TimeoutError:
            pass
        for event, _ in self._queue:
            self._counts[event, "dropped"] += 1
        if self._queue:
            log.error("%d alerts could not be posted before the end", len(self._queue))
        self._queue.clear()

    async def _tried(self, by: httpx.AsyncClient, url: str) -> bool:
        """Post what comes first; true where it is done with."""
        event, body = self._queue[0]
        status, problem = await self._post(by, url, body)
        if 200 <= status < 300:  # noqa: PLR2004 - HTTP's
            outcome, problem = "delivered", ""
        elif 300 <= status < 500 and status not in _TRY_AGAIN:  # noqa: PLR2004 - HTTP's
            outcome = "refused"
            log.error("an alert was refused (%s): check [alerts] url and secret", problem)
        else:
            outcome = "failed"
            if problem != self._problem:
                log.warning("an alert could not be posted, it is tried again: %s", problem)
        self._problem = problem
        self._counts[event, outcome] += 1
        if outcome != "failed":
            self._queue.popleft()
        return outcome != "failed"

    async def _post(self, by: httpx.AsyncClient, url: str, body: bytes) -> tuple[int, str]:
        """Status, 0 where there is no answer, and what is wrong; the URL may be a secret."""
        headers = {"Content-Type": "application/json", "User-Agent": f"edc/{__version__}"}
        if self.secret:
            told = str(int(self._now()))
            signed = signature(self.secret.encode(), told, body)
            headers["X-Edc-Signature"] = f"t={told},v1={signed}"
        try:
            async with (
                asyncio.timeout(_ANSWERS_WITHIN),
                by.stream("POST", url, content=body, headers=headers) as response,
            ):
                return response.status_code, f"status {response.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            return 0, type(error).__name__
