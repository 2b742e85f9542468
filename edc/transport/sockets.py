"""The contract of a websocket library: what a connection can do, and what its errors mean."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from edc.errors import EdcError, Fatal, Retriable
from edc.transport import Receiver

MOST_BYTES = 1 << 20
"""Of one message, after decompression."""
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
MOST_AT_ONCE = 1024
"""Messages that are handed over together: what a queue may take beyond its capacity."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A dead peer is found after `ping_after + ping_timeout`: ten."""

    open_timeout: float = 10.0
    close_timeout: float = 1.0
    ping_after: float = 5.0
    ping_timeout: float = 5.0
    tick: float = 1.0
    confirm_within: float = 10.0
    """For a vendor that says what it accepts to have said it."""


class Socket(Protocol):
    """An open connection. `frames` were delivered so far."""

    frames: int

    @property
    def waiting(self) -> bool:
        """There is no room."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Send a text or a binary message."""
        ...

    async def read(self, receiver: Receiver, epoch: int, now_ns: Callable[[], int]) -> str:
        """Deliver every message until the connection has ended; why it did.

        What had arrived by then is delivered. After a frame that the receiver answers with False,
        nothing is delivered until there is room. Raises what the receiver raises.
        """
        ...

    async def ping(self) -> None:
        """Send a ping, and return when it is answered."""
        ...

    async def close(self) -> None:
        """Say goodbye, and see that the connection ends; `read` goes on until it has."""
        ...


class Library(Protocol):
    """What can make connections."""

    def __call__(
        self, url: str, timing: Timing, headers: Mapping[str, str] = NO_HEADERS
    ) -> AbstractAsyncContextManager[Socket]:
        """A connection, closed on the way out. Follows no redirect, verifies certificates.

        `headers` are sent with the handshake.
        Raises Fatal or Retriable.
        """
        ...


def refused(url: str, status: int) -> EdcError:
    """What a handshake that was answered with another status than 101 means."""
    if status in (401, 403):
        return Fatal(f"{url} refused the handshake ({status})", "check the API key")
    if status == 404:  # noqa: PLR2004 - HTTP's
        return Fatal(f"{url} does not exist (404)", "correct the vendor's url")
    reason = "rate_limited" if status == 429 else "refused"  # noqa: PLR2004 - HTTP's
    return Retriable(reason, f"{url} refused the handshake ({status})")


def no_url(url: str) -> EdcError:
    """What a url that is none means."""
    return Fatal(f"{url!r} is no websocket url", "correct the vendor's url")


def no_answer(url: str) -> EdcError:
    """What a peer that does not answer in time means."""
    return Retriable("timeout", f"{url} did not answer the handshake in time")


def unreachable(url: str, error: OSError) -> EdcError:
    """What the network's errors mean, those of TLS included."""
    return Retriable("refused", f"{url} cannot be reached: {error}")


def broken(url: str, error: Exception) -> EdcError:
    """What a peer that does not keep to the protocol means."""
    return Retriable("refused", f"{url} broke the protocol: {error}")
