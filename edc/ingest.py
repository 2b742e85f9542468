"""The first of the two loops that every event runs through: from a frame to the queue.

    transport ─frame─► Ingest ─event─► queue ─► Deliver ─chunk─► spool ─batch─► sink

`Ingest.receive` is called for each frame and never awaits: decode, stamp, queue.
"""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import count

from edc.adapters import Adapter
from edc.deadletters import DeadLetters
from edc.errors import EdcError, Skippable
from edc.events import Event, Origin
from edc.ledger import Ledger
from edc.metrics import FeedStats
from edc.queues import Queue
from edc.transport import Frame

log = logging.getLogger(__name__)

_EPOCHS = count(1)


class Ingest:
    """From frames to queued events, for one feed: the `Receiver` of its transport."""

    def __init__(
        self,
        adapter: Adapter,
        stats: FeedStats,
        queues: dict[str, Queue],
        letters: DeadLetters,
        ledger: Ledger,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.stats = stats
        self._decode = adapter.decode
        self._queues = queues
        self._letters = letters
        self._ledger = ledger
        self._now_ns = now_ns
        self._origin = Origin(stats.feed, stats.vendor, stats.source, 0)
        self._silence: tuple[str, int] | None = None
        self._full: set[Queue] = set()
        for event_type in queues:
            stats.events.setdefault(event_type, 0)

    def connected(self) -> int:
        """A connection stands; its events carry the epoch that is returned."""
        stats = self.stats
        stats.connects += 1
        stats.epoch = next(_EPOCHS)
        if stats.state != "live":
            stats.state = "connected"
        self._origin = Origin(stats.feed, stats.vendor, stats.source, stats.epoch)
        return stats.epoch

    def receive(self, frame: Frame) -> bool:
        """Decode a frame and queue its events; see `Receiver.receive`."""
        stats = self.stats
        stats.frames += 1
        stats.received_bytes += len(frame.data)
        try:
            events = self._decode(frame)
        except EdcError as error:
            if not isinstance(error, Skippable):
                raise
            events = self._skip(frame, error)
        except Exception as error:  # noqa: BLE001 - a fault of the adapter costs one frame
            events = self._skip(frame, Skippable("error", f"{type(error).__name__}: {error}"))
        if not events:
            return True
        return self._queue(events, frame.received_ns)

    def _queue(self, events: Sequence[Event], received_ns: int) -> bool:
        stats, origin, go_on = self.stats, self._origin, True
        for event in events:
            event.created_at = received_ns
            event.origin = origin
            event_type = event.event_type
            queue = self._queues[event_type]
            dropped = queue.put(event)
            if dropped is not None and isinstance(dropped, Event) and dropped.origin:
                self._ledger.lost(dropped.origin, "queue_full", dropped.created_at)
            stats.events[event_type] += 1
            if queue.must_wait:
                self._full.add(queue)
                go_on = False
        stats.data_frames += 1
        stats.last_event_ns = events[-1].event_time
        stats.last_received_ns = received_ns
        if stats.state != "live":
            self._speaks(received_ns)
        return go_on

    def _skip(self, frame: Frame, error: Skippable) -> Sequence[Event]:
        """Count and keep what cannot be used; what can be of it goes on."""
        first = not self.stats.skipped[error.reason]
        self.stats.skipped[error.reason] += 1
        self._letters.keep(self.stats.feed, frame, error)
        self._ledger.lost(self._origin, "undecodable", frame.received_ns, None)
        if first:
            log.warning(
                "a frame cannot be used, it is kept in .dead/: %s",
                error,
                extra={"feed": self.stats.feed, "vendor": self.stats.vendor},
            )
        return [event for event in error.events if isinstance(event, Event)]

    async def room(self) -> None:
        """Wait for the queues that this feed has filled, and for no other."""
        while self._full:
            await self._full.pop().room()

    def data_frames(self) -> int:
        """Frames that carried events."""
        return self.stats.data_frames

    def silent(self, cause: str) -> None:
        """The connection is gone: a gap runs from the last data until data comes again."""
        if self._silence is None:
            self._silence = (cause, self.stats.last_received_ns or self._now_ns())

    def _speaks(self, at_ns: int) -> None:
        self.stats.state = "live"
        self.stats.problem = ""
        if self._silence is not None:
            cause, since = self._silence
            self._ledger.silent(self._origin, cause, since, at_ns)
            self._silence = None

    def finish(self) -> None:
        """No more frames: a gap that is still open ends here, as far as can be said."""
        if self._silence is not None:
            cause, since = self._silence
            self._ledger.silent(self._origin, cause, since, self._now_ns())
            self._silence = None
