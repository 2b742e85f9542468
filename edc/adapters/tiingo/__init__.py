"""Tiingo: IEX, consolidated equity, FX and crypto, by websocket and by REST polling.

`stream` has the websocket's wire format, `rest` that of the polled endpoints; both from the
vendor's pages (IEX, Forex, Crypto, General), read 2026-09, and live captures of 2022 and 2026.
Sizes are in shares or base currency as sent; nothing is multiplied.
"""

from edc.adapters import Adapter, Channel, FeedPlan, Vendor
from edc.adapters.tiingo.options import TiingoFeedOptions, TiingoVendorOptions
from edc.adapters.tiingo.rest import TiingoRest
from edc.adapters.tiingo.stream import TiingoStream

_STOCKS = ("stock", "etf")


def _build(plan: FeedPlan) -> Adapter:
    polled = VENDOR.channels[plan.options.channel].kind == "poll"
    return TiingoRest(plan) if polled else TiingoStream(plan)


VENDOR = Vendor(
    title="Tiingo",
    needs_key=True,
    channels={
        "iex": Channel(
            "websocket",
            _STOCKS,
            ("ref_px", "trade", "quote"),
            "IEX; threshold_level 6 (reference price), 5 or 0 (top of book, needs an agreement)",
        ),
        "equity": Channel(
            "websocket",
            _STOCKS,
            ("ref_px", "quote"),
            "consolidated equity, beta; threshold_level 6 (reference price) or 4 (estimated quote)",
        ),
        "fx": Channel("websocket", ("fx",), ("quote",), "FX top of book; threshold_level 5 or 7"),
        "crypto": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote", "ref_px"),
            "crypto by exchange; threshold_level 2 (trades and quotes) or 5 (trades)",
        ),
        "iex_rest": Channel("poll", _STOCKS, ("ref_px", "trade", "quote"), "IEX, last values"),
        "fx_rest": Channel("poll", ("fx",), ("quote",), "FX, last quotes"),
        "crypto_rest": Channel("poll", ("crypto",), ("trade", "quote"), "crypto, top of book"),
    },
    vendor_options=TiingoVendorOptions,
    feed_options=TiingoFeedOptions,
    build=_build,
)
