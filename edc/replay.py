"""Recorded frames, by the way that they would have taken live: the work of `edc replay`."""

import asyncio
import logging
from collections.abc import Iterable

import msgspec

from edc.deadletters import DeadLetters
from edc.errors import Fatal, Retriable
from edc.ingest import Ingest
from edc.logs import about
from edc.metrics import FeedStats
from edc.parts import Parts
from edc.plan import Feed
from edc.transport import Frame

log = logging.getLogger(__name__)

_AT_ONCE = 1024
"""Recorded frames between two looks at what else is to be done."""


class Replay:
    """Brings frames of a feed into the queues of a daemon; `stats` tells what came of them.

    Every event carries the time at which its frame was received then. The feed's watermark stays
    as it was, and no silence is told: nothing was recorded now.
    """

    def __init__(self, parts: Parts, feed: Feed) -> None:
        if feed.listing is not None:
            parts.catalog.recall(feed.listing)
        self.stats = FeedStats(feed.name, feed.vendor, feed.source, state="live")
        self._feed = feed
        self._ingest = Ingest(
            self.stats,
            parts.queues,
            DeadLetters(parts.settings.storage.home),
            parts.books.ledger,
            parts.now_ns,
            sequenced=feed.channel.sequenced,
        )

    async def run(self, frames: Iterable[Frame]) -> None:
        """All of them, while the lanes write. Raises what reading the frames raises."""
        ingest, recorded, epoch = self._ingest, None, 0
        for number, frame in enumerate(frames):
            if frame.epoch != recorded:
                recorded, epoch = frame.epoch, ingest.connected(self._feed.build())
            try:
                go_on = ingest.receive(msgspec.structs.replace(frame, epoch=epoch))
            except (Fatal, Retriable) as error:  # the connection ended so, then
                log.info("feed %s: %s", self._feed.name, error, extra=about(ingest.stats))
                recorded = None
                continue
            if not go_on or number % _AT_ONCE == 0:
                await ingest.room()
                await asyncio.sleep(0)
