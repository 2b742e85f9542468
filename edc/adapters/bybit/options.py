"""What a Bybit vendor and feed may be told in the config."""

from typing import Literal

from pydantic import Field

from edc.adapters import Duration, FeedOptions, HttpUrl, VendorOptions, WebsocketUrl

Stream = Literal["publicTrade", "orderbook.1", "tickers"]
_MOST_LETTERS = 21_000
"""Of all arguments of a connection."""


class BybitVendorOptions(VendorOptions):
    """`[vendors.bybit]`. Some countries have hosts of their own (stream.bybit.eu …)."""

    url: WebsocketUrl = "wss://stream.bybit.com/v5/public"
    rest_url: HttpUrl = "https://api.bybit.com"


class BybitFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Bybit. `interval` is for polling."""

    streams: tuple[Stream, ...] = Field(("publicTrade", "orderbook.1", "tickers"), min_length=1)
    interval: Duration = Field(10.0, ge=1)


def most_symbols(options: FeedOptions) -> int:
    """As many as there is room for in the arguments of a connection."""
    assert isinstance(options, BybitFeedOptions)
    return _MOST_LETTERS // (40 * len(options.streams))
