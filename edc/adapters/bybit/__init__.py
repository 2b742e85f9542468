"""Bybit v5, by its public websockets and by REST. No key is needed.

Source: the venue's docs (`v5/websocket`, `v5/market/recent-trade`), 2026-07; recordings of 2023.
Each category has an address of its own; spot and linear share names, so each is a channel. Spot
pairs are spelled like all pairs, others by the venue's own names in lower case.

* `S` is the taker's side. Sizes are in base currency (spot, linear) or USD contracts (inverse, as
  the condition says). `i` is the trade's id; `seq` is no count. Block and RPI trades say so.
* `orderbook.1` is the best bid and offer. It was sent in deltas until 2025, with one side empty:
  both forms are read. It is repeated every three seconds with the same `u`, which is dropped; 1 in
  `u` is a restart. `cts`, the time of the match, is taken where there is one, else `ts`.
* `tickers` of derivatives come whole and then in changes. Last, mark and index price become ref_px.
  Spot's have no book; options' have it, since theirs has no level 1.
* Options' trades come by base coin: those of instruments that were not asked for are left out.
* One argument that does not exist fails its whole message (UNCONFIRMED): then each is tried by
  itself. Options answer with lists of both. The venue wants a ping every 20 s.
* REST has the last 60 (spot) or 1000 trades, and no older ones: a gap is filled as far as they go.
"""

from edc.adapters import Adapter, Channel, FeedPlan, Vendor
from edc.adapters.bybit.instruments import INSTRUMENTS
from edc.adapters.bybit.options import BybitFeedOptions, BybitVendorOptions, most_symbols
from edc.adapters.bybit.rest import BybitRest
from edc.adapters.bybit.stream import BybitStream


def _build(plan: FeedPlan) -> Adapter:
    return BybitRest(plan) if plan.options.channel.endswith("_rest") else BybitStream(plan)


def _stream(text: str, *, own_names: bool) -> Channel:
    kinds = ("trade", "quote", "ref_px")
    return Channel("websocket", ("crypto",), kinds, text, rising=("quote",), own_names=own_names)


VENDOR = Vendor(
    title="Bybit",
    needs_key=False,
    channels={
        "spot": _stream("spot; streams: publicTrade, orderbook.1, tickers", own_names=False),
        "linear": _stream("USDT and USDC perpetuals and futures", own_names=True),
        "inverse": _stream("inverse perpetuals and futures, in contracts", own_names=True),
        "option": _stream("options; books from their tickers", own_names=True),
        "spot_rest": Channel("poll", ("crypto",), ("trade",), "spot, the last 60 trades"),
        "linear_rest": Channel(
            "poll", ("crypto",), ("trade",), "linear, the last 1000 trades", own_names=True
        ),
    },
    vendor_options=BybitVendorOptions,
    feed_options=BybitFeedOptions,
    build=_build,
    most_symbols=most_symbols,
    instruments=INSTRUMENTS,
)
