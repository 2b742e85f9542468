"""Binance USD-M futures on loopback: two addresses, REST aggTrades. From its pages.

As at the venue, a stream on the wrong address is acknowledged and stays silent.
"""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {
    "aggTrade": "trade",
    "markPrice@1s": "ref_px",
    "bookTicker": "quote",
}
_HOMES = {"aggTrade": "market", "markPrice@1s": "market", "bookTicker": "public"}
_FIRST_ID = 5_933_000


class BinanceFuturesVenue(Venue):
    """See `Venue`."""

    kinds = ("trade", "quote", "trade", "quote", "ref_px")
    feeds: ClassVar = {
        "market": {
            "channel": "market",
            "symbols": {"crypto": ["BTCUSDT", "BTCUSDT_260925"]},
        },
        "public": {"channel": "public", "symbols": {"crypto": ["BTCUSDT", "ETHUSDT"]}},
    }

    columns: ClassVar = {**Venue.columns, "ref_px": ("price", "price_type")}
    farewell: ClassVar = {
        "stream": "!serverShutdown",
        "data": {"e": "serverShutdown", "E": 1770123456789},
    }

    def ours(self, name: str) -> str:
        """In lower case."""
        return name.lower()

    def routes(self) -> Sequence[web.RouteDef]:
        """Trades by their ids."""
        return [
            web.get("/fapi/v1/aggTrades", self._trades),
            web.get("/fapi/v1/exchangeInfo", self.instruments(self._info)),
        ]

    def _info(self, _request: web.Request) -> object:
        dated = [(f"BTC{quote}_260925", "BTC", quote) for quote in ("USDT", "USDC")]
        keys = ("symbol", "baseAsset", "quoteAsset", "status")
        rows = [(*pair, "TRADING") for pair in self.pairs("{}{}") + dated]
        return {"symbols": [dict(zip(keys, row, strict=True)) for row in rows]}

    async def hear(self, line: Line, message: str | bytes) -> None:
        """SUBSCRIBE and UNSUBSCRIBE."""
        try:
            asked = json.loads(message)
            streams = [stream.partition("@") for stream in asked["params"]]
        except (ValueError, KeyError, TypeError):
            await line.say({"code": 2, "msg": "Invalid request: missing field `method`"})
            return
        if self.faults.deaf:
            return
        await line.say({"result": None, "id": asked.get("id")})
        home = line.request.path.split("/")[1]
        known = [(name, channel) for name, _, channel in streams if _HOMES.get(channel) == home]
        topics = [Topic(_KINDS[channel], name.upper(), channel) for name, channel in known]
        (self.unsubscribe if asked.get("method") == "UNSUBSCRIBE" else self.subscribe)(line, topics)

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """One event a frame, wrapped with the name of its stream."""
        del line
        ms = tick.us // 1000
        data: dict[str, Any] = {"E": ms, "s": tick.name, "st": 1}
        if topic.kind == "trade":
            data |= {"e": "aggTrade", **_trade(tick), "nq": "0.1"}
        elif topic.kind == "quote":
            data |= {"e": "bookTicker", "u": 400_900_217 + 3 * tick.number, "T": ms}
            data |= {"b": f"{tick.bid:.2f}", "B": f"{tick.bid_size:.4f}"}
            data |= {"a": f"{tick.ask:.2f}", "A": f"{tick.ask_size:.4f}", "ps": tick.name}
        else:
            data |= {"e": "markPriceUpdate", "p": f"{_mark(tick):.8f}", "i": f"{_index(tick):.8f}"}
            data |= {"r": "0.00038167", "T": 1_562_306_400_000}
        stream = f"{tick.name.lower()}@{topic.channel}"
        return json.dumps({"stream": stream, "data": data}).encode()

    def rows(self, tick: Tick) -> Any:
        """Mark and index are a row each."""
        if tick.kind == "ref_px":
            prices = ((_mark(tick), "mark"), (_index(tick), "index"))
            return {"ref_px": [(float(f"{price:.8f}"), kind) for price, kind in prices]}
        return super().rows(tick)

    async def _trades(self, request: web.Request) -> web.Response:
        wrong = self.polled()
        if wrong is not None:
            return wrong
        trades = self.market.history.get(request.query.get("symbol", ""))
        if trades is None:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        limit = int(request.query.get("limit", 500))
        first = request.query.get("fromId")
        start = max(0, len(trades) - limit) if first is None else int(first) - _FIRST_ID - 1
        return web.json_response(
            [_trade(tick) for tick in trades[max(0, start) : max(0, start) + limit]]
        )


def _mark(tick: Tick) -> float:
    """Different for each event, though several share a millisecond."""
    return tick.price + tick.number / 1024


def _index(tick: Tick) -> float:
    return tick.price - tick.number / 1024


def _trade(tick: Tick) -> dict[str, Any]:
    return {
        "a": _FIRST_ID + tick.number,
        "p": f"{tick.price:.2f}",
        "q": f"{tick.size:.4f}",
        "f": 100 + tick.number,
        "l": 100 + tick.number,
        "T": tick.us // 1000,
        "m": not tick.bought,
    }


SIMULATOR = BinanceFuturesVenue
