"""Kraken on loopback: websocket v2, and the REST trades. From the venue's pages."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {"trade": "trade", "ticker": "quote"}
_FIRST_ID = 61_044_000


def _iso(us: int) -> str:
    moment = datetime.fromtimestamp(us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{us % 1_000_000:06d}Z"


class KrakenVenue(Venue):
    """See `Venue`."""

    feeds: ClassVar = {
        "kraken": {"channel": "spot", "symbols": {"crypto": ["BTC/USD", "ETH/USD", "MATIC/USD"]}}
    }
    refuses = ("MATIC/USD",)

    def routes(self) -> Sequence[web.RouteDef]:
        """Trades after a time."""
        return [
            web.get("/0/public/Trades", self._trades),
            web.get("/0/public/AssetPairs", self.instruments(self._pairs)),
        ]

    def _pairs(self, _request: web.Request) -> object:
        """By the older names of two currencies."""
        old = {"BTC": "XBT", "DOGE": "XDG"}
        return {
            "error": [],
            "result": {
                f"X{base}Z{quote}": {"altname": base + quote, "wsname": f"{base}/{quote}"}
                for base, quote in ((old.get(base, base), quote) for _, base, quote in self.pairs())
            },
        }

    async def greet(self, line: Line) -> None:
        """The state of the system."""
        status = {"version": "2.0.10", "system": "online", "api_version": "v2"}
        await line.say({"channel": "status", "type": "update", "data": [status]})

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`subscribe`, `unsubscribe` and `ping`."""
        asked = json.loads(message)
        if asked["method"] == "ping":
            await line.say({"method": "pong", "req_id": asked["req_id"]})
            return
        if self.faults.deaf:
            return
        params = asked["params"]
        for name in params["symbol"]:
            topic = Topic(_KINDS[params["channel"]], name, params["channel"])
            head = {"method": asked["method"], "req_id": asked["req_id"], "time_out": _iso(0)}
            if name in self.faults.refuse:
                problem = {"error": f"Currency pair not supported {name}", "success": False}
                await line.say({**head, **problem, "symbol": name})
                continue
            result = {"channel": params["channel"], "symbol": name, "snapshot": True}
            await line.say({**head, "result": result, "success": True})
            (self.unsubscribe if asked["method"] == "unsubscribe" else self.subscribe)(
                line, [topic]
            )
            old = self.market.history[name][-50:] if params.get("snapshot") else []
            if params["channel"] == "trade" and old and not self.faults.mute:
                snapshot = {"channel": "trade", "type": "snapshot"}
                await line.say({**snapshot, "data": [_trade(tick) for tick in old]})
        await line.say({"channel": "heartbeat"})

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """One event a frame; the venue may put several into one."""
        del line
        data: dict[str, Any]
        if topic.kind == "trade":
            data = _trade(tick)
        else:
            data = {"symbol": tick.name, "bid": tick.bid, "bid_qty": tick.bid_size}
            data |= {"ask": tick.ask, "ask_qty": tick.ask_size, "volume": 997038.98383185}
            data |= {"timestamp": _iso(tick.us)}
        return json.dumps({"channel": topic.channel, "type": "update", "data": [data]}).encode()

    async def _trades(self, request: web.Request) -> web.Response:
        wrong = self.polled()
        if wrong is not None:
            return wrong
        pair = request.query["pair"].replace("XBT", "BTC")
        since = int(request.query.get("since", 0))
        trades = next(
            (
                trades
                for name, trades in self.market.history.items()
                if name.replace("/", "") == pair
            ),
            None,
        )
        if trades is None:
            return web.json_response({"error": ["EQuery:Unknown asset pair"]})
        page = [tick for tick in trades if tick.us * 1000 > since][: int(request.query["count"])]
        rows = ",".join(
            f'["{tick.price:.5f}","{tick.size:.8f}",{tick.us // 10**6}.{tick.us % 10**6:06d}1,'
            f'"{"b" if tick.bought else "s"}","m","",{_FIRST_ID + tick.number}]'
            for tick in page
        )
        last = page[-1].us * 1000 if page else since
        text = f'{{"error":[],"result":{{"X{pair}":[{rows}],"last":"{last}"}}}}'
        return web.Response(text=text, content_type="application/json")


def _trade(tick: Tick) -> dict[str, Any]:
    data: dict[str, Any] = {"symbol": tick.name, "side": "buy" if tick.bought else "sell"}
    data |= {"price": tick.price, "qty": tick.size, "ord_type": "market"}
    return data | {"trade_id": _FIRST_ID + tick.number, "timestamp": _iso(tick.us)}


SIMULATOR = KrakenVenue
