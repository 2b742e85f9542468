"""What a Tiingo vendor and feed may be told in the config, and what both protocols share."""

from pydantic import Field, model_validator

from edc.adapters import Duration, FeedOptions, HttpUrl, VendorOptions, WebsocketUrl
from edc.errors import Fatal

LEVELS = {"iex": (6, 5, 0), "equity": (6, 4), "fx": (5, 7, 2), "crypto": (2, 5, 6)}
"""The threshold levels of each websocket channel, the default first. Higher sends less."""


class TiingoVendorOptions(VendorOptions):
    """`[vendors.tiingo]`."""

    url: WebsocketUrl = "wss://api.tiingo.com"
    rest_url: HttpUrl = "https://api.tiingo.com"


class TiingoFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Tiingo. `threshold_level` is for websockets, `interval` for polling."""

    threshold_level: int | None = None
    interval: Duration | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _fits_channel(self) -> "TiingoFeedOptions":
        levels = LEVELS.get(self.channel, ())
        if self.threshold_level is not None and self.threshold_level not in levels:
            raise ValueError(
                f"channel {self.channel} has no threshold_level {self.threshold_level}; "
                f"write one of {', '.join(map(str, sorted(levels)))}"
                if levels
                else f"threshold_level is for websockets, {self.channel} is polled; remove it"
            )
        if self.interval is not None and levels:
            raise ValueError(f"interval is for polling, {self.channel} is a websocket; remove it")
        return self


def refusal(code: int, message: str) -> Fatal:
    """What a refused key, service, threshold level or request means for the operator."""
    said = f"Tiingo refused ({code}): {message}" if code else f"Tiingo refused: {message}"
    text = message.lower()
    if "threshold" in text:
        return Fatal(said, "set threshold_level to one that your plan includes (for iex: 6)")
    if "service" in text or "permission" in text:
        return Fatal(said, "remove the feed, or ask Tiingo to add this service to your plan")
    if code in (401, 403) or "token" in text or "auth" in text:
        return Fatal(said, "check the API key (TIINGO_API_KEY) and the plan it belongs to")
    return Fatal(said, "correct the feed's channel, symbols or threshold_level")
