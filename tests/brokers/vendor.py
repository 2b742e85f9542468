"""`python -m tests.brokers.vendor --events 500000 --rate 20000`: a vendor of numbered trades.

Tiingo crypto frames at `/<who>/crypto`: event `i` of a client is a trade of symbol `i % symbols`,
at price `i + 1`, a millisecond after the one before; so that a lake tells which of them it has. It
prints one JSON object with its URL, and one more for each client that has got everything.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from datetime import UTC, datetime

from aiohttp import web

from edc.simulator.tape import text_frame

BEGIN = 1_771_005_600
SYMBOLS = 40
_TICK = 0.02
_MOST_BUFFERED = 4 << 20
_ACKNOWLEDGED = {
    "messageType": "I",
    "response": {"code": 200, "message": "Success"},
    "data": {"subscriptionId": 1},
}


def symbol_of(who: str, number: int) -> str:
    """The symbol of an event."""
    return f"{who}{number % SYMBOLS:03d}usd"


def frame(who: str, number: int) -> bytes:
    """An event, as a websocket frame."""
    second, millis = divmod(number, 1000)
    stamp = f"{datetime.fromtimestamp(BEGIN + second, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}000+00:00"
    data = f'["T","{symbol_of(who, number)}","{stamp}","gdax",1.0,{number + 1}.0]'
    text = f'{{"service":"crypto_data","messageType":"A","data":{data}}}'
    return text_frame(text.encode())


class NumberedVendor:
    """Sends `events` to each client, `rate` a second, and then nothing more."""

    def __init__(self, events: int, rate: int) -> None:
        self.url = ""
        self.done: set[str] = set()
        self._events, self._rate = events, rate
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        app = web.Application()
        app.add_routes([web.get("/{who}/crypto", self._serve)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Hang up."""
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.receive()
        await socket.send_json(_ACKNOWLEDGED)
        assert request.transport is not None
        who = request.match_info["who"]
        sending = asyncio.create_task(self._send(request.transport, who), name=f"to {who}")
        with contextlib.suppress(ConnectionError):
            async for _ in socket:
                pass
        sending.cancel()
        return socket

    async def _send(self, transport: asyncio.WriteTransport, who: str) -> None:
        if who in self.done:  # it was silent for so long that the client has called again
            return
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while sent < self._events:
            due = min(self._events, int((loop.time() - began) * self._rate))
            if due <= sent or transport.get_write_buffer_size() > _MOST_BUFFERED:
                await asyncio.sleep(_TICK)
                continue
            due = min(due, sent + 2000)
            transport.write(b"".join(frame(who, number) for number in range(sent, due)))
            sent = due
            await asyncio.sleep(0)
        self.done.add(who)
        _say({"done": who})


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _main(events: int, rate: int) -> None:
    vendor = NumberedVendor(events, rate)
    await vendor.start()
    _say({"url": vendor.url})
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.brokers.vendor", description=__doc__)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--rate", type=int, default=20_000)
    options = parser.parse_args()
    asyncio.run(_main(options.events, options.rate))
