"""Deribit on loopback: JSON-RPC subscriptions, life signs, and REST trades. From its pages."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {"trades": "trade", "quote": "quote", "ticker": "ref_px"}
_FIRST_SEQ = 271_252_000


class DeribitVenue(Venue):
    """See `Venue`."""

    kinds = ("trade", "quote", "trade", "quote", "ref_px")
    feeds: ClassVar = {
        "deribit": {
            "channel": "public",
            "symbols": {"crypto": ["BTC-PERPETUAL", "ETH-PERPETUAL", "BTC-26DEC25-100000-C"]},
        }
    }
    refuses = ("BTC-26DEC25-100000-C",)

    def ours(self, name: str) -> str:
        """In lower case."""
        return name.lower()

    def routes(self) -> Sequence[web.RouteDef]:
        """Trades of an instrument."""
        return [
            web.get("/public/get_last_trades_by_instrument", self._trades),
            web.get("/public/get_instruments", self.instruments(self._listed)),
        ]

    def _listed(self, _request: web.Request) -> object:
        names = [f"{base}-PERPETUAL" for base in ("BTC", "ETH", "SOL")]
        names += ["BTC-26DEC25", "BTC-26DEC25-100000-C", "XRP_USDC-26DEC25-0d5-C", "BTC_USDC"]
        result = [{"instrument_name": name, "is_active": True} for name in self.listed(names)]
        return {"jsonrpc": "2.0", "result": result, "testnet": False}

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`set_heartbeat`, `subscribe`, `unsubscribe` and `test`."""
        asked = json.loads(message)
        head = {"jsonrpc": "2.0", "id": asked["id"], "testnet": False}
        match asked["method"]:
            case "public/set_heartbeat":
                await line.say({**head, "result": "ok"})
                asks = {"method": "heartbeat", "params": {"type": "test_request"}}
                await line.say({"jsonrpc": "2.0", **asks})
                line.state["asked"] = True
            case "public/test":
                line.state["alive"] = True
                await line.say({**head, "result": {"version": "1.2.26"}})
            case "public/subscribe" | "public/unsubscribe" if not self.faults.deaf:
                channels = [
                    channel
                    for channel in asked["params"]["channels"]
                    if channel.split(".")[1] not in self.faults.refuse
                ]
                await line.say({**head, "result": channels})
                parts = [channel.split(".") for channel in channels]
                topics = [Topic(_KINDS[kind], name, kind) for kind, name, *_ in parts]
                gone = asked["method"] == "public/unsubscribe"
                (self.unsubscribe if gone else self.subscribe)(line, topics)

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """A notification; nothing is sent to a client that owes the answer to a life sign."""
        if line.state.get("asked") and not line.state.get("alive"):
            return None
        data: Any
        ms = tick.us // 1000
        name = f"{topic.channel}.{tick.name}"
        if topic.kind == "trade":
            data = [_trade(tick)]
            name += ".100ms"
        elif topic.kind == "quote":
            data = {"timestamp": ms, "instrument_name": tick.name}
            data |= {"best_bid_price": tick.bid, "best_bid_amount": tick.bid_size}
            data |= {"best_ask_price": tick.ask, "best_ask_amount": tick.ask_size}
        else:
            name += ".100ms"
            data = {"timestamp": ms, "state": "open", "instrument_name": tick.name}
            data |= {"last_price": None, "mark_price": tick.price + tick.number / 1024}
        params = {"channel": name, "data": data}
        message = {"jsonrpc": "2.0", "method": "subscription", "params": params}
        return json.dumps(message, separators=(",", ":")).encode()

    def rows(self, tick: Tick) -> Any:
        """The mark is made to change with every ticker."""
        if tick.kind == "ref_px":
            return {"ref_px": (tick.price + tick.number / 1024,)}
        return super().rows(tick)

    async def _trades(self, request: web.Request) -> web.Response:
        wrong = self.polled()
        if wrong is not None:
            return wrong
        trades = self.market.history.get(request.query["instrument_name"], [])
        first = int(request.query.get("start_seq", 0))
        last = int(request.query.get("end_seq", 1 << 60))
        found = [tick for tick in trades if first <= tick.number + _FIRST_SEQ <= last]
        page = found[: int(request.query.get("count", 10))]
        result = {"trades": [_trade(tick) for tick in page], "has_more": len(page) < len(found)}
        return web.json_response({"jsonrpc": "2.0", "result": result, "testnet": False})


def _trade(tick: Tick) -> dict[str, Any]:
    return {
        "timestamp": tick.us // 1000,
        "price": tick.price,
        "amount": tick.size,
        "direction": "buy" if tick.bought else "sell",
        "instrument_name": tick.name,
        "trade_seq": _FIRST_SEQ + tick.number,
        "trade_id": f"{tick.name[:3]}-{tick.number}",
        "tick_direction": 2,
    }


SIMULATOR = DeribitVenue
