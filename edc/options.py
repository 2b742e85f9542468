"""What the config may say of a vendor and of a feed, and of what kinds its values are.

An adapter adds to these what only its vendor knows (see `edc.adapters.Vendor`); the sections that
are edc's own are in `edc.settings`.
"""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from edc.times import parse_duration

Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds, written as `"200ms"`, `"60s"`, `"5m"`."""


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is no address; write one like 10.1.2.3 or 10.0.0.0/8") from None
    return text


def _address_of(*schemes: str) -> AfterValidator:
    """Accepts URLs of these schemes, and gives them back without a slash at the end."""

    def check(url: str) -> str:
        if not re.fullmatch(rf"({'|'.join(schemes)})://[^\s/]+(/\S*)?", url):
            raise ValueError(f"{url!r} is no such url; write one like {schemes[-1]}://host")
        return url.rstrip("/")

    return AfterValidator(check)


Networks = Annotated[str, AfterValidator(_network)]
"""An address, or a network like `10.0.0.0/8`."""
WebsocketUrl = Annotated[str, _address_of("ws", "wss")]
HttpUrl = Annotated[str, _address_of("http", "https")]


class Strict(BaseModel):
    """Settings: frozen, and an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VendorOptions(Strict):
    """What every `[vendors.NAME]` may say; a vendor adds its own."""

    adapter: str | None = Field(None, description="the adapter, where NAME is not its name")
    url: WebsocketUrl | None = None
    rest_url: HttpUrl | None = None
    api_key: SecretStr | None = None
    api_key_file: Path | None = None


class SecretVendorOptions(VendorOptions):
    """The same, of a vendor that gives a secret beside the key."""

    api_secret: SecretStr | None = None
    api_secret_file: Path | None = None


class FeedOptions(Strict):
    """What every `[feeds.NAME]` says; a vendor adds its own."""

    vendor: str
    channel: str
    symbols: dict[str, tuple[str, ...]]
    stale_after: Duration | None = Field(
        None, gt=0, description="reconnect after this long without data in an open market"
    )
    first_data_within: Duration | None = Field(
        None, gt=0, description="the same from subscribing, or the open, to the first data"
    )
    connections: int = Field(
        1, ge=1, le=4, description="take the same stream so many times, and keep one of each event"
    )
    required: bool = Field(
        default=True, description="the daemon is not ready (/readyz) while this feed is not"
    )


class WebhookOptions(FeedOptions):
    """What every feed that is posted to us says: how its sender proves itself, and how much it may.

    The secret is the vendor's key. `hmac`: a signature of the time and the body; `header`: the
    secret itself in a header; `path`: the secret as the last part of the URL, for senders that can
    do neither.
    """

    auth: Literal["hmac", "header", "path"] = "hmac"
    header: str | None = Field(None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    tolerance: Duration = Field(300.0, gt=0, description="how old a signature may be")
    allow: tuple[Networks, ...] = Field((), description="addresses that may send; all if empty")
    proxies: tuple[Networks, ...] = Field(
        (), description="addresses whose X-Forwarded-For is believed"
    )
    most_per_second: float = Field(50.0, gt=0)
