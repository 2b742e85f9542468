"""Gemini on loopback: frames without a type, times in nanoseconds. From its pages."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {"trade": "trade", "bookTicker": "quote"}


class GeminiVenue(Venue):
    """See `Venue`."""

    feeds: ClassVar = {
        "spot": {"channel": "spot", "symbols": {"crypto": ["btcusd", "XRP/USD", "foousd"]}}
    }
    refuses = ("foousd",)

    def routes(self) -> Sequence[web.RouteDef]:
        """The names of all pairs."""
        return [
            web.get("/v1/symbols", self.instruments(self._listed)),
            web.get("/v1/trades/{name}", self._past),
        ]

    async def _past(self, request: web.Request) -> web.Response:
        """The first trades after a time, each page newest first."""
        if (wrong := self.polled()) is not None:
            return wrong
        since = int(request.query["timestamp"])
        trades = self.market.history.get(request.match_info["name"], [])
        found = [tick for tick in trades if tick.us // 1000 > since]
        page = found[: int(request.query["limit_trades"])]
        return web.json_response(
            [
                {
                    "timestamp": tick.us // 10**6,
                    "timestampms": tick.us // 1000,
                    "tid": _number(tick),
                    "price": f"{tick.price:.5f}",
                    "amount": f"{tick.size:.10f}",
                    "exchange": "gemini",
                    "type": "buy" if tick.bought else "sell",
                }
                for tick in reversed(page)
            ]
        )

    def _listed(self, _request: web.Request) -> object:
        return [name.lower() for name, _, _ in self.pairs("{}{}")]

    async def hear(self, line: Line, message: str | bytes) -> None:
        """SUBSCRIBE, UNSUBSCRIBE and ping."""
        asked = json.loads(message)
        if self.faults.deaf:
            return
        if asked["method"].lower() == "ping":
            await line.say({"id": asked["id"], "status": 200})
            return
        topics = [topic.partition("@") for topic in asked["params"]]
        if any(name in self.faults.refuse for name, _, _ in topics):
            problem = {"code": -1121, "msg": "Invalid symbol"}
            await line.say({"id": asked["id"], "status": 400, "error": problem})
            return
        await line.say({"id": asked["id"], "status": 200})
        change = self.unsubscribe if asked["method"].lower() == "unsubscribe" else self.subscribe
        change(line, [Topic(_KINDS[kind], name, kind) for name, _, kind in topics])

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """One event a frame."""
        del line
        data: dict[str, Any] = {"E": tick.us * 1000 + 123, "s": tick.name}
        if topic.kind == "trade":
            data |= {"t": _number(tick), "m": not tick.bought}
            data |= {"p": f"{tick.price:.5f}", "q": f"{tick.size:.10f}"}
        else:
            data |= {"u": 1_764_549_594_389_752 + 9 * tick.number}
            data |= {"b": f"{tick.bid:.7f}", "B": f"{tick.bid_size:.8f}"}
            data |= {"a": f"{tick.ask:.7f}", "A": f"{tick.ask_size:.8f}"}
        return json.dumps(data).encode()


def _number(tick: Tick) -> int:
    return 2_840_141_014_190_422 + tick.us % 10**10


SIMULATOR = GeminiVenue
