"""nautilus_trader: its websocket client, and its feather writer.

`with_nautilus.py receive|feather URL EVENTS FOLDER SYMBOLS`. `receive` only counts what the client
hands over; `feather` reads each frame by msgspec, makes a tick of it and writes that. All ticks are
of one instrument, which spares it a file for each symbol.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock
from nautilus_trader.core.nautilus_pyo3 import WebSocketClient, WebSocketConfig
from nautilus_trader.model.data import QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.persistence.writer import StreamingFeatherWriter
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from steady import Steady


def to_feather(folder: Path) -> Callable[[bytes], None]:
    """What reads a frame and writes its tick."""
    instrument = TestInstrumentProvider.btcusdt_binance()
    cache = Cache()
    cache.add_instrument(instrument)
    clock = LiveClock()
    writer = StreamingFeatherWriter(str(folder / "feather"), cache, clock)
    decode = msgspec.json.decode

    def write(frame: bytes) -> None:
        data = decode(frame).get("data")
        if data is None:
            return
        now = clock.timestamp_ns()
        if "e" in data:
            tick: TradeTick | QuoteTick = TradeTick(
                instrument.id,
                instrument.make_price(float(data["p"])),
                instrument.make_qty(float(data["q"])),
                AggressorSide.SELLER if data["m"] else AggressorSide.BUYER,
                TradeId(str(data["a"])),
                data["T"] * 1000,
                now,
            )
        else:
            tick = QuoteTick(
                instrument.id,
                instrument.make_price(float(data["b"])),
                instrument.make_price(float(data["a"])),
                instrument.make_qty(float(data["B"])),
                instrument.make_qty(float(data["A"])),
                now,
                now,
            )
        writer.write(tick)

    return write


async def main(mode: str, url: str, events: int, folder: Path) -> None:
    """Until all events have come."""
    steady = Steady(events)
    write = to_feather(folder) if mode == "feather" else len

    def on_message(frame: bytes) -> None:
        write(frame)
        steady.add(1)

    config = WebSocketConfig(url=f"{url}?streams=all", headers=[])
    client = await WebSocketClient.connect(asyncio.get_running_loop(), config, on_message)
    await asyncio.Event().wait()
    await client.disconnect()  # never reached: it lives as long as somebody holds it


if __name__ == "__main__":
    mode, url, events, folder, _ = sys.argv[1:]
    asyncio.run(main(mode, url, int(events), Path(folder)))
