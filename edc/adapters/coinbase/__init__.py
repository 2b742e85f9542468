"""Coinbase: the Exchange feed and Advanced Trade, by websocket, and the Exchange's REST trades.

Source: the venue's pages of both APIs, recordings of 2021, REST captures of 2026. No key is needed.

* Exchange: `match` and `last_match` (the last trade, at subscribing) have `side` of the maker: the
  taker's is the other. `trade_id` counts up by one for each product. The heartbeat's last id is
  compared too. `ticker` comes with trades only, so its book is no quote; quotes are the best level
  of `level2_batch`, recorded when it changes, at the time of the change.
* Advanced: `market_trades`, in batches, newest first; `sequence_num` counts all messages of a
  connection. UNCONFIRMED: whose side `side` is; it is read as the maker's unless `side_is` says
  `taker`. `-USDC` products come under their `-USD` names. `level2` comes as `l2_data`, with
  snapshots that may exceed the limit of a message: then take the exchange channel. Quiet channels
  are closed after a minute, so `heartbeats` is always asked for.
  A jump of that count is told, and books are asked for anew: until they come there are no quotes.
* A refused product fails its whole message (UNCONFIRMED), so products are asked for one by one.
* REST: trades by their ids, newest first, a page ending where `after` says; of Advanced, by time.
"""

from edc.adapters import Adapter, Channel, FeedPlan, Instruments, Vendor
from edc.adapters.coinbase.advanced import CoinbaseAdvanced
from edc.adapters.coinbase.exchange import CoinbaseExchange, CoinbaseRest
from edc.adapters.coinbase.options import CoinbaseFeedOptions, CoinbaseVendorOptions
from edc.adapters.coinbase.products import instruments, lists


def _build(plan: FeedPlan) -> Adapter:
    if plan.options.channel == "advanced":
        return CoinbaseAdvanced(plan)
    rest = plan.options.channel == "exchange_rest"
    return CoinbaseRest(plan) if rest else CoinbaseExchange(plan)


VENDOR = Vendor(
    title="Coinbase",
    needs_key=False,
    channels={
        "exchange": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote"),
            "the Exchange feed; streams: trades, quotes (from level2_batch)",
            sequenced=("trade",),
        ),
        "advanced": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote"),
            "Advanced Trade; streams: trades, quotes (from level2)",
        ),
        "exchange_rest": Channel("poll", ("crypto",), ("trade",), "last trades"),
    },
    vendor_options=CoinbaseVendorOptions,
    feed_options=CoinbaseFeedOptions,
    build=_build,
    instruments=Instruments(lists, instruments),
)
