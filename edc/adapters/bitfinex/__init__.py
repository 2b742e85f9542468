"""Bitfinex v2, by websocket and by REST. No key is needed.

Source: the venue's pages, its Python client, recordings of 2019 to 2021. Data are arrays, `[chanId,
…, sequence, time]`; what a channel id means is said when it is subscribed. Flags ask for a sequence
of all arrays of a connection, heartbeats included, for the server's time, and for books' checksums.

* A jump of that sequence is told, and books are asked for anew: until they have come there are no
  quotes. So is a book whose sum is not the venue's; what was recorded of it since its last right
  sum is told as unsound. UNCONFIRMED: that numbers are summed as they are sent. Of a symbol whose
  book is wrong by its sum four times in a row, though it came whole each time, sums are no longer
  believed on that connection.
* Trades' ids are unique, but not in order. Of `te` and `tu`, which tell the same trade twice, `te`
  is taken. An amount above 0: the taker bought. Subscribing brings the last 30 trades.
* The book is asked for with 25 levels a side, since that is what the sum is of. A level may be
  taken away before its successor comes; quotes are recorded only with both sides, when the best
  level changes. `ticker` is no quote, its sizes are sums of 25 levels.
* `status` of derivatives gives last (2), index (3) and mark (14) price, each a ref_px when it
  changes. Derivatives are called by the venue's own names (`tBTCF0:USTF0`), in lower case; spot
  pairs like all pairs. The venue's own codes: UST is USDT, UDC is USDC.
* Info 20051: the server restarts; 20061: maintenance is over, everything is to be subscribed anew.
* UNCONFIRMED: most error codes; any `error` that names a channel and a symbol refuses it.
"""

from edc.adapters import Adapter, Channel, FeedPlan, Vendor
from edc.adapters.bitfinex.instruments import INSTRUMENTS, usual
from edc.adapters.bitfinex.options import BitfinexFeedOptions, BitfinexVendorOptions, most_symbols
from edc.adapters.bitfinex.rest import BitfinexRest
from edc.adapters.bitfinex.stream import BitfinexStream


def _build(plan: FeedPlan) -> Adapter:
    return BitfinexRest(plan) if plan.options.channel == "spot_rest" else BitfinexStream(plan)


VENDOR = Vendor(
    title="Bitfinex",
    needs_key=False,
    channels={
        "spot": Channel("websocket", ("crypto",), ("trade", "quote"), "streams: trades, book"),
        "derivatives": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote", "ref_px"),
            "perpetuals; streams: trades, book, status (last, index, mark)",
            own_names=True,
        ),
        "spot_rest": Channel("poll", ("crypto",), ("trade",), "last trades"),
    },
    vendor_options=BitfinexVendorOptions,
    feed_options=BitfinexFeedOptions,
    build=_build,
    most_symbols=most_symbols,
    instruments=INSTRUMENTS,
    usual=usual,
)
