"""The contract of a bus: a broker between those who collect and those who store.

    collect   queue ─► spool ─► bus sink ─publish─► broker
    store                                           broker ─fetch─► batch ─► lake, then ack

A topic is `<prefix>.<event_type>`, parted by a hash of the symbol, so that the events of one symbol
are in one partition, in their order. `publish` returns once the broker has confirmed everything;
until then the messages stay in the spool. A message is acknowledged once its rows are in the lake;
one that is not comes again, to whoever reads its partition next, before those that followed it.

One file for each broker; each is an extra, and imported only where it is used (brokers.py).
"""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

DEAD = "dead"
"""In place of the event type: the topic of messages that cannot be read, `<prefix>.dead`."""


@dataclass(frozen=True, slots=True)
class Share:
    """One partition of one topic: what a store reads as a whole, and nobody else meanwhile."""

    event_type: str
    partition: int


@dataclass(frozen=True, slots=True)
class Message:
    """What travels. `headers` are those of messages.py; `key` names it for brokers that dedupe."""

    share: Share
    data: bytes
    headers: Mapping[str, str]
    key: str
    since: int = 0
    """The least time of its rows, ns since the epoch; stays with the sender."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it came, and what the broker knows it by."""

    message: Message
    token: object
    redelivered: bool = False


@dataclass(slots=True)
class TopicStats:
    """What went through one topic since the start; messages, but for `rows`."""

    published: int = 0
    unconfirmed: int = 0
    consumed: int = 0
    redelivered: int = 0
    dead: int = 0
    rows: int = 0
    lag: int | None = None
    """Messages that no store has acknowledged; None while that is not known."""


@dataclass(slots=True)
class BusStats:
    """What a daemon has to say of its bus. `problem` is empty while the broker answers."""

    name: str
    role: str
    problem: str = ""
    errors: Counter[str] = field(default_factory=Counter)
    topics: dict[str, TopicStats] = field(default_factory=dict)
    """By event type."""

    def of(self, event_type: str) -> TopicStats:
        """The counters of a topic."""
        return self.topics.setdefault(event_type, TopicStats())


class Reader(Protocol):
    """Reads one share, from the first message that nobody has acknowledged."""

    async def fetch(self) -> Sequence[Delivery]:
        """The next messages, some at a time; none after a second without. Raises BusDown."""
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """These are in the lake: never again. Raises BusDown."""
        ...

    async def close(self) -> None:
        """Give back what was not acknowledged."""
        ...


class Bus(Protocol):
    """A broker. Everything raises BusDown where it may be tried again, and ConfigError where not.

    Not for several event loops, or threads.
    """

    async def open(self) -> None:
        """Connect, and make what is missing, or refuse with the command that makes it."""
        ...

    async def close(self) -> None:
        """Let go of the broker. Raises nothing."""
        ...

    async def publish(self, messages: Sequence[Message]) -> None:
        """All is confirmed when this returns, in order by share. Connects where need be.

        What a failure leaves behind is published again, wholly, by the next try.
        """
        ...

    async def reader(self, share: Share) -> Reader:
        """Begin to read a share, which nobody else reads (see shares.py)."""
        ...

    async def lag(self) -> Mapping[str, int]:
        """By event type, messages that nobody has acknowledged."""
        ...

    def assigned(self) -> AbstractSet[Share] | None:
        """The shares that the broker gives to this store; None where it gives none.

        Raises BusDown and ConfigError where it cannot give any.
        """
        ...


def by_share(messages: Sequence[Message], at_once: int) -> list[list[list[Message]]]:
    """Messages by share, and those of one share in runs of `at_once`, all in order.

    The shares may go side by side; a run begins once the one before it is confirmed, so that where
    one message is refused, none of its share overtakes it but in the same run.
    """
    shares: dict[Share, list[Message]] = {}
    for message in messages:
        shares.setdefault(message.share, []).append(message)
    return [
        [some[start : start + at_once] for start in range(0, len(some), at_once)]
        for some in shares.values()
    ]


@lru_cache(maxsize=65_536)
def partition_of(symbol: str | None, partitions: int) -> int:
    """The partition of a symbol, the same for everybody for ever."""
    return zlib.crc32((symbol or "").encode()) % partitions
