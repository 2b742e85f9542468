"""What the vendors say to a configuration: each feed is taken for a moment, and nothing is kept.

The very transports and adapters of the daemon connect, prove themselves and subscribe; what comes
is decoded, counted and forgotten. No file of the lake is written, no instance taken, so that it may
run beside the daemon, though its connections count against the vendor's limit.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from edc.budget import connections, requests_per_minute
from edc.deadletters import DeadLetters
from edc.errors import Fatal, Skippable
from edc.feeds import FeedRunner, Times
from edc.ingest import Ingest
from edc.instruments import Catalog
from edc.ledger import Ledger
from edc.logs import Named
from edc.metrics import FeedStats
from edc.plan import Feed
from edc.queues import Queue, WhenFull
from edc.times import SECOND
from edc.transport import Frame
from edc.transport.sockets import Library

_LOOK = 0.05
_QUIET = 2.0
"""Seconds after which a closed market's silence is believed."""
_ROOM = 65_536
_PORTS = {"wss": 443, "https": 443, "ws": 80, "http": 80}

State = Literal["ok", "partial", "closed", "silent", "refused", "unreachable", "posted"]
"""`closed`: no data, and rightly so; `silent`: no data from an open market; `posted`: a webhook."""


class Found(msgspec.Struct):
    """What came of one connection of a feed. Times are ms; None where it did not come so far.

    `refused` maps symbols to what the vendor says of them. `symbols_limit` is the most that one
    connection takes, `requests_per_minute` what a polled feed asks for. `lag_ms` is from the
    vendor's time of the first event to its receipt: below zero, our clock is behind the vendor's.
    `clock_ahead_ms` is by how much our clock is ahead of the vendor's by the Date of a polled
    answer: that has whole seconds, so it is true to half of one and the way of the answer.
    """

    feed: str
    vendor: str
    source: str
    state: State
    problem: str = ""
    refused: dict[str, str] = {}
    host: str = ""
    resolved_ms: float | None = None
    reached_ms: float | None = None
    connected_ms: float | None = None
    first_data_ms: float | None = None
    lag_ms: float | None = None
    clock_ahead_ms: float | None = None
    events: dict[str, int] = {}
    market_open: bool = True
    connections: int = 1
    symbols: int = 0
    symbols_limit: int | None = None
    requests_per_minute: float | None = None

    @property
    def exit_code(self) -> int:
        """2 where the operator must edit something, 1 where it may be better later, else 0."""
        return {"refused": 2, "partial": 2, "unreachable": 1, "silent": 1}.get(self.state, 0)


class Report(msgspec.Struct):
    """The feeds, and of each vendor the connections that the whole configuration takes."""

    feeds: list[Found]
    connections: dict[str, int]


async def ask(
    feeds: Sequence[Feed], connect: Library, *, within: float, times: Times | None = None
) -> Report:
    """Take every feed, side by side, for at most `within` seconds each."""
    times = times or Times()
    timing = replace(times.socket, confirm_within=min(times.socket.confirm_within, within * 0.8))
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(Path(folder))
        probes = [_Probe(feed, connect, replace(times, socket=timing), catalog) for feed in feeds]
        found = await asyncio.gather(*(probe.run(within) for probe in probes))
    return Report(list(found), connections(feeds))


class _NoLetters(DeadLetters):
    """A frame that cannot be used is counted, and not kept."""

    def keep(self, feed: Named, frame: Frame, error: Skippable) -> None:
        pass


