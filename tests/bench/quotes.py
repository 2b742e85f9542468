"""Quotes made in columns: distinct, in order of time, like those of a stock exchange.

300 symbols unless said otherwise, of which the first has a tenth of all rows and the others the
more the lower their number; a time with nanoseconds, prices in cents, a rising number.
"""

import polars as pl

from edc.events import schema

ZONE = "America/New_York"
_VENUES = ["XNAS", "XNYS", "ARCX", "BATS", "EDGX", "IEXG", "MEMX", None]


def quotes(first: int, last: int, begin_ns: int, step: int, symbols: int = 300) -> pl.DataFrame:
    """The rows numbered from `first` up to `last`, no two of them equal.

    Row 0 is at `begin_ns`, one follows the other after `step` ns, or a little less or more.
    """
    frame = pl.int_range(first, last, eager=True).alias("index").to_frame()

    def dice(seed: int, sides: int) -> pl.Expr:
        return (pl.col("index").hash(seed) % sides).cast(pl.Int64)

    share = dice(1, 10_000) / 10_000
    symbol = pl.when(dice(2, 10) == 0).then(0).otherwise(1 + (share**2 * (symbols - 1)).floor())
    time_of = begin_ns + pl.col("index") * step + dice(3, step)
    bid = 10 + dice(4, 100_000) / 100
    names = pl.Series([f"sym{each:03d}" for each in range(symbols)])
    venues = pl.Series(_VENUES, dtype=pl.String)
    columns = {
        "asset_type": pl.lit("stock"),
        "event_type": pl.lit("quote"),
        "symbol": pl.lit(names).gather(symbol.cast(pl.UInt32)),
        "bid_size": dice(5, 50) * 100,
        "ask_size": dice(6, 50) * 100,
        "bid": bid,
        "ask": bid + 0.01,
        "mid": bid + 0.005,
        "event_time": time_of,
        "vendor": pl.lit("tiingo"),
        "source": pl.lit("tiingo_iex"),
        "exchange": pl.lit("IEX"),
        "bid_exchange": pl.lit(venues).gather(dice(7, 8).cast(pl.UInt32)),
        "ask_exchange": pl.lit(venues).gather(dice(8, 8).cast(pl.UInt32)),
        "conditions": pl.lit(None),
        "sequence": pl.col("index"),
        "created_at": time_of + 20_000_000 + dice(9, 5_000_000),
    }
    types = schema("quote", ZONE)
    return frame.select(columns[name].cast(dtype).alias(name) for name, dtype in types.items())
