"""The contract of an adapter: one file a vendor, and `ls edc/adapters` is the vendor list.

A file offers `VENDOR`, which says what can be connected and builds an adapter for one feed. The
adapter says where to connect and what to ask for, and turns frames into events. `decode` is pure:
no I/O, no clock, no log. It returns the events of a frame (none for heartbeats and
acknowledgements) and raises Skippable for a message that it cannot use or by which the vendor says
that it has dropped something, Fatal where the vendor refuses what only the operator can mend,
Retriable where the vendor asks for another try.

Sockets, reconnects, queues, files and counters belong to others. Packages outside edc add vendors
through the entry-point group `edc.adapters`; one is imported only when the config names it.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Literal, Protocol, cast, runtime_checkable

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from edc.events import Event
from edc.times import parse_duration
from edc.transport import Frame, Request
from edc.wire import Short

Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds, written as `"200ms"`, `"60s"`, `"5m"`."""


def _address_of(*schemes: str) -> AfterValidator:
    """Accepts URLs of these schemes, and gives them back without a slash at the end."""

    def check(url: str) -> str:
        if not re.fullmatch(rf"({'|'.join(schemes)})://[^\s/]+(/\S*)?", url):
            raise ValueError(f"{url!r} is no such url; write one like {schemes[-1]}://host")
        return url.rstrip("/")

    return AfterValidator(check)


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


@dataclass(frozen=True, slots=True)
class Channel:
    """One thing a vendor offers: how it is fetched and what comes of it.

    `sequenced` says within what `sequence` counts up by one with each event, so that a jump means
    a loss: within a `symbol`, or within the whole `feed`; None where it promises no such thing.
    """

    kind: Literal["websocket", "poll"]
    asset_types: tuple[str, ...]
    event_types: tuple[str, ...]
    text: str
    sequenced: Literal["symbol", "feed"] | None = None


class Adapter(Protocol):
    """The part of a vendor that every feed has."""

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of one frame. Raises Skippable, Fatal or Retriable."""
        ...


@dataclass(frozen=True, slots=True)
class Silence:
    """How long a feed may be silent, in an open market, before it is connected anew. Seconds.

    What the feed's options say holds exactly. Where they say nothing it is learned: never under
    the floor of `edc.staleness`, and over `longest` only where connecting anew has not helped.
    """

    stale_after: float | None = None
    first_data_within: float | None = None
    longest: float = 150.0
    first: float = 60.0
    """For the first data after subscribing."""


class WebsocketAdapter(Adapter, Protocol):
    """A feed that is pushed."""

    url: str
    silence: Silence

    def subscribe(self) -> Sequence[str]:
        """The messages to send on a new connection, in order."""
        ...


@runtime_checkable
class HasShort(Protocol):
    """An adapter that reads its commonest frames many at once; `decode` reads them all the same.

    None where the feed has no such frames.
    """

    short: Short | None


class PollAdapter(Adapter, Protocol):
    """A feed that is fetched."""

    interval: float
    """Seconds between the starts of two rounds."""

    def requests(self) -> Sequence[Request]:
        """The requests of one round."""
        ...


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """All that an adapter is built from. `vendor` is the name that the rows will carry."""

    vendor: str
    vendor_options: VendorOptions
    options: FeedOptions
    key: str


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor: its channels, its options, and how to build an adapter for a feed."""

    title: str
    needs_key: bool
    channels: Mapping[str, Channel]
    vendor_options: type[VendorOptions]
    feed_options: type[FeedOptions]
    build: Callable[[FeedPlan], Adapter]


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="edc.adapters")}


def names() -> list[str]:
    """All adapters that can be named in a config, built in and installed."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} | _plugins().keys())


def load(name: str) -> Vendor:
    """The vendor of that name. Raises KeyError if there is none."""
    if name in {module.name for module in pkgutil.iter_modules(__path__)}:
        return cast("Vendor", importlib.import_module(f"{__name__}.{name}").VENDOR)
    return cast("Vendor", _plugins()[name].load())
