"""One feed's life: connect, deliver, fail, wait, connect again, or give up.

Feeds are independent: whatever one raises stays in its runner. A failure that may heal is waited
out with a growing, jittered delay; one that only the operator can mend ends this feed with a line.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

from edc import markets
from edc.adapters import PollAdapter, StreamAdapter, WebhookAdapter, WebsocketAdapter
from edc.errors import EdcError, Fatal, Retriable
from edc.healing import Healer
from edc.ingest import Ingest
from edc.instruments import Catalog
from edc.listing import Listing
from edc.logs import about, redact
from edc.metrics import Rate
from edc.plan import Feed
from edc.relay import Relay
from edc.retry import Backoff, first_of, pause
from edc.staleness import Pace, Watchdog
from edc.transport import Transport
from edc.transport.poll import PollTransport
from edc.transport.sockets import Library, Timing
from edc.transport.stream import StreamTransport
from edc.transport.webhook import Hooks, WebhookTransport
from edc.transport.websocket import WebsocketTransport

log = logging.getLogger(__name__)

_HEALTHY_AFTER = 30.0
"""Seconds of data after which the next failure is a new one."""
_MOST_CRASHES = 5


@dataclass(frozen=True, slots=True)
class Times:
    """What tests shorten. Seconds."""

    socket: Timing = field(default_factory=Timing)
    silence: Pace = field(default_factory=Pace)
    first_delay: float = 1.0
    longest_delay: float = 60.0
    healthy_after: float = _HEALTHY_AFTER
    ledger: float = 1.0
    patience: float = 30.0
    """For a connection by another plan to deliver, before it takes over all the same."""
    history: float = 5.0
    """After a silence, before its vendor's history is asked: it may lag."""

    def backoff(self) -> Backoff:
        """Waiting times, from the first on."""
        return Backoff(self.first_delay, self.longest_delay)


class Hooked(NamedTuple):
    """Where feeds that are posted to us are found, and who says that their events are on disk."""

    hooks: Hooks
    safe: Callable[[Collection[str]], Awaitable[None]]


