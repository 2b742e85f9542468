"""What systemd wants to hear: ready, reloading, stopping, that the loop still turns, how it goes.

The protocol is `sd_notify(3)`'s: one datagram of `NAME=value` lines to the Unix socket that
`$NOTIFY_SOCKET` names; a leading `@` means the abstract namespace. Where nobody listens nothing is
sent, and a datagram that cannot be sent is not missed: the watchdog's next one comes soon.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from edc.logs import printable, redact

_STATUS_EVERY = 10.0
_LONGEST_STATUS = 300


class Notifier:
    """One service's line to its manager. `watchdog` is how long it may be silent, in seconds."""

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog = watchdog if address else None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Notifier":
        """As `$NOTIFY_SOCKET`, `$WATCHDOG_USEC` and `$WATCHDOG_PID` say."""
        allowed = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        seconds = int(allowed) / 1e6 if allowed.isdigit() and int(allowed) and ours else None
        return cls(environment.get("NOTIFY_SOCKET", ""), seconds)

    def ready(self) -> None:
        """Started, or done with reloading."""
        self._say("READY=1")

    def reloading(self) -> None:
        """The config is read anew; `ready` follows. systemd holds the time against its signal's."""
        self._say(
            f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
        )

    def stopping(self) -> None:
        """The orderly end has begun."""
        self._say("STOPPING=1")

    async def beat(self, status: Callable[[], str]) -> None:
        """Say that the loop turns, twice as often as is asked for, and now and then how it goes.

        Ends only by being cancelled.
        """
        if not self._address:
            return
        every = min(_STATUS_EVERY, self._watchdog / 2 if self._watchdog else _STATUS_EVERY)
        said = -_STATUS_EVERY
        while True:
            now = time.monotonic()
            if self._watchdog:
                self._say("WATCHDOG=1")
            if now - said >= _STATUS_EVERY:
                said = now
                self._say(f"STATUS={redact(printable(status()))[:_LONGEST_STATUS]}")
            await asyncio.sleep(every)

    def _say(self, state: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            line.sendto(state.encode(), self._address)
