"""Binance spot on loopback: combined streams, and the REST endpoints of trades and books.

From `web-socket-streams.md` and `rest-api.md`. As at the venue, a stream that does not exist is
acknowledged and stays silent; a request with one parameter that is no stream is refused whole.
"""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {
    "trade": "trade",
    "aggTrade": "trade",
    "bookTicker": "quote",
    "avgPrice": "ref_px",
}
_FIRST_ID = 3_735_683_000


class BinanceVenue(Venue):
    """See `Venue`."""

    kinds = ("trade", "quote", "trade", "quote", "ref_px")
    feeds: ClassVar = {
        "binance": {
            "channel": "spot",
            "streams": ["trade", "bookTicker", "avgPrice"],
            "symbols": {"crypto": ["btcusdt", "ethusdt"]},
        },
        "aggregates": {
            "channel": "spot",
            "streams": ["aggTrade", "bookTicker"],
            "symbols": {"crypto": ["btcusdt", "ethusdt"]},
        },
    }
    farewell: ClassVar = {
        "stream": "!serverShutdown",
        "data": {"e": "serverShutdown", "E": 1770123456789},
    }

    def routes(self) -> Sequence[web.RouteDef]:
        """Trades by their ids, and books."""
        return [
            web.get("/api/v3/trades", self._trades),
            web.get("/api/v3/historicalTrades", self._trades),
            web.get("/api/v3/aggTrades", self._aggregates),
            web.get("/api/v3/ticker/bookTicker", self._books),
            web.get("/api/v3/exchangeInfo", self.instruments(self._info)),
        ]

    def _info(self, _request: web.Request) -> object:
        """A symbol that is no longer traded stays on the list."""
        listed = [(*pair, "TRADING") for pair in self.pairs("{}{}")]
        listed.append(("OLDUSDT", "OLD", "USDT", "BREAK"))
        keys = ("symbol", "baseAsset", "quoteAsset", "status")
        return {"timezone": "UTC", "symbols": [dict(zip(keys, row, strict=True)) for row in listed]}

    async def hear(self, line: Line, message: str | bytes) -> None:
        """SUBSCRIBE, UNSUBSCRIBE and LIST_SUBSCRIPTIONS."""
        try:
            asked = json.loads(message)
            method, number = asked["method"], asked.get("id")
        except (ValueError, KeyError, TypeError):
            await line.say({"code": 2, "msg": "Invalid request: missing field `method`"})
            return
        if self.faults.deaf:
            return
        streams = [stream.partition("@") for stream in asked.get("params", [])]
        if any(channel not in _KINDS for _, _, channel in streams):
            problem = {"code": 2, "msg": "Invalid request: invalid stream"}
            await line.say({"error": problem, "id": number})
            return
        topics = [Topic(_KINDS[channel], name.upper(), channel) for name, _, channel in streams]
        if method == "SUBSCRIBE":
            known = [topic for topic in topics if topic.name not in self.faults.refuse]
            await line.say({"result": None, "id": number})
            self.subscribe(line, known)
        elif method == "UNSUBSCRIBE":
            self.unsubscribe(line, topics)
            await line.say({"result": None, "id": number})
        else:
            listed = [f"{topic.name.lower()}@{topic.channel}" for topic in line.topics]
            await line.say({"result": listed, "id": number})

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """One event a frame, wrapped with the name of its stream."""
        scale = 1 if "timeUnit=MICROSECOND" in line.request.query_string else 1000
        time = tick.us // scale
        data: dict[str, Any]
        if topic.channel == "aggTrade":
            data = {"e": "aggTrade", "E": time, "s": tick.name, **_aggregate(tick, scale)}
        elif topic.kind == "trade":
            data = {"e": "trade", "E": time, "s": tick.name, "t": _FIRST_ID + tick.number}
            data |= {"p": f"{tick.price:.8f}", "q": f"{tick.size:.8f}", "T": time}
            data |= {"m": not tick.bought, "M": True}
        elif topic.kind == "quote":
            data = {"u": 400_900_000 + 3 * tick.number, "s": tick.name}
            data |= {"b": f"{tick.bid:.8f}", "B": f"{tick.bid_size:.8f}"}
            data |= {"a": f"{tick.ask:.8f}", "A": f"{tick.ask_size:.8f}"}
        else:
            data = {"e": "avgPrice", "E": time, "s": tick.name, "i": "5m"}
            data |= {"w": f"{tick.price:.8f}", "T": time}
        stream = f"{tick.name.lower()}@{topic.channel}"
        return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()

    async def _trades(self, request: web.Request) -> web.Response:
        """A page of trades; `fromId` is the first of them, without it they are the last ones."""
        wrong = self.polled()
        if wrong is not None:
            return wrong
        trades = self.market.history.get(request.query.get("symbol", ""))
        if trades is None:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        limit = int(request.query.get("limit", 500))
        first = request.query.get("fromId")
        start = max(0, len(trades) - limit) if first is None else int(first) - _FIRST_ID - 1
        scale = 1 if request.headers.get("X-MBX-TIME-UNIT") == "MICROSECOND" else 1000
        return web.json_response(
            [
                {
                    "id": _FIRST_ID + tick.number,
                    "price": f"{tick.price:.8f}",
                    "qty": f"{tick.size:.8f}",
                    "quoteQty": f"{tick.price * tick.size:.8f}",
                    "time": tick.us // scale,
                    "isBuyerMaker": not tick.bought,
                    "isBestMatch": True,
                }
                for tick in trades[max(0, start) : max(0, start) + limit]
            ]
        )

    async def _aggregates(self, request: web.Request) -> web.Response:
        """The first aggregates of a time, which is at most an hour; one for each trade."""
        if (wrong := self.polled()) is not None:
            return wrong
        start, end = (int(request.query[each]) for each in ("startTime", "endTime"))
        if end - start > 3_600_000:  # noqa: PLR2004 - the venue's
            return web.json_response({"code": -1127, "msg": "More than an hour"}, status=400)
        trades = self.market.history.get(request.query["symbol"], [])
        found = [tick for tick in trades if start <= tick.us // 1000 <= end]
        scale = 1 if request.headers.get("X-MBX-TIME-UNIT") == "MICROSECOND" else 1000
        page = found[: int(request.query["limit"])]
        return web.json_response([_aggregate(tick, scale) for tick in page])

    async def _books(self, request: web.Request) -> web.Response:
        wrong = self.polled()
        if wrong is not None:
            return wrong
        names = json.loads(request.query.get("symbols", "[]"))
        quotes = [self.market.last.get((name, "quote")) for name in names]
        return web.json_response(
            [
                {
                    "symbol": quote.name,
                    "bidPrice": f"{quote.bid:.8f}",
                    "bidQty": f"{quote.bid_size:.8f}",
                    "askPrice": f"{quote.ask:.8f}",
                    "askQty": f"{quote.ask_size:.8f}",
                }
                for quote in quotes
                if quote is not None
            ]
        )


def _aggregate(tick: Tick, scale: int) -> dict[str, Any]:
    return {
        "a": _FIRST_ID + tick.number,
        "p": f"{tick.price:.8f}",
        "q": f"{tick.size:.8f}",
        "f": 100 + tick.number,
        "l": 100 + tick.number,
        "T": tick.us // scale,
        "m": not tick.bought,
        "M": True,
    }


SIMULATOR = BinanceVenue
