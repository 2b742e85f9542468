"""Finnhub on loopback: the key in the URL, one symbol a message. From its pages."""

import asyncio
import contextlib
import json
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Line, Tick, Topic, Venue

_BEAT = 0.1


class FinnhubVenue(Venue):
    """See `Venue`."""

    kinds = ("trade", "trade", "ref_px")
    feeds: ClassVar = {
        "trades": {
            "channel": "trades",
            "symbols": {"stock": ["AAPL"], "fx": ["EUR/USD"], "crypto": ["BTCUSDT"]},
        }
    }
    columns: ClassVar = {"trade": ("last_price", "last_size"), "ref_px": ("price",)}
    crowds = 600.0
    beats = True

    def ours(self, name: str) -> str:
        """Without the exchange."""
        return super().ours(name.partition(":")[2] or name)

    def handshake(self, request: web.Request) -> web.Response | None:
        """A wrong key is refused here."""
        if request.query.get("token") != self.key:
            return web.Response(status=401)
        return web.Response(status=429) if self.crowd() else None

    async def greet(self, line: Line) -> None:
        """Its own ping, which wants no answer; and another one every so often."""
        await line.say({"type": "ping"})
        line.state["beating"] = asyncio.create_task(self._beat(line), name="beat")

    async def _beat(self, line: Line) -> None:
        with contextlib.suppress(ConnectionError):
            while not line.transport.is_closing():
                await asyncio.sleep(_BEAT)
                if self.faults.beats:
                    await line.say({"type": "ping"})

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`subscribe` and `unsubscribe`: a symbol's trades and prices."""
        asked = json.loads(message)
        name = asked["symbol"]
        change = self.unsubscribe if asked["type"] == "unsubscribe" else self.subscribe
        change(line, [Topic("trade", name, "trade"), Topic("ref_px", name, "trade")])

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """A price has no volume."""
        del topic, line
        volume = tick.size if tick.kind == "trade" else 0
        row = {"p": _price(tick), "s": tick.name, "t": tick.us // 1000, "v": volume}
        if tick.number % 2:
            row |= {"c": ["1", "24"]}
        return json.dumps({"data": [row], "type": "trade"}).encode()

    def rows(self, tick: Tick) -> Any:
        """No side is told."""
        if tick.kind == "trade":
            return {"trade": (_price(tick), tick.size)}
        return {"ref_px": (_price(tick),)}


def _price(tick: Tick) -> float:
    """Different for each event, though several share a millisecond."""
    return tick.price + tick.number / 1024


SIMULATOR = FinnhubVenue
