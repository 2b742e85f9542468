"""Receive and nothing else: `bare.py LIBRARY URL EVENTS`. What is above it is what edc adds."""

import asyncio
import sys

import picows
import websockets
from steady import Steady


async def with_picows(url: str, steady: Steady) -> None:
    """The fast library: frames by callback, their bytes taken."""

    class Listener(picows.WSListener):  # type: ignore[misc]
        def on_ws_connected(self, transport: picows.WSTransport) -> None:
            transport.send(picows.WSMsgType.TEXT, b'{"id": 1}')

        def on_ws_frame(self, _transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            frame.get_payload_as_bytes()
            steady.add(1)

    transport, _ = await picows.ws_connect(Listener, url)
    await transport.wait_disconnected()


async def with_websockets(url: str, steady: Steady) -> None:
    """The library that is always there, its bytes not decoded."""
    async with websockets.connect(url, compression=None) as connection:
        await connection.send('{"id": 1}')
        while True:
            await connection.recv(decode=False)
            steady.add(1)


if __name__ == "__main__":
    library, url, events = sys.argv[1:]
    receive = {"picows": with_picows, "websockets": with_websockets}[library]
    asyncio.run(receive(url, Steady(int(events) - 1)))  # one of them answers the subscription
