"""OKX v5, by its public and business websockets and by REST. No key is needed.

Source: the venue's docs-v5, client libraries that follow them, recordings of 2021 to 2026. Spot
pairs are spelled like all pairs (`btcusdt` is BTC-USDT), derivatives by the venue's own names in
lower case (`btc-usdt-swap`).

* `trades` are merged: `tradeId` is that of the last of `count` trades of one taker at one price, so
  the id before it plus `count` is this one; what is missing is told, and cannot be filled. Channels
  `…_trades` have `trades-all`, one row for each match, on the business address; their ids count up
  by one, so that jumps are filled. UNCONFIRMED: whether `trades-all` wants a login some day.
* `side` is the taker's. Sizes are in base currency for spot; of derivatives in contracts, which
  their condition says, since a contract's size is known to REST only. `source` 1 is a retail price
  improvement order.
* `bbo-tbt` is the best bid and offer; its `seqId` does not count by one. `tickers` gives the last
  price, `mark-price` and `index-tickers` theirs, each a ref_px when it changes.
* Each argument is acknowledged by itself; 60018 names the one that does not exist. The venue wants
  the text `ping` after 30 s of silence and announces the end of a connection (64008).
"""

from edc.adapters import Adapter, Channel, FeedPlan, Vendor
from edc.adapters.okx.instruments import INSTRUMENTS
from edc.adapters.okx.options import OkxFeedOptions, OkxVendorOptions, most_symbols
from edc.adapters.okx.rest import OkxRest
from edc.adapters.okx.stream import OkxStream

_CRYPTO = ("crypto",)


def _build(plan: FeedPlan) -> Adapter:
    return OkxRest(plan) if plan.options.channel.endswith("_rest") else OkxStream(plan)


VENDOR = Vendor(
    title="OKX",
    needs_key=False,
    channels={
        "spot": Channel(
            "websocket",
            _CRYPTO,
            ("trade", "quote", "ref_px"),
            "spot; streams: trades (merged), bbo-tbt, tickers, index-tickers",
        ),
        "spot_trades": Channel(
            "websocket", _CRYPTO, ("trade",), "spot, every single trade", sequenced=("trade",)
        ),
        "derivatives": Channel(
            "websocket",
            _CRYPTO,
            ("trade", "quote", "ref_px"),
            "swaps, futures, options; streams: trades (merged), bbo-tbt, tickers, mark-price",
            own_names=True,
        ),
        "derivatives_trades": Channel(
            "websocket",
            _CRYPTO,
            ("trade",),
            "swaps, futures, options, every single trade",
            sequenced=("trade",),
            own_names=True,
        ),
        "spot_rest": Channel("poll", _CRYPTO, ("trade",), "spot, last trades"),
        "derivatives_rest": Channel(
            "poll", _CRYPTO, ("trade",), "derivatives, last trades", own_names=True
        ),
    },
    vendor_options=OkxVendorOptions,
    feed_options=OkxFeedOptions,
    build=_build,
    most_symbols=most_symbols,
    instruments=INSTRUMENTS,
)
