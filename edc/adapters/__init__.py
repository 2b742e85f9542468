"""The contract of an adapter: one file a vendor, and `ls edc/adapters` is the vendor list.

A file offers `VENDOR`, which says what can be connected and builds an adapter for one connection of
a feed. The adapter says where to connect and what to ask for, and turns frames into events.
`decode` does no I/O and knows no clock and no log; what it may remember is what the frames before,
of the same connection, have said. It returns the events of a frame (none for heartbeats and
acknowledgements) and raises Skippable for a message that it cannot use or by which the vendor says
that it has dropped something, Fatal where the vendor refuses what only the operator can mend,
Retriable where the vendor asks for another try. Where the vendor wants to be answered, or says what
it accepts, the adapter converses (`Converses`).

What the config may say has a file of its own (`edc.options`), and so has what an adapter offers for
filling gaps (`edc.history`); an adapter finds both here too.

Sockets, reconnects, queues, files and counters belong to others. Packages outside edc add vendors
through the entry-point group `edc.adapters`; one is imported only when the config names it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, NamedTuple, Protocol, cast, runtime_checkable

from edc.errors import EdcError
from edc.events import Event
from edc.history import HasHistory as HasHistory
from edc.history import HasNumberedIds as HasNumberedIds
from edc.history import HasOverlap as HasOverlap
from edc.history import HasSpans as HasSpans
from edc.history import Hole as Hole
from edc.options import Duration as Duration
from edc.options import FeedOptions as FeedOptions
from edc.options import HttpUrl as HttpUrl
from edc.options import Networks as Networks
from edc.options import SecretVendorOptions as SecretVendorOptions
from edc.options import Strict as Strict
from edc.options import VendorOptions as VendorOptions
from edc.options import WebhookOptions as WebhookOptions
from edc.options import WebsocketUrl as WebsocketUrl
from edc.transport import Frame, Request
from edc.wire import Short


@dataclass(frozen=True, slots=True)
class Channel:
    """One thing a vendor offers: how it is fetched and what comes of it.

    `sequenced` says of which events `sequence` counts up by one within a symbol, so that a jump
    means a loss; of the others it promises no such thing. `own_names` says that symbols are the
    venue's own names, in lower case (derivatives), and no pairs. `rising` names the event types of
    which `sequence` never falls within a symbol and is the same on all connections: they have no
    other mark by which two connections' events are known to be one. `untimed` names those of which
    some have neither a number nor a time of the vendor's: see `edc.untimed`. `one_connection` says
    that the vendor allows no more than one, so that its feeds of this channel share it.
    """

    kind: Literal["websocket", "stream", "poll", "webhook"]
    asset_types: tuple[str, ...]
    event_types: tuple[str, ...]
    text: str
    sequenced: tuple[str, ...] = ()
    rising: tuple[str, ...] = ()
    untimed: tuple[str, ...] = ()
    own_names: bool = False
    one_connection: bool = False


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


Message = str | bytes
"""A text or a binary message to a vendor."""


class WebsocketAdapter(Adapter, Protocol):
    """A feed that is pushed."""

    url: str
    silence: Silence

    def subscribe(self) -> Sequence[Message]:
        """The messages to send on a new connection, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Keepalive:
    """What the vendor wants to hear, every so many seconds, whatever else is said."""

    message: Message
    every: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a frame says about its connection.

    `send` is what to say to it, in order. Topics in `accepted` will deliver, those in `refused`
    will not, each for the reason given.
    """

    send: Sequence[Message] = ()
    leaving: bool = False
    """The vendor is about to end this connection: another one is made before it does."""
    accepted: Collection[str] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Converses(Protocol):
    """A websocket adapter that answers its vendor, or hears what it accepts.

    `answer` sees every frame until all topics are settled, then those without events. Topics that
    nobody has accepted or refused after a while count as refused; where none was accepted, the
    connection is given up.
    """

    topics: Mapping[str, str]
    """What has to be accepted, each with its symbol. Empty where the vendor accepts in silence."""
    messages_per_second: float
    """How fast we may speak."""
    keepalive: Keepalive | None

    def answer(self, frame: Frame) -> Answer | None:
        """What a frame says about its connection, if anything. Raises what `decode` raises."""
        ...


@runtime_checkable
class Resubscribes(Protocol):
    """A websocket adapter whose vendor changes what a connection that stands delivers."""

    def change(self, plan: "FeedPlan") -> Sequence[Message] | None:
        """Go on by `plan`, which differs in its symbols only: what is to be said for it.

        None where only another connection will do; then nothing has changed. What still comes of
        a symbol that is no longer wanted is decoded as before. Where the subscription has not been
        sent yet, `subscribe` (or the answer that brings it) says what `plan` wants.
        """
        ...


@runtime_checkable
class HasShort(Protocol):
    """An adapter that reads its commonest frames many at once; `decode` reads them all the same.

    None where the feed has no such frames.
    """

    short: Short | None


class StreamAdapter(Adapter, Protocol):
    """A feed that is one HTTP answer without an end; each of its lines is a frame."""

    silence: Silence

    def request(self) -> Request:
        """What is asked for."""
        ...

    def refusal(self, status: int, body: str) -> EdcError:
        """What an answer with another status than 200 means; Refused only where it `Sifts`."""
        ...


@runtime_checkable
class Sifts(Protocol):
    """A streaming adapter whose vendor refuses all that is asked for because of one bad symbol.

    Which one it is, is not said: it is found by asking for parts of them.
    """

    request_every: float
    """Seconds between two requests of `sift`."""
    refused: Mapping[str, str]
    """The symbols that `request` leaves out, each with what the vendor says about it."""

    def sift(self) -> Generator[Request, Frame, None]:
        """Ask until it is known which symbols are bad; afterwards at least one more is `refused`.

        Raises Fatal where nothing is left, and whatever else an answer means.
        """
        ...


@runtime_checkable
class HasHeaders(Protocol):
    """A websocket adapter whose vendor wants to see headers in the handshake."""

    headers: Mapping[str, str]


@runtime_checkable
class HasHeartbeat(Protocol):
    """An adapter whose vendor says something at least so often, though its market be shut.

    Silence beyond that means that the connection is dead, whatever answers our pings.
    """

    beats_within: float
    """Seconds."""


@runtime_checkable
class HasCoolDown(Protocol):
    """A websocket adapter whose vendor wants to be left alone after it limited a handshake (429).

    Knocking at the pace of the usual back-off would prolong it.
    """

    cool_down: float
    """Seconds."""


@runtime_checkable
class HasLifetime(Protocol):
    """A websocket adapter whose vendor ends every connection at a certain age.

    Another one is made before that; both deliver until it does.
    """

    lifetime: float
    """Seconds after which it is time for the next."""


class PollAdapter(Adapter, Protocol):
    """A feed that is fetched."""

    interval: float
    """Seconds between the starts of two rounds."""

    def requests(self) -> Sequence[Request]:
        """The requests of one round."""
        ...


@runtime_checkable
class HasPace(Protocol):
    """A polled feed whose vendor limits how often it may be asked, and not only each round."""

    request_every: float
    """Seconds from one request of a round to the next."""


class WebhookAdapter(Adapter, Protocol):
    """A feed that is posted to us; `decode` reads a body."""

    options: WebhookOptions
    secret: str
    header: str
    """Where the signature or the secret stands."""


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """All that an adapter is built from. `vendor` is the name that the rows will carry.

    `written` has the symbols as the config writes them, `names` what the vendor calls them where
    it has listed what it trades; both by our spelling. `listed` is true where it does list that.
    """

    vendor: str
    vendor_options: VendorOptions
    options: FeedOptions
    key: str
    secret: str = ""
    written: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    listed: bool = False


class Instrument(NamedTuple):
    """What a venue trades, by its own name; of a pair, the currencies as others call them."""

    name: str
    base: str = ""
    quote: str = ""


@dataclass(frozen=True, slots=True)
class Instruments:
    """Where a vendor lists what it trades on a channel, and how the answers are read.

    `requests` is empty for a channel without a list. `read` is pure and raises what `decode`
    raises; `more` is the request of the next page, if there is one. What a list does not say
    anything about, `covers` is false for: it may be traded all the same.

    Where some are listed only family by family (options, by what they are options on), `family` is
    that of a symbol in the lake's spelling, empty for all others, and `part` asks for one. Of a
    family that is not listed, everything may be traded.
    """

    requests: Callable[[VendorOptions, str], Sequence[Request]]
    read: Callable[[Frame], Sequence[Instrument]]
    more: Callable[[Request, Frame], Request | None] | None = None
    covers: Callable[[str], bool] | None = None
    family: Callable[[str], str] | None = None
    part: Callable[[VendorOptions, str], Request] | None = None


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor: its channels, its options, and how to build an adapter for a connection.

    `build` does no I/O; it raises ConfigError, whose place is a key of the feed's section, where a
    symbol is none that the vendor could have. A feed with more symbols than `most_symbols` says for
    its options takes several connections.
    `usual` gives a pair, written with the vendor's own codes, as all others write it.
    """

    title: str
    needs_key: bool
    channels: Mapping[str, Channel]
    vendor_options: type[VendorOptions]
    feed_options: type[FeedOptions]
    build: Callable[[FeedPlan], Adapter]
    most_symbols: Callable[[FeedOptions], int] | None = None
    instruments: Instruments | None = None
    usual: Callable[[str], str] | None = None


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
