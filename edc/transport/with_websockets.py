"""Websockets by `websockets`: pure Python, with compression, the one that is always installed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

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
from edc.transport import Receiver
from edc.transport.sockets import (
    MOST_BYTES,
    NO_HEADERS,
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
async def connect(
    url: str, timing: Timing, headers: Mapping[str, str] = NO_HEADERS
) -> AsyncIterator["Socket"]:
    """See `Library`."""
    try:
        connection = await _Connect(
            url,
            open_timeout=timing.open_timeout,
            close_timeout=timing.close_timeout,
            ping_interval=None,
            max_size=MOST_BYTES,
            additional_headers=headers,
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
        self._connection = connection
        self._receiver: Receiver
        self._epoch = 0
        self._read: list[bytes] = []
        self._read_ns = 0
        self._until_room: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    @property
    def waiting(self) -> bool:
        """There is no room."""
        return self._until_room is not None

    async def send(self, message: str | bytes) -> None:
        """Send a message. Where the peer has gone, `read` says so, after its last words."""
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(message)

    async def read(self, receiver: Receiver, epoch: int, now_ns: Callable[[], int]) -> str:
        """Deliver frames, those together that need not be waited for, to the last one."""
        self._receiver, self._epoch = receiver, epoch
        recv, call_soon = self._connection.recv, asyncio.get_running_loop().call_soon
        why = ""
        try:
            while not why:
                try:
                    data = await recv(decode=False)
                except ConnectionClosed as error:
                    why = str(error)
                else:
                    if not self._read:
                        self._read_ns = now_ns()
                        call_soon(self._deliver)  # `recv` gives what has come without a pause
                    self._read.append(data)
                while self._until_room is not None or (why and self._read):
                    if self._until_room is not None:
                        await self._until_room
                    self._deliver()
                if self._failure is not None:
                    raise self._failure
        finally:
            if self._until_room is not None:
                self._until_room.cancel()
        return why

    def _deliver(self) -> None:
        """Hand over what was read, if there is room."""
        if not self._read or self._until_room is not None or self._failure is not None:
            return
        frames, self._read = self._read, []
        self.frames += len(frames)
        try:
            if not self._receiver.receive_many(frames, self._read_ns, self._epoch):
                self._until_room = asyncio.create_task(self._wait_for_room())
        except Exception as error:  # noqa: BLE001 - `read` raises it: it is the receiver's
            self._failure = error
            self._connection.transport.abort()

    async def _wait_for_room(self) -> None:
        await self._receiver.room()
        self._until_room = None

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
