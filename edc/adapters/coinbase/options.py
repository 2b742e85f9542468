"""What `[vendors.coinbase]` and its feeds may say."""

from typing import Literal

from pydantic import Field

from edc.adapters import Duration, FeedOptions, HttpUrl, VendorOptions, WebsocketUrl

Stream = Literal["trades", "quotes"]


class CoinbaseVendorOptions(VendorOptions):
    """`[vendors.coinbase]`. `url` and `rest_url` are the Exchange's, the others Advanced's."""

    url: WebsocketUrl = "wss://ws-feed.exchange.coinbase.com"
    advanced_url: WebsocketUrl = "wss://advanced-trade-ws.coinbase.com"
    rest_url: HttpUrl = "https://api.exchange.coinbase.com"
    advanced_rest_url: HttpUrl = "https://api.coinbase.com"


class CoinbaseFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Coinbase. `side_is` is for `advanced`, `interval` for polling."""

    streams: tuple[Stream, ...] = Field(("trades", "quotes"), min_length=1)
    side_is: Literal["maker", "taker"] = "maker"
    interval: Duration = Field(10.0, ge=1)
