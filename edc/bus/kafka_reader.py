"""One partition of Kafka, as a store reads it."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError

from edc.bus import Delivery, Message, Share
from edc.bus.kafka_log import mark
from edc.errors import BusDown, ConfigError

ERRORS = (KafkaError, ConsumerStoppedError, OSError, TimeoutError, RuntimeError)
"""What the library raises where it may be tried again."""


class Membership(Protocol):
    """What a reader asks of the member of the group that it belongs to."""

    @property
    def timeout(self) -> float:
        """For an answer, seconds."""
        ...

    def times_lost(self, share: Share) -> int:
        """How often a share was taken away."""
        ...

    def failed(self, error: BaseException) -> BusDown | ConfigError:
        """What a failure is to those who read."""
        ...


class _Token(NamedTuple):
    offset: int
    timestamp: int
    """ms since the epoch."""


class KafkaReader:
    """See Reader. Void once the group has dealt anew, or the broker has not been heard of."""

    def __init__(
        self, bus: Membership, consumer: Any, share: Share, at: TopicPartition, at_once: int
    ) -> None:
        self._bus, self._consumer, self._share, self._at = bus, consumer, share, at
        self._at_once = at_once
        self._epoch = bus.times_lost(share)
        self._opened = time.time()
        self._end = 0
        """The end of the log, as far as it was seen."""

    def _check(self) -> None:
        if self._bus.times_lost(self._share) != self._epoch:
            raise self._bus.failed(ConnectionError("the group deals its partitions anew"))

    async def fetch(self) -> Sequence[Delivery]:
        """See Reader."""
        self._check()
        try:
            found = await self._consumer.getmany(
                self._at, timeout_ms=1000, max_records=self._at_once
            )
            self._check()
            records = found.get(self._at, [])
            self._look(idle=not records)
        except ERRORS as error:
            raise self._bus.failed(error) from error
        return [self._delivery(each) for each in records]

    def _look(self, *, idle: bool) -> None:
        """Raise where the log may be another now: then the place in it has to be found again."""
        heard = self._consumer.last_poll_timestamp(self._at)
        silent = time.time() - (self._opened if heard is None else heard / 1000)
        if idle and silent > self._bus.timeout:
            raise TimeoutError(f"{self._at.topic} is silent")
        end = self._consumer.highwater(self._at) or 0
        if end < self._end:
            raise ConnectionError(f"{self._at.topic} ends before where it did")
        self._end = end

    def _delivery(self, record: Any) -> Delivery:
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        message = Message(self._share, record.value or b"", headers, "")
        return Delivery(message, _Token(record.offset, record.timestamp))

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See Reader."""
        self._check()
        last = deliveries[-1]
        assert isinstance(last.token, _Token)
        after = (last.token.offset + 1, mark(last.token.timestamp, last.message.data))
        try:
            async with asyncio.timeout(self._bus.timeout):  # while the group deals it may wait long
                await self._consumer.commit({self._at: after})
        except ERRORS as error:
            raise self._bus.failed(error) from error

    async def close(self) -> None:
        """See Reader: whoever reads next begins at what is committed."""
