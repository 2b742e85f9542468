"""What an OKX vendor and feed may be told in the config."""

from typing import Literal

from pydantic import Field, model_validator

from edc.adapters import Duration, FeedOptions, HttpUrl, VendorOptions, WebsocketUrl

Stream = Literal["trades", "trades-all", "bbo-tbt", "tickers", "mark-price", "index-tickers"]
_STREAMS: dict[str, tuple[Stream, ...]] = {
    "spot": ("trades", "bbo-tbt", "tickers", "index-tickers"),
    "spot_trades": ("trades-all",),
    "derivatives": ("trades", "bbo-tbt", "tickers", "mark-price"),
    "derivatives_trades": ("trades-all",),
    "spot_rest": ("trades",),
    "derivatives_rest": ("trades",),
}
"""What each channel may carry; the first two are the default."""


class OkxVendorOptions(VendorOptions):
    """`[vendors.okx]`. Accounts of the EEA and the US have hosts of their own (wseea, wsus)."""

    url: WebsocketUrl = "wss://ws.okx.com:8443/ws/v5"
    rest_url: HttpUrl = "https://www.okx.com"


class OkxFeedOptions(FeedOptions):
    """`[feeds.NAME]` of OKX. `interval` is for polling."""

    streams: tuple[Stream, ...] = ()
    interval: Duration = Field(10.0, ge=1)

    @model_validator(mode="after")
    def _fit(self) -> "OkxFeedOptions":
        known = _STREAMS.get(self.channel, self.streams)
        wrong = [stream for stream in self.streams if stream not in known]
        if wrong:
            raise ValueError(
                f"channel {self.channel} has no stream {wrong[0]}; streams are {', '.join(known)}"
            )
        return self

    @property
    def chosen(self) -> tuple[Stream, ...]:
        """The streams asked for, or the default."""
        return self.streams or _STREAMS[self.channel][:2]


def most_symbols(options: FeedOptions) -> int:
    """What the subscriptions of an hour on a connection allow."""
    assert isinstance(options, OkxFeedOptions)
    return 400 // len(options.chosen)  # of 480 subscriptions an hour on a connection
