"""The first of the two loops that every event runs through: from a frame to the queue.

    transport ─frame─► Ingest ─event─► queue ─► Deliver ─chunk─► spool ─batch─► sink

`Ingest.receive` is called for each frame and never awaits: decode, stamp, queue.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import count

import msgspec

from edc.adapters import Adapter, HasShort, Hole
from edc.deadletters import DeadLetters
from edc.errors import EdcError, Refused, Skippable, Unsound
from edc.events import Event, Gap, Origin
from edc.latency import Latencies
from edc.ledger import OWN, Ledger
from edc.lines import Line, Race
from edc.logs import about
from edc.metrics import FeedStats
from edc.queues import Queue, WhenFull
from edc.sequences import Rising, Sequences
from edc.times import SECOND
from edc.transport import Frame, Heard
from edc.untimed import Untimed
from edc.watermarks import Watermark
from edc.wire import Batch, Part, Parted, Short

log = logging.getLogger(__name__)

_EPOCHS = count(1)
_GRACE = 2 * SECOND
"""For the other connections of a feed to bring what one has left out."""
_CLOCKS_DIFFER = 60 * SECOND
"""How far a vendor's time and ours are followed apart in a span of the ledger."""


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
        self._origin = Origin(stats.feed, stats.vendor, stats.source, 0)
        self._line: Line
        self._lines: dict[int, Line] = {}
        self._sequences = Sequences(sequenced) if sequenced else None
        self._rising = Rising(rising) if rising else None
        self._untimed = Untimed(untimed, _GRACE) if untimed else None
        self._race = Race(stats.paths) if connections > 1 else None
        self._doubts: list[_Doubt] = []
        self._left_out: dict[str, int] = {}
        """Symbols that a polled vendor has refused, and since when."""
        self._gone: dict[int, int] = {}
        """Connections that have just ended, and when."""
        self._unlisted: dict[str, int] = {}
        """Symbols that the venue does not trade, and since when."""
        self._on_hole = on_hole
        self._on_silence = on_silence
        self._tap = tap
        self._latencies = latencies
        self._begun = now_ns()
        self._silence: tuple[str, int] | None = None
        self._full: set[Queue] = set()
        self._since: int | None = None
        """While frames go the long way after all: until when nothing was missing before them."""
        self._late: list[tuple[int, Queue, int]] = []
        """The same, for what came of them and waits for the disk: how many rows of a queue."""
        for event_type in queues:
            stats.events.setdefault(event_type, 0)
        # what is missing or dropped has to be known event by event
        self._singly = bool(tap or connections > 1) or any(
            queue.when_full is not WhenFull.BLOCK for queue in queues.values()
        )

    def resume(self, mark: Watermark) -> None:
        """Go on from where the last run got to: a gap is open from there until data comes."""
        self._silence = (mark.cause, min(mark.until, self._begun))

    def watermark(self) -> Watermark:
        """How far this feed has got: see `reach`. What comes after it is put down to a kill."""
        cause = self._silence[0] if self._silence and self._silence[0] in OWN else "killed"
        return Watermark(self._origin.vendor, self._origin.source, self.reach(), cause)

    def reach(self) -> int:
        """Until when nothing is missing that has not been received or told to the ledger (ns)."""
        if self._since is not None:
            return self._since
        if self._silence is not None:
            reach = self._silence[1]
        else:
            received = self.stats.last_received_ns
            last = min(received, max(self.stats.last_event_ns, received - _CLOCKS_DIFFER))
            reach = max(self._begun, last)
        if self._late:
            self._late = [late for late in self._late if late[1].stored < late[2]]
            reach = min([reach, *(since for since, _, _ in self._late)])
        return reach

    def connected(self, adapter: Adapter, heard: Heard | None = None) -> int:
        """A connection stands; its events carry the epoch that is returned."""
        stats = self.stats
        stats.connects += 1
        stats.epoch = next(_EPOCHS)
        stats.connected_ns = self._now_ns()
        if self._latencies is not None:
            self._latencies.connected(stats.epoch, stats.latency)
        if stats.state != "live":
            stats.state = "connected"
        self._origin = Origin(stats.feed, stats.vendor, stats.source, stats.epoch)
        short = adapter.short if isinstance(adapter, HasShort) and not self._singly else None
        self._line = Line(self._origin, adapter.decode, short, heard)
        if heard is not None:  # else no one tells when it ends: each answer of a poll is one
            self._lines[stats.epoch] = self._line
        return stats.epoch

    def unlisted(self, symbols: Mapping[str, str]) -> None:
        """The symbols that the venue does not trade, and why, in place of those told before."""
        told, self._unlisted = self._unlisted, {}
        self._take_back(self._origin, told)
        for symbol, why in symbols.items():
            self._unlisted[symbol] = self._tell_refused(self._origin, symbol, why)

    def refused(self, epoch: int, symbol: str, why: str) -> None:
        """The vendor will not deliver a symbol: see `Receiver.refused`. It is in the ledger."""
        line = self._lines[epoch]
        line.refused[symbol] = self._tell_refused(line.origin, symbol, why)

    def _tell_refused(self, origin: Origin, symbol: str, why: str) -> int:
        """A symbol will not come: since when (ns), for the row that is written when that ends."""
        now = self._now_ns()
        self.stats.refused[symbol] = why
        self._ledger.lost(origin, "unsubscribed", self.reach(), now, None, symbol)
        log.warning(
            "feed %s: %s will not come: %s",
            self.stats.feed,
            symbol,
            why,
            extra=about(origin),
        )
        return now

    def unwanted(self, symbol: str) -> None:
        """A symbol is not asked for any more: it is neither refused nor missing from now on."""
        now = self._now_ns()
        self.stats.refused.pop(symbol, None)
        for line in self._lines.values():
            since = line.refused.pop(symbol, None)
            if since is not None:
                self._ledger.lost(line.origin, "unsubscribed", since, now, None, symbol)
        if self._sequences is not None:
            self._sequences.forget(symbol)

    def renamed(self, feed: str) -> None:
        """The feed has another name from now on."""
        self.stats.feed = feed
        self._origin = msgspec.structs.replace(self._origin, feed=feed)
        for line in self._lines.values():
            line.origin = msgspec.structs.replace(line.origin, feed=feed)

    def ended(self, epoch: int) -> None:
        """A connection is over; what it never delivered is missing until now."""
        line = self._lines.pop(epoch)
        self._gone[epoch] = self._now_ns()
        self._take_back(line.origin, line.refused)

    def _take_back(self, origin: Origin, refused: Mapping[str, int]) -> None:
        """What was refused may be had from now on; until now it was missing."""
        now = self._now_ns()
        for symbol, since in refused.items():
            self.stats.refused.pop(symbol, None)
            self._ledger.lost(origin, "unsubscribed", since, now, None, symbol)

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
        line = self._line_of(epoch)
        if line.short is not None and stats.state == "live" and line.settled:
            since = self.reach()
            short = self._short(line.short, line, frames, received_ns)
            if short is not None:
                parted, stats.last_event_ns = short
                stats.last_received_ns = received_ns
                stats.frames += len(frames)
                stats.data_frames += len(frames)
                line.data_frames += len(frames)
                stats.received_bytes += parted.received
                return self._queue_frames(parted.parts, line, received_ns, since)
        go_on = True
        for data in frames:
            go_on &= self._receive(Frame(data, received_ns, epoch))
        return go_on

    def _line_of(self, epoch: int) -> Line:
        """The connection with that epoch; mostly there is but one."""
        line = self._line
        return line if line.origin.epoch == epoch else self._lines[epoch]

    def _short(
        self, short: Short, line: Line, frames: Sequence[bytes], received_ns: int
    ) -> tuple[Parted, int] | None:
        """The frames by table, and the time of the last event; None if any goes the long way.

        Only the last frame is read, which tells how far the feed has got.
        """
        try:
            parted = short.parted(frames)
            events = line.decode(Frame(parted.latest, received_ns, line.origin.epoch))
            last = events[-1].event_time
            return (parted, last) if self._follow(parted.parts, line.origin.epoch) else None
        except Exception:  # noqa: BLE001 - the long way says what it is, frame by frame
            return None

    def _follow(self, parts: Sequence[Part], epoch: int) -> bool:
        """Remember the numbers of frames; False, and nothing is, where they are to be looked at.

        That is where one does not follow on the last, or another connection might have brought it.
        """
        if self._sequences is None and self._rising is None:
            return True
        if len(self._lines) > 1 or self._gone or self._doubts:
            return False
        if self._sequences is None:
            return True
        following = []
        for wire, text, size in parts:
            numbers = [] if wire.numbers is None else wire.numbers(text, size)
            if wire.event_type in self._sequences.event_types:
                last = self._sequences.follow(wire.event_type, numbers, epoch)
                if last is None:
                    return False
                following.append((wire.event_type, last))
        for event_type, last in following:
            self._sequences.followed(event_type, last, epoch)
        return True

    def _queue_frames(
        self, parts: Sequence[Part], line: Line, received_ns: int, since: int
    ) -> bool:
        go_on, origin = True, line.origin
        again = partial(self._again, line.decode)
        for wire, text, size in parts:
            queue = self._queues[wire.event_type]
            queue.put_batch(Batch(wire, origin, received_ns, since, text, size, again))
            self.stats.events[wire.event_type] += size
            if queue.must_wait:
                self._full.add(queue)
                go_on = False
        return go_on

    def _again(self, decode: Callable[[Frame], Sequence[Event]], batch: Batch) -> None:
        """Frames that turned out to have no row go the long way, which says why.

        Until what comes of them is on disk, the feed has got no further than before them.
        """
        line = Line(batch.origin, decode, None, None)
        self.stats.events[batch.wire.event_type] -= batch.size
        self._since = batch.since_ns
        try:
            for data in batch.frames:
                frame = Frame(data, batch.received_ns, batch.origin.epoch)
                try:
                    self._queue(self._events_of(frame, line), line, batch.received_ns)
                except EdcError as error:  # a connection that has gone on is not ended by it
                    self._skip(frame, line.origin, Skippable("error", str(error)))
        finally:
            self._since = None
        for queue in self._queues.values():
            self._late.append((batch.since_ns, queue, queue.accepted))

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
        line = self._line_of(frame.epoch)
        events = self._events_of(frame, line)
        if line.heard is not None and not (events and line.settled):
            line.heard.hear(frame)
        if not events:
            return True
        if stats.state != "live":
            self._speaks(frame.received_ns, events[0].event_time)
        if self._left_out:
            symbols = {event.symbol for event in events} & self._left_out.keys()
            self._take_back(line.origin, {each: self._left_out.pop(each) for each in symbols})
        stats.data_frames += 1
        line.data_frames += 1
        go_on = self._queue(events, line, frame.received_ns)
        stats.last_event_ns = events[-1].event_time
        stats.last_received_ns = frame.received_ns
        return go_on

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
        if self._sequences is not None:
            self._tell_jumps(self._sequences, events, origin, received_ns)
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
        rivals = self._lines.keys() | self._gone.keys()
        fresh = [event for event in events if is_new(event, rivals)]
        self.stats.repeated += len(events) - len(fresh)
        return fresh

    def _tell_jumps(
        self, sequences: Sequences, events: Sequence[Event], origin: Origin, received_ns: int
    ) -> None:
        alone = len(self._lines) < 2  # noqa: PLR2004 - one
        for event in events:
            missing = sequences.missing(event, origin.epoch, alone=alone)
            if missing < 0 and self._doubts:
                for doubt in self._doubts:
                    doubt.seen(event)
            elif missing > 0:
                number = int(event.sequence or 0)  # type: ignore[attr-defined]
                span = (self.reach(), _later(received_ns, event.event_time))
                hole = Hole(event.symbol, number - missing - 1, number, *span)
                if alone:
                    self._tell_hole(hole, missing, origin)
                else:
                    self._doubts.append(_Doubt(hole, event.event_type, origin, received_ns))

    def _tell_hole(self, hole: Hole, missing: int, origin: Origin) -> None:
        span = (hole.started_at, hole.ended_at)
        if self._on_hole is None:
            self._ledger.lost(origin, "sequence", *span, missing, hole.symbol)
        else:
            self._on_hole(hole, self._ledger.hole(origin, "sequence", span, missing, hole.symbol))

    def settle(self, *, finally_: bool = False) -> None:
        """Tell of jumps that the other connections have had time to make good; call it often."""
        if not self._doubts and not self._gone:
            return
        since = self._now_ns() - _GRACE
        self._gone = {epoch: ended for epoch, ended in self._gone.items() if ended > since}
        doubts, self._doubts = self._doubts, []
        for doubt in doubts:
            if not finally_ and doubt.since > since:
                self._doubts.append(doubt)
            elif doubt.missing:
                self._tell_hole(doubt.hole, doubt.missing, doubt.origin)

    def remember(self, last: Mapping[str, int]) -> None:
        """The number of the last trade of each symbol that an earlier run has recorded."""
        if self._sequences is not None:
            for symbol, sequence in last.items():
                self._sequences.remember("trade", symbol, sequence)

    def fill(self, events: Sequence[Event], received_ns: int) -> None:
        """Queue what a back-fill has brought; it says nothing about the feed as it is now."""
        stats = self.stats
        origin = Origin(stats.feed, stats.vendor, stats.source, next(_EPOCHS))
        stats.filled += len(events)
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
            for symbol in error.symbols:
                if symbol not in self._left_out:
                    self._left_out[symbol] = self._tell_refused(origin, symbol, error.problem)
            return [event for event in error.events if isinstance(event, Event)]
        ahead = max(0, self.stats.last_event_ns - self.stats.last_received_ns)
        ended_at = frame.received_ns + min(ahead, _CLOCKS_DIFFER)
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
        span = (self.reach(), ended_at)  # what it told happened after the last data before it
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
        return self._lines[epoch].data_frames

    @property
    def speaks(self) -> bool:
        """True while a connection stands that has delivered data."""
        return any(line.data_frames for line in self._lines.values())

    @property
    def settled(self) -> bool:
        """True while each connection that stands has heard what it will get of what it asked."""
        return all(line.settled for line in self._lines.values())

    def silent(self, cause: str) -> None:
        """The last connection is gone: a gap runs from the last data until data comes again."""
        self._ask_again()
        if self._silence is not None and self._silence[0] in OWN:
            self._close_silence(self._now_ns())  # from here on it is the vendor's
            self._silence = (cause, self._begun)
        elif self._silence is None:
            self._silence = (cause, self.reach())

    def _speaks(self, received_ns: int, event_time: int) -> None:
        self.stats.state = "live"
        self.stats.problem = ""
        self._close_silence(_later(received_ns, event_time))

    def finish(self) -> None:
        """No more frames: a gap that is still open ends here, as far as can be said."""
        self.settle(finally_=True)
        self._ask_again()
        self.unlisted({})
        self._close_silence(self._now_ns())

    def _ask_again(self) -> None:
        """A polled feed begins anew, or ends: nothing is left out any more."""
        left_out, self._left_out = self._left_out, {}
        self._take_back(self._origin, left_out)

    def _close_silence(self, ended_at: int) -> None:
        if self._silence is not None:
            cause, since = self._silence
            gap = self._ledger.silent(self._origin, cause, since, ended_at)
            if self._on_silence is not None:
                self._on_silence(gap)
            self._silence = None
            self._begun = max(self._begun, ended_at)


def _later(received_ns: int, event_time: int) -> int:
    """The end of a span at the first data after it, on whichever clock is ahead."""
    return max(received_ns, min(event_time, received_ns + _CLOCKS_DIFFER))


class _Doubt:
    """A jump on one connection, while another may still bring what it has left out."""

    def __init__(self, hole: Hole, event_type: str, origin: Origin, since: int) -> None:
        self.hole = hole
        self.origin = origin
        self.since = since
        self._event_type = event_type
        self._seen: set[int] = set()

    def seen(self, event: Event) -> None:
        """An event that came late, perhaps one of those left out."""
        number = getattr(event, "sequence", None)
        hole = self.hole
        if (
            number is not None
            and event.symbol == hole.symbol
            and event.event_type == self._event_type
            and hole.after is not None
            and hole.before is not None
            and hole.after < number < hole.before
        ):
            self._seen.add(number)

    @property
    def missing(self) -> int:
        """How many have not come."""
        assert self.hole.after is not None
        assert self.hole.before is not None
        return self.hole.before - self.hole.after - 1 - len(self._seen)
