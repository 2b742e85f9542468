"""The websocket transport: one connection, its keepalive and its data watchdog.

The library's own keepalive is off: it counts a pong that is stuck behind a full queue as a dead
peer. Here a ping is sent only where nothing came for a while and the queues have room.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)

from edc.adapters import WebsocketAdapter
from edc.errors import EdcError, Fatal, Retriable
from edc.staleness import Watchdog
from edc.transport import Frame, Receiver


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A dead peer is found after `ping_after + ping_timeout`: ten."""

    open_timeout: float = 10.0
    close_timeout: float = 1.0
    ping_after: float = 5.0
    ping_timeout: float = 5.0
    tick: float = 1.0


class _Connect(connect):
    """Follows no redirect: the key would go to whatever host it names."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WebsocketTransport:
    """Connects to an adapter's url, subscribes, and delivers frames."""

    def __init__(
        self,
        adapter: WebsocketAdapter,
        market_open: Callable[[], bool],
        watchdog: Watchdog,
        timing: Timing | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._adapter = adapter
        self._market_open = market_open
        self._watchdog = watchdog
        self._timing = timing or Timing()
        self._now_ns = now_ns
        self._frames = 0
        self._waiting_for_room = False

    async def run(self, receiver: Receiver, stopping: asyncio.Event) -> None:
        """One connection's life; see `Transport.run`."""
        try:
            async with _Connect(
                self._adapter.url,
                open_timeout=self._timing.open_timeout,
                close_timeout=self._timing.close_timeout,
                ping_interval=None,
            ) as socket:
                await self._talk(socket, receiver, stopping)
        except EdcError:
            raise
        except Exception as error:
            raise _translated(error, self._adapter.url) from error

    async def _talk(
        self, socket: ClientConnection, receiver: Receiver, stopping: asyncio.Event
    ) -> None:
        epoch = receiver.connected()
        for message in self._adapter.subscribe():
            await socket.send(message)
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = (
                    tasks.create_task(self._watch(socket, receiver), name="watchdog"),
                    tasks.create_task(_close_when(stopping, socket), name="closer"),
                )
                try:
                    await self._read(socket, receiver, epoch)
                except ConnectionClosed:
                    if not stopping.is_set():
                        raise
                for helper in helpers:
                    helper.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _read(self, socket: ClientConnection, receiver: Receiver, epoch: int) -> None:
        """Deliver frames until the connection ends, what the library still held included."""
        receive, now_ns, recv = receiver.receive, self._now_ns, socket.recv
        while True:
            data = await recv(decode=False)
            self._frames += 1
            if not receive(Frame(data, now_ns(), epoch)):
                self._waiting_for_room = True
                await receiver.room()
                self._waiting_for_room = False

    async def _watch(self, socket: ClientConnection, receiver: Receiver) -> None:
        """Raise Retriable when the peer is dead, or mute while its market is open."""
        timing, watchdog, frames = self._timing, self._watchdog, self._frames
        heard = time.monotonic()
        watchdog.connected(heard, receiver.data_frames())
        while True:
            await asyncio.sleep(timing.tick)
            now, waiting = time.monotonic(), self._waiting_for_room
            if frames != self._frames or waiting:
                heard, frames = now, self._frames
            alarm = watchdog.look(
                now, receiver.data_frames(), is_open=self._market_open(), waiting=waiting
            )
            if alarm is not None:
                raise Retriable("stale", alarm)
            if now - heard >= timing.ping_after:
                await self._ping(socket)
                heard = time.monotonic()

    async def _ping(self, socket: ClientConnection) -> None:
        try:
            async with asyncio.timeout(self._timing.ping_timeout):
                await (await socket.ping())
        except TimeoutError:
            raise Retriable(
                "half_open", f"no pong within {self._timing.ping_timeout:g} s: the peer is gone"
            ) from None


async def _close_when(stopping: asyncio.Event, socket: ClientConnection) -> None:
    """Say goodbye once told to stop; `_read` goes on until the peer has answered."""
    await stopping.wait()
    with contextlib.suppress(ConnectionClosed):
        await socket.close()


def _translated(error: Exception, url: str) -> EdcError:
    """The library's error as one of ours: the only place that knows both."""
    match error:
        case ConnectionClosed():
            return Retriable("disconnected", f"the vendor closed the connection: {error}")
        case InvalidURI():
            return Fatal(f"{url!r} is no websocket url", "correct the vendor's url")
        case InvalidStatus() if error.response.status_code in (401, 403):
            status = error.response.status_code
            return Fatal(f"{url} refused the handshake ({status})", "check the API key")
        case InvalidStatus() if error.response.status_code == 404:  # noqa: PLR2004 - HTTP's
            return Fatal(f"{url} does not exist (404)", "correct the vendor's url")
        case InvalidStatus():
            status = error.response.status_code
            reason = "rate_limited" if status == 429 else "refused"  # noqa: PLR2004 - HTTP's
            return Retriable(reason, f"{url} refused the handshake ({status})")
        case TimeoutError():
            return Retriable("timeout", f"{url} did not answer the handshake in time")
        case InvalidHandshake() | WebSocketException():
            return Retriable("refused", f"{url} broke the protocol: {error}")
        case OSError():
            return Retriable("refused", f"{url} cannot be reached: {error}")
        case _:
            raise error
