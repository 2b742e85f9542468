"""The HTTP server: the status page, /metrics for Prometheus, /livez and /readyz for whoever
restarts things, and /hooks/<feed> for those who post events.

Bound to loopback unless told otherwise. A client that is slow with its headers is cut off. The page
and the metrics are behind a gate (`edc.gate`); health tells a stranger no more than yes or no, and
webhooks have their own ways to know a sender.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from edc.errors import ConfigError
from edc.exposition import registry
from edc.gate import Gate
from edc.latency import Histogram
from edc.metrics import DaemonStats
from edc.page import Page
from edc.times import SECOND
from edc.transport.webhook import Hooks, Post

_MOST_BYTES = 64 * 1024
"""Of a body."""
_MOST_CLIENTS = 256
"""Connections at once; more are hung up on."""
_BODY_WITHIN = 5.0
_BODIES = ("application/json", "text/plain", "application/octet-stream")
"""The last is what a request without a Content-Type counts as."""
_LIVE_WITHIN = 5.0
_BEAT = 1.0
_HEADERS_WITHIN = 5.0
"""Seconds, from the connection or the last answer. aiohttp counts no bytes as a sign of life."""

log = logging.getLogger(__name__)


class _Full(asyncio.Protocol):
    """A client for whom there is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hang up."""
        transport.close()


class HttpServer:
    """Serves what a collector counts and what `readiness` checks; `listen` is `host:port`.

    `alive` says whether what writes to the disk still turns.
    """

    def __init__(
        self,
        listen: str,
        collector: Collector,
        readiness: Callable[[], Mapping[str, bool]],
        hooks: Hooks | None = None,
        stats: DaemonStats | None = None,
        *,
        alive: Callable[[], bool] = lambda: True,
        page: Page | None = None,
        token: str = "",
    ) -> None:
        self._gate = Gate(token)
        self._alive = alive
        self._page = page
        self._stats = stats or DaemonStats()
        self._hooks: Hooks = {} if hooks is None else hooks
        self._listen = listen
        self._registry = registry(collector)
        self._readiness = readiness
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._beat_at = time.monotonic()
        self._beating: asyncio.Task[None] | None = None
        self.port = 0
        self.closed = False
        """True once it has stopped listening."""

    async def start(self) -> None:
        """Listen, unless the address is empty. Raises ConfigError where it cannot."""
        if not self._listen:
            return
        app = web.Application(client_max_size=_MOST_BYTES)
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.post("/hooks/{feed}", self._hook),
                web.post("/hooks/{feed}/{token}", self._hook),
            ]
        )
        if self._page is not None:
            app.add_routes(
                [
                    web.get("/", self._status_page),
                    web.get("/events", self._events),
                    web.post("/login", self._login),
                ]
            )
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=_HEADERS_WITHIN,
            shutdown_timeout=0.5,
            logger=_theirs(),
        )
        await self._runner.setup()
        host, _, port = self._listen.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._door, host.strip("[]"), int(port))
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                "[server] listen",
                f"{self._listen} cannot be bound: {error.strerror or error}",
                'choose another port, or "" for no server',
            ) from None
        self.port = int(self._listener.sockets[0].getsockname()[1])
        self._beating = asyncio.create_task(self._beat(), name="heartbeat")
        if self._page is not None:
            self._page.start()
        log.info("status page, metrics and health on http://%s:%d", host, self.port)

    async def stop(self) -> None:
        """Stop listening."""
        if self._beating is not None:
            self._beating.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._page is not None:
            await self._page.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        self.closed = True

    def _door(self) -> asyncio.BaseProtocol:
        """Who talks to the next client: beyond `_MOST_CLIENTS` nobody does.

        Files are opened from the same number of descriptors that connections take.
        """
        assert self._runner is not None
        http = self._runner.server
        assert http is not None
        return _Full() if len(http.connections) >= _MOST_CLIENTS else http()

    async def _beat(self) -> None:
        while True:
            self._beat_at = begun = time.monotonic()
            await asyncio.sleep(_BEAT)
            late = time.monotonic() - begun - _BEAT
            self._stats.loop_lag.add_one(max(0, int(late * SECOND)))

    async def _status_page(self, request: web.Request) -> web.StreamResponse:
        """The page; the way in where a token is needed, given in the address or not."""
        assert self._page is not None
        if "token" in request.query and not self._gate.knows(request):
            return self._let_in(request, request.query["token"])
        if not self._gate.knows(request):
            return self._page.login.answer(401)
        return self._gate.refusal(request) or self._page.document.answer()

    async def _login(self, request: web.Request) -> web.StreamResponse:
        given = (await request.post()).get("token", "")
        return self._let_in(request, given if isinstance(given, str) else "")

    def _let_in(self, request: web.Request, token: str) -> web.Response:
        assert self._page is not None
        if self._gate.fits(token):
            return self._gate.admit(request)
        return self._page.login.answer(401)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        assert self._page is not None
        return self._gate.refusal(request) or await self._page.events(request)

    async def _metrics(self, request: web.Request) -> web.Response:
        refusal = self._gate.refusal(request)
        if refusal is not None:
            return refusal
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _livez(self, _request: web.Request) -> web.Response:
        lag = time.monotonic() - self._beat_at - _BEAT
        alive = lag < _LIVE_WITHIN and self._alive()
        return web.json_response({"alive": alive}, status=200 if alive else 503)

    async def _readyz(self, request: web.Request) -> web.Response:
        checks = self._readiness()
        ready = all(checks.values())
        told: dict[str, object] = {"ready": ready}
        if self._gate.knows(request):  # the names of feeds are nobody else's business
            told["checks"] = dict(checks)
        return web.json_response(told, status=200 if ready else 503)

    async def _hook(self, request: web.Request) -> web.Response:
        """Answer what is posted to a feed, and count it."""
        started = time.perf_counter_ns()
        feed = request.match_info["feed"]
        feed = feed if feed in self._hooks else ""  # else a stranger would make the labels
        try:
            answer = await self._posted(request)
        except web.HTTPException as error:
            self._stats.hooked[feed, error.status] += 1
            raise
        self._stats.hooked[feed, answer.status] += 1
        took = self._stats.hook_seconds.setdefault(feed, Histogram())
        took.add_one(time.perf_counter_ns() - started)
        return answer

    async def _posted(self, request: web.Request) -> web.Response:
        """What is posted to a feed; who may post what is `edc.transport.webhook`'s to say."""
        take = self._hooks.get(request.match_info["feed"])
        if take is None:
            return _reply(404, "there is no such webhook")
        if request.content_type not in _BODIES:
            return _reply(415, f"send one of {', '.join(_BODIES)}")
        try:
            async with asyncio.timeout(_BODY_WITHIN):
                body = await request.read()  # raises 413 at the limit
        except TimeoutError:
            return _reply(408, f"the body did not come within {_BODY_WITHIN:g} s")
        headers = {  # of what is said twice, both: who proves itself says it once
            name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers
        }
        post = Post(request.match_info.get("token", ""), headers, body, request.remote or "")
        status, text = await take(post)
        return _reply(status, text)


def _theirs() -> logging.Logger:
    """Where aiohttp logs; a request that is no HTTP is no error of ours, and fills no log."""
    logger = log.getChild("http")
    logger.addFilter(_no_bad_request)
    return logger


def _no_bad_request(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _reply(status: int, text: str) -> web.Response:
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    if status == 408:  # noqa: PLR2004 - the rest of it may still be on its way
        headers["Connection"] = "close"
    return web.Response(status=status, text=text + "\n", headers=headers)
