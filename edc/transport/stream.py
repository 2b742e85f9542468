"""The streaming transport: one GET whose answer does not end, a frame for each of its lines.

Chunks of HTTP are no lines: what a chunk leaves open goes on in the next one, in the middle of a
character if need be. Empty lines and carriage returns are left out. Where the vendor refuses all
for a symbol that it does not name, the adapter asks which one it is, and the rest is asked for.
"""

import asyncio
import time
from collections.abc import Callable

from edc.adapters import FeedPlan, Sifts, StreamAdapter
from edc.errors import EdcError, Refused, Retriable
from edc.staleness import Pulse, Watchdog
from edc.transport import Frame, Receiver, fetch
from edc.transport.sockets import MOST_BYTES, Timing


class StreamTransport:
    """Asks for an adapter's stream, and delivers its lines. Listens to nothing but data."""

    settled = True

    def __init__(
        self,
        adapter: StreamAdapter,
        market_open: Callable[[], bool],
        watchdog: Watchdog,
        timing: Timing | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        path: int = 0,
    ) -> None:
        self.speaking, self.leaving = asyncio.Event(), asyncio.Event()
        self.path = path
        self._adapter = adapter
        self._market_open = market_open
        self._watchdog = watchdog
        self._timing = timing or Timing()
        self._now_ns = now_ns
        self._rest = b""
        self._waiting = False
        self._parts = 0
        """Read so far."""

    def hear(self, frame: Frame) -> None:
        """Nothing is answered."""

    def change(self, plan: FeedPlan) -> bool:
        """What is streamed is part of the request."""
        del plan
        return False

    async def run(self, receiver: Receiver, stopping: asyncio.Event) -> None:
        """One connection's life; see `Transport.run`."""
        reader = asyncio.create_task(self._read(receiver), name="reader")
        stop = asyncio.create_task(stopping.wait(), name="closer")
        try:
            await asyncio.wait((reader, stop), return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
        finally:
            for task in (reader, stop):
                task.cancel()
            await asyncio.gather(reader, stop, return_exceptions=True)

    async def _read(self, receiver: Receiver) -> None:
        """Deliver lines; always ends by raising."""
        adapter = self._adapter
        try:
            async with fetch.client() as client:
                while True:
                    refusal = await self._asked(client, receiver)
                    if not (isinstance(refusal, Refused) and isinstance(adapter, Sifts)):
                        raise refusal
                    await self._sift(client, adapter)
        except Exception as error:
            raise fetch.translated(error) from error

    async def _asked(self, client: fetch.Client, receiver: Receiver) -> EdcError:
        """Why the stream was refused; where it was not, ends by raising."""
        request = self._adapter.request()
        async with client.stream(
            "GET", request.url, params=request.params, headers=request.headers
        ) as response:
            if response.status_code == 200:  # noqa: PLR2004 - HTTP's
                await self._deliver(response.aiter_bytes(), receiver)
                raise Retriable("disconnected", "the vendor ended the stream")
            body = (await response.aread())[:300].decode(errors="replace")
        return self._adapter.refusal(response.status_code, body)

    async def _sift(self, client: fetch.Client, adapter: Sifts) -> None:
        """Let the adapter find out what is wrong with that which it asks for."""
        steps = adapter.sift()
        try:
            request = next(steps)
            while True:
                frame = await fetch.fetch(client, request, lambda: 0, self._now_ns)
                await asyncio.sleep(adapter.request_every)
                request = steps.send(frame)
        except StopIteration:
            return

    async def _deliver(self, parts: fetch.Parts, receiver: Receiver) -> None:
        epoch = receiver.connected(self._adapter, self)
        if isinstance(self._adapter, Sifts):
            for symbol, why in self._adapter.refused.items():
                receiver.refused(epoch, symbol, why)
        watch = asyncio.create_task(self._watch(receiver, epoch), name="watchdog")
        reading = asyncio.create_task(self._lines(parts, receiver, epoch), name="lines")
        try:
            done, _ = await asyncio.wait((watch, reading), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (watch, reading):
                task.cancel()
            await asyncio.gather(watch, reading, return_exceptions=True)
            receiver.ended(epoch)

    async def _lines(self, parts: fetch.Parts, receiver: Receiver, epoch: int) -> None:
        async for part in parts:
            *lines, self._rest = (self._rest + part).split(b"\n")
            if len(self._rest) > MOST_BYTES or any(len(line) > MOST_BYTES for line in lines):
                raise Retriable("disconnected", f"a line is over {MOST_BYTES} bytes")
            self._parts += 1
            frames = [line for line in map(bytes.strip, lines) if line]
            if frames and not receiver.receive_many(frames, self._now_ns(), epoch):
                self._waiting = True
                await receiver.room()
                self._waiting = False

    async def _watch(self, receiver: Receiver, epoch: int) -> None:
        """Raise Retriable when the stream is mute while its market is open, or has no heartbeat."""
        watchdog, parts = self._watchdog, self._parts
        pulse = Pulse(self._adapter, time.monotonic())
        watchdog.connected(time.monotonic(), receiver.data_frames(epoch))
        while True:
            await asyncio.sleep(self._timing.tick)
            data_frames = receiver.data_frames(epoch)
            if data_frames:
                self.speaking.set()
            alarm = watchdog.look(
                time.monotonic(),
                data_frames,
                is_open=self._market_open(),
                waiting=self._waiting,
            )
            if alarm is not None:
                raise Retriable("stale", alarm)
            spoke, parts = self._waiting or parts != self._parts, self._parts
            alarm = pulse.look(time.monotonic(), spoke=spoke)
            if alarm is not None:
                raise Retriable("half_open", alarm)
