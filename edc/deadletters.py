"""Frames that could not be used, kept as they came.

`<path>/.dead/<feed>.jsonl`, one frame a line, in the form that `edc replay` reads:
`{"received_ns": …, "epoch": …, "text": "…", "reason": "…", "problem": "…"}`, or `"b64"` for bytes
that are not UTF-8. At 64 MiB the file becomes `<feed>.1.jsonl`, replacing the one before: a vendor
gone mad costs at most 128 MiB a feed.
"""

import base64
import logging
import os
from pathlib import Path

import msgspec

from edc.errors import Skippable
from edc.logs import Named, about, redact
from edc.transport import Frame

_LIMIT = 64 * 1024 * 1024

log = logging.getLogger(__name__)


class DeadLetters:
    """The dead-letter files of one storage path."""

    def __init__(self, path: Path, limit: int = _LIMIT) -> None:
        self.folder = path / ".dead"
        self._limit = limit
        self._full = False

    def keep(self, feed: Named, frame: Frame, error: Skippable) -> None:
        """Append a frame and why it was refused. A refusing disk is logged, once, not raised."""
        entry: dict[str, object] = {"received_ns": frame.received_ns, "epoch": frame.epoch}
        try:
            entry["text"] = redact(frame.data.decode())
        except UnicodeDecodeError:
            text = redact(frame.data.decode(errors="surrogateescape"))
            entry["b64"] = base64.b64encode(text.encode(errors="surrogateescape")).decode()
        entry |= {"reason": error.reason, "problem": redact(error.problem)}
        try:
            self._append(feed.feed, msgspec.json.encode(entry) + b"\n")
            self._full = False
        except OSError as problem:
            if not self._full:
                log.error("dead letters cannot be kept: %s", problem, extra=about(feed))
            self._full = True

    def _append(self, feed: str, line: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{feed}.jsonl"
        if path.exists() and path.stat().st_size + len(line) > self._limit:
            path.replace(self.folder / f"{feed}.1.jsonl")
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a line torn by a kill stays a line of its own
                    line = b"\n" + line
            file.write(line)
