"""What is said again and again is said once more, with how often: a log stays one that is read.

Of the same message (as it stands in the source, before it is filled in) of the same logger, level
and subject, the first few in a window are told as they come. Of the rest the last is told when the
window is over, with how many they were.
"""

import copy
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

_MOST = 10
_WINDOW = 60.0
"""Seconds from the first of them."""
_SUBJECTS = ("feed", "worker", "event_type")
"""Fields that tell errors apart: those of one feed never hide those of another."""


@dataclass(slots=True)
class _Window:
    began: float
    count: int = 0
    held: int = 0
    last: logging.LogRecord | None = None


class Repeats:
    """Knows what was said in the last `window` seconds. Not safe for several threads at once."""

    def __init__(
        self,
        most: int = _MOST,
        window: float = _WINDOW,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._window, self._now = most, window, now
        self._windows: dict[Hashable, _Window] = {}
        """In the order in which they began."""

    def admits(self, record: logging.LogRecord) -> bool:
        """True where a record is to be told now; else it is counted. Take what is `due` before.

        A debug line is always told: whoever asks for them wants each.
        """
        if record.levelno <= logging.DEBUG:
            return True
        key = _key(record)
        window = self._windows.setdefault(key, _Window(self._now()))
        window.count += 1
        if window.count <= self._most:
            return True
        window.held += 1
        window.last = _plain(record)
        return False

    def due(self, *, every: bool = False) -> list[logging.LogRecord]:
        """A record for each window that is over and has held some back; at the end for `every` one.

        Each is told once: what comes after begins another window.
        """
        told = []
        while self._windows:
            key, window = next(iter(self._windows.items()))
            lasted = self._now() - window.began
            if lasted < self._window and not every:
                break
            del self._windows[key]
            if window.last is not None:
                told.append(_told(window.last, window.held, lasted))
        return told

    def next_due(self) -> float | None:
        """Seconds until something is due, None while nothing is held back."""
        ends = [each.began + self._window for each in self._windows.values() if each.held]
        return max(0.0, min(ends) - self._now()) if ends else None


def _key(record: logging.LogRecord) -> Hashable:
    # A message that is nothing but its argument is told apart by that.
    said = record.getMessage() if record.msg == "%s" else str(record.msg)
    subject = tuple(str(getattr(record, name, "")) for name in _SUBJECTS)
    return record.name, record.levelno, said, subject


def _plain(record: logging.LogRecord) -> logging.LogRecord:
    """A copy that keeps nothing alive but its text and fields."""
    made = copy.copy(record)
    made.msg, made.args, made.exc_info = record.getMessage(), None, None
    return made


def _told(last: logging.LogRecord, held: int, lasted: float) -> logging.LogRecord:
    last.args = (last.msg, held, max(1, round(lasted)))
    last.msg = "%s … and %d more like it in the last %d s"
    last.created = time.time()
    return last
