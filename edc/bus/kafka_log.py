"""Whether a log of Kafka still is what it was, and where in it a store goes on.

A broker may have forgotten what it had confirmed: a disk that lied, a leader that was not in sync,
a topic that was deleted and made anew. Then offsets begin again where the log was cut, and mean
other messages: whoever goes on at a committed offset waits for one that does not come, or passes
over what has been written since. So a store commits with its offset a mark of the message before
it, and goes on there only while that message is there still; and a collector expects the offsets
that it is given to grow.

A mark is `<ms since the epoch>/<crc32>`: the message's time as Kafka has it, and its bytes.
"""

import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

_REMEMBERED = 10_000
"""Confirmations of a partition: an hour or more, and no broker should be that far behind."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to read on. `problem` is empty where nothing before it can be missing."""

    offset: int
    problem: str = ""
    since: int = 0
    """What is missing was published after this: ns since the epoch, 0 where it is not known."""


def mark(timestamp: int, data: bytes) -> str:
    """What is committed with the offset after a message."""
    return f"{timestamp}/{zlib.crc32(data):08x}"


async def place(consumer: Any, admin: Any, group: str, at: TopicPartition) -> Place:
    """Where `group` reads on in a partition that is the consumer's. Raises what the library does.

    Where the log is another, that is its beginning: what is in the lake already is dropped there.
    """
    found = (await admin.list_consumer_group_offsets(group, partitions=[at])).get(at)
    first = (await consumer.beginning_offsets([at]))[at]
    if found is None or found.offset < 0:
        return Place(first)
    offset, marked = found.offset, found.metadata or ""
    time_said = marked.partition("/")[0]
    since = int(time_said) * 1_000_000 if time_said.isdigit() else 0
    if offset < first:
        gone = f"{first - offset:,} messages are gone that no store had read"
        return Place(first, gone, since)
    last = (await consumer.end_offsets([at]))[at]
    if offset > last:
        cut = f"it had come to {offset:,} and ends at {last:,} now"
        return Place(first, cut, since)
    if offset == first or not marked:
        return Place(offset)
    consumer.seek(at, offset - 1)
    while not (records := await consumer.getmany(at, timeout_ms=1000, max_records=1)):
        pass
    before = records[at][0]
    if (before.offset, mark(before.timestamp, before.value or b"")) == (offset - 1, marked):
        return Place(offset)
    return Place(first, f"the message at {offset - 1:,} is another than it was", since)


class Confirmed:
    """What a collector was told that one partition has."""

    def __init__(self) -> None:
        self._known: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        """The last offset of each confirmation, and the least time of the rows in it."""

    def add(self, offsets: Sequence[int], since: int) -> int | None:
        """Note what is confirmed together. If earlier messages are void: the least of their times.

        `since` is that of the rows confirmed now, ns.
        """
        low = min(offsets)
        void = [since] if low < offsets[0] else []
        while self._known and self._known[-1][0] >= low:
            void.append(self._known.pop()[1])
        self._known.append((max(offsets), since))
        return min(void, default=None)
