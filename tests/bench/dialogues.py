"""What the vendors of the bench say before they send: acknowledgements, as their simulators do.

A dialogue returns the symbols that were asked for; none stands for all of them. A client that is no
recorder (`peers/bare.py`) sends anything at all, and gets everything.
"""

import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiohttp import WSMsgType, web

_QUIET = 1.0
"""Seconds after the last message of a subscription: clients ask for a few streams at a time."""
_ACKNOWLEDGED = {
    "messageType": "I",
    "response": {"code": 200, "message": "Success"},
    "data": {"subscriptionId": 49_804_739},
}

Dialogue = Callable[[web.WebSocketResponse], Awaitable[Collection[str]]]


async def _tiingo(socket: web.WebSocketResponse) -> Collection[str]:
    await socket.receive()
    await socket.send_json(_ACKNOWLEDGED)
    return ()


async def _binance(socket: web.WebSocketResponse) -> Collection[str]:
    """Each message is acknowledged by its number; the last one has come when none follows."""
    asked: set[str] = set()
    message = await _heard(socket)
    while message is not None:
        await socket.send_json({"result": None, "id": message.get("id")})
        streams = message.get("params", ())
        if not streams:
            return ()
        asked |= {stream.partition("@")[0] for stream in streams}
        try:
            message = await _heard(socket, _QUIET)
        except TimeoutError:
            break
    return asked


async def _alpaca(socket: web.WebSocketResponse) -> Collection[str]:
    """It greets, takes any key, and says what is subscribed: `*`."""
    await socket.send_json([{"T": "success", "msg": "connected"}])
    message = await _heard(socket)
    if message and message.get("action") == "auth":
        await socket.send_json([{"T": "success", "msg": "authenticated"}])
        message = await _heard(socket)
    listed = {"trades": ["*"], "quotes": ["*"], "bars": []}
    await socket.send_json([{"T": "subscription", **listed}])
    return ()


async def _heard(
    socket: web.WebSocketResponse, within: float | None = None
) -> dict[str, Any] | None:
    """The next message; None where the client has gone. Raises TimeoutError."""
    message = await socket.receive(within)
    if message.type is not WSMsgType.TEXT:
        return None
    said: dict[str, Any] = json.loads(message.data)
    return said


DIALOGUES: dict[str, Dialogue] = {
    "tiingo": _tiingo,
    "binance": _binance,
    "binance_trade": _binance,
    "alpaca": _alpaca,
}
