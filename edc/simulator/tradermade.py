"""TraderMade on loopback: a greeting in plain text, then quotes. From recordings."""

import json
from typing import Any, ClassVar

from edc.simulator.venue import Line, Tick, Topic, Venue


class TraderMadeVenue(Venue):
    """See `Venue`."""

    kinds = ("quote",)
    feeds: ClassVar = {"fx": {"channel": "fx", "symbols": {"fx": ["EUR/USD", "GBPUSD"]}}}
    columns: ClassVar = {"quote": ("bid", "ask", "mid")}
    crowds = 60.0

    async def greet(self, line: Line) -> None:
        """Plain text."""
        await line.say("Connected")

    async def hear(self, line: Line, message: str | bytes) -> None:
        """The key and the pairs."""
        asked = json.loads(message)
        if asked["userKey"] != self.key:
            await line.say("Invalid User Key")
            return
        if self.crowd():
            await line.say("User Key Used to many times")
            return
        self.subscribe(line, [Topic("quote", name, "") for name in asked["symbol"].split(",")])

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """Its mid is rounded oddly."""
        del topic, line
        row = {"symbol": tick.name, "ts": str(tick.us // 1000), "bid": _bid(tick), "ask": tick.ask}
        return json.dumps({**row, "mid": tick.price + 0.000_004}).encode()

    def rows(self, tick: Tick) -> Any:
        """No sizes."""
        return {"quote": (_bid(tick), tick.ask, (_bid(tick) + tick.ask) / 2)}


def _bid(tick: Tick) -> float:
    """Different for each event, though several share a millisecond."""
    return tick.bid - tick.number / 1024


SIMULATOR = TraderMadeVenue
