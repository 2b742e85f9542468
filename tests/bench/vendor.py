"""`python -m tests.bench.vendor --rate 100000`: a vendor that is never the bottleneck.

Sends the frames of a workload in large writes: a cycle of them is made before the first is sent,
and each that follows is the same text with another second in it, so that no two events are equal,
but for the duplicates asked for, and none costs more than a copy of its bytes. With `--live` the
times of the events are those at which they are due, and those of a millisecond are written at once
when it is over. Prints one JSON object with its URL; when told to end (SIGTERM), one with the
number of events sent, of those that it owed but could not send because the client did not read,
and, live, of each write the time of its first event and the moment at which it was begun (ns).
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Collection, Sequence

from aiohttp import web

from tests.bench.dialogues import DIALOGUES
from tests.bench.frames import BEGIN, PREFIX, WORKLOADS, Workload

_TICK = 0.005
_LIVE_TICK = 0.001
_MOST_BUFFERED = 4 << 20


class Vendor:
    """One cycle of frames, sent again and again with rising times, to whoever connects.

    `events` is how many there are for a client; None for as many as it takes. A connection that
    names its symbols gets its part of them, whole cycles; each other gets all of them, by other
    names than the connections before it.
    """

    def __init__(
        self,
        workload: Workload,
        rate: int,
        symbols: int,
        *,
        events: int | None = None,
        duplicates: float = 0.0,
        live: bool = False,
    ) -> None:
        self.sent = 0
        self.owed = 0
        self.written: list[tuple[int, int]] = []
        self._workload = workload
        self._rate = rate
        self._events = events
        self._live = live
        self._tick = _LIVE_TICK if live else _TICK
        self._cycle = workload.cycle(rate, symbols, live=live)
        self._frames = workload.frames(self._cycle, symbols, duplicates)
        self._numbers = {workload.symbol(number): number for number in range(symbols)}
        self._stamp = workload.stamp(BEGIN)
        self._connections = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """A connection, from its subscription, where it needs one, to its end."""
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        asked: Collection[str] = ()
        if "streams" not in request.query:  # cryptofeed subscribes by the address
            asked = await DIALOGUES[self._workload.name](socket)
        prefix = PREFIX
        if not asked:
            prefix = f"c{self._connections:02d}".encode() if self._connections else PREFIX
            self._connections += 1
        assert request.transport is not None
        sending = asyncio.create_task(self._send(request.transport, prefix, self._part(asked)))
        with contextlib.suppress(ConnectionError):
            async for _ in socket:
                pass
        sending.cancel()
        return socket

    def _part(self, asked: Collection[str]) -> Sequence[bytes]:
        """The frames of a cycle that are of these symbols; all where none are named."""
        if not asked:
            return [frame for _, frame in self._frames]
        numbers = {self._numbers[symbol] for symbol in asked}
        return [frame for number, frame in self._frames if number in numbers]

    async def _send(
        self, transport: asyncio.WriteTransport, prefix: bytes, part: Sequence[bytes]
    ) -> None:
        rate = self._rate * len(part) / len(self._frames) / self._workload.per_frame
        events = self._events
        left = None if events is None else round(events * len(part) / self._cycle)  # frames
        size = max(1, round(rate * self._tick))
        pieces = [part[at : at + size] for at in range(0, len(part), size)]
        joined = [b"".join(piece) for piece in pieces]
        first = int(time.time()) + 1 if self._live else BEGIN
        started = time.perf_counter() + (first - time.time() if self._live else 0.0)
        sent = number = 0
        while left is None or sent < left:
            second, at = divmod(number, len(pieces))
            frames, data = pieces[at], joined[at]
            if left is not None and sent + len(frames) > left:
                frames = frames[: left - sent]
                data = b"".join(frames)
            while transport.get_write_buffer_size() > _MOST_BUFFERED or (
                sent + len(frames) * self._live > (time.perf_counter() - started) * rate
            ):
                behind = max(0, int((time.perf_counter() - started) * rate) - sent)
                self.owed = behind * self._workload.per_frame
                await asyncio.sleep(self._tick / 2)
            data = data.replace(self._stamp, self._workload.stamp(first + second))
            if prefix != PREFIX:
                data = data.replace(PREFIX, prefix).replace(PREFIX.upper(), prefix.upper())
            if self._live:
                due = at * size * self._workload.per_frame * 10**6 // self._cycle
                self.written.append(((first + second) * 10**9 + due * 1000, time.time_ns()))
            transport.write(data)
            sent += len(frames)
            self.sent += len(frames) * self._workload.per_frame
            number += 1


async def _serve(vendor: Vendor, path: str) -> None:
    app = web.Application()
    app.add_routes([web.get(path, vendor.serve), web.get(path + "/{more}", vendor.serve)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _say({"url": f"ws://127.0.0.1:{runner.addresses[0][1]}"})
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    _say({"sent": vendor.sent, "owed": vendor.owed, "written": vendor.written})
    await runner.cleanup()


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.vendor", description=__doc__)
    parser.add_argument("--workload", choices=sorted(WORKLOADS), default="tiingo")
    parser.add_argument("--rate", type=int, default=100_000, help="events a second")
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--events", type=int, help="no more than so many to a connection")
    parser.add_argument("--duplicates", type=float, default=0.0, help="the part that is repeated")
    parser.add_argument("--live", action="store_true", help="times of now, not of a past day")
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    vendor = Vendor(
        *(workload, options.rate, options.symbols),
        events=options.events,
        duplicates=options.duplicates,
        live=options.live,
    )
    asyncio.run(_serve(vendor, workload.path))


if __name__ == "__main__":
    main()
