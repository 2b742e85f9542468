"""The polling transport: a round of GETs every so often, each answer a frame."""

import asyncio
import time
from collections.abc import Callable

import httpx

from edc.adapters import PollAdapter
from edc.errors import EdcError, Fatal, Retriable
from edc.retry import pause
from edc.transport import Frame, Receiver, Request

_TIMEOUT = 15.0
_MOST_BYTES = 32 * 1024 * 1024


class PollTransport:
    """Fetches an adapter's requests in rounds, `interval` seconds from start to start."""

    def __init__(
        self,
        adapter: PollAdapter,
        *,
        once: bool = False,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._adapter = adapter
        self._once = once
        self._now_ns = now_ns

    async def run(self, receiver: Receiver, stopping: asyncio.Event) -> None:
        """Poll until told to stop (or one round only); see `Transport.run`.

        Each answer is a connection of its own: the same last trade in two answers is one trade.
        Redirects are not followed, since the key would go with them.
        """
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False) as client:
                while not stopping.is_set():
                    started = time.monotonic()
                    for request in self._adapter.requests():
                        await self._fetch(client, request, receiver)
                    if self._once:
                        return
                    rest = self._adapter.interval - (time.monotonic() - started)
                    await pause(stopping, max(0.0, rest))
        except EdcError:
            raise
        except Exception as error:
            raise _translated(error) from error

    async def _fetch(self, client: httpx.AsyncClient, request: Request, receiver: Receiver) -> None:
        async with client.stream(
            "GET" if request.body is None else "POST",
            request.url,
            params=request.params,
            headers=request.headers,
            content=request.body,
        ) as response:
            data = bytearray()
            async for part in response.aiter_bytes():
                data += part
                if len(data) > _MOST_BYTES:
                    raise Retriable("refused", f"{request.url} answered over {_MOST_BYTES} bytes")
        epoch = receiver.connected(self._adapter)
        frame = Frame(bytes(data), self._now_ns(), epoch, response.status_code, request.about)
        if not receiver.receive(frame):
            await receiver.room()


def _translated(error: Exception) -> EdcError:
    """The library's error as one of ours: the only place that knows both."""
    match error:
        case httpx.TimeoutException():
            return Retriable("timeout", f"no answer in {_TIMEOUT:g} s ({type(error).__name__})")
        case httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return Fatal(f"no usable url: {error}", "correct the vendor's rest_url")
        case httpx.HTTPError():
            return Retriable("disconnected", f"{type(error).__name__}: {error}")
        case _:
            raise error
