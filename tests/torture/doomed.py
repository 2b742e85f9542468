"""`python -m tests.torture.doomed POINT NTH run …`: edc, killed by itself at a point of its code.

A point is before or after a function, or half way through the list or the bytes that it is given.
The NTH time that it is passed, in whichever thread, the process sends itself SIGKILL. Production
code knows nothing of it.
"""

import os
import pkgutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from edc import cli
from tests.torture.hurried import hurry


@dataclass(frozen=True, slots=True)
class Point:
    """Where a command dies. `most` is about how often it passes there in a second."""

    command: Literal["run", "compact"]
    target: str
    when: Literal["before", "half", "after"]
    most: int


POINTS = {
    # every file that is made, of chunks, batches and the ledger
    "file-empty": Point("run", "edc.files:_write_all", "before", 25),
    "file-half": Point("run", "edc.files:_write_all", "half", 25),
    "file-not-synced": Point("run", "edc.files:_write_all", "after", 25),
    "file-synced": Point("run", "edc.files:_sync", "after", 40),
    "file-named": Point("run", "edc.files:_name", "after", 25),
    "folder-synced": Point("run", "edc.files:publish", "after", 25),
    # from the queue to the lake
    "chunk-due": Point("run", "edc.spool:Spool.append", "before", 10),
    "chunk-safe": Point("run", "edc.spool:Spool.append", "after", 10),
    "batch-due": Point("run", "edc.sinks.parquet:ParquetSink.write", "before", 6),
    "batch-of-a-folder-safe": Point("run", "edc.lake:Lake.write", "after", 6),
    "batch-safe": Point("run", "edc.spool:Spool.remove", "before", 6),
    "chunks-half-removed": Point("run", "edc.spool:Spool.remove", "half", 6),
    "chunks-removed": Point("run", "edc.spool:Spool.remove", "after", 6),
    # the books
    "watermarks-due": Point("run", "edc.watermarks:Watermarks.save", "before", 3),
    "watermarks-written": Point("run", "pathlib:Path.replace", "before", 3),
    "watermarks-named": Point("run", "pathlib:Path.replace", "after", 3),
    "watermarks-safe": Point("run", "edc.watermarks:Watermarks.save", "after", 3),
    # compaction
    "compaction-begun": Point("compact", "edc.upkeep.compaction:Compactor._compact", "before", 2),
    "compaction-merged": Point("compact", "edc.upkeep.compaction:Compactor._merge", "after", 2),
    "compaction-verified": Point("compact", "edc.upkeep.swap:link_others", "before", 2),
    "compaction-due": Point("compact", "edc.upkeep.swap:exchanged", "before", 2),
    "compaction-exchanged": Point("compact", "edc.upkeep.swap:exchanged", "after", 2),
    "compaction-others-brought": Point("compact", "edc.upkeep.swap:bring_others", "after", 2),
    "compaction-sources-go": Point("compact", "edc.upkeep.offstage:discard", "before", 2),
    "compaction-safe": Point("compact", "edc.upkeep.compaction:Compactor._compact", "after", 2),
}
"""Every point by name."""


def arm(point: Point, nth: int) -> None:
    """Make this process die there."""
    module, _, name = point.target.partition(":")
    owner, _, attribute = name.rpartition(".")
    place = pkgutil.resolve_name(f"{module}:{owner}" if owner else module)
    setattr(place, attribute, _deadly(getattr(place, attribute), point.when, nth))


def _deadly(original: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
    lock, passed = threading.Lock(), 0

    def is_due() -> bool:
        nonlocal passed
        with lock:
            passed += 1
            return passed == nth

    def deadly(*args: Any, **options: Any) -> Any:
        due = is_due()
        if due and when == "before":
            _die()
        if due and when == "half":
            last = list(args[-1]) if not isinstance(args[-1], bytes | memoryview) else args[-1]
            original(*args[:-1], last[: len(last) // 2], **options)
            _die()
        result = original(*args, **options)
        if due:
            _die()
        return result

    return deadly


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    while True:  # a signal takes a moment
        time.sleep(1)


if __name__ == "__main__":
    hurry()
    arm(POINTS[sys.argv.pop(1)], int(sys.argv.pop(1)))
    cli.main()
