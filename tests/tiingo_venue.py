"""Tiingo as the other vendors of the conformance suite are: the same market, the same faults.

The simulator that the demo and the benchmarks use is older and has a form of its own.
"""

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from typing import Any, ClassVar

from edc.simulator.tape import new_york
from edc.simulator.venue import Line, Tick, Topic, Venue

_BEAT = 0.1
_SUCCESS = {"code": 200, "message": "Success"}
_HEARTBEAT = {"response": {"code": 200, "message": "HeartBeat"}, "messageType": "H"}
_SERVICES = {"/iex": "iex", "/fx": "fx", "/crypto": "crypto_data"}


class TiingoVenue(Venue):
    """See `Venue`."""

    feeds: ClassVar = {
        "stocks": {
            "channel": "iex",
            "threshold_level": 0,
            "symbols": {"stock": ["aapl", "brk-b"], "etf": ["spy"]},
        },
        "fx": {"channel": "fx", "threshold_level": 5, "symbols": {"fx": ["eurusd", "gbpaud"]}},
        "crypto": {"channel": "crypto", "threshold_level": 2, "symbols": {"crypto": ["btcusd"]}},
    }
    columns: ClassVar = {
        "trade": ("last_price", "last_size"),
        "quote": ("bid", "bid_size", "ask", "ask_size"),
    }
    entitles = True
    beats = True

    def ours(self, name: str) -> str:
        """It spells as we do."""
        return name

    async def hear(self, line: Line, message: str | bytes) -> None:
        """A subscription, or its end; what is refused is refused with an `E` and a close."""
        asked = json.loads(message)
        refusal = None
        if asked["authorization"] != self.key:
            refusal = {"code": 401, "message": "Invalid token."}
        elif not self.faults.entitled:
            said = "thresholdLevel not valid for your subscription tier"
            refusal = {"code": 400, "message": said}
        if refusal is not None:
            await line.say({"messageType": "E", "response": refusal})
            await line.socket.close()
            return
        told = {"response": _SUCCESS, "data": {"subscriptionId": 49_804_739}, "messageType": "I"}
        await line.say(told, _HEARTBEAT)
        names = asked["eventData"]["tickers"]
        if asked["eventName"] == "unsubscribe":
            self.unsubscribe(line, [each for each in line.topics if each.name in names])
            return
        self.subscribe(line, [Topic("quote", name, "Q") for name in names])
        if line.request.path != "/fx":
            self.subscribe(line, [Topic("trade", name, "T") for name in names])
        if "beating" in line.state:
            return
        line.state["beating"] = asyncio.create_task(self._beat(line), name="beat")

    async def _beat(self, line: Line) -> None:
        with contextlib.suppress(ConnectionError):
            while not line.transport.is_closing():
                await asyncio.sleep(_BEAT)
                if self.faults.beats:
                    await line.say(_HEARTBEAT)

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """An array, of which the service says how it is read."""
        service = _SERVICES[line.request.path]
        row = {"iex": _iex, "fx": _fx, "crypto_data": _crypto}[service](topic.channel, tick)
        return json.dumps({"messageType": "A", "service": service, "data": row}).encode()

    def rows(self, tick: Tick) -> Any:
        """No side is told."""
        kinds = super().rows(tick)
        return {kind: row[:2] if kind == "trade" else row for kind, row in kinds.items()}


def _utc(tick: Tick) -> str:
    stamp = datetime.fromtimestamp(tick.us // 10**6, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{tick.us % 10**6:06d}+00:00"


def _iex(kind: str, tick: Tick) -> list[Any]:
    head = [kind, new_york(tick.us * 1000), tick.us * 1000, tick.name]
    if kind == "T":
        return [*head, *[None] * 5, tick.price, tick.size, None, 0, 0, 0, 0]
    book = [tick.bid_size, tick.bid, tick.price, tick.ask, tick.ask_size]
    return [*head, *book, None, None, 0, 0, None, None, None]


def _fx(kind: str, tick: Tick) -> list[Any]:
    book = [tick.bid_size, tick.bid, tick.price, tick.ask_size, tick.ask]
    return [kind, tick.name, _utc(tick), *book]


def _crypto(kind: str, tick: Tick) -> list[Any]:
    if kind == "T":
        return [kind, tick.name, _utc(tick), "gdax", tick.size, tick.price]
    return [
        *(kind, tick.name, _utc(tick), "gdax"),
        *(tick.bid_size, tick.bid, tick.price, tick.ask_size, tick.ask),
    ]
