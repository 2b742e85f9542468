"""Bitfinex on loopback: channel ids, a sequence of all arrays, books of a few levels, and sums."""

import json
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.tape import text_frame
from edc.simulator.venue import Kind, Line, Tick, Topic, Venue

_KINDS: dict[str, Kind] = {"trades": "trade", "book": "quote"}
_TIMES, _SEQUENCE, _SUMS = 32768, 65536, 131072
_DEEP = 3


class BitfinexVenue(Venue):
    """See `Venue`."""

    feeds: ClassVar = {
        "spot": {"channel": "spot", "symbols": {"crypto": ["BTC/USD", "DOGE/USDT", "FOO/USD"]}}
    }
    refuses = ("FOO/USD",)
    counted = ("spot",)
    sums_up = True
    farewell: ClassVar = {
        "event": "info",
        "code": 20051,
        "msg": "Stop/Restart Websocket Server",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sums = 0

    def ours(self, name: str) -> str:
        """Without the `t`, and with the codes that others use."""
        return super().ours(name.removeprefix("t").replace("UST", "USDT"))

    def routes(self) -> Sequence[web.RouteDef]:
        """Pairs by the venue's own codes, and what those mean."""
        path = "/v2/conf/pub:list:pair:exchange,pub:map:currency:sym"
        return [
            web.get(path, self.instruments(self._listed)),
            web.get("/v2/trades/{name}/hist", self._past),
        ]

    async def _past(self, request: web.Request) -> web.Response:
        """The trades of a time, oldest first."""
        if (wrong := self.polled()) is not None:
            return wrong
        start, end = (int(request.query[each]) for each in ("start", "end"))
        trades = self.market.history.get(request.match_info["name"], [])
        found = [tick for tick in trades if start <= tick.us // 1000 <= end]
        return web.json_response([_row(tick) for tick in found[: int(request.query["limit"])]])

    def _listed(self, _request: web.Request) -> object:
        codes = {"USDT": "UST", "USDC": "UDC"}
        names = []
        for _, base, quote in self.pairs():
            pair = (base, codes.get(quote, quote))
            names.append((":" if len(base) > 3 else "").join(pair))  # noqa: PLR2004 - its rule
        return [names, [["UST", "USDt"], ["UDC", "USDC"], ["DSH", "DASH"]]]

    async def greet(self, line: Line) -> None:
        """Its version."""
        await line.say({"event": "info", "version": 2, "platform": {"status": 1}})

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`conf`, `subscribe`, which brings the last trades, and `unsubscribe`."""
        asked = json.loads(message)
        if asked["event"] == "conf":
            line.state["flags"] = asked["flags"]
            await line.say({"event": "conf", "status": "OK", "flags": asked["flags"]})
            return
        if self.faults.deaf:
            return
        numbers: dict[Topic, int] = line.state.setdefault("numbers", {})
        if asked["event"] == "unsubscribe":
            gone = [topic for topic, number in numbers.items() if number == asked["chanId"]]
            self.unsubscribe(line, gone)
            line.flush()
            await line.say({"event": "unsubscribed", "status": "OK", "chanId": asked["chanId"]})
            return
        channel, name = asked["channel"], asked["symbol"]
        if any(f"t{each.replace('/', '')}" == name for each in self.faults.refuse):
            problem = {"msg": "symbol: invalid", "code": 10300, "channel": channel}
            await line.say({"event": "error", **problem, "symbol": name})
            return
        number = line.state["last"] = line.state.get("last", 19_000) + 1
        topic = Topic(_KINDS[channel], name, channel)
        numbers[topic] = number
        head = {"event": "subscribed", "channel": channel, "chanId": number, "symbol": name}
        await line.say(head)
        line.flush()
        tail = self._tail(line, 0)
        old = self.market.history.get(name, [])[-30:] if channel == "trades" else []
        sent = [] if self.faults.mute else [_row(tick) for tick in reversed(old)]
        line.frames += bool(sent)
        await line.say([number, sent, *tail])
        self.subscribe(line, [topic])

    def _tail(self, line: Line, us: int) -> list[int]:
        line.state["sequence"] = line.state.get("sequence", 0) + 1
        flags = line.state.get("flags", 0)
        sequence = [line.state["sequence"]] if flags & _SEQUENCE else []
        return [*sequence, us // 1000] if flags & _TIMES else sequence

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """One event an array. A book comes whole; before the next one a bid goes, and is summed."""
        number = line.state["numbers"][topic]
        if topic.kind == "trade":
            payload: list[Any] = ["te", _row(tick)]
        else:
            bids, asks = line.state.get(f"book {number}", ([], []))
            if bids and line.state.get("flags", 0) & _SUMS:
                gone = bids.pop()
                self._say(line, tick, [number, [gone[0], 0, 1]])
                self._say(line, tick, [number, "cs", self._sum(bids, asks)])
            bids, asks = line.state[f"book {number}"] = _levels(tick)
            payload = [bids + asks]
        return json.dumps([number, *payload, *self._tail(line, tick.us)]).encode()

    def _say(self, line: Line, tick: Tick, payload: list[Any]) -> None:
        """Before an event; what is lost with that one is lost too."""
        frame = text_frame(json.dumps([*payload, *self._tail(line, tick.us)]).encode())
        if self.frames + 1 not in self.faults.swallow:
            line.waiting.append(frame)

    def _sum(self, bids: list[list[float]], asks: list[list[float]]) -> int:
        """Price and amount of the best bid, the best ask, the second bid …, as JSON has them."""
        self.sums += 1
        sides = [side[at] for at in range(_DEEP) for side in (bids, asks) if at < len(side)]
        told = ":".join(json.dumps(each) for price, _, amount in sides for each in (price, amount))
        crc = zlib.crc32(told.encode()) + (self.sums in self.faults.missum)
        return int.from_bytes((crc & 0xFFFF_FFFF).to_bytes(4, "big"), "big", signed=True)


def _levels(tick: Tick) -> tuple[list[list[float]], list[list[float]]]:
    """Bids and asks, the best first."""
    bids = [[round(tick.bid - at / 100, 2), 1, tick.bid_size + at] for at in range(_DEEP)]
    asks = [[round(tick.ask + at / 100, 2), 2, -tick.ask_size - at] for at in range(_DEEP)]
    return bids, asks


def _row(tick: Tick) -> list[float]:
    amount = tick.size if tick.bought else -tick.size
    return [382_489_562 + tick.us % 10**9, tick.us // 1000, amount, tick.price]


SIMULATOR = BitfinexVenue
