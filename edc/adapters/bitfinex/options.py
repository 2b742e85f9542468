"""What a Bitfinex vendor and feed may be told in the config."""

from typing import Literal

from pydantic import Field

from edc.adapters import Duration, FeedOptions, HttpUrl, VendorOptions, WebsocketUrl

Stream = Literal["trades", "book", "status"]
_MOST_CHANNELS = 25


class BitfinexVendorOptions(VendorOptions):
    """`[vendors.bitfinex]`."""

    url: WebsocketUrl = "wss://api-pub.bitfinex.com/ws/2"
    rest_url: HttpUrl = "https://api-pub.bitfinex.com"


class BitfinexFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Bitfinex; `status` is for derivatives. `interval` is for polling."""

    streams: tuple[Stream, ...] = Field(("trades", "book"), min_length=1)
    interval: Duration = Field(15.0, ge=1)


def most_symbols(options: FeedOptions) -> int:
    """As many as there are channels on a connection."""
    assert isinstance(options, BitfinexFeedOptions)
    return _MOST_CHANNELS // len(options.streams)
