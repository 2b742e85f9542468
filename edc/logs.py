"""Logs: text for people, JSON lines for machines, and no secret in either.

A level says what the operator must do. error: data was lost or hands are needed; warning: odd, but
recovered; info: what was asked for has happened; debug: never per event. Fields are passed as
`extra={"feed": …}`.
"""

import json
import logging
import traceback
from collections.abc import Callable, Iterable
from urllib.parse import quote

import msgspec

from edc.times import SECOND, format_iso

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
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


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}


class TextFormatter(logging.Formatter):
    """`2026-02-13T13:09:22Z INFO  message  feed=stocks`: one line a record, tracebacks indented."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line, redacted."""
        stamp = format_iso(int(record.created * SECOND))[:19]
        fields = "".join(f"  {name}={value}" for name, value in _fields(record).items())
        said = f"{stamp}Z {record.levelname:<7} {record.getMessage()}{fields}"
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
    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))


def configure(log_format: str, write: Callable[[str], None], *, level: str = "info") -> None:
    """Send every log line, as `text` or `json`, to `write`. Libraries speak from warning up."""
    handler = _Lines(write)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)


def set_level(name: str) -> None:
    """Write lines from this level on: debug, info, warning or error."""
    level = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger().setLevel(max(level, logging.WARNING) if level > logging.DEBUG else level)
    logging.getLogger("edc").setLevel(level)
    # Its debug lines cut a frame in the middle, and half a key is not known to the redactor.
    logging.getLogger("websockets").setLevel(max(level, logging.INFO))


def repeat(line: bytes, **fields: object) -> str | None:
    """Log a line of another process's JSON log as our own; its message, None if it is no line."""
    try:
        entry: dict[str, object] = msgspec.json.decode(line, type=dict[str, object])
        name, level, event = (str(entry.pop(key)) for key in ("logger", "level", "event"))
        number = logging.getLevelNamesMapping()[level.upper()]
    except (msgspec.DecodeError, KeyError):
        return None
    told = {key: value for key, value in entry.items() if key not in ("ts", "traceback")}
    logging.getLogger(name).log(number, "%s", event, extra=told | fields)
    return event
