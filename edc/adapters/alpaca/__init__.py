"""Alpaca: stocks (IEX, SIP, the test stream) and crypto, by websocket and by REST.

Source: the vendor's pages on streaming and real-time stock data, its Python client and its tests,
2021 to 2026. Every frame is an array; control messages come in arrays of one. Key and secret are
sent after the greeting, subscriptions after `authenticated`; each answer lists all that is
subscribed. Subscribing trades brings their corrections (`c`) and cancels (`x`) too.

* Times are RFC 3339 with 0 to 9 digits, in msgpack the extension -1: seconds and nanoseconds.
* A trade's `i` is unique for an exchange and a day. `x` is the exchange, a letter as sent. Sizes of
  trades are shares. Sizes of stock quotes are round lots, which are taken as `lot` shares, 100
  unless said otherwise (UNCONFIRMED what the lots of 2025-11, which follow the price, changed).
* A correction becomes two rows: the old trade with `action` cancel, the new one with correct. A
  cancel is one row.
* Crypto has neither exchange nor conditions; `tks` is the taker's side, sizes are in base currency.
* 402 refuses the key, 409 the plan, 410 the channel. 400 is a bad symbol, 405 too many of them:
  both refuse a request whole, and leave what was subscribed before as it is. So requests wait for
  their answers, one after the other, and one that is refused is parted until the bad symbols are
  known, or the plan is full.
* 406: one connection an endpoint, and one that broke off is held for about 90 s. 429 answers a
  handshake that follows too soon on another.
* History (`/v2/stocks/trades`, `/v1beta3/crypto/us/trades`, the same for quotes) is the latest
  rows' form in lists, page by page with `next_page_token`; 200 requests a minute on every plan.
"""

from edc.adapters import Adapter, Channel, FeedPlan, Vendor
from edc.adapters.alpaca.options import AlpacaFeedOptions, AlpacaVendorOptions
from edc.adapters.alpaca.rest import AlpacaRest
from edc.adapters.alpaca.stream import AlpacaStream


def _build(plan: FeedPlan) -> Adapter:
    return AlpacaRest(plan) if plan.options.channel.endswith("_rest") else AlpacaStream(plan)


_STOCKS = ("stock", "etf")


def _stream(kinds: tuple[str, ...], text: str) -> Channel:
    return Channel("websocket", kinds, ("trade", "quote"), text, one_connection=True)


VENDOR = Vendor(
    title="Alpaca",
    needs_key=True,
    channels={
        "iex": _stream(_STOCKS, "stocks and ETFs on IEX"),
        "sip": _stream(_STOCKS, "stocks and ETFs, consolidated"),
        "delayed_sip": _stream(_STOCKS, "the same, fifteen minutes late"),
        "test": _stream(_STOCKS, "a stream that is always on; its symbol is FAKEPACA"),
        "crypto": _stream(("crypto",), "crypto"),
        "stocks_rest": Channel("poll", _STOCKS, ("trade", "quote"), "stocks, last values"),
        "crypto_rest": Channel("poll", ("crypto",), ("trade", "quote"), "crypto, last values"),
    },
    vendor_options=AlpacaVendorOptions,
    feed_options=AlpacaFeedOptions,
    build=_build,
)
