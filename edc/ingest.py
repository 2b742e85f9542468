"""The first of the two loops that every event runs through: from a frame to the queue.

    transport ─frame─► Ingest ─event─► queue ─► Deliver ─chunk─► spool ─batch─► sink

`Ingest.receive` is called for each frame and never awaits: decode, stamp, queue. That is the long
way, which every frame may take; `shortway` is the other. What it keeps of a feed besides has a file
each: its connections (`lines`), how far it has got (`reach`), what its numbers say is missing
(`holes`), and what does not come of what was asked for (`unsubscribed`).
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from edc.adapters import Adapter, HasShort
from edc.deadletters import DeadLetters
from edc.errors import EdcError, Refused, Skippable, Unsound
from edc.events import Event, Gap, Origin
from edc.history import Hole
from edc.holes import Holes
from edc.latency import Latencies
from edc.ledger import Ledger
from edc.lines import GRACE, Line, Lines, Race
from edc.logs import about
from edc.metrics import FeedStats
from edc.queues import Queue, WhenFull
from edc.reach import Reach, later
from edc.sequences import Rising
from edc.shortway import ShortWay
from edc.transport import Frame, Heard
from edc.unsubscribed import Unsubscribed
from edc.untimed import Untimed
from edc.watermarks import Watermark

log = logging.getLogger(__name__)


class Ingest:
    """From frames to queued events, for one feed: the `Receiver` of its transport."""

    def __init__(
        self,
        stats: FeedStats,
        queues: dict[str, Queue],
        letters: DeadLetters,
        ledger: Ledger,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        sequenced: Collection[str] = (),
        rising: Collection[str] = (),
        untimed: Collection[str] = (),
        connections: int = 1,
        on_hole: Callable[[Hole, Gap], None] | None = None,
        on_silence: Callable[[Gap], None] | None = None,
        tap: Callable[[Frame], None] | None = None,
        latencies: Latencies | None = None,
    ) -> None:
        self.stats = stats
        self._queues = queues
        self._letters = letters
        self._ledger = ledger
        self._now_ns = now_ns
        self._on_silence = on_silence
        self._tap = tap
        self._latencies = latencies
        self._full: set[Queue] = set()
        self._lines = Lines(stats, now_ns)
        self._reach = Reach(stats, ledger, self._lines, now_ns, on_silence)
        self._unsubscribed = Unsubscribed(stats, ledger, self._lines, self._reach, now_ns)
        self._holes: Holes | None = None
        if sequenced:
            self._holes = Holes(sequenced, ledger, self._lines, self._reach, on_hole)
        self._rising = Rising(rising) if rising else None
        self._untimed = Untimed(untimed, GRACE) if untimed else None
        self._race = Race(stats.paths) if connections > 1 else None
        self._short_way = ShortWay(
            *(stats, queues, self._full, self._lines, self._reach, self._holes, self._go_long),
            rising=bool(rising),
        )
        for event_type in queues:
            stats.events.setdefault(event_type, 0)
        # what is missing or dropped has to be known event by event
        self._singly = bool(tap or connections > 1) or any(
            queue.when_full is not WhenFull.BLOCK for queue in queues.values()
        )

    def resume(self, mark: Watermark) -> None:
        """Go on from where the last run got to: a gap is open from there until data comes."""
        self._reach.resume(mark)

    def watermark(self) -> Watermark:
        """How far this feed has got: see `reach`. What comes after it is put down to a kill."""
        return self._reach.watermark()

    def reach(self) -> int:
        """Until when nothing is missing that has not been received or told to the ledger (ns)."""
        return self._reach.until()

    def connected(self, adapter: Adapter, heard: Heard | None = None) -> int:
        """A connection stands; its events carry the epoch that is returned."""
        stats = self.stats
        stats.connects += 1
        origin = self._lines.next_origin()
        stats.epoch = origin.epoch
        stats.connected_ns = self._now_ns()
        if self._latencies is not None:
            self._latencies.connected(stats.epoch, stats.latency)
        if stats.state != "live":
            stats.state = "connected"
        short = adapter.short if isinstance(adapter, HasShort) and not self._singly else None
        self._lines.begun(Line(origin, adapter.decode, short, heard))
        return stats.epoch

    def unlisted(self, symbols: Mapping[str, str]) -> None:
        """The symbols that the venue does not trade, and why, in place of those told before."""
        self._unsubscribed.unlisted(symbols)

    def refused(self, epoch: int, symbol: str, why: str) -> None:
        """The vendor will not deliver a symbol: see `Receiver.refused`. It is in the ledger."""
        self._unsubscribed.refused(epoch, symbol, why)

    def unwanted(self, symbol: str) -> None:
        """A symbol is not asked for any more: it is neither refused nor missing from now on."""
        self._unsubscribed.unwanted(symbol)
        if self._holes is not None:
            self._holes.forget(symbol)

    def renamed(self, feed: str) -> None:
        """The feed has another name from now on."""
        self.stats.feed = feed
        self._lines.renamed(feed)

    def ended(self, epoch: int) -> None:
        """A connection is over; what it never delivered is missing until now."""
        self._unsubscribed.ended(self._lines.ended(epoch))

    def receive_many(self, frames: Sequence[bytes], received_ns: int, epoch: int) -> bool:
        """Queue what the frames of one read say; see `Receiver.receive_many`."""
        go_on = self._receive_many(frames, received_ns, epoch)
        self.stats.latency.queued(self._now_ns() - received_ns, len(frames))
        return go_on

    def _receive_many(self, frames: Sequence[bytes], received_ns: int, epoch: int) -> bool:
        """Decode and queue the frames of one read.

        The short way is for a live feed and for frames of the commonest forms only.
        """
        stats = self.stats
        line = self._lines.of(epoch)
        if line.short is not None and stats.state == "live" and line.settled:
            taken = self._short_way.take(line.short, line, frames, received_ns)
            if taken is not None:
                return taken
        go_on = True
        for data in frames:
            go_on &= self._receive(Frame(data, received_ns, epoch))
        return go_on

    def receive(self, frame: Frame) -> bool:
        """Decode a frame and queue its events; see `Receiver.receive`."""
        go_on = self._receive(frame)
        self.stats.latency.queued(self._now_ns() - frame.received_ns, 1)
        return go_on

    def _receive(self, frame: Frame) -> bool:
        stats = self.stats
        if self._tap is not None:
            self._tap(frame)
        stats.frames += 1
        stats.received_bytes += len(frame.data)
        line = self._lines.of(frame.epoch)
        events = self._events_of(frame, line)
        if line.heard is not None and not (events and line.settled):
            line.heard.hear(frame)
        if not events:
            return True
        if stats.state != "live":
            self._speaks(frame.received_ns, events[0].event_time)
        if self._unsubscribed.left_out:
            self._unsubscribed.come(line.origin, events)
        stats.data_frames += 1
        line.data_frames += 1
        go_on = self._queue(events, line, frame.received_ns)
        stats.last_event_ns = events[-1].event_time
        stats.last_received_ns = frame.received_ns
        return go_on

    def _go_long(self, frame: Frame, line: Line) -> None:
        """A frame that was to go the short way goes the long one, some time after its receipt."""
        try:
            self._queue(self._events_of(frame, line), line, frame.received_ns)
        except EdcError as error:  # a connection that has gone on is not ended by it
            self._skip(frame, line.origin, Skippable("error", str(error)))

    def _events_of(self, frame: Frame, line: Line) -> Sequence[Event]:
        """What the adapter makes of a frame. Raises Fatal or Retriable."""
        try:
            return line.decode(frame)
        except EdcError as error:
            if not isinstance(error, Skippable):
                raise
            return self._skip(frame, line.origin, error)
        except Exception as error:  # noqa: BLE001 - a fault of the adapter costs one frame
            problem = Skippable("error", f"{type(error).__name__}: {error}")
            return self._skip(frame, line.origin, problem)

    def _queue(self, events: Sequence[Event], line: Line, received_ns: int) -> bool:
        origin = line.origin
        if self._race is not None:
            for event in events:
                self._race.arrived(event, line.path, received_ns)
        if self._rising is not None:
            is_new = self._rising.is_new
            events = self._new(events, lambda each, rivals: is_new(each, origin.epoch, rivals))
        if self._untimed is not None:
            is_first = partial(self._untimed.is_new, received_ns=received_ns)
            events = self._new(events, lambda each, rivals: is_first(each, origin.epoch, rivals))
        if self._holes is not None:
            self._holes.look(events, origin, received_ns)
        queues, counts, go_on = self._queues, self.stats.events, True
        for event in events:
            event.created_at = received_ns
            event.origin = origin
            event_type = event.event_type
            queue = queues[event_type]
            dropped = queue.put(event)
            counts[event_type] += 1
            if dropped is not None and isinstance(dropped, Event):
                self._ledger.refused(dropped, "queue_full")
            if queue.must_wait:
                self._full.add(queue)
                go_on = False
        return go_on

    def _new(
        self, events: Sequence[Event], is_new: Callable[[Event, Collection[int]], bool]
    ) -> Sequence[Event]:
        """The events that no other connection has brought before."""
        rivals = self._lines.standing.keys() | self._lines.gone.keys()
        fresh = [event for event in events if is_new(event, rivals)]
        self.stats.repeated += len(events) - len(fresh)
        return fresh

    def settle(self, *, finally_: bool = False) -> None:
        """Tell of jumps that the other connections have had time to make good; call it often."""
        since = self._now_ns() - GRACE
        self._lines.forget(since)
        if self._holes is not None:
            self._holes.settle(since, finally_=finally_)

    def remember(self, last: Mapping[str, int]) -> None:
        """The number of the last trade of each symbol that an earlier run has recorded."""
        if self._holes is not None:
            self._holes.remember(last)

    def fill(self, events: Sequence[Event], received_ns: int) -> None:
        """Queue what a back-fill has brought; it says nothing about the feed as it is now."""
        origin = self._lines.next_origin()
        self.stats.filled += len(events)
        for event in events:
            event.created_at, event.origin = received_ns, origin
            queue = self._queues[event.event_type]
            dropped = queue.put(event)
            if dropped is not None and isinstance(dropped, Event):
                self._ledger.refused(dropped, "queue_full")
            if queue.must_wait:
                self._full.add(queue)

    def _skip(self, frame: Frame, origin: Origin, error: Skippable) -> Sequence[Event]:
        """Count and keep what cannot be used; what can be of it goes on."""
        if isinstance(error, Refused):
            self._unsubscribed.leave_out(origin, error.symbols, error.problem)
            return [event for event in error.events if isinstance(event, Event)]
        ended_at = self._reach.end_at(frame.received_ns)
        if isinstance(error, Unsound):
            begun = min(error.since_ns, frame.received_ns)
            self._ledger.lost(origin, error.reason, begun, ended_at, None, error.symbol)
            log.warning(
                "a book was asked for anew: %s",
                error,
                extra=about(origin),
            )
            return [event for event in error.events if isinstance(event, Event)]
        first = not self.stats.skipped[error.reason]
        self.stats.skipped[error.reason] += 1
        if error.reason != "sequence":  # there the frame itself is sound
            self._letters.keep(origin, frame, error)
        # what it told happened after the last data before it
        span = (self._reach.until(), ended_at)
        if error.reason == "sequence" and self._on_silence is not None:
            self._on_silence(self._ledger.silent(origin, "sequence", *span))
        else:
            cause = error.reason if error.reason in ("notice", "sequence") else "undecodable"
            self._ledger.lost(origin, cause, *span, error.rows_lost)
        if first:
            log.warning(
                "%s: %s",
                "messages are missing"
                if error.reason == "sequence"
                else "a frame cannot be used, it is kept in .dead/",
                error,
                extra=about(origin),
            )
        return [event for event in error.events if isinstance(event, Event)]

    async def room(self) -> None:
        """Wait for the queues that this feed has filled, and for no other."""
        while self._full:
            await self._full.pop().room()

    def data_frames(self, epoch: int) -> int:
        """Frames of a connection that carried events."""
        return self._lines.standing[epoch].data_frames

    @property
    def speaks(self) -> bool:
        """True while a connection stands that has delivered data."""
        return any(line.data_frames for line in self._lines.standing.values())

    @property
    def settled(self) -> bool:
        """True while each connection that stands has heard what it will get of what it asked."""
        return all(line.settled for line in self._lines.standing.values())

    def silent(self, cause: str) -> None:
        """The last connection is gone: a gap runs from the last data until data comes again."""
        self._unsubscribed.ask_again()
        self._reach.silent(cause)

    def _speaks(self, received_ns: int, event_time: int) -> None:
        self.stats.state = "live"
        self.stats.problem = ""
        self._reach.close(later(received_ns, event_time))

    def finish(self) -> None:
        """No more frames: a gap that is still open ends here, as far as can be said."""
        self.settle(finally_=True)
        self._unsubscribed.ask_again()
        self._unsubscribed.unlisted({})
        self._reach.close(self._now_ns())
