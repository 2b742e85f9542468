"""What `[vendors.massive]` and its feeds may say."""

from typing import Literal

from pydantic import Field, model_validator

from edc.adapters import Duration, FeedOptions, HttpUrl, VendorOptions, WebsocketUrl

Take = Literal["trades", "quotes"]
TOPICS: dict[str, dict[Take, str]] = {
    "stocks": {"trades": "T", "quotes": "Q"},
    "forex": {"quotes": "C"},
    "crypto": {"trades": "XT", "quotes": "XQ"},
}
"""What a channel has, and the vendor's letters for it."""
_POLLED: dict[str, tuple[Take, ...]] = {
    "stocks_rest": ("trades", "quotes"),
    "stocks_snapshot": ("trades", "quotes"),
    "forex_rest": ("quotes",),
    "crypto_rest": ("trades",),
}


class MassiveVendorOptions(VendorOptions):
    """`[vendors.massive]`. The old hosts (socket.polygon.io, api.polygon.io) work too."""

    url: WebsocketUrl = "wss://socket.massive.com"
    rest_url: HttpUrl = "https://api.massive.com"


class MassiveFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Massive. `interval` is for polling: the free plan has five a minute."""

    take: tuple[Take, ...] = Field(("trades", "quotes"), min_length=1)
    time_of: Literal["sip", "participant"] = Field(
        "sip", description="whose time of a stock trade is taken, where it has both"
    )
    quote_size_unit: Literal["shares", "lots"] = "shares"
    interval: Duration = Field(60.0, ge=1)
    backfill: tuple[Take, ...] | None = Field(
        None, description="what a gap is filled with: trades where there are some, unless said"
    )
    history_every: Duration = Field(12.5, ge=0, description="between two requests of REST")

    @model_validator(mode="after")
    def _some(self) -> "MassiveFeedOptions":
        offered = _POLLED.get(self.channel) or tuple(TOPICS.get(self.channel, self.take))
        if not set(offered) & set(self.take):
            raise ValueError(f"{self.channel} has {' and '.join(offered)}; take some of it")
        return self
