"""The status page: one document, and a stream of what it shows.

`GET /` is `status.html` with its style and script put in: nothing else is loaded, and its policy
allows nothing else. `GET /events` is a stream of server-sent events, JSON each:

    history   {"points": […], "page": digest}   once: what the last ten minutes were like
    status    what `edc status --json` shows, and gaps, checks and files    every second
    point     {"t": ms, "feeds": {…}, "queues": {…}}                        every five seconds

A message is made once for all who look, and only while somebody does. Nothing is kept for a client:
it gets the newest when it has taken the last, and is cut off where it takes nothing for ten
seconds. There are sixteen at most.
"""

import asyncio
import base64
import contextlib
import hashlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
from aiohttp import web

from edc.logs import redact

_EVERY = 1.0
_POINT_EVERY = 5
"""Messages between two points of the history."""
_POINTS = 120
_MOST_CLIENTS = 16
_STUCK = 10.0
_BUFFER = 65_536

log = logging.getLogger(__name__)


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class Document:
    """An HTML document with its own style and script, and the policy that allows only those."""

    def __init__(self, name: str) -> None:
        style, script = _read("status.css"), _read("status.js")
        text = _read(name)
        has_script = "{{script}}" in text
        text = text.replace("{{style}}", style).replace("{{script}}", script)
        self.digest = _digest(text)
        self._body = text.encode()
        allowed = f"'sha256-{_digest(script)}'" if has_script else "'none'"
        self._policy = "; ".join(
            (
                "default-src 'none'",
                f"style-src 'sha256-{_digest(style)}'",
                f"script-src {allowed}",
                "connect-src 'self'",
                "img-src data:",
                "form-action 'self'",
                "base-uri 'none'",
                "frame-ancestors 'none'",
            )
        )

    def answer(self, status: int = 200) -> web.Response:
        """The document as it is served."""
        return web.Response(
            status=status,
            body=self._body,
            content_type="text/html",
            charset="utf-8",
            headers={
                "Content-Security-Policy": self._policy,
                "Cache-Control": "no-store",
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
            },
        )


class Page:
    """The page and its stream.

    `look` says what is to be shown now; `point` what is to be remembered of the last five seconds.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[Mapping[str, object]]],
        point: Callable[[], Mapping[str, object]],
        every: float = _EVERY,
    ) -> None:
        self.document, self.login = Document("status.html"), Document("login.html")
        self._look, self._point, self._every = look, point, every
        self._points: deque[Mapping[str, object]] = deque(maxlen=_POINTS)
        self.clients = 0
        self._message = b""
        self._changed = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to remember, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="status page")

    async def stop(self) -> None:
        """End the streams."""
        self._stopping = True
        self._changed.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(self._every)
            number += 1
            try:
                await self._turn(remember=number % _POINT_EVERY == 0)
            except Exception:  # whatever it is, the recording goes on
                log.exception("the status page cannot be made")

    async def _turn(self, *, remember: bool) -> None:
        point = self._point() if remember else None
        if point is not None:
            self._points.append(point)
        if not self.clients:
            return
        message = _message("status", await self._look())
        if point is not None:
            message += _message("point", point)
        self._message = message
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Stream to one client until it goes, is stuck, or the daemon stops."""
        if self.clients >= _MOST_CLIENTS:
            return web.Response(
                status=503, text="too many look at the page\n", headers={"Retry-After": "5"}
            )
        self.clients += 1
        try:
            return await self._stream(request)
        finally:
            self.clients -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        headers = {
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy must not hold it back
            "X-Content-Type-Options": "nosniff",
        }
        response = web.StreamResponse(headers=headers)
        transport = request.transport
        assert transport is not None
        transport.set_write_buffer_limits(high=_BUFFER)
        try:
            async with asyncio.timeout(_STUCK):
                await response.prepare(request)
                await response.write(b"retry: 1000\n\n" + await self._greeting())
            while not self._stopping:
                changed = self._changed
                await changed.wait()
                if self._stopping:
                    break
                async with asyncio.timeout(_STUCK):
                    await response.write(self._message)
        except TimeoutError:
            transport.abort()
        except ConnectionError:
            pass  # it has gone
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    async def _greeting(self) -> bytes:
        history = {"points": list(self._points), "page": self.document.digest}
        return _message("history", history) + _message("status", await self._look())


def _message(event: str, data: Mapping[str, object]) -> bytes:
    """One server-sent event; JSON has no line breaks of its own."""
    text = redact(msgspec.json.encode(data).decode())
    return f"event: {event}\ndata: {text}\n\n".encode()
