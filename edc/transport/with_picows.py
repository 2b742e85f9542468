"""Websockets by `picows`: the extra `edc[fast]`, an order of magnitude less work for a frame.

Frames come by callback and are decoded in it: no task, no await and no queue lies between. It knows
no compression, so none is offered.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping

import picows
from picows import WSCloseCode, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport
from websockets.exceptions import InvalidURI
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from edc.errors import EdcError
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

_SILENT = logging.Logger("picows", logging.CRITICAL + 1)  # noqa: LOG001 - nobody else's
"""It logs at each connect and error; what matters of that is said by the feed."""
_TEXT, _BINARY = WSMsgType.TEXT, WSMsgType.BINARY
_CONTROL = (WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE)
_ALL_ELSE = ("buffer_updated", "connection_lost", "eof_received", "pause_writing", "resume_writing")
"""What a protocol is told, but for `connection_made`, which it has been."""
_MOST_READ = 128 << 10
"""Bytes at once: more would be no less work, and wait in memory."""
_MOST_CONTROL = 125
"""Bytes of a frame of control, at most, which also comes in one (RFC 6455, 5.5)."""


@contextlib.asynccontextmanager
async def connect(
    url: str, timing: Timing, headers: Mapping[str, str] = NO_HEADERS
) -> AsyncIterator["Socket"]:
    """See `Library`. A proxy is taken from the environment, as `websockets` does."""
    try:
        async with asyncio.timeout(timing.open_timeout):
            transport, listener = await picows.ws_connect(
                lambda: Socket(timing),
                url,
                ssl_context=ssl.create_default_context() if url.startswith("wss:") else None,
                websocket_handshake_timeout=timing.open_timeout,
                logger_name=_SILENT,
                max_frame_size=MOST_BYTES,
                extra_headers=headers,
                max_redirects=0,
                proxy=get_proxy(parse_uri(url)),
            )
    except Exception as error:
        raise translated(error, url) from error
    assert isinstance(listener, Socket)
    try:
        yield listener
    finally:
        transport.disconnect(graceful=False)
        with contextlib.suppress(Exception):  # `read` has told why
            await transport.wait_disconnected()


class Socket(WSListener):
    """See `edc.transport.sockets.Socket`.

    The messages of one read are delivered together. While there is no room, reading from the
    connection is paused and they are kept, at most as many as the library reads at once.
    """

    __slots__ = (
        *("_epoch", "_failure", "_now_ns", "_parts", "_parts_size", "_pong", "_read", "_read_ns"),
        *("_receive", "_stir", "_timing", "_transport", "_why", "frames", "gone", "waiting"),
    )

    def __init__(self, timing: Timing) -> None:
        self.frames = 0
        self.waiting = True
        self.gone = asyncio.Event()
        self._timing = timing
        self._transport: WSTransport
        self._receive: Callable[[list[bytes], int, int], bool] = _nothing
        self._now_ns: Callable[[], int] = time.time_ns
        self._epoch = 0
        self._read: list[bytes] = []
        self._read_ns = 0
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._stir = asyncio.Event()
        self._pong: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._why = ""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done; nothing is read on until somebody wants it."""
        self._transport = transport
        under = transport.underlying_transport
        protocol = under.get_protocol()
        if isinstance(protocol, asyncio.BufferedProtocol) and not transport.is_secure:
            under.set_protocol(_BoundedReads(protocol))
        under.pause_reading()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Gather the messages of a read, and deliver them with its last one, if there is room."""
        read = self._read
        if frame.payload_size > _MOST_CONTROL and frame.fin and not self._parts:
            data: bytes | None = frame.get_payload_as_bytes()  # its type would cost as much again
        else:
            data = self._looked_at(transport, frame)
        if data is not None:
            if not read:
                self._read_ns = self._now_ns()
            read.append(data)
        if frame.last_in_buffer or len(read) >= MOST_AT_ONCE:
            self._hand_over(transport)

    def _hand_over(self, transport: WSTransport) -> None:
        """Deliver what was read; where that fills the queues, read no more for now."""
        if self._read and not self.waiting and not self._handed_over():
            self.waiting = True
            transport.underlying_transport.pause_reading()
            self._stir.set()

    def _handed_over(self) -> bool:
        """False where there is no room for more."""
        frames = self._read
        if len(frames) > MOST_AT_ONCE:
            frames = frames[:MOST_AT_ONCE]
            del self._read[:MOST_AT_ONCE]
        else:
            self._read = []
        self.frames += len(frames)
        try:
            return self._receive(frames, self._read_ns, self._epoch)
        except Exception as error:  # noqa: BLE001 - `read` raises it: it is the receiver's
            self._failure = error
            self._receive = _nothing
            self._transport.disconnect(graceful=False)
            return True

    def _looked_at(self, transport: WSTransport, frame: WSFrame) -> bytes | None:
        """A message, with its last part; None for anything else, which is heeded."""
        kind = frame.msg_type
        if kind in _CONTROL:
            self._control(transport, frame)
            return None
        if frame.fin and (kind is _TEXT or kind is _BINARY):
            return frame.get_payload_as_bytes()
        return self._joined(transport, frame)

    def _joined(self, transport: WSTransport, frame: WSFrame) -> bytes | None:
        """The whole of a message that came in parts, with its last one."""
        self._parts.append(frame.get_payload_as_bytes())
        self._parts_size += frame.payload_size
        if self._parts_size > MOST_BYTES:
            self._refuse(transport, WSCloseCode.MESSAGE_TOO_BIG)
            return None
        if not frame.fin:
            return None
        data = b"".join(self._parts)
        self._parts, self._parts_size = [], 0
        return data

    def _refuse(self, transport: WSTransport, code: WSCloseCode) -> None:
        self._why = f"sent {code.value} ({code.name.lower()})"
        self._receive = _nothing
        transport.send_close(code)
        self._ended()

    def _control(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.PONG:
            if self._pong is not None and not self._pong.done():
                self._pong.set_result(None)
        elif frame.msg_type is WSMsgType.CLOSE:
            code, reason = frame.get_close_code(), frame.get_close_reason() or ""
            self._why = f"received {getattr(code, 'value', code)} {reason}".rstrip()
            transport.send_close(code)  # ignored where ours went first
            self._ended()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - the library's
        """Nothing comes any more."""
        self._ended()

    def _ended(self) -> None:
        """By a goodbye or without; TCP's own end, and TLS's, may come much later."""
        self.gone.set()
        self._stir.set()
        if self._pong is not None and not self._pong.done():
            self._pong.cancel()

    async def send(self, message: str | bytes) -> None:
        """Send a text or a binary message."""
        self._transport.send(_TEXT if isinstance(message, str) else _BINARY, message)

    async def read(self, receiver: Receiver, epoch: int, now_ns: Callable[[], int]) -> str:
        """Let frames come until the connection has ended; those that were kept go first."""
        self._receive, self._now_ns, self._epoch = receiver.receive_many, now_ns, epoch
        has_room = True
        while True:
            if not has_room:
                await receiver.room()
            has_room = True
            while self._read and has_room:
                has_room = self._handed_over()
            if not has_room:
                continue
            self.waiting = False
            if self.gone.is_set():
                break
            self._transport.underlying_transport.resume_reading()
            self._stir.clear()
            await self._stir.wait()
            has_room = not self.waiting
        if self._failure is not None:
            raise self._failure
        return await self._end()

    async def _end(self) -> str:
        """Why the connection has ended."""
        if self._why:
            return self._why
        try:
            await self._transport.wait_disconnected()
        except picows.WSProtocolError as error:
            code, text = error.args[0], error.args[1] if len(error.args) > 1 else ""
            return f"sent {getattr(code, 'value', code)} ({text})"
        return "no close frame received or sent"

    async def ping(self) -> None:
        """Send a ping, and return when it is answered, or never where the connection ends."""
        self._pong = asyncio.get_running_loop().create_future()
        self._transport.send_ping()
        await self._pong

    async def close(self) -> None:
        """Say goodbye, and wait for the answer as long as `close_timeout`."""
        self._transport.send_close(WSCloseCode.OK)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timing.close_timeout):
                await self.gone.wait()
        self._transport.disconnect(graceful=False)


class _BoundedReads(asyncio.BufferedProtocol):
    """A protocol of the library that is given no more than `_MOST_READ` bytes at once.

    It reads into a buffer that is doubled whenever a read fills it, and never shrinks again: left
    alone, that of each connection would grow to as much as the kernel keeps. Not for TLS, where a
    read is a record, 16 KiB at most, so that the buffer stays small by itself; and where a
    transport that is paused while its buffer is full would not go on.
    """

    def __init__(self, protocol: asyncio.BufferedProtocol) -> None:
        self._buffer = protocol.get_buffer
        for name in _ALL_ELSE:  # straight from the transport to the library
            setattr(self, name, getattr(protocol, name))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return memoryview(self._buffer(sizehint))[:_MOST_READ]


def _nothing(_frames: list[bytes], _received_ns: int, _epoch: int) -> bool:
    return True


def translated(error: Exception, url: str) -> EdcError:
    """The library's error as one of ours: the only place that knows both."""
    match error:
        case InvalidURI():
            return no_url(url)
        case WSHandshakeError(response=response) if response is not None and (
            int(response.status) != 101  # noqa: PLR2004 - HTTP's
        ):
            return refused(url, int(response.status))
        case TimeoutError():
            return no_answer(url)
        case picows.WSError():
            return broken(url, error)
        case OSError():
            return unreachable(url, error)
        case _:
            raise error
