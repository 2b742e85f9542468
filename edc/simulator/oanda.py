"""OANDA on loopback: a chunked HTTP answer without an end, whose chunks are no lines."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, cast

from aiohttp import web

from edc.simulator.venue import Line, Tick, Topic, Venue

_BEAT = 0.1


class OandaVenue(Venue):
    """See `Venue`."""

    kinds = ("quote",)
    entitles = True
    beats = True
    feeds: ClassVar = {
        "pricing": {
            "channel": "pricing",
            "account": "101-001-1234567-001",
            "symbols": {"fx": ["EUR/USD", "USDJPY", "GBP_USD", "AUD_NZD"]},
        }
    }
    refuses = ("GBP_USD",)

    def options(self) -> dict[str, Any]:
        """Two addresses, both HTTP."""
        return {"stream_url": self.rest_url, "rest_url": self.rest_url}

    def routes(self) -> Sequence[web.RouteDef]:
        """The stream, and prices."""
        path = "/v3/accounts/{account}/pricing"
        return [web.get(f"{path}/stream", self._stream), web.get(path, self._prices)]

    def _refused(self, request: web.Request) -> web.Response | None:
        """Of one bad instrument no word is said but that there is one."""
        status, said = 0, "Insufficient authorization to perform request."
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            status = 401
        elif not self.faults.entitled:
            status = 403
        elif not {*self.faults.refuse}.isdisjoint(request.query["instruments"].split(",")):
            status, said = 400, "Invalid value specified for 'instruments'"
        return web.json_response({"errorMessage": said}, status=status) if status else None

    async def _prices(self, request: web.Request) -> web.Response:
        wrong = self.polled() or self._refused(request)
        if wrong is not None:
            return wrong
        names = request.query["instruments"].split(",")
        last = [tick for name in names if (tick := self.market.last.get((name, "quote")))]
        return web.json_response({"prices": [_price(tick) for tick in last], "time": _iso(0)})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if self.faults.handshakes:
            return web.Response(status=self.faults.handshakes.pop(0))
        wrong = self._refused(request)
        if wrong is not None:
            return wrong
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        self.connections += 1
        assert request.transport is not None
        line = Line(cast("Any", response), request.transport, request)
        self.lines.add(line)
        names = request.query["instruments"].split(",")
        self.subscribe(line, [Topic("quote", name, "") for name in names])
        try:
            while not line.transport.is_closing():
                beat = {"type": "HEARTBEAT", "time": _iso(0)}
                if self.faults.beats:
                    line.waiting.append(_chunk(json.dumps(beat).encode() + b"\r\n\n"))
                await asyncio.sleep(_BEAT)
        finally:
            self.lines.discard(line)
        return response

    def framed(self, line: Line, payload: bytes) -> bytes:
        """A line in two chunks."""
        del line
        at = len(payload) // 3
        return _chunk(payload[:at]) + _chunk(payload[at:] + b"\n") if at else _chunk(b"\n")

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """A price with two levels."""
        del topic, line
        return json.dumps(_price(tick)).encode()


def _price(tick: Tick) -> dict[str, Any]:
    bids = [{"price": f"{tick.bid:.2f}", "liquidity": tick.bid_size}]
    asks = [{"price": f"{tick.ask:.2f}", "liquidity": str(tick.ask_size)}]
    row = {"type": "PRICE", "instrument": tick.name, "time": _iso(tick.us), "tradeable": True}
    more = {"price": "1.0", "liquidity": 1}
    return row | {"bids": [*bids, more], "asks": [*asks, more], "closeoutBid": "1"}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _iso(us: int) -> str:
    moment = datetime.fromtimestamp(us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{us % 1_000_000:06d}000Z"


SIMULATOR = OandaVenue