class _Probe:
    """One feed, taken once."""

    def __init__(self, feed: Feed, connect: Library, times: Times, catalog: Catalog) -> None:
        self._feed = replace(feed, connections=1)
        self._queues = {
            kind: Queue(kind, _ROOM, WhenFull.DROP_NEWEST) for kind in ("trade", "quote", "ref_px")
        }
        self._stats = FeedStats(feed.name, feed.vendor, feed.source)
        self._gaps = Queue("gap", _ROOM, WhenFull.DROP_NEWEST)
        self._ingest = Ingest(
            *(self._stats, self._queues, _NoLetters(Path()), Ledger(self._gaps)), tap=self._date
        )
        self._runner = FeedRunner(
            *(self._feed, self._ingest, connect, times), once=True, catalog=catalog
        )
        self._found = _expected(feed)

    async def run(self, within: float) -> Found:
        """What came of it."""
        if self._feed.channel.kind == "webhook":
            return self._found
        await self._reach(within)
        stopping = asyncio.Event()
        started = time.monotonic()
        running = asyncio.create_task(self._runner.run(stopping), name="feed")
        try:
            while not running.done() and time.monotonic() - started < within:
                await asyncio.sleep(_LOOK)
                self._look(time.monotonic() - started)
                if self._knows_all(time.monotonic() - started):
                    break
        finally:
            stopping.set()
            done, _ = await asyncio.wait((running,), timeout=2.0)
            if not done:
                running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        self._judge()
        return self._found

    async def _reach(self, within: float) -> None:
        """How long the name takes, and how long a connection: a round trip.

        Whatever goes wrong here is told by the transport, in its words.
        """
        url = urlsplit(_url(self._feed.build()))
        self._found.host = url.hostname or ""
        port = url.port or _PORTS.get(url.scheme, 443)
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, TimeoutError, UnicodeError):
            async with asyncio.timeout(within / 2):
                started = time.monotonic()
                answers = await loop.getaddrinfo(self._found.host, port)
                self._found.resolved_ms = _ms(time.monotonic() - started)
                started = time.monotonic()
                _, writer = await asyncio.open_connection(str(answers[0][4][0]), port)
                self._found.reached_ms = _ms(time.monotonic() - started)
                writer.close()
                await writer.wait_closed()

    def _date(self, frame: Frame) -> None:
        """Compare the clocks, where an answer says when it was given: in the middle of a second."""
        if frame.dated is not None:
            ahead = frame.received_ns - frame.dated * SECOND - SECOND // 2
            self._found.clock_ahead_ms = _ms(ahead / SECOND)

    def _look(self, passed: float) -> None:
        """Note what has come since the last look."""
        stats, found = self._stats, self._found
        found.refused |= stats.refused
        if stats.connects and found.connected_ms is None:
            found.connected_ms = _ms(passed)
        if stats.last_received_ns and found.first_data_ms is None:
            found.first_data_ms = _ms(passed)
            found.lag_ms = (stats.last_received_ns - stats.last_event_ns) / (SECOND / 1000)
        for queue in (*self._queues.values(), self._gaps):
            queue.drain()

    def _knows_all(self, passed: float) -> bool:
        """True once there is nothing more to wait for."""
        if not self._stats.connects or not self._ingest.settled:
            return False
        return bool(self._stats.data_frames) or (not self._runner.market_open() and passed > _QUIET)

    def _judge(self) -> None:
        stats, found = self._stats, self._found
        found.events = {kind: count for kind, count in stats.events.items() if count}
        found.market_open = self._runner.market_open()
        failed = stats.state == "failed"
        found.problem = stats.problem if failed else ""
        if failed and not stats.data_frames:
            gone = self._runner.exit_code != Fatal.exit_code
            found.state = "unreachable" if gone else "refused"
        elif not stats.connects:
            found.state = "unreachable"
            found.problem = found.problem or "it did not answer in time"
        elif found.refused:
            found.state = "partial"
        elif not stats.data_frames:
            found.state = "silent" if found.market_open else "closed"


def _expected(feed: Feed) -> Found:
    """What is known before the vendor is asked."""
    found = Found(feed.name, feed.vendor, feed.source, "ok", connections=feed.connections)
    if feed.channel.kind == "webhook":
        found.state = "posted"
    found.requests_per_minute = requests_per_minute(feed)
    found.symbols, found.symbols_limit = sum(feed.symbol_counts.values()), feed.symbols_limit
    return found


def _url(adapter: Any) -> str:
    """Where an adapter's vendor is."""
    if hasattr(adapter, "url"):
        return str(adapter.url)
    request = adapter.request() if hasattr(adapter, "request") else adapter.requests()[0]
    return str(request.url)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
