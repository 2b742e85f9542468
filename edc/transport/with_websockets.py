"""Websockets by `websockets`: pure Python, with compression, the one that is always installed.

The library shakes hands, parses, decompresses and closes. Its queue of messages, and `recv` with
it, is left out: messages are taken where the library's connection is told of their frames.
"""

import asyncio
import contextlib
import time
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
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from edc.errors import EdcError, Retriable
from edc.transport import Receiver
from edc.transport.sockets import (
    MOST_AT_ONCE,
    MOST_BYTES,
    NO_HEADERS,
    Timing,
    broken,
    no_answer,
    no_url,
    refused,
    unreachable,
)

_TEXT, _BINARY, _CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
_PIECE = 64 << 10
"""Bytes parsed at once: what the library makes of a whole read does not fit into a core's cache."""


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
            create_connection=_Connection,
        )
    except Exception as error:
        raise translated(error, url) from error
    assert isinstance(connection, _Connection)
    socket = Socket(connection)
    try:
        yield socket
    except (ConnectionClosed, OSError) as error:
        raise translated(error, url) from error
    finally:
        socket.ignore()
        await connection.close()


class _Connection(ClientConnection):
    """The library's, which keeps the messages that it has parsed, and tells of them together.

    Those in parts are joined; the library sees to it that none is larger than MOST_BYTES. Its own
    queue gets none of them and never pauses or resumes reading: that is left to who is told.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.messages: list[bytes] = []
        self.read_ns = 0
        self.now_ns: Callable[[], int] = time.time_ns
        self.tell: Callable[[], None] = _nobody
        self.gone = False
        self._parts = bytearray()

    def data_received(self, data: bytes) -> None:
        if not self.messages:
            self.read_ns = self.now_ns()
        for at in range(0, len(data), _PIECE):
            super().data_received(data[at : at + _PIECE])
            self.tell()

    def process_event(self, event: Event) -> None:
        if not isinstance(event, Frame):
            super().process_event(event)
            self.transport.pause_reading()  # the handshake is done; until somebody wants more
            return
        kind = event.opcode
        if event.fin and (kind is _TEXT or kind is _BINARY):
            self.messages.append(bytes(event.data))
        elif kind is _CONT or kind is _TEXT or kind is _BINARY:
            self._parts += event.data
            if event.fin:
                self.messages.append(bytes(self._parts))
                self._parts.clear()
        else:
            super().process_event(event)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gone = True
        self.tell()


class Socket:
    """See `edc.transport.sockets.Socket`.

    While there is no room, reading from the connection is paused, and what it has read is kept.
    """

    def __init__(self, connection: _Connection) -> None:
        self.frames = 0
        self.waiting = True
        self._connection = connection
        self._receive: Callable[[list[bytes], int, int], bool] = _nothing
        self._epoch = 0
        self._stir = asyncio.Event()
        self._failure: Exception | None = None

    async def send(self, message: str | bytes) -> None:
        """Send a message. Where the peer has gone, `read` says so, after its last words."""
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(message)

    async def read(self, receiver: Receiver, epoch: int, now_ns: Callable[[], int]) -> str:
        """Deliver the messages of each read until the connection has ended; kept ones go first."""
        connection = self._connection
        self._receive, self._epoch = receiver.receive_many, epoch
        connection.now_ns, connection.tell = now_ns, self._told
        while True:
            while not self._handed_over():
                await receiver.room()
            if connection.gone:
                break
            self.waiting = False
            connection.transport.resume_reading()
            self._stir.clear()
            await self._stir.wait()
            if self.waiting:
                await receiver.room()
        if self._failure is not None:
            raise self._failure
        return str(connection.protocol.close_exc)

    def _told(self) -> None:
        """Something was read, or nothing will be any more."""
        if not self.waiting and not self._handed_over():
            self.waiting = True
            self._connection.transport.pause_reading()
            self._stir.set()
        elif self._connection.gone:
            self._stir.set()

    def _handed_over(self) -> bool:
        """All there is; False as soon as there is no room for more."""
        messages = self._connection.messages
        while messages:
            frames = messages[:MOST_AT_ONCE]
            del messages[:MOST_AT_ONCE]
            self.frames += len(frames)
            try:
                has_room = self._receive(frames, self._connection.read_ns, self._epoch)
            except Exception as error:  # noqa: BLE001 - `read` raises it: it is the receiver's
                self._failure = error
                self._receive = _nothing
                self._connection.transport.abort()
                return True
            if not has_room:
                return False
        return True

    def ignore(self) -> None:
        """Deliver nothing any more, but read on: the peer's goodbye is behind it."""
        self._receive = _nothing
        self.waiting = False
        self._connection.tell = self._told
        self._connection.transport.resume_reading()

    async def ping(self) -> None:
        """Send a ping, and return when it is answered."""
        await (await self._connection.ping())

    async def close(self) -> None:
        """Say goodbye, and wait for the answer as long as `close_timeout`."""
        with contextlib.suppress(ConnectionClosed):
            await self._connection.close()


def _nobody() -> None:
    pass


def _nothing(_frames: list[bytes], _received_ns: int, _epoch: int) -> bool:
    return True


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
