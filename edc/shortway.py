"""The short way of a feed's frames to the queue: as they came, and no event is made of them.

What they say is read when a chunk is written (`edc.wire`). Here the frames of a read are parted by
table, the last of them is decoded, which tells how far the feed has got, and the numbers of all are
looked at where they have to follow on each other. What is not as it should be goes the long way
(`edc.ingest`), now or when the chunk is written, and that says why.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from edc.events import Event
from edc.holes import Holes
from edc.lines import Line, Lines
from edc.metrics import FeedStats
from edc.queues import Queue
from edc.reach import Reach
from edc.transport import Frame
from edc.wire import Batch, Part, Short


class ShortWay:
    """The short way of one feed.

    `full` are the queues that its readers have to wait for. `go_long` takes a frame the long way,
    whatever has become of its connection meanwhile. `rising` says that events are known again by
    their numbers, where two connections bring them.
    """

    def __init__(
        self,
        stats: FeedStats,
        queues: Mapping[str, Queue],
        full: set[Queue],
        lines: Lines,
        reach: Reach,
        holes: Holes | None,
        go_long: Callable[[Frame, Line], None],
        *,
        rising: bool,
    ) -> None:
        self._stats = stats
        self._queues = queues
        self._full = full
        self._lines = lines
        self._reach = reach
        self._holes = holes
        self._go_long = go_long
        self._numbered = rising or holes is not None

    def take(
        self, short: Short, line: Line, frames: Sequence[bytes], received_ns: int
    ) -> bool | None:
        """Queue the frames of one read; None, and nothing is queued, if any goes the long way.

        Only the last frame is read, which tells how far the feed has got. False asks to await room.
        """
        stats = self._stats
        since = self._reach.until()
        try:
            parted = short.parted(frames)
            events = line.decode(Frame(parted.latest, received_ns, line.origin.epoch))
            last = events[-1].event_time
            if self._numbered and not self._follow(parted.parts, line.origin.epoch):
                return None
        except Exception:  # noqa: BLE001 - the long way says what it is, frame by frame
            return None
        stats.last_event_ns = last
        stats.last_received_ns = received_ns
        stats.frames += len(frames)
        stats.data_frames += len(frames)
        line.data_frames += len(frames)
        stats.received_bytes += parted.received
        return self._queue(parted.parts, line, received_ns, since)

    def _follow(self, parts: Sequence[Part], epoch: int) -> bool:
        """Remember the numbers of frames; False, and nothing is, where they are to be looked at.

        That is where one does not follow on the last, or another connection might have brought it.
        """
        if len(self._lines.standing) > 1 or self._lines.gone:
            return False
        return self._holes is None or self._holes.follow(parts, epoch)

    def _queue(self, parts: Sequence[Part], line: Line, received_ns: int, since: int) -> bool:
        go_on, origin = True, line.origin
        again = partial(self._again, line.decode)
        for wire, text, size in parts:
            queue = self._queues[wire.event_type]
            queue.put_batch(Batch(wire, origin, received_ns, since, text, size, again))
            self._stats.events[wire.event_type] += size
            if queue.must_wait:
                self._full.add(queue)
                go_on = False
        return go_on

    def _again(self, decode: Callable[[Frame], Sequence[Event]], batch: Batch) -> None:
        """Frames that turned out to have no row go the long way, which says why."""
        line = Line(batch.origin, decode, None, None)
        self._stats.events[batch.wire.event_type] -= batch.size
        with self._reach.back_at(batch.since_ns, self._queues.values()):
            for data in batch.frames:
                self._go_long(Frame(data, batch.received_ns, batch.origin.epoch), line)
