"""Bitstamp on loopback: one channel a message. From its pages."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {"live_trades": "trade", "order_book": "quote"}


class BitstampVenue(Venue):
    """See `Venue`."""

    feeds: ClassVar = {
        "spot": {"channel": "spot", "symbols": {"crypto": ["BTC/USD", "ETHUSD", "foousd"]}}
    }
    refuses = ("foousd",)
    farewell: ClassVar = {"event": "bts:request_reconnect", "channel": "", "data": ""}

    def routes(self) -> Sequence[web.RouteDef]:
        """The markets."""
        return [
            web.get("/api/v2/markets/", self.instruments(self._listed)),
            web.get("/api/v2/transactions/{name}/", self._past),
        ]

    async def _past(self, request: web.Request) -> web.Response:
        """The trades of the last minute, hour or day, newest first, times in whole seconds."""
        if (wrong := self.polled()) is not None:
            return wrong
        seconds = {"minute": 60, "hour": 3600, "day": 86_400}[request.query["time"]]
        since = self._now_ns() // 1000 - seconds * 10**6
        trades = self.market.history.get(request.match_info["name"], [])
        return web.json_response(
            [
                {
                    "date": str(tick.us // 10**6),
                    "tid": str(_number(tick)),
                    "price": f"{tick.price:.2f}",
                    "amount": f"{tick.size:.8f}",
                    "type": "0" if tick.bought else "1",
                }
                for tick in reversed(trades)
                if tick.us >= since
            ]
        )

    def _listed(self, _request: web.Request) -> object:
        return [
            {
                "name": f"{base}/{quote}",
                "market_symbol": name.lower(),
                "base_currency": base,
                "counter_currency": quote,
                "market_type": "SPOT",
            }
            for name, base, quote in self.pairs("{}{}")
        ]

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`bts:subscribe`, `bts:unsubscribe` and `bts:heartbeat`."""
        asked = json.loads(message)
        if asked["event"] == "bts:heartbeat":
            status = {"channel": "", "data": {"status": "success"}}
            await line.say({"event": "bts:heartbeat", **status})
            return
        if self.faults.deaf:
            return
        topic = asked["data"]["channel"]
        stream, _, name = topic.rpartition("_")
        if asked["event"] == "bts:unsubscribe":
            self.unsubscribe(line, [Topic(_KINDS[stream], name, topic)])
            await line.say({"event": "bts:unsubscription_succeeded", "channel": topic, "data": {}})
            return
        if name in self.faults.refuse:
            problem = {"code": None, "message": "Bad subscription string."}
            await line.say({"event": "bts:error", "channel": topic, "data": problem})
            return
        done = {"event": "bts:subscription_succeeded", "channel": topic, "data": {}}
        await line.say(done)
        self.subscribe(line, [Topic(_KINDS[stream], name, topic)])

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """One event a frame."""
        del line
        data: dict[str, Any] = {"timestamp": str(tick.us // 10**6), "microtimestamp": str(tick.us)}
        if topic.kind == "trade":
            data |= {"id": _number(tick), "type": 0 if tick.bought else 1}
            data |= {"price_str": f"{tick.price:.2f}", "price": tick.price + 1e-9}
            data |= {"amount_str": f"{tick.size:.8f}", "amount": tick.size + 1e-9}
        else:
            data |= {"bids": [[f"{tick.bid:.2f}", f"{tick.bid_size:.8f}"], ["1.0", "2.0"]]}
            data |= {"asks": [[f"{tick.ask:.2f}", f"{tick.ask_size:.8f}"], ["9.0", "2.0"]]}
        event = "trade" if topic.kind == "trade" else "data"
        return json.dumps({"data": data, "channel": topic.channel, "event": event}).encode()


def _number(tick: Tick) -> int:
    """One count for all markets."""
    return 216_000_000 + tick.us % 10**10


SIMULATOR = BitstampVenue
