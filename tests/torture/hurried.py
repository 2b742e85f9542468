"""`python -m tests.torture.hurried run …`: edc with short waits, and with partitions that close.

A daemon finds a dead connection in one second instead of ten, tries again in tenths of a second,
and keeps its books five times a second; a compaction takes the present hour to be over. Nothing
else is altered.
"""

from collections.abc import Callable
from typing import Any

from edc import cli, supervisor
from edc.feeds import Times
from edc.transport.sockets import Timing
from edc.upkeep import compaction

TIMES = Times(
    socket=Timing(ping_after=0.5, ping_timeout=0.5, tick=0.05, close_timeout=0.2),
    first_delay=0.05,
    longest_delay=0.2,
    ledger=0.2,
)
_TWO_HOURS = 7200 * 1_000_000_000


def hurry() -> None:
    """Alter this process."""
    vars(supervisor)["Times"] = lambda: TIMES
    begin = compaction.Compactor.__init__

    def begin_later(*args: Any, now_ns: Callable[[], int], **options: Any) -> None:
        begin(*args, now_ns=lambda: now_ns() + _TWO_HOURS, **options)

    compaction.Compactor.__init__ = begin_later  # type: ignore[method-assign]


if __name__ == "__main__":
    hurry()
    cli.main()
