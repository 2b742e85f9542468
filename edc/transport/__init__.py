"""The contract between a transport, which owns a socket, and the ingest loop, which owns meaning.

A transport's life is one call of `run`: connect, say what the adapter wants said, hand over every
frame, return when told to stop. It raises Retriable or Fatal when the connection ends otherwise;
the feed's runner waits and makes another one. Exceptions of the libraries below do not leave it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec


class Frame(msgspec.Struct, frozen=True, gc=False):
    """What one read gave: the bytes, the receive time (ns since the epoch), the connection.

    `status` is the HTTP status of a polled answer, 0 on a websocket; `about` is what the request
    that it answers was about. `dated` is when the vendor says that it answered (HTTP's Date, whole
    seconds since the epoch), None where it does not.
    """

    data: bytes
    received_ns: int
    epoch: int
    status: int = 0
    about: str = ""
    dated: int | None = None


class Request(msgspec.Struct, frozen=True):
    """One GET of a polling feed, or a POST where it has a `body`.

    The key belongs in a header: URLs end up in logs. `about` comes back with the answer's frame,
    for vendors whose answers do not say whose they are.
    """

    url: str
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    about: str = ""
    body: bytes | None = None


class Reads(Protocol):
    """What makes events of frames: see `edc.adapters.Adapter`."""

    def decode(self, frame: Frame) -> Sequence[Any]:
        """The events of one frame."""
        ...


class Heard(Protocol):
    """Who listens to what a vendor says about a connection."""

    settled: bool
    """Frames with data need not be told any more."""
    path: int
    """Which of a feed's ways to the vendor it is, from 0 on."""

    def hear(self, frame: Frame) -> None:
        """A frame has come. Raises what `decode` raises."""
        ...


class Receiver(Protocol):
    """Where a transport's frames go: the ingest loop of one feed."""

    def connected(self, adapter: "Reads", heard: "Heard | None" = None) -> int:
        """A connection stands; its frames are `adapter`'s to decode. Its epoch is returned.

        `heard` is told of frames that carry no data, until it has heard enough of all frames.
        """
        ...

    def refused(self, epoch: int, symbol: str, why: str) -> None:
        """The vendor will not deliver a symbol on this connection."""
        ...

    def ended(self, epoch: int) -> None:
        """Nothing comes on this connection any more."""
        ...

    def receive(self, frame: Frame) -> bool:
        """Take a frame. False asks to await `room` before the next one.

        Raises Fatal or Retriable where the frame says that this connection is over.
        """
        ...

    def receive_many(self, frames: Sequence[bytes], received_ns: int, epoch: int) -> bool:
        """As `receive`, for what one read of a websocket gave."""
        ...

    async def room(self) -> None:
        """Return when the queues take events again."""
        ...

    def data_frames(self, epoch: int) -> int:
        """How many frames of a connection carried data so far; heartbeats do not count."""
        ...


class Transport(Protocol):
    """One connection of one feed."""

    speaking: asyncio.Event
    """Set once it has delivered data, and all that it is to deliver was asked for and answered."""
    leaving: asyncio.Event
    """Set once another connection should be made, while this one still delivers."""

    def change(self, plan: Any) -> bool:
        """Go on by another plan of the feed, which differs in its symbols only.

        False where that takes another connection.
        """
        ...

    async def run(self, receiver: Receiver, stopping: asyncio.Event) -> None:
        """Deliver frames until `stopping` is set, then close and return.

        Raises Retriable or Fatal for any other end.
        """
        ...
