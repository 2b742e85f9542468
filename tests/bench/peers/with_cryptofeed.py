"""cryptofeed: its connection, its connection handler, its Binance parser, and a callback.

`with_cryptofeed.py buffer|parquet URL EVENTS FOLDER SYMBOLS`. `buffer` keeps what was parsed and
drops it every 100,000 events, `parquet` writes as many by pyarrow. cryptofeed takes only wss
addresses: the address is set after the check, which spares it the cost of TLS. It cannot ask the
exchange for its symbols here, so they are given to it.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from cryptofeed.connection import WSAsyncConn
from cryptofeed.connection_handler import ConnectionHandler
from cryptofeed.defines import TICKER, TRADES
from cryptofeed.exchanges import Binance
from cryptofeed.symbols import Symbols
from steady import Steady

_BATCH = 100_000


class Buffer:
    """Keeps events of one type, and drops or writes them when there are many."""

    def __init__(self, name: str, folder: Path | None, steady: Steady) -> None:
        self._name = name
        self._folder = folder
        self._rows: list[Any] = []
        self._files = 0
        self._steady = steady

    async def __call__(self, event: Any, received: float) -> None:
        """As cryptofeed calls back."""
        self._rows.append((event, received))
        self._steady.add(1)
        if len(self._rows) >= _BATCH:
            if self._folder is not None:
                self._write(self._folder)
            self._rows = []

    def _write(self, folder: Path) -> None:
        rows = [
            {**event.to_dict(numeric_type=float), "receipt_timestamp": received}
            for event, received in self._rows
        ]
        for row in rows:
            row.pop("raw", None)
        pq.write_table(
            pa.Table.from_pylist(rows),
            folder / f"{self._name}-{self._files}.parquet",
            compression="zstd",
        )
        self._files += 1


async def main(mode: str, url: str, events: int, folder: Path, symbols: int) -> None:
    """Until all events have come."""
    names = {f"SYM{number:05d}-USDT": f"SYM{number:05d}USDT" for number in range(symbols)}
    Symbols.set(Binance.id, names, {"instrument_type": dict.fromkeys(names, "spot")})
    steady = Steady(events)
    where = folder if mode == "parquet" else None
    feed = Binance(
        symbols=list(names)[:1],
        channels=[TRADES, TICKER],
        callbacks={
            TRADES: Buffer("trade", where, steady),
            TICKER: Buffer("ticker", where, steady),
        },
    )
    connection = WSAsyncConn("wss://loopback", feed.id, **feed.websocket_endpoints[0].options)
    connection.address = f"{url}?streams=all"
    # the fourth argument is of 2.x only, where authentication was a step of its own
    more = [feed.authenticate] if hasattr(feed, "authenticate") else []
    handler = ConnectionHandler(connection, feed.subscribe, feed.message_handler, *more, 0)
    await (handler._create_connection() if more else handler.run())


if __name__ == "__main__":
    mode, url, events, folder, symbols = sys.argv[1:]
    asyncio.run(main(mode, url, int(events), Path(folder), int(symbols)))
