"""OKX on loopback: public and business subscriptions, REST trades. From its docs-v5."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {
    "trades": "trade",
    "trades-all": "trade",
    "bbo-tbt": "quote",
    "mark-price": "ref_px",
}
_FIRST_ID = 130_639_000


_FAMILIES = ("BTC-USD", "ETH-USD")
"""What there are options on."""


class OkxVenue(Venue):
    """See `Venue`."""

    kinds = ("trade", "quote", "trade", "quote", "ref_px")
    feeds: ClassVar = {
        "spot": {"channel": "spot", "symbols": {"crypto": ["BTC-USDT", "ETH-USDT", "FOO-USDT"]}},
        "trades": {"channel": "spot_trades", "symbols": {"crypto": ["BTC-USDT", "FOO-USDT"]}},
        "swaps": {
            "channel": "derivatives",
            "streams": ["bbo-tbt", "mark-price"],
            "symbols": {"crypto": ["BTC-USDT-SWAP", "FOO-USDT-SWAP"]},
        },
    }
    refuses = ("FOO-USDT", "FOO-USDT-SWAP")
    farewell: ClassVar = {
        "event": "notice",
        "code": "64008",
        "msg": "The connection will soon be closed for a service upgrade. Please reconnect.",
        "connId": "a4d3ae55",
    }

    def options(self) -> dict[str, Any]:
        """The address ends with the version."""
        return {"url": f"{self.url}/ws/v5", "rest_url": self.rest_url}

    def ours(self, name: str) -> str:
        """Pairs joined, derivatives in lower case."""
        return name.lower() if name.endswith("-SWAP") else super().ours(name)

    def routes(self) -> Sequence[web.RouteDef]:
        """The last trades, and older ones."""
        return [
            web.get("/api/v5/market/history-trades", self._history),
            web.get("/api/v5/public/instruments", self.instruments(self._listed)),
        ]

    def _listed(self, request: web.Request) -> object:
        """One kind at a time; a swap has no currencies of its own."""
        kind = request.query["instType"]
        rows: list[tuple[str, str, str]] = []
        if kind == "SPOT":
            rows = self.pairs()
        elif kind == "SWAP":
            rows = [(name, "", "") for name, _, _ in self.pairs("{}-{}-SWAP")]
        elif kind == "OPTION":
            family = request.query.get("instFamily", "")
            if family not in _FAMILIES:
                return {"code": "51001", "msg": "Instrument family does not exist", "data": []}
            rows = [(name, "", "") for name in self.listed([f"{family}-260925-60000-C"])]
        keys = ("instId", "baseCcy", "quoteCcy")
        data = [{"instType": kind, **dict(zip(keys, row, strict=True))} for row in rows]
        return {"code": "0", "msg": "", "data": data}

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`ping`, `subscribe` and `unsubscribe`."""
        if message == "ping":
            await line.say("pong")
            return
        if self.faults.deaf:
            return
        business = line.request.path.endswith("/business")
        asked = json.loads(message)
        for argument in asked["args"]:
            channel, name = argument["channel"], argument["instId"]
            wrong = name in self.faults.refuse or (channel == "trades-all") is not business
            if wrong:
                problem = f"Wrong URL or channel:{channel},instId:{name} doesn't exist."
                await line.say(
                    {"event": "error", "code": "60018", "msg": problem, "connId": "a4d3ae55"}
                )
                continue
            await line.say({"event": asked["op"], "arg": argument, "connId": "a4d3ae55"})
            change = self.unsubscribe if asked["op"] == "unsubscribe" else self.subscribe
            change(line, [Topic(_KINDS[channel], name, channel)])

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """One event a push."""
        del line
        ms = str(tick.us // 1000)
        data: dict[str, Any]
        if topic.kind == "trade":
            data = _trade(tick)
            if topic.channel == "trades":
                data |= {"count": "1", "source": "0", "seqId": 1_779_935_772_619_784}
        elif topic.kind == "quote":
            data = {"asks": [[f"{tick.ask:.2f}", f"{tick.ask_size:.4f}", "0", "13"]]}
            data |= {"bids": [[f"{tick.bid:.2f}", f"{tick.bid_size:.4f}", "0", "2"]]}
            data |= {"ts": ms, "seqId": 123_456 + 7 * tick.number}
        else:
            data = {"instType": "SWAP", "instId": tick.name, "ts": ms}
            data["markPx"] = f"{_mark(tick):.6f}"
        argument = {"channel": topic.channel, "instId": tick.name}
        return json.dumps({"arg": argument, "data": [data]}).encode()

    def rows(self, tick: Tick) -> Any:
        """The mark is made to change each time."""
        if tick.kind == "ref_px":
            return {"ref_px": (float(f"{_mark(tick):.6f}"),)}
        return super().rows(tick)

    async def _history(self, request: web.Request) -> web.Response:
        wrong = self.polled()
        if wrong is not None:
            return wrong
        trades = self.market.history.get(request.query["instId"], [])
        older = int(request.query["after"]) - _FIRST_ID
        page = [tick for tick in trades if tick.number < older][-int(request.query["limit"]) :]
        rows = [_trade(tick) for tick in reversed(page)]
        return web.json_response({"code": "0", "msg": "", "data": rows})


def _mark(tick: Tick) -> float:
    return tick.price + tick.number / 1024


def _trade(tick: Tick) -> dict[str, Any]:
    return {
        "instId": tick.name,
        "tradeId": str(_FIRST_ID + tick.number),
        "px": f"{tick.price:.2f}",
        "sz": f"{tick.size:.4f}",
        "side": "buy" if tick.bought else "sell",
        "ts": str(tick.us // 1000),
    }


SIMULATOR = OkxVenue
