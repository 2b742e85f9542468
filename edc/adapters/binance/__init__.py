"""Binance spot, by its public websocket streams and by REST. No key is needed.

Source: the venue's `web-socket-streams.md` and `rest-api.md`, 2026-07, and recordings of 2021 and
2024. Streams are combined: `{"stream": "btcusdt@trade", "data": {...}}`; answers to what we send
are not wrapped. Prices and sizes are decimal strings, in quote and base currency.

* Times come in microseconds (`timeUnit=MICROSECOND`), in old recordings in milliseconds; which one
  is seen from the number itself.
* A trade's `t` is contiguous for each symbol, so it is its `sequence`, and a jump is a loss. `m`
  true: the buyer was the maker, the taker sold. An `aggTrade` has the id `a`, a `blockTrade` ids of
  a space of its own; their condition says which they are, and their ids are no `sequence`.
* `bookTicker` has no time: `event_time` is the time of receipt. Its `u` rises, but not by one.
* `referencePrice` may be null: then there is nothing to record. `avgPrice` is a five-minute mean.
* UNCONFIRMED: a stream that does not exist may be acknowledged and stay silent; errors come flat or
  under `error`.
* `serverShutdown`: the connection ends soon, another one is to be made at once.
"""

from collections.abc import Sequence

from edc.adapters import Adapter, Channel, FeedPlan, Instruments, Vendor, VendorOptions
from edc.adapters.binance.options import BinanceFeedOptions, BinanceVendorOptions, most_symbols
from edc.adapters.binance.rest import BinanceRest
from edc.adapters.binance.stream import BinanceStream
from edc.binance_wire import instruments
from edc.transport import Request


def _build(plan: FeedPlan) -> Adapter:
    return BinanceRest(plan) if plan.options.channel == "spot_rest" else BinanceStream(plan)


def _lists(options: VendorOptions, _channel: str) -> Sequence[Request]:
    return [Request(f"{options.rest_url}/api/v3/exchangeInfo", {"showPermissionSets": "false"})]


VENDOR = Vendor(
    title="Binance",
    needs_key=False,
    channels={
        "spot": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote", "ref_px"),
            "spot; streams: trade, bookTicker, aggTrade, blockTrade, referencePrice, avgPrice",
            sequenced=("trade",),
            rising=("quote",),
        ),
        "spot_rest": Channel(
            "poll", ("crypto",), ("trade", "quote"), "spot, last trades and books"
        ),
    },
    vendor_options=BinanceVendorOptions,
    feed_options=BinanceFeedOptions,
    build=_build,
    most_symbols=most_symbols,
    instruments=Instruments(_lists, instruments),
)
