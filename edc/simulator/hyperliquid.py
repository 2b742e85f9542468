"""Hyperliquid on loopback: one subscription a message, old trades at first. From its pages."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {"trades": "trade", "bbo": "quote", "activeAssetCtx": "ref_px"}


class HyperliquidVenue(Venue):
    """See `Venue`."""

    kinds = ("trade", "quote", "trade", "quote", "ref_px")
    feeds: ClassVar = {
        "hyperliquid": {
            "channel": "public",
            "symbols": {"crypto": ["BTC", "kPEPE", "@162", "NONE"]},
        }
    }
    refuses = ("NONE",)
    forgets: ClassVar = {"hyperliquid": 30}

    def ours(self, name: str) -> str:
        """In lower case."""
        return name.lower()

    def routes(self) -> Sequence[web.RouteDef]:
        """The last trades of a coin."""
        return [web.post("/info", self._info)]

    async def greet(self, line: Line) -> None:
        """Plain text."""
        await line.say("Websocket connection established.")

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`subscribe`, `unsubscribe` and `ping`."""
        asked = json.loads(message)
        if asked["method"] == "ping":
            await line.say({"channel": "pong"})
            return
        if self.faults.deaf:
            return
        wanted = asked["subscription"]
        if wanted["coin"] in self.faults.refuse:
            problem = f"Error parsing JSON into valid websocket request: {json.dumps(wanted)}"
            await line.say({"channel": "error", "data": problem})
            return
        answer = {"method": asked["method"], "subscription": wanted}
        await line.say({"channel": "subscriptionResponse", "data": answer})
        topic = Topic(_KINDS[wanted["type"]], wanted["coin"], wanted["type"])
        if asked["method"] == "unsubscribe":
            self.unsubscribe(line, [topic])
            return
        old = self.market.history.get(wanted["coin"], [])[-30:]
        sent = [tick for tick in old if tick in self.heard]
        if wanted["type"] == "trades" and sent and not self.faults.mute:
            await line.say({"channel": "trades", "data": [_trade(tick) for tick in sent]})
        self.subscribe(line, [topic])

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """One event a frame."""
        del line
        data: Any
        if topic.kind == "trade":
            data = [_trade(tick)]
        elif topic.kind == "quote":
            bid = {"px": f"{tick.bid:.2f}", "sz": f"{tick.bid_size:.4f}", "n": 1}
            ask = {"px": f"{tick.ask:.2f}", "sz": f"{tick.ask_size:.4f}", "n": 3}
            data = {"coin": tick.name, "time": tick.us // 1000, "bbo": [bid, ask]}
        else:
            prices = {"markPx": f"{_mark(tick):.6f}", "midPx": None, "dayNtlVlm": "1.0"}
            data = {"coin": tick.name, "ctx": prices}
        return json.dumps({"channel": topic.channel, "data": data}).encode()

    def rows(self, tick: Tick) -> Any:
        """The mark is made to change each time."""
        if tick.kind == "ref_px":
            return {"ref_px": (float(f"{_mark(tick):.6f}"),)}
        return super().rows(tick)

    def _meta(self, asked: dict[str, str]) -> object:
        spot = ["PURR/USDC", "@162"]
        names = ["BTC", "ETH", "kPEPE", "NONE"] if asked["type"] == "meta" else spot
        return {"universe": [{"name": name} for name in self.listed(names)]}

    async def _info(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["type"] in ("meta", "spotMeta"):
            response: web.Response = await self.instruments(lambda _: self._meta(asked))(request)
            return response
        wrong = self.polled()
        if wrong is not None:
            return wrong
        trades = self.market.history.get(asked["coin"], [])[-30:]
        return web.json_response([_trade(tick) for tick in trades])


def _mark(tick: Tick) -> float:
    return tick.price + tick.number / 1024


def _trade(tick: Tick) -> dict[str, Any]:
    return {
        "coin": tick.name,
        "side": "B" if tick.bought else "A",
        "px": f"{tick.price:.2f}",
        "sz": f"{tick.size:.4f}",
        "time": tick.us // 1000,
        "hash": "0x" + "0" * 64,
        "tid": (tick.number * 7_919_317_771 + tick.us) % 10**15,
        "users": ["0x1", "0x2"],
    }


SIMULATOR = HyperliquidVenue
