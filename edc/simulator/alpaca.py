"""Alpaca on loopback: its dialogue in JSON and msgpack, stocks and crypto. From its pages."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
from aiohttp import web

from edc.simulator.tape import binary_frame, text_frame
from edc.simulator.venue import Line, Tick, Topic, Venue

_PAGE = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AlpacaVenue(Venue):
    """See `Venue`."""

    feeds: ClassVar = {
        "stocks": {"channel": "iex", "symbols": {"stock": ["AAPL", "BRK.B"], "etf": ["SPY"]}},
        "crypto": {"channel": "crypto", "symbols": {"crypto": ["BTC/USD", "ETH/USD"]}},
        "packed": {"channel": "sip", "encoding": "msgpack", "symbols": {"stock": ["AAPL"]}},
    }
    columns: ClassVar = {
        "trade": ("last_price", "last_size"),
        "quote": ("bid", "bid_size", "ask", "ask_size"),
        "ref_px": ("price",),
    }
    entitles = True
    refuses = ("BRK.B",)
    limits = True
    crowds = 90.0

    def ours(self, name: str) -> str:
        """Pairs joined, a share class after a dash."""
        return name.lower().replace("/", "").replace(".", "-")

    async def greet(self, line: Line) -> None:
        """It speaks first."""
        line.state["packed"] = line.request.headers.get("Content-Type") == "application/msgpack"
        await _say(line, {"T": "success", "msg": "connected"})

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`auth`, `subscribe` and `unsubscribe`."""
        asked = (
            msgspec.msgpack.decode(message) if isinstance(message, bytes) else json.loads(message)
        )
        if asked["action"] == "auth":
            if (asked["key"], asked["secret"]) != (self.key, self.secret):
                await _say(line, {"T": "error", "code": 402, "msg": "auth failed"})
                return
            if self.crowd():
                await _say(line, {"T": "error", "code": 406, "msg": "connection limit exceeded"})
                return
            line.state["known"] = True
            await _say(line, {"T": "success", "msg": "authenticated"})
            return
        if not line.state.get("known"):
            await _say(line, {"T": "error", "code": 401, "msg": "not authenticated"})
            return
        if not self.faults.entitled:
            await _say(line, {"T": "error", "code": 409, "msg": "insufficient subscription"})
            return
        if self.faults.deaf:
            return
        gone = asked["action"] == "unsubscribe"
        topics = [Topic("trade", name, "trades") for name in asked.get("trades", [])]
        topics += [Topic("quote", name, "quotes") for name in asked.get("quotes", [])]
        if any(topic.name in self.faults.refuse for topic in topics):
            await _say(line, {"T": "error", "code": 400, "msg": "invalid syntax"})
            return
        most = self.faults.most
        if most is not None and not gone and len({*line.topics, *topics}) > most:
            await _say(line, {"T": "error", "code": 405, "msg": "symbol limit exceeded"})
            return
        (self.unsubscribe if gone else self.subscribe)(line, topics)
        listed = {
            channel: [topic.name for topic in line.topics if topic.channel == channel]
            for channel in ("trades", "quotes")
        }
        same = {"corrections": listed["trades"], "cancelErrors": listed["trades"]}
        await _say(line, {"T": "subscription", **listed, "bars": [], **same})

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """An array of one; sizes of stock quotes in lots."""
        crypto = "/" in tick.name
        time: Any = _stamp(tick)
        if line.state["packed"]:
            ns = (tick.us % 10**6) * 1000 + 125
            data = ns.to_bytes(4, "big") + (tick.us // 10**6).to_bytes(8, "big", signed=True)
            time = msgspec.msgpack.Ext(-1, data)
        row: dict[str, Any]
        if topic.kind == "trade":
            row = {"T": "t", "S": tick.name, "i": tick.number, "p": tick.price, "t": time}
            row |= {"s": tick.size if crypto else _shares(tick)}
            row |= {"tks": "B" if tick.bought else "S"} if crypto else {"x": "V", "c": ["@", "I"]}
        else:
            row = {"T": "q", "S": tick.name, "bp": tick.bid, "ap": tick.ask, "t": time}
            row |= {"bs": tick.bid_size if crypto else _lots(tick.bid_size)}
            row |= {"as": tick.ask_size if crypto else _lots(tick.ask_size)}
            row |= {} if crypto else {"bx": "V", "ax": "V", "c": ["R"], "z": "C"}
        if line.state["packed"]:
            return msgspec.msgpack.encode([row])
        return json.dumps([row]).encode()

    def routes(self) -> Sequence[web.RouteDef]:
        """The history of stocks and crypto."""
        return [
            web.get("/v2/stocks/trades", self._past),
            web.get("/v1beta3/crypto/us/trades", self._past),
        ]

    async def _past(self, request: web.Request) -> web.Response:
        """At most `_PAGE` rows a page, whatever is asked for; the token is where to go on."""
        if (wrong := self.polled()) is not None:
            return wrong
        sent = (request.headers.get("APCA-API-KEY-ID"), request.headers.get("APCA-API-SECRET-KEY"))
        if sent != (self.key, self.secret):
            return web.json_response({"message": "forbidden."}, status=403)
        name, crypto = request.query["symbols"], "crypto" in request.path
        start, end = (_us(request.query[each]) for each in ("start", "end"))
        ticks = [tick for tick in self.market.history.get(name, []) if start <= tick.us <= end]
        first = int(request.query.get("page_token", "0"))
        rows = [_past(tick, crypto=crypto) for tick in ticks[first : first + _PAGE]]
        token = str(first + _PAGE) if len(ticks) > first + _PAGE else None
        return web.json_response({"trades": {name: rows} if rows else {}, "next_page_token": token})

    def framed(self, line: Line, payload: bytes) -> bytes:
        """In msgpack every frame is binary."""
        return (binary_frame if line.state["packed"] else text_frame)(payload)

    def extended(self, payload: bytes) -> bytes:
        """Of msgpack too."""
        if payload[:1] == b"[":
            return super().extended(payload)
        rows = msgspec.msgpack.decode(payload, type=list[dict[str, msgspec.Raw]])
        return msgspec.msgpack.encode([{**row, "brand_new": [1, {}]} for row in rows])

    def rows(self, tick: Tick) -> Any:
        """Shares for stocks, base currency for crypto."""
        if "/" in tick.name:
            return {
                kind: row[:2] if kind == "trade" else row
                for kind, row in super().rows(tick).items()
            }
        if tick.kind == "trade":
            return {"trade": (tick.price, float(_shares(tick)))}
        sizes = [100.0 * _lots(size) for size in (tick.bid_size, tick.ask_size)]
        return {"quote": (tick.bid, sizes[0], tick.ask, sizes[1])}


def _us(text: str) -> int:
    """Microseconds since the epoch; the digits after them are the same in every tick."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def _past(tick: Tick, *, crypto: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"i": tick.number, "p": tick.price, "t": _stamp(tick)}
    if crypto:
        return row | {"s": tick.size, "tks": "B" if tick.bought else "S"}
    return row | {"s": _shares(tick), "x": "V", "c": ["@", "I"], "z": "C"}


def _stamp(tick: Tick) -> str:
    stamp = datetime.fromtimestamp(tick.us // 10**6, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{tick.us % 10**6:06d}125Z"


def _shares(tick: Tick) -> int:
    return int(tick.size * 100) + 1


def _lots(size: float) -> int:
    return int(size) + 1


async def _say(line: Line, message: dict[str, Any]) -> None:
    if line.state["packed"]:
        await line.say(msgspec.msgpack.encode([message]))
    else:
        await line.say([message])


SIMULATOR = AlpacaVenue
