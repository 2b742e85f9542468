"""The websocket transport: one connection, its keepalive and its data watchdog.

Two libraries can carry it, each in a file of its own (`with_websockets`, `with_picows`); what is
here holds for both. Their own keepalive is off: it counts a pong that is stuck behind a full queue
as a dead peer. Here a ping is sent only where nothing came for a while and the queues have room.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable

from edc.adapters import (
    FeedPlan,
    HasCoolDown,
    HasHeaders,
    HasLifetime,
    Resubscribes,
    WebsocketAdapter,
)
from edc.errors import Retriable
from edc.staleness import Pulse, Watchdog
from edc.transport import Receiver
from edc.transport.conversation import Conversation
from edc.transport.sockets import NO_HEADERS, Library, Socket, Timing


class WebsocketTransport:
    """Connects to an adapter's url, subscribes, and delivers frames."""

    def __init__(
        self,
        adapter: WebsocketAdapter,
        connect: Library,
        market_open: Callable[[], bool],
        watchdog: Watchdog,
        timing: Timing | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        path: int = 0,
    ) -> None:
        self.speaking, self.leaving = asyncio.Event(), asyncio.Event()
        self._path = path
        self._conversation: Conversation | None = None
        self._adapter = adapter
        self._connect = connect
        self._market_open = market_open
        self._watchdog = watchdog
        self._timing = timing or Timing()
        self._now_ns = now_ns

    def change(self, plan: FeedPlan) -> bool:
        """Subscribe and unsubscribe on this connection; see `Transport.change`."""
        if self._conversation is not None:
            return self._conversation.change(plan)
        adapter = self._adapter  # nothing has been said yet
        return isinstance(adapter, Resubscribes) and adapter.change(plan) is not None

    async def run(self, receiver: Receiver, stopping: asyncio.Event) -> None:
        """One connection's life; see `Transport.run`."""
        adapter = self._adapter
        headers = adapter.headers if isinstance(adapter, HasHeaders) else NO_HEADERS
        connected = False
        try:
            async with self._connect(adapter.url, self._timing, headers) as socket:
                connected = True
                await self._talk(socket, receiver, stopping)
        except Retriable as error:
            if (
                not connected
                and error.reason == "rate_limited"
                and isinstance(adapter, HasCoolDown)
            ):
                raise Retriable(error.reason, error.problem, adapter.cool_down) from None
            raise

    async def _talk(self, socket: Socket, receiver: Receiver, stopping: asyncio.Event) -> None:
        conversation = Conversation(self._adapter, socket, self._timing, self._path)
        conversation.leaving = self.leaving
        self._conversation = conversation
        epoch = receiver.connected(self._adapter, conversation)
        conversation.begin(receiver, epoch)
        watch = self._watch(socket, receiver, epoch, conversation)
        try:
            async with asyncio.TaskGroup() as tasks:
                helpers = (
                    tasks.create_task(conversation.speak(), name="speaker"),
                    tasks.create_task(watch, name="watchdog"),
                    tasks.create_task(_close_when(stopping, socket), name="closer"),
                )
                why = await socket.read(receiver, epoch, self._now_ns)
                for helper in helpers:
                    helper.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            receiver.ended(epoch)
        if not stopping.is_set():
            raise Retriable("disconnected", f"the vendor closed the connection: {why}")

    async def _watch(
        self, socket: Socket, receiver: Receiver, epoch: int, conversation: Conversation
    ) -> None:
        """Raise Retriable when the peer is dead, or mute while its market is open."""
        timing, watchdog, frames = self._timing, self._watchdog, socket.frames
        heard = time.monotonic()
        pulse = Pulse(self._adapter, heard)
        lifetime = self._adapter.lifetime if isinstance(self._adapter, HasLifetime) else math.inf
        old_at = heard + lifetime * random.uniform(0.9, 1.0)  # noqa: S311 - not all at once
        watchdog.connected(heard, receiver.data_frames(epoch))
        while True:
            await asyncio.sleep(timing.tick)
            now, waiting = time.monotonic(), socket.waiting
            spoke = frames != socket.frames or waiting
            if spoke:
                heard, frames = now, socket.frames
            data_frames = receiver.data_frames(epoch)
            if data_frames and conversation.complete:
                self.speaking.set()
            if now >= old_at:
                self.leaving.set()
            alarm = watchdog.look(now, data_frames, is_open=self._market_open(), waiting=waiting)
            if alarm is not None:
                raise Retriable("stale", alarm)
            conversation.look()
            alarm = pulse.look(now, spoke=spoke)
            if alarm is not None:
                raise Retriable("half_open", alarm)
            if now - heard >= timing.ping_after:
                await self._ping(socket)
                heard = time.monotonic()

    async def _ping(self, socket: Socket) -> None:
        try:
            async with asyncio.timeout(self._timing.ping_timeout):
                await socket.ping()
        except TimeoutError:
            raise Retriable(
                "half_open", f"no pong within {self._timing.ping_timeout:g} s: the peer is gone"
            ) from None


async def _close_when(stopping: asyncio.Event, socket: Socket) -> None:
    await stopping.wait()
    await socket.close()
