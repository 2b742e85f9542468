"""Receive and nothing else: `bare.py LIBRARY PER_FRAME URL EVENTS`. The rest is what edc adds."""

import asyncio
import sys

import picows
import websockets
from steady import Steady


async def with_picows(url: str, per_frame: int, steady: Steady) -> None:
    """The fast library: frames by callback, their bytes taken."""

    class Listener(picows.WSListener):  # type: ignore[misc]
        def on_ws_connected(self, transport: picows.WSTransport) -> None:
            transport.send(picows.WSMsgType.TEXT, b'{"id": 1}')

        def on_ws_frame(self, _transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            frame.get_payload_as_bytes()
            steady.add(per_frame)

    transport, _ = await picows.ws_connect(Listener, url)
    await transport.wait_disconnected()


async def with_websockets(url: str, per_frame: int, steady: Steady) -> None:
    """The library that is always there, its bytes not decoded."""
    async with websockets.connect(url, compression=None) as connection:
        await connection.send('{"id": 1}')
        while True:
            await connection.recv(decode=False)
            steady.add(per_frame)


if __name__ == "__main__":
    library, count, url, events = sys.argv[1:]
    per_frame = int(count)
    receive = {"picows": with_picows, "websockets": with_websockets}[library]
    total = int(events) - per_frame  # one frame, at least, answers the subscription
    asyncio.run(receive(url, per_frame, Steady(total)))
