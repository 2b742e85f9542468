"""The original system's approach, from its description: `original.py - URL EVENTS FOLDER SYMBOLS`.

websockets; json; dateutil and pytz for the times; a dict of rows by source, symbol and time, which
is its deduplication; pyarrow once it holds 100,000.
"""

import asyncio
import json
import sys
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytz
import websockets
from dateutil import parser
from steady import Steady

_BATCH = 100_000
_ZONE = pytz.timezone("America/New_York")


def rows_of(frame: str) -> dict[str, object] | None:
    """The row of a frame, if it has one."""
    message = json.loads(frame)
    if message["messageType"] != "A":
        return None
    data = message["data"]
    row: dict[str, object] = {
        "asset_type": "crypto",
        "symbol": data[1].lower(),
        "vendor": "tiingo",
        "source": "tiingo_crypto",
        "exchange": data[3],
        "event_time": parser.parse(data[2]).astimezone(_ZONE),
        "created_at": datetime.now(_ZONE),
    }
    if data[0] == "T":
        return row | {"event_type": "trade", "last_size": data[4], "last_price": data[5]}
    names = ("bid_size", "bid", "mid", "ask_size", "ask")
    return row | {"event_type": "quote"} | dict(zip(names, data[4:], strict=True))


async def main(url: str, events: int, folder: Path) -> None:
    """Until all events have come."""
    steady, files = Steady(events), 0
    buffers: dict[object, dict[object, dict[str, object]]] = {"trade": {}, "quote": {}}
    async with websockets.connect(url) as connection:
        await connection.send('{"id": 1}')
        async for frame in connection:
            row = rows_of(str(frame))
            if row is None:
                continue
            buffer = buffers[row["event_type"]]
            buffer[row["source"], row["symbol"], row["event_time"]] = row
            steady.add(1)
            if len(buffer) >= _BATCH:
                table = pa.Table.from_pylist(list(buffer.values()))
                pq.write_table(table, folder / f"{row['event_type']}-{files}.parquet")
                buffer.clear()
                files += 1


if __name__ == "__main__":
    _, url, events, folder, _ = sys.argv[1:]
    asyncio.run(main(url, int(events), Path(folder)))
