"""How far a feed has got: until when it lacks nothing that is neither received nor in the ledger.

While data comes that is the time of the last event; while none does it is where the silence began,
which the ledger is told as a gap when it ends. What was received and has to be looked at again
holds it back until that is on disk. The next run goes on from there (`edc.watermarks`).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from edc.events import Gap
from edc.ledger import OWN, Ledger
from edc.lines import Lines
from edc.metrics import FeedStats
from edc.queues import Queue
from edc.times import SECOND
from edc.watermarks import Watermark

_CLOCKS_DIFFER = 60 * SECOND
"""How far a vendor's time and ours are followed apart in a span of the ledger."""


class Reach:
    """How far one feed has got, and its silences, which it tells the ledger when they end."""

    def __init__(
        self,
        stats: FeedStats,
        ledger: Ledger,
        lines: Lines,
        now_ns: Callable[[], int],
        on_silence: Callable[[Gap], None] | None,
    ) -> None:
        self._stats = stats
        self._ledger = ledger
        self._lines = lines
        self._now_ns = now_ns
        self._on_silence = on_silence
        self._begun = now_ns()
        self._silence: tuple[str, int] | None = None
        self._back: int | None = None
        """While frames go the long way after all: until when nothing was missing before them."""
        self._late: list[tuple[int, Queue, int]] = []
        """The same, for what came of them and waits for the disk: how many rows of a queue."""

    def resume(self, mark: Watermark) -> None:
        """Go on from where the last run got to: a gap is open from there until data comes."""
        self._silence = (mark.cause, min(mark.until, self._begun))

    def watermark(self) -> Watermark:
        """For the next run: see `until`. What comes after it is put down to a kill."""
        cause = self._silence[0] if self._silence and self._silence[0] in OWN else "killed"
        return Watermark(self._stats.vendor, self._stats.source, self.until(), cause)

    def until(self) -> int:
        """Until when nothing is missing that has not been received or told to the ledger (ns)."""
        if self._back is not None:
            return self._back
        if self._silence is not None:
            until = self._silence[1]
        else:
            received = self._stats.last_received_ns
            last = min(received, max(self._stats.last_event_ns, received - _CLOCKS_DIFFER))
            until = max(self._begun, last)
        if self._late:
            self._late = [late for late in self._late if late[1].stored < late[2]]
            until = min([until, *(since for since, _, _ in self._late)])
        return until

    @contextmanager
    def back_at(self, since_ns: int, queues: Iterable[Queue]) -> Iterator[None]:
        """What is received within came earlier, when the feed had got no further than `since_ns`.

        Until what comes of it is on disk, it has got no further than that.
        """
        self._back = since_ns
        try:
            yield
        finally:
            self._back = None
        self._late += [(since_ns, queue, queue.accepted) for queue in queues]

    def silent(self, cause: str) -> None:
        """Nothing comes: a gap runs from the last data until data comes again."""
        if self._silence is not None and self._silence[0] in OWN:
            self.close(self._now_ns())  # from here on it is the vendor's
            self._silence = (cause, self._begun)
        elif self._silence is None:
            self._silence = (cause, self.until())

    def close(self, ended_at: int) -> None:
        """A gap that is open ends."""
        if self._silence is not None:
            cause, since = self._silence
            gap = self._ledger.silent(self._lines.origin, cause, since, ended_at)
            if self._on_silence is not None:
                self._on_silence(gap)
            self._silence = None
            self._begun = max(self._begun, ended_at)

    def end_at(self, received_ns: int) -> int:
        """The end of a span at a frame without a time; see `later`.

        The vendor's clock is as far ahead as it was with the last data.
        """
        ahead = max(0, self._stats.last_event_ns - self._stats.last_received_ns)
        return later(received_ns, received_ns + ahead)


def later(received_ns: int, event_time: int) -> int:
    """The end of a span at the first data after it, on whichever clock is ahead."""
    return max(received_ns, min(event_time, received_ns + _CLOCKS_DIFFER))
