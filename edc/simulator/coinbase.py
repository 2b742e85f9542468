"""Coinbase on loopback: the Exchange feed and Advanced Trade, REST trades. From its pages."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {
    "matches": "trade",
    "level2_batch": "quote",
    "market_trades": "trade",
    "level2": "quote",
}
_FIRST_ID = 881_000


def _iso(us: int) -> str:
    moment = datetime.fromtimestamp(us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{us % 1_000_000:06d}Z"


class CoinbaseVenue(Venue):
    """See `Venue`."""

    feeds: ClassVar = {
        "exchange": {
            "channel": "exchange",
            "symbols": {"crypto": ["BTC-USD", "ETH-USD", "FOO-USD"]},
        },
        "advanced": {"channel": "advanced", "symbols": {"crypto": ["BTC-USD", "ETH-USD"]}},
    }
    refuses = ("FOO-USD",)
    counted = ("advanced",)

    def options(self) -> dict[str, Any]:
        """Two addresses."""
        advanced = {"advanced_url": f"{self.url}/a", "advanced_rest_url": self.rest_url}
        return {**super().options(), "url": f"{self.url}/x", **advanced}

    def routes(self) -> Sequence[web.RouteDef]:
        """Trades, newest first."""
        return [
            web.get("/products/{name}/trades", self._trades),
            web.get("/products", self.instruments(self._products)),
            web.get("/api/v3/brokerage/market/products", self.instruments(self._markets)),
            web.get("/api/v3/brokerage/market/products/{name}/ticker", self._past),
        ]

    def _products(self, _request: web.Request) -> object:
        keys = ("id", "base_currency", "quote_currency")
        return [dict(zip(keys, pair, strict=True)) for pair in self.pairs()]

    def _markets(self, _request: web.Request) -> object:
        keys = ("product_id", "base_currency_id", "quote_currency_id")
        return {"products": [dict(zip(keys, pair, strict=True)) for pair in self.pairs()]}

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`subscribe` and `unsubscribe`, of either API."""
        asked = json.loads(message)
        if self.faults.deaf:
            return
        if "channel" in asked:
            await self._advanced(line, asked)
            return
        names = asked["product_ids"]
        wrong = [name for name in names if name in self.faults.refuse]
        if wrong:
            problem = {"message": "Failed to subscribe", "reason": f"{wrong[0]} is not valid"}
            await line.say({"type": "error", **problem})
            return
        wanted = [channel for channel in asked["channels"] if channel in _KINDS]
        topics = [Topic(_KINDS[channel], name, channel) for channel in wanted for name in names]
        for topic in topics:
            line.topics.pop(topic, None)
        gone = asked["type"] == "unsubscribe"
        new = line.topics if gone else {**line.topics, **dict.fromkeys(topics)}
        listed = [
            {"name": channel, "product_ids": [t.name for t in new if t.channel == channel]}
            for channel in ("matches", "level2_batch")
        ]
        await line.say({"type": "subscriptions", "channels": listed})
        if gone:
            return
        if "level2_batch" in wanted:
            for name in names:
                empty = {"product_id": name, "bids": [], "asks": []}
                await line.say({"type": "snapshot", **empty})
        self.subscribe(line, topics)
        await self._last_matches(line, names if "matches" in wanted else [])

    async def _last_matches(self, line: Line, names: Sequence[str]) -> None:
        old = [] if self.faults.mute else [self.market.history[name][-1:] for name in names]
        for tick in [tick for ticks in old for tick in ticks]:
            said = {"type": "last_match", "product_id": tick.name, "time": _iso(tick.us)}
            await line.say({**said, **_trade(tick)})

    async def _advanced(self, line: Line, asked: dict[str, Any]) -> None:
        channel, names = asked["channel"], asked.get("product_ids", [])
        if channel in _KINDS:
            change = self.unsubscribe if asked["type"] == "unsubscribe" else self.subscribe
            change(line, [Topic(_KINDS[channel], name, channel) for name in names])
        listed: dict[str, list[str]] = {}
        for topic in line.topics:
            listed.setdefault(topic.channel, []).append(topic.name)
        line.flush()
        said = {"channel": "subscriptions", "timestamp": _iso(0), "sequence_num": _next(line)}
        await line.say({**said, "events": [{"subscriptions": listed}]})
        if channel == "market_trades" and asked["type"] == "subscribe" and not self.faults.mute:
            old = [tick for name in names for tick in self.market.history[name][-50:]]
            trades = [_advanced(tick) for tick in reversed(old)]
            head = {"channel": channel, "timestamp": _iso(0), "sequence_num": _next(line)}
            await line.say({**head, "events": [{"type": "snapshot", "trades": trades}]})

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """One event a frame; the book has one level, which is taken away with the next."""
        if topic.channel in ("market_trades", "level2"):
            return self._render_advanced(topic, tick, line)
        data: dict[str, Any] = {"product_id": tick.name, "time": _iso(tick.us)}
        if topic.kind == "trade":
            data |= {"type": "match", **_trade(tick), "maker_order_id": "a", "sequence": 9}
        else:
            old = line.state.setdefault("tops", {}).get(tick.name)
            changes = [["buy", old[0], "0"], ["sell", old[1], "0"]] if old else []
            bid, ask = f"{tick.bid:.2f}", f"{tick.ask:.2f}"
            changes += [["buy", bid, f"{tick.bid_size:.4f}"], ["sell", ask, f"{tick.ask_size:.4f}"]]
            line.state["tops"][tick.name] = (bid, ask)
            data |= {"type": "l2update", "changes": changes}
        return json.dumps(data).encode()

    def _render_advanced(self, topic: Topic, tick: Tick, line: Line) -> bytes:
        event: dict[str, Any]
        if topic.kind == "trade":
            event = {"type": "update", "trades": [_advanced(tick)]}
        else:
            sides = (("bid", tick.bid, tick.bid_size), ("offer", tick.ask, tick.ask_size))
            updates = [
                {
                    "side": side,
                    "event_time": _iso(tick.us),
                    "price_level": f"{price:.2f}",
                    "new_quantity": f"{size:.4f}",
                }
                for side, price, size in sides
            ]
            event = {"type": "snapshot", "product_id": tick.name, "updates": updates}
        channel = "l2_data" if topic.kind == "quote" else topic.channel
        said = {"channel": channel, "client_id": "", "timestamp": _iso(tick.us)}
        return json.dumps({**said, "sequence_num": _next(line), "events": [event]}).encode()

    async def _past(self, request: web.Request) -> web.Response:
        """The last trades of a time in whole seconds, newest first."""
        if (wrong := self.polled()) is not None:
            return wrong
        start, end = (int(request.query[each]) * 10**6 for each in ("start", "end"))
        trades = self.market.history.get(request.match_info["name"], [])
        found = [tick for tick in trades if start <= tick.us <= end]
        page = found[-int(request.query["limit"]) :]
        rows = [{**_advanced(tick), "bid": "", "ask": ""} for tick in reversed(page)]
        return web.json_response({"trades": rows, "best_bid": "", "best_ask": ""})

    async def _trades(self, request: web.Request) -> web.Response:
        wrong = self.polled()
        if wrong is not None:
            return wrong
        if "User-Agent" not in request.headers:
            return web.json_response({"message": "User-Agent header is required."}, status=400)
        trades = self.market.history.get(request.match_info["name"], [])
        older = int(request.query.get("after", 1 << 60)) - _FIRST_ID
        found = [tick for tick in trades if tick.number < older]
        page = found[-int(request.query["limit"]) :]
        return web.json_response(
            [{**_trade(tick), "time": _iso(tick.us)} for tick in reversed(page)]
        )


def _next(line: Line) -> int:
    number: int = line.state.get("sequence", -1) + 1
    line.state["sequence"] = number
    return number


def _advanced(tick: Tick) -> dict[str, Any]:
    trade = {**_trade(tick), "product_id": tick.name, "time": _iso(tick.us)}
    return trade | {"trade_id": str(trade["trade_id"]), "side": str(trade["side"]).upper()}


def _trade(tick: Tick) -> dict[str, Any]:
    return {
        "trade_id": _FIRST_ID + tick.number,
        "side": "sell" if tick.bought else "buy",  # the maker's
        "size": f"{tick.size:.8f}",
        "price": f"{tick.price:.2f}",
    }


SIMULATOR = CoinbaseVenue
