"""Logs: text for people, JSON lines for machines, and no secret in either.

A level says what the operator must do. error: data was lost or hands are needed; warning: odd, but
recovered; info: what was asked for has happened; debug: never per event. Fields are passed as
`extra`; a line about a feed has those of `about`, so that all of one connection can be found.
"""

import json
import logging
import os
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO
from urllib.parse import quote

import msgspec

from edc.repeats import Repeats
from edc.times import SECOND, format_iso

_PASSED_ON = "passed_on"
"""The field of a record that another process of ours has counted, and told as often as is good."""
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {
    *("message", "asctime", "taskName", _PASSED_ON),
}
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""Of syslog, as sd-daemon(3) numbers them."""
_SHORTEST_SECRET = 4
_TELLING = 8
"""Characters of a secret that are too many to show."""


class Redactor:
    """Replaces every known secret in a text by `***`, also where it is URL-encoded or in JSON."""

    def __init__(self) -> None:
        self._secrets: list[str] = []

    def add(self, secrets: Iterable[str]) -> None:
        """Know these secrets from now on. Ones under four characters would redact prose."""
        for secret in secrets:
            for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
                if len(form) >= _SHORTEST_SECRET and form not in self._secrets:
                    self._secrets.append(form)
        self._secrets.sort(key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """`text` without secrets, nor the first part of one that was cut off."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        for secret in self._secrets:
            text = _without_start(secret, text)
        return text


def _without_start(secret: str, text: str) -> str:
    start = secret[:_TELLING]
    at = text.find(start)
    while at >= 0:
        end = at + len(start)
        while end - at < len(secret) and text[end : end + 1] == secret[end - at]:
            end += 1
        text = f"{text[:at]}***{text[end:]}"
        at = text.find(start, at)
    return text


redact = Redactor()
"""The one redactor of the process: configuration adds to it, every output passes through it."""


def printable(text: str) -> str:
    """`text` as a terminal may show it: what would steer it, or turn the line, is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


counted: Counter[str] = Counter(dict.fromkeys(("debug", "info", "warning", "error"), 0))
"""Log lines of this process by level since its start, also those that were only told as a number.
"""


class Named(Protocol):
    """What says which feed it is about: its counters, or where an event came in."""

    @property
    def feed(self) -> str:
        """The name of the feed."""

    @property
    def vendor(self) -> str:
        """Whose it is."""

    @property
    def epoch(self) -> int:
        """Its newest connection; it rises with each, 0 before the first."""


def about(feed: Named) -> dict[str, object]:
    """The fields of each line about a feed: `extra=about(stats)`."""
    return {"feed": feed.feed, "vendor": feed.vendor, "epoch": feed.epoch}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}


class TextFormatter(logging.Formatter):
    """`2026-02-13T13:09:22Z INFO  message  feed=stocks`: one line a record, tracebacks indented.

    Not `timed` where whoever takes the lines puts the time to each.
    """

    def __init__(self, *, timed: bool = True) -> None:
        super().__init__()
        self._timed = timed

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line, redacted."""
        stamp = f"{format_iso(int(record.created * SECOND))[:19]}Z " if self._timed else ""
        fields = "".join(f"  {name}={value}" for name, value in _fields(record).items())
        said = f"{stamp}{record.levelname:<7} {record.getMessage()}{fields}"
        line = printable(" ".join(said.splitlines()))
        if record.exc_info:
            told = "".join(traceback.format_exception(*record.exc_info)).splitlines()
            line += "".join(f"\n    {printable(part)}" for part in told)
        return redact(line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, event, logger, then the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a JSON object, redacted."""
        entry: dict[str, object] = {
            "ts": format_iso(int(record.created * SECOND)),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **_fields(record),
        }
        if record.exc_info:
            entry["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return redact(msgspec.json.encode(entry, enc_hook=str).decode())


class _Lines(logging.Handler):
    """Counts what is said, and writes it but for repeats; those are told by a thread of its own."""

    def __init__(self, write: Callable[[str], None], *, priorities: bool = False) -> None:
        super().__init__()
        self._write = write
        self._priorities = priorities
        self._repeats = Repeats()
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or hold it back. The lock of the handler is held."""
        self._tell_due()
        if getattr(record, _PASSED_ON, False):
            self._tell(record)
            return
        counted[record.levelname.lower()] += 1
        if self._repeats.admits(record):
            self._tell(record)
        else:
            self._wake()

    def close(self) -> None:
        """Tell what was held back, at the end of the process or of this way to write."""
        with self._locked():
            self._tell_due(every=True)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        super().close()

    def _tell(self, record: logging.LogRecord) -> None:
        said = self.format(record)
        if self._priorities:
            mark = f"<{_PRIORITIES.get(record.levelname, 6)}>"
            said = "\n".join(f"{mark}{line}" for line in said.split("\n"))
        self._write(said)

    def _tell_due(self, *, every: bool = False) -> None:
        for record in self._repeats.due(every=every):
            self._tell(record)

    def _wake(self) -> None:
        """See that what is held back is told in time, also where nothing else is said."""
        due = self._repeats.next_due()
        if self._timer is None and due is not None:
            self._timer = threading.Timer(due, self._woken)
            self._timer.daemon = True
            self._timer.start()

    def _woken(self) -> None:
        with self._locked():
            if self._timer is not None:  # not closed meanwhile
                self._timer = None
                self._tell_due()
                self._wake()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()


def is_journal(stream: TextIO) -> bool:
    """True where `stream` leads to systemd's journal: JOURNAL_STREAM names its device and inode.

    See systemd.exec(5). A child inherits the variable though its own output goes elsewhere.
    """
    try:
        file = os.fstat(stream.fileno())
    except (OSError, ValueError):  # it is closed, or no file
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{file.st_dev}:{file.st_ino}"


def configure(
    log_format: str,
    write: Callable[[str], None],
    *,
    level: str = "info",
    journal: bool = False,
) -> None:
    """Send every log line, as `text` or `json`, to `write`. Libraries speak from warning up.

    For the `journal` each line begins with its priority, `<3>`, and a text has no time of its own.
    """
    close()
    handler = _Lines(write, priorities=journal)
    handler.setFormatter(
        JsonFormatter() if log_format == "json" else TextFormatter(timed=not journal)
    )
    logging.getLogger().handlers[:] = [handler]
    set_level(level)


def close() -> None:
    """Tell what repeats were held back; at a usual end Python does so itself."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Lines):
            handler.close()


def set_level(name: str) -> None:
    """Write lines from this level on: debug, info, warning or error."""
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger().setLevel(max(level, logging.WARNING) if level > logging.DEBUG else level)
    logging.getLogger("edc").setLevel(level)
    # Its debug lines cut a frame in the middle, and half a key is not known to the redactor.
    logging.getLogger("websockets").setLevel(max(level, logging.INFO))


def repeat(line: bytes, **fields: object) -> str | None:
    """Log a line of a worker's JSON log as our own; its message, None if it is no line.

    The worker has counted it: it is in the metrics that are added up.
    """
    try:
        entry: dict[str, object] = msgspec.json.decode(line, type=dict[str, object])
        name, level, event = (str(entry.pop(key)) for key in ("logger", "level", "event"))
        number = logging.getLevelNamesMapping()[level.upper()]
    except (msgspec.DecodeError, KeyError):
        return None
    told = {key: value for key, value in entry.items() if key not in ("ts", "traceback")}
    logging.getLogger(name).log(number, "%s", event, extra=told | fields | {_PASSED_ON: True})
    return event
