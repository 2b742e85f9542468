"""`python -m tests.bench.vendor --rate 100000`: a vendor that is never the bottleneck.

Sends Tiingo's crypto frames, one event each, in large writes: a second's frames are made before the
first is sent, and each second that follows is the same text with another second in its times, so
that no two events are equal and none costs more than a copy of its bytes. Prints one JSON object
with its URL; when told to end (SIGTERM), one with the number of events sent and of those that it
owed but could not send because the client did not read.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from aiohttp import web

from edc.simulator.tape import text_frame

_TICK = 0.005
_MOST_BUFFERED = 4 << 20
_VENUES = ("gdax", "kraken", "gemini", "bitfinex")
_BEGIN = datetime(2026, 2, 13, 18, 0, tzinfo=UTC)
_ACKNOWLEDGED = {
    "messageType": "I",
    "response": {"code": 200, "message": "Success"},
    "data": {"subscriptionId": 49_804_739},
}


def frames_of_a_second(rate: int, symbols: Sequence[str], seed: int = 1) -> list[bytes]:
    """`rate` websocket frames, each a trade or a quote, half and half, of `_BEGIN`'s second."""
    rng = random.Random(seed)
    second = f"{_BEGIN:%Y-%m-%dT%H:%M:%S}"
    frames = []
    for number in range(rate):
        stamp = f"{second}.{number * 1_000_000 // rate:06d}+00:00"
        ticker, venue = rng.choice(symbols), rng.choice(_VENUES)
        price = round(50 + rng.random() * 100, 4)
        size = round(rng.uniform(0.001, 5), 8)
        data: list[object] = ["T", ticker, stamp, venue, size, price]
        if number % 2:
            ends = [round(price - 0.01, 4), price, round(size * 2, 8), round(price + 0.01, 4)]
            data = ["Q", ticker, stamp, venue, size, *ends]
        message = {"service": "crypto_data", "messageType": "A", "data": data}
        frames.append(text_frame(json.dumps(message, separators=(",", ":")).encode()))
    return frames


class Vendor:
    """One second of frames, sent again and again with rising times, to whoever subscribes."""

    def __init__(self, rate: int, symbols: Sequence[str]) -> None:
        self.sent = 0
        self.owed = 0
        self._rate = rate
        frames = frames_of_a_second(rate, symbols)
        size = max(1, round(rate * _TICK))
        self._pieces = [
            (b"".join(frames[first : first + size]), len(frames[first : first + size]))
            for first in range(0, rate, size)
        ]
        self._stamp = f"{_BEGIN:%Y-%m-%dT%H:%M:%S}.".encode()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """A connection, from its subscription to its end."""
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.receive()
        await socket.send_json(_ACKNOWLEDGED)
        assert request.transport is not None
        sending = asyncio.create_task(self._send(request.transport))
        with contextlib.suppress(ConnectionError):
            async for _ in socket:
                pass
        sending.cancel()
        return socket

    async def _send(self, transport: asyncio.WriteTransport) -> None:
        started = time.perf_counter()
        sent = 0
        for number in range(1 << 40):
            second, piece = divmod(number, len(self._pieces))
            data, events = self._pieces[piece]
            stamp = f"{_BEGIN + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S}.".encode()
            while transport.get_write_buffer_size() > _MOST_BUFFERED or (
                sent >= (time.perf_counter() - started) * self._rate
            ):
                self.owed = int((time.perf_counter() - started) * self._rate) - sent
                await asyncio.sleep(_TICK / 2)
            transport.write(data.replace(self._stamp, stamp))
            sent += events
            self.sent += events


async def _serve(rate: int, symbols: int) -> None:
    vendor = Vendor(rate, [f"sym{number:04d}usd" for number in range(symbols)])
    app = web.Application()
    app.add_routes([web.get("/crypto", vendor.serve)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _say({"url": f"ws://127.0.0.1:{runner.addresses[0][1]}"})
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    _say({"sent": vendor.sent, "owed": vendor.owed})
    await runner.cleanup()


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.vendor", description=__doc__)
    parser.add_argument("--rate", type=int, default=100_000, help="events a second")
    parser.add_argument("--symbols", type=int, default=20)
    options = parser.parse_args()
    asyncio.run(_serve(options.rate, options.symbols))


if __name__ == "__main__":
    main()
