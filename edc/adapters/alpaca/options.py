"""What `[vendors.alpaca]` and its feeds may say."""

from typing import Literal

from pydantic import Field

from edc.adapters import Duration, FeedOptions, HttpUrl, SecretVendorOptions, WebsocketUrl

Take = Literal["trades", "quotes"]
AT_ONCE = 200
"""Symbols in one message: under the vendor's limit of 32,768 bytes a frame."""


class AlpacaVendorOptions(SecretVendorOptions):
    """`[vendors.alpaca]`."""

    url: WebsocketUrl = "wss://stream.data.alpaca.markets"
    rest_url: HttpUrl = "https://data.alpaca.markets"


class AlpacaFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Alpaca. `interval` is for polling."""

    take: tuple[Take, ...] = Field(("trades", "quotes"), min_length=1)
    encoding: Literal["json", "msgpack"] = "json"
    lot: int = Field(100, ge=1)
    interval: Duration = Field(10.0, ge=1)
    backfill: tuple[Take, ...] = Field(("trades",), description="what a gap is filled with")
