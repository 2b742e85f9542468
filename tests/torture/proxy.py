"""A TCP proxy on loopback whose connections can go dead: no data, no FIN, no RST."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self


class Proxy:
    """Passes connections on to a port of this machine, until they are frozen."""

    def __init__(self, target: int, passed: Callable[[bytes], bytes] = lambda data: data) -> None:
        self.port = 0
        self.shut = False
        """While true, whoever comes is turned away."""
        self._passed = passed
        """Makes of what the far end says what the near end is told."""
        self._target = target
        self._server: asyncio.Server | None = None
        self._pipes: set[_Pipe] = set()

    @property
    def url(self) -> str:
        """For `[vendors.tiingo] url`."""
        return f"ws://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        self.bury(living=True)
        while self._pipes:  # noqa: ASYNC110 - what is waited for are its own tasks
            await asyncio.sleep(0)
        await self._server.wait_closed()

    def freeze(self) -> int:
        """The connections of now go dead, later ones do not; the number of them."""
        living = [pipe for pipe in self._pipes if not pipe.frozen]
        for pipe in living:
            pipe.frozen = True
        return len(living)

    def bury(self, *, living: bool = False) -> None:
        """Drop the dead connections on both sides, and the living too if told so."""
        for pipe in self._pipes:
            if living or pipe.frozen:
                pipe.drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.shut:
                raise ConnectionRefusedError
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pipe = _Pipe(writer, far_writer)
        self._pipes.add(pipe)
        if self.shut:  # meanwhile
            pipe.drop()
        try:
            there = asyncio.create_task(pipe.pump(reader, far_writer), name="to the vendor")
            back = asyncio.create_task(
                pipe.pump(far_reader, writer, self._passed), name="from the vendor"
            )
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            pipe.drop()
            await asyncio.wait((there, back))
        finally:
            self._pipes.discard(pipe)


class _Pipe:
    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self.frozen = False
        self._ends = ends
        self._dropped = asyncio.Event()

    def drop(self) -> None:
        self._dropped.set()
        for end in self._ends:
            end.transport.abort()

    async def pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passed: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        """One direction: what comes, until an end is gone; once frozen, nothing any more."""
        with contextlib.suppress(OSError):
            while True:
                data = await reader.read(1 << 16)
                if self.frozen:
                    await self._dropped.wait()
                if not data:
                    return
                writer.write(passed(data))
                await writer.drain()
