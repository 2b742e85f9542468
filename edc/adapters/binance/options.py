"""What a Binance vendor and feed may be told in the config."""

from typing import Literal

from pydantic import Field, field_validator

from edc.adapters import Duration, FeedOptions, HttpUrl, VendorOptions, WebsocketUrl

Stream = Literal["trade", "aggTrade", "blockTrade", "bookTicker", "referencePrice", "avgPrice"]
_MOST_STREAMS = 1024
"""On one connection."""


class BinanceVendorOptions(VendorOptions):
    """`[vendors.binance]`. Both default to the hosts that serve market data only."""

    url: WebsocketUrl = "wss://data-stream.binance.vision"
    rest_url: HttpUrl = "https://data-api.binance.vision"


class BinanceFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Binance. `interval` is for polling."""

    streams: tuple[Stream, ...] = ("trade", "bookTicker")
    interval: Duration = Field(10.0, ge=1)

    @field_validator("streams")
    @classmethod
    def _some(cls, streams: tuple[Stream, ...]) -> tuple[Stream, ...]:
        if not streams or len(set(streams)) < len(streams):
            raise ValueError('name each stream once, like ["trade", "bookTicker"]')
        return streams


def most_symbols(options: FeedOptions) -> int:
    """As many as there is room for among the streams of a connection."""
    assert isinstance(options, BinanceFeedOptions)
    return _MOST_STREAMS // len(options.streams)
