"""Massive on loopback: its dialogue and three clusters. From its pages."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_PAGE = 50
_TOO_MANY = "Maximum number of websocket connections exceeded. "
_KINDS: dict[str, Kind] = {"T": "trade", "Q": "quote", "C": "quote", "XT": "trade", "XQ": "quote"}


class MassiveVenue(Venue):
    """See `Venue`."""

    feeds: ClassVar = {
        "stocks": {"channel": "stocks", "symbols": {"stock": ["AAPL", "BRK.B"], "etf": ["SPY"]}},
        "forex": {"channel": "forex", "symbols": {"fx": ["EUR/USD", "USD/CNH"]}},
        "crypto": {"channel": "crypto", "symbols": {"crypto": ["BTC-USD"]}},
    }
    columns: ClassVar = {"trade": ("last_price", "last_size"), "quote": ("bid", "ask")}
    entitles = True
    crowds = 60.0

    def ours(self, name: str) -> str:
        """Pairs joined, a share class after a dash."""
        return name.lower().replace("/", "").replace("-", "").replace(".", "-")

    async def greet(self, line: Line) -> None:
        """It speaks first."""
        await _say(line, "connected", "Connected Successfully")

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`auth`, and `subscribe` and `unsubscribe`, acknowledged topic by topic."""
        asked = json.loads(message)
        if asked["action"] == "auth":
            fine = asked["params"] == self.key
            line.state["known"] = fine
            told = ("auth_success", "authenticated") if fine else ("auth_failed", "not this key")
            await _say(line, *told)
            return
        if not line.state.get("known") or self.faults.deaf:
            return
        if not self.faults.entitled:
            await _say(line, "not_authorized", "You are not entitled to this data.")
            return
        for topic in asked["params"].split(","):
            kind, _, name = topic.partition(".")
            await _say(line, "success", f"{asked['action']}d to: {topic}")
            change = self.unsubscribe if asked["action"] == "unsubscribe" else self.subscribe
            change(line, [Topic(_KINDS[kind], name, kind)])
        if self.crowd():  # told only now, perhaps with data before it
            line.flush()
            line.topics.clear()
            await _say(line, "max_connections", _TOO_MANY)
            await line.socket.close(code=1008)

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """An array of one."""
        del line
        row: dict[str, Any] = {"ev": topic.channel, "t": tick.us // 1000}
        bid = _bid(tick)
        match topic.channel:
            case "T":
                row |= {"sym": tick.name, "i": str(tick.number // 2), "x": 4, "p": tick.price}
                row |= {"s": int(tick.size), "ds": f"{tick.size:.4f}", "q": tick.number * 3, "z": 3}
                row |= {"pt": tick.us // 1000, "trfi": _facility(tick), "trft": tick.us // 1000}
            case "Q":
                row |= {"sym": tick.name, "bx": 4, "bp": bid, "bs": 100, "ax": 7}
                row |= {"ap": tick.ask, "as": 160, "c": 0, "i": [604], "q": tick.number * 3, "z": 3}
            case "C":
                row |= {"p": tick.name, "x": "44", "a": tick.ask, "b": bid}
            case "XT":
                row |= {"pair": tick.name, "p": tick.price, "s": tick.size, "c": [2]}
                row |= {"i": str(tick.number), "x": 1, "r": tick.us // 1000 + 9}
            case _:
                row |= {"pair": tick.name, "bp": bid, "bs": 0.48, "ap": tick.ask, "as": 0.6}
        return json.dumps([row]).encode()

    def routes(self) -> Sequence[web.RouteDef]:
        """The history of trades."""
        return [web.get("/v3/trades/{ticker}", self._past)]

    async def _past(self, request: web.Request) -> web.Response:
        """At most `_PAGE` rows a page; the cursor carries all of the question."""
        if (wrong := self.polled()) is not None:
            return wrong
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            wrong_key = {"status": "ERROR", "request_id": "5", "error": "Unknown API Key"}
            return web.json_response(wrong_key, status=401)
        asked = request.query
        first, start, end = 0, asked.get("timestamp.gte", "0"), asked.get("timestamp.lte", "0")
        if "cursor" in asked:
            told, start, end = asked["cursor"].split("~")
            first = int(told)
        ticker = request.match_info["ticker"]
        ticks = [
            tick
            for tick in self.market.history.get(ticker.removeprefix("X:"), [])
            if int(start) <= tick.us * 1000 <= int(end)
        ]
        body: dict[str, Any] = {"status": "OK", "request_id": "a47d1beb8c11b6ae897ab76cdbbf35a3"}
        body["results"] = [_past(tick) for tick in ticks[first : first + _PAGE]]
        if len(ticks) > first + _PAGE:
            cursor = f"{first + _PAGE}~{start}~{end}"
            body["next_url"] = f"https://api.massive.com/v3/trades/{ticker}?cursor={cursor}"
        return web.json_response(body)

    def rows(self, tick: Tick) -> Any:
        """No sizes of quotes are compared: FX has none."""
        if tick.kind == "trade":
            return {"trade": (tick.price, tick.size)}
        return {"quote": (_bid(tick), tick.ask)}


def _facility(tick: Tick) -> int:
    """Off the exchanges two trades may have one id, if two facilities report them."""
    return 202 + tick.number % 2


def _past(tick: Tick) -> dict[str, Any]:
    row: dict[str, Any] = {"price": tick.price, "participant_timestamp": tick.us * 1000}
    if "-" in tick.name:
        return row | {"id": str(tick.number), "size": tick.size, "exchange": 1, "conditions": [2]}
    row |= {"id": str(tick.number // 2), "size": int(tick.size), "sip_timestamp": tick.us * 1000}
    row |= {"decimal_size": f"{tick.size:.4f}", "exchange": 4, "sequence_number": tick.number * 3}
    return row | {"tape": 3, "trf_id": _facility(tick), "trf_timestamp": tick.us * 1000}


def _bid(tick: Tick) -> float:
    """Different for each event, though several share a millisecond."""
    return tick.bid - tick.number / 1024


async def _say(line: Line, status: str, message: str) -> None:
    await line.say([{"ev": "status", "status": status, "message": message}])


SIMULATOR = MassiveVenue
