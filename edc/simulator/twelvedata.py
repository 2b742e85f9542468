"""Twelve Data on loopback: the key in the URL, one status for a subscription. From its pages."""

import json
from typing import Any, ClassVar

from aiohttp import web

from edc.simulator.venue import Line, Tick, Topic, Venue


class TwelveDataVenue(Venue):
    """See `Venue`."""

    kinds = ("ref_px",)
    feeds: ClassVar = {
        "price": {
            "channel": "price",
            "symbols": {"stock": ["AAPL", "1211"], "fx": ["EUR/USD"], "crypto": ["BTC/USD"]},
        }
    }
    refuses = ("1211",)
    entitles = True
    columns: ClassVar = {"ref_px": ("price",), "quote": ("bid", "ask")}

    def handshake(self, request: web.Request) -> web.Response | None:
        """A wrong key is refused here."""
        known = request.query.get("apikey") == self.key
        return None if known else web.Response(status=401)

    async def hear(self, line: Line, message: str | bytes) -> None:
        """`subscribe`, `unsubscribe` and `heartbeat`."""
        asked = json.loads(message)
        if asked["action"] == "heartbeat":
            await line.say({"event": "heartbeat", "status": "ok"})
            return
        if self.faults.deaf:
            return
        names = asked["params"]["symbols"].split(",")
        refused = self.faults.refuse if self.faults.entitled else names
        fine = [name for name in names if name not in refused]
        fails = [
            {"symbol": name, "message": "You are not authorized to access XHKG data."}
            for name in names
            if name in refused
        ]
        status = {"event": f"{asked['action']}-status", "status": "warning" if fails else "ok"}
        success = [{"symbol": name, "exchange": "X", "type": "Y"} for name in fine]
        await line.say({**status, "success": success, "fails": fails})
        change = self.unsubscribe if asked["action"] == "unsubscribe" else self.subscribe
        change(line, [Topic("ref_px", name, "price") for name in fine])

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """FX has bid and ask."""
        del topic, line
        row: dict[str, Any] = {"event": "price", "symbol": tick.name, "currency": "USD"}
        row |= {"type": "Common Stock", "timestamp": tick.us // 10**6, "price": _price(tick)}
        if tick.name == "EUR/USD":
            row |= {"bid": _price(tick) - 0.5, "ask": _price(tick) + 0.5}
        else:
            row |= {"day_volume": 27_631_112}
        return json.dumps(row).encode()

    def rows(self, tick: Tick) -> Any:
        """One frame may be two rows. A price of the same second is made to differ."""
        rows: dict[str, Any] = {"ref_px": (_price(tick),)}
        if tick.name == "EUR/USD":
            rows["quote"] = (_price(tick) - 0.5, _price(tick) + 0.5)
        return rows


def _price(tick: Tick) -> float:
    return tick.price + tick.number / 1024


SIMULATOR = TwelveDataVenue