class FeedRunner:
    """One feed: a transport made anew for each connection, and the back-off between them."""

    def __init__(
        self,
        feed: Feed,
        ingest: Ingest,
        connect: Library,
        times: Times,
        *,
        once: bool,
        healer: Healer | None = None,
        hooked: "Hooked | None" = None,
        catalog: Catalog | None = None,
    ) -> None:
        self._hooked = hooked
        self._catalog = catalog if feed.listing is not None else None
        self._transports: dict[int, Transport] = {}
        """The newest connection of each path."""
        self.feed = feed
        self.ingest = ingest
        self.stats = ingest.stats
        self.rate = Rate()
        self.exit_code = 0
        self.healer = healer
        self._connect = connect
        self._times = times
        self._once = once
        self._left = 1
        """Connections that have not been given up."""
        self._relays: dict[int, Relay] = {}
        """Of each path that has a connection, or makes one."""
        self._changed = asyncio.Event()
        self._watchdogs: dict[int, Watchdog] = {}
        """Of each path: what it learns survives the connections."""

    @property
    def healing(self) -> int:
        """Gaps that are being filled, or wait for it."""
        return self.healer.pending if self.healer else 0

    def can_become(self, feed: Feed) -> bool:
        """False where only a feed that is begun anew will do."""
        return (
            self.stats.state != "failed"
            and feed.place == self.feed.place
            and feed.connections == self.feed.connections
        )

    def become(self, feed: Feed) -> bool:
        """Go on by another plan, without a gap where that can be; see `can_become`.

        True where every connection that stands goes on. Where symbols alone are not all that
        differs, or the vendor cannot change what a connection delivers, another one is made.
        """
        before, self.feed = self.feed, feed
        if feed.name != before.name:
            self.ingest.renamed(feed.name)
        for symbol in before.asks_for ^ feed.asks_for:  # of one that comes back, too
            self.ingest.unwanted(symbol)
        if self.healer is not None:
            self.healer.change(feed)
        live = before.differs_in_symbols_only(feed)
        if before.plan == feed.plan:
            return True
        if not live:
            self._watchdogs.clear()  # how long it may be silent is one of the options
        self._changed.set()
        plan = feed.plan if feed.listing is None else feed.listing.wanted
        if feed.listing is not None:
            self.ingest.unlisted(feed.listing.unlisted)
        alike = [relay.change(plan, live=live) for relay in self._relays.values()]
        return all(alike)

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep the feed alive until told to stop, or until it cannot go on. Raises nothing."""
        beside = []
        if self._catalog is not None and self.feed.listing is not None:
            if not await self._listed(self._catalog, self.feed.listing, stopping):
                return
            relist = self._relist(self._catalog)
            beside.append(asyncio.create_task(relist, name="instruments"))
        if self.healer is not None:
            await self.healer.begin(self.ingest)
            healing = self.healer.run(self.ingest)
            beside.append(asyncio.create_task(healing, name="healer"))
        try:
            await self._all_paths(stopping)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _listed(self, catalog: Catalog, listing: Listing, stopping: asyncio.Event) -> bool:
        """Learn what the venue trades; False where that is nothing of this feed, or on the stop."""
        self._state("listing")
        bring = asyncio.create_task(catalog.bring(listing), name="instruments")
        stop = asyncio.create_task(stopping.wait(), name="stop")
        try:
            await asyncio.wait((bring, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (bring, stop):
                task.cancel()
            await asyncio.gather(bring, stop, return_exceptions=True)
        if stopping.is_set():
            self._state("stopped")
            return False
        self.ingest.unlisted(listing.unlisted)
        if listing.symbols:
            return True
        told = "; ".join(listing.unlisted.values())
        self._give_up(Fatal(told, "correct the feed's symbols"))
        return False

    async def _relist(self, catalog: Catalog) -> None:
        """Once a day: what is new or gone is asked for, or no longer, by a new connection."""
        while (listing := self.feed.listing) is not None:
            await asyncio.sleep(catalog.due(listing))
            if listing is not self.feed.listing or not await catalog.bring(listing):
                continue
            self.ingest.unlisted(listing.unlisted)
            if listing.symbols:
                for transport in self._transports.values():
                    transport.leaving.set()

    async def _all_paths(self, stopping: asyncio.Event) -> None:
        """Take every connection of the feed; it goes on while one of them can."""
        self._left = self.feed.connections
        paths = [self._path(number, stopping) for number in range(self._left)]
        await asyncio.gather(*paths)
        if self.stats.state != "failed":
            self._state("stopped")

    async def _path(self, number: int, stopping: asyncio.Event) -> None:
        backoff = self._times.backoff()
        crashes = doubts = 0
        while not stopping.is_set():
            self._tells("connecting")
            started, data_before = time.monotonic(), self.stats.data_frames
            make = partial(self._transport, number)
            relay = Relay(
                *(make, self.ingest, self._lost, self._times.backoff),
                feed=self.stats,
                alone=self.feed.channel.one_connection,
                patience=self._times.patience,
            )
            self._relays[number] = relay
            try:
                await relay.run(stopping)
                break
            except Fatal as error:
                doubts += 1
                if doubts > error.tries or self._once:
                    self._give_up(error)
                    return
                failure = Retriable("refused", f"{error} (refusal {doubts} of {error.tries + 1})")
            except Retriable as error:
                failure = error
            except Exception as error:
                crashes += 1
                if crashes >= _MOST_CRASHES:
                    log.exception("feed crashed", extra=about(self.stats))
                    self._give_up(EdcError(f"crashed {crashes} times: {error!r}; report this"))
                    return
                failure = Retriable("crashed", f"{type(error).__name__}: {error}")
                log.warning("feed crashed", exc_info=error, extra=about(self.stats))
            finally:
                del self._relays[number]
            lived = time.monotonic() - started
            if lived >= self._times.healthy_after and self.stats.data_frames > data_before:
                backoff.reset()
                crashes = doubts = 0
            if self._once:
                self._give_up(failure)
                return
            await self._wait(failure, backoff, stopping)

    async def _wait(self, failure: Retriable, backoff: Backoff, stopping: asyncio.Event) -> None:
        delay = failure.after if failure.after is not None else backoff.next_delay()
        self._down(failure, "waiting")
        log.warning(
            "feed %s: %s; next try in %.1f s",
            self.feed.name,
            failure,
            delay,
            extra=about(self.stats),
        )
        if failure.after is not None:
            await pause(stopping, delay)
            return
        self._changed.clear()
        await first_of(stopping, self._changed, delay)  # what has failed may have been mended

    def _lost(self, error: Exception) -> None:
        """A connection has ended while its successor did not yet deliver."""
        failure = error if isinstance(error, Retriable) else Retriable("crashed", repr(error))
        self._down(failure, "connecting")

    def _down(self, failure: Retriable, state: str) -> None:
        """One connection is down: a silence, where no other delivers."""
        self.stats.disconnects[failure.reason] += 1
        if not self.ingest.speaks:
            self.ingest.silent(failure.reason)
        self._tells(state, f"{failure}")

    def _tells(self, state: str, problem: str = "") -> None:
        """The state of one connection is the feed's, unless another one delivers."""
        if not self.ingest.speaks:
            self._state(state, problem)
        elif problem:
            self.stats.problem = redact(f"one of {self.feed.connections} connections: {problem}")

    def _give_up(self, error: EdcError) -> None:
        """One connection cannot go on; with the last of them the feed ends."""
        self._left -= 1
        if self._left:
            log.error("feed %s: %s", self.feed.name, error, extra=about(self.stats))
            self._tells("failed", str(error))
            return
        self.ingest.silent("failed")
        self._state("failed", str(error))
        self.exit_code = error.exit_code
        log.error("feed %s stopped: %s", self.feed.name, error, extra=about(self.stats))

    def _transport(self, path: int, successor: bool) -> Transport:  # noqa: FBT001 - see Relay
        made = self._transports[path] = self._made(path, successor=successor)
        return made

    def _made(self, path: int, *, successor: bool) -> Transport:
        made = self.feed.build()
        if self.feed.channel.kind == "poll":
            return PollTransport(cast("PollAdapter", made), once=self._once)
        if self.feed.channel.kind == "webhook":
            assert self._hooked is not None
            self._state("listening")
            name, (hooks, safe) = self.feed.name, self._hooked
            return WebhookTransport(cast("WebhookAdapter", made), name, hooks, safe)
        adapter = cast("WebsocketAdapter | StreamAdapter", made)
        known = self._watchdogs.get(path)
        if known is None:
            self.market_open()  # reads the calendar while there is no data yet
            known = Watchdog(adapter.silence, self._times.silence)
        watchdog = self._watchdogs[path] = known.heir() if successor else known
        if self.feed.channel.kind == "stream":
            return StreamTransport(
                cast("StreamAdapter", made),
                self.market_open,
                watchdog,
                self._times.socket,
                path=path,
            )
        return WebsocketTransport(
            cast("WebsocketAdapter", made),
            self._connect,
            self.market_open,
            watchdog,
            self._times.socket,
            path=path,
        )

    def market_open(self) -> bool:
        """True while any of the feed's assets trades."""
        return any(markets.is_open(kind, time.time_ns()) for kind in self.feed.asset_types)

    def _state(self, state: str, problem: str = "") -> None:
        self.stats.state, self.stats.problem = state, redact(problem)
