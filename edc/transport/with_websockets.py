"""Websockets by `websockets`: pure Python, with compression, the one that is always installed."""

import contextlib
from collections.abc import AsyncIterator, Callable

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as _connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)

from edc.errors import EdcError, Retriable
from edc.transport import Frame, Receiver
from edc.transport.sockets import (
    MOST_BYTES,
    Timing,
    broken,
    no_answer,
    no_url,
    refused,
    unreachable,
)


class _Connect(_connect):
    """Follows no redirect: the key would go to whatever host it names."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@contextlib.asynccontextmanager
async def connect(url: str, timing: Timing) -> AsyncIterator["Socket"]:
    """See `Library`."""
    try:
        connection = await _Connect(
            url,
            open_timeout=timing.open_timeout,
            close_timeout=timing.close_timeout,
            ping_interval=None,
            max_size=MOST_BYTES,
        )
    except Exception as error:
        raise translated(error, url) from error
    try:
        yield Socket(connection)
    except (ConnectionClosed, OSError) as error:
        raise translated(error, url) from error
    finally:
        await connection.close()


class Socket:
    """See `edc.transport.sockets.Socket`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.frames = 0
        self.waiting = False
        self._connection = connection

    async def send(self, message: str) -> None:
        """Send a text message. Where the peer has gone, `read` says so, after its last words."""
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(message)

    async def read(self, receiver: Receiver, epoch: int, now_ns: Callable[[], int]) -> str:
        """Deliver frames, what the library still held at the end included."""
        receive, recv = receiver.receive, self._connection.recv
        while True:
            try:
                data = await recv(decode=False)
            except ConnectionClosed as error:
                return str(error)
            self.frames += 1
            if not receive(Frame(data, now_ns(), epoch)):
                self.waiting = True
                await receiver.room()
                self.waiting = False

    async def ping(self) -> None:
        """Send a ping, and return when it is answered."""
        await (await self._connection.ping())

    async def close(self) -> None:
        """Say goodbye, and wait for the answer as long as `close_timeout`."""
        with contextlib.suppress(ConnectionClosed):
            await self._connection.close()


def translated(error: Exception, url: str) -> EdcError:
    """The library's error as one of ours: the only place that knows both."""
    match error:
        case EdcError():
            return error
        case ConnectionClosed():
            return Retriable("disconnected", f"the vendor closed the connection: {error}")
        case InvalidURI():
            return no_url(url)
        case InvalidStatus():
            return refused(url, error.response.status_code)
        case TimeoutError():
            return no_answer(url)
        case InvalidHandshake() | WebSocketException():
            return broken(url, error)
        case OSError():
            return unreachable(url, error)
        case _:
            raise error
