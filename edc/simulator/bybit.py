"""Bybit on loopback: the public websocket of a category. From its v5 docs."""

import json
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {"publicTrade": "trade", "orderbook.1": "quote", "tickers": "ref_px"}
_PAGE = 20


class BybitVenue(Venue):
    """See `Venue`."""

    kinds = ("trade", "quote", "trade", "quote", "ref_px")
    feeds: ClassVar = {
        "spot": {"channel": "spot", "symbols": {"crypto": ["BTC/USDT", "ETH/USDT", "FOOUSDT"]}},
        "linear": {"channel": "linear", "symbols": {"crypto": ["BTCUSDT", "FOOUSDT"]}},
    }
    refuses = ("FOOUSDT",)
    forgets: ClassVar = {"spot": 60, "linear": 1000}

    def options(self) -> dict[str, Any]:
        """The address ends before the category."""
        return {"url": f"{self.url}/v5/public", "rest_url": self.rest_url}

    def routes(self) -> Sequence[web.RouteDef]:
        """The instruments of a category, page by page, and the last trades."""
        return [
            web.get("/v5/market/instruments-info", self.instruments(self._listed)),
            web.get("/v5/market/recent-trade", self._recent),
        ]

    async def _recent(self, request: web.Request) -> web.Response:
        """No more than sixty of spot, newest first."""
        if (wrong := self.polled()) is not None:
            return wrong
        listed = self.forgets.get(request.query["category"], 1000)
        most = min(int(request.query["limit"]), listed)
        trades = self.market.history.get(request.query["symbol"], [])[-most:]
        rows = [
            {
                "execId": str(uuid.UUID(int=tick.us)),
                "symbol": tick.name,
                "price": f"{tick.price:.2f}",
                "size": f"{tick.size:.4f}",
                "side": "Buy" if tick.bought else "Sell",
                "time": str(tick.us // 1000),
                "isBlockTrade": False,
                "isRPITrade": False,
                "seq": str(tick.us),
            }
            for tick in reversed(trades)
        ]
        result = {"category": request.query["category"], "list": rows}
        return web.json_response({"retCode": 0, "retMsg": "OK", "result": result})

    def _listed(self, request: web.Request) -> object:
        first = int(request.query.get("cursor", "0"))
        keys = ("symbol", "baseCoin", "quoteCoin")
        rows = [dict(zip(keys, pair, strict=True)) for pair in self.pairs("{}{}")]
        cursor = str(first + _PAGE) if len(rows) > first + _PAGE else ""
        result = {"list": rows[first : first + _PAGE], "nextPageCursor": cursor}
        return {"retCode": 0, "retMsg": "OK", "result": result}

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`ping`, and `subscribe` and `unsubscribe`, which one wrong argument fails."""
        asked = json.loads(message)
        head = {"conn_id": "2324d924-aa4d-45b0-a858-7b8be29ab52b", "op": asked["op"]}
        if asked["op"] == "ping":
            await line.say({**head, "success": True, "ret_msg": "pong"})
            return
        if self.faults.deaf:
            return
        head["req_id"] = asked["req_id"]
        parts = [topic.rpartition(".") for topic in asked["args"]]
        wrong = [name for _, _, name in parts if name in self.faults.refuse]
        if wrong or len(parts) > 10:  # noqa: PLR2004 - the venue's
            problem = f"Invalid topic: {wrong}"
            await line.say({**head, "success": False, "ret_msg": problem})
            return
        await line.say({**head, "success": True, "ret_msg": asked["op"]})
        change = self.unsubscribe if asked["op"] == "unsubscribe" else self.subscribe
        change(line, [Topic(_KINDS[kind], name, kind) for kind, _, name in parts])

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """One event a push; a book is always whole."""
        del line
        ms = tick.us // 1000
        data: Any
        if topic.kind == "trade":
            data = {"T": ms, "s": tick.name, "S": "Buy" if tick.bought else "Sell"}
            data |= {"v": f"{tick.size:.4f}", "p": f"{tick.price:.2f}", "L": "PlusTick"}
            data |= {"i": str(uuid.UUID(int=tick.us)), "BT": False, "RPI": False, "seq": tick.us}
            data = [data]
        elif topic.kind == "quote":
            data = {"s": tick.name, "b": [[f"{tick.bid:.2f}", f"{tick.bid_size:.4f}"]]}
            data |= {"a": [[f"{tick.ask:.2f}", f"{tick.ask_size:.4f}"]]}
            data |= {"u": 20_404_754 + 2 * tick.number, "seq": tick.us}
        else:
            data = {"symbol": tick.name, "lastPrice": f"{_last(tick):.6f}", "usdIndexPrice": ""}
        push = {"topic": f"{topic.channel}.{tick.name}", "type": "snapshot", "ts": ms}
        return json.dumps({**push, "data": data, "cts": ms}).encode()

    def rows(self, tick: Tick) -> Any:
        """The last price is made to change each time."""
        if tick.kind == "ref_px":
            return {"ref_px": (float(f"{_last(tick):.6f}"),)}
        return super().rows(tick)


def _last(tick: Tick) -> float:
    return tick.price + tick.number / 1024


SIMULATOR = BybitVenue
