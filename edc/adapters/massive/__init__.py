"""Massive (Polygon.io until 2025-10): stocks, FX and crypto, by websocket and by REST.

Source: the vendor's pages, its Python client and that one's tests, messages seen in 2026. Every
frame is an array, in which status and data may be mixed. The key is sent after the greeting,
subscriptions after `auth_success`; each topic is acknowledged by itself.

* Websocket times are in milliseconds, REST times of stocks in nanoseconds. They are the SIP's; with
  `time_of = "participant"` they are the venue's (`pt`, in REST `y`) where a trade has one
  (UNCONFIRMED: that `pt` is in milliseconds); trades over the counter (exchange 62) are pushed
  without it, and have the SIP's in REST too. A trade's `i` is unique for a ticker, an exchange and
  a reporting facility. Of trades off the exchanges (`x` is 4) that facility is `trfi`, in REST
  `trf_id` or `r`; messages without it are known, so it is part of no row: `q`, which both have,
  tells two trades with one id apart. `q` rises within a ticker, with holes: no jump can be seen.
  `x` is the exchange's number, as sent. `ds` (in history `decimal_size`), a size with fractions,
  goes before `s`.
* Sizes of stock quotes are disputed: round lots by old pages, shares since 2025-11-03 by later
  ones. They are taken as shares unless `quote_size_unit` says `lots`.
* FX quotes have no sizes. Pairs are written `USD/CNH`, `EUR-USD` or `C:EUR-USD`, in quotes as in
  acknowledgements, whichever was asked for. UNCONFIRMED: that crypto conditions 1 and 2 are sides;
  they are kept as conditions.
* `max_connections` comes after a subscription was accepted, and then the end: a minute is waited. A
  status that the pages do not list is kept as a dead letter. UNCONFIRMED: what refuses a single
  topic. `error` and `not_authorized` refuse those that they name; without names the first is a
  notice, and what is then not acknowledged counts as refused, the second refuses the feed.
"""

from edc.adapters import Adapter, Channel, FeedPlan, Vendor
from edc.adapters.massive.options import MassiveFeedOptions, MassiveVendorOptions
from edc.adapters.massive.rest import MassiveRest, MassiveSnapshot
from edc.adapters.massive.stream import MassiveStream


def _build(plan: FeedPlan) -> Adapter:
    channel = plan.options.channel
    if channel == "stocks_snapshot":
        return MassiveSnapshot(plan)
    return MassiveRest(plan) if channel.endswith("_rest") else MassiveStream(plan)


_STOCKS = ("stock", "etf")
VENDOR = Vendor(
    title="Massive",
    needs_key=True,
    channels={
        "stocks": Channel(
            "websocket", _STOCKS, ("trade", "quote"), "stocks and ETFs", one_connection=True
        ),
        "forex": Channel("websocket", ("fx",), ("quote",), "FX quotes", one_connection=True),
        "crypto": Channel(
            "websocket", ("crypto",), ("trade", "quote"), "crypto", one_connection=True
        ),
        "stocks_rest": Channel("poll", _STOCKS, ("trade", "quote"), "stocks, last values"),
        "stocks_snapshot": Channel(
            "poll", _STOCKS, ("trade", "quote"), "stocks, last values, many in one request"
        ),
        "forex_rest": Channel("poll", ("fx",), ("quote",), "FX, last quotes"),
        "crypto_rest": Channel("poll", ("crypto",), ("trade",), "crypto, last trades"),
    },
    vendor_options=MassiveVendorOptions,
    feed_options=MassiveFeedOptions,
    build=_build,
)
