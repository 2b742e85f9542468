"""Kafka as the bus: topics `<prefix>.<event_type>` with `partitions` partitions each.

Producers are idempotent and wait for all replicas in sync (`acks = all`). Stores are a consumer
group, to which the broker deals out the partitions; an offset is committed once the rows before it
are in the lake, and a partition is read from there whenever it is taken, if the log still is what
it was (kafka_log.py). Messages stay for `retention`, stored or not.
"""

import asyncio
import contextlib
import inspect
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    AuthenticationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)

from edc.bus import Message, Share
from edc.bus.kafka_log import Confirmed, place
from edc.bus.kafka_reader import ERRORS, KafkaReader
from edc.bus.kafka_topics import make_topics, topic
from edc.bus.settings import Address, BusSettings, tls_context
from edc.errors import BusDown, ConfigError
from edc.events import EVENT_TYPES
from edc.retry import heed

log = logging.getLogger(__name__)

_MOST_REQUEST = 4 << 20
_AT_ONCE = {"arrow": 32, "json": 4096}
_SESSION_MS = 10_000
_NOWHERE = TopicPartition("", 0)
"""A partition that nobody has: to hear of the group's troubles without reading."""
_REFUSED = (
    AuthenticationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)


class KafkaBus:
    """See Bus."""

    def __init__(
        self,
        where: Address,
        settings: BusSettings,
        consumer: str,
        on_forgotten: Callable[[int], Awaitable[None]],
    ) -> None:
        self._where, self._settings, self._name = where, settings, consumer
        self._on_forgotten = on_forgotten
        self._producer: Any = None
        self._consumer: Any = None
        self._admin: Any = None
        self._opening = asyncio.Lock()
        self._membership: asyncio.Task[BusDown | ConfigError] | None = None
        self._publishing = asyncio.Lock()
        self._confirmed: defaultdict[Share, Confirmed] = defaultdict(Confirmed)
        self._assigned: set[Share] = set()
        self._lost: dict[Share, int] = {}
        """How often a share was taken from us: what a reader of before has is void."""

    async def open(self) -> None:
        """See Bus."""
        async with self._opening:
            if self._admin is not None:
                return
            given = self._options(AIOKafkaAdminClient, request_timeout_ms=self._millis())
            admin = AIOKafkaAdminClient(**given)
            try:
                async with asyncio.timeout(self._settings.timeout):
                    await admin.start()
                await make_topics(admin, self._where, self._settings)
            except BaseException as error:
                with contextlib.suppress(*ERRORS):
                    await admin.close()
                if isinstance(error, ERRORS):
                    raise self._failed(error) from error
                raise
            self._admin = admin

    def _millis(self) -> int:
        return int(self._settings.timeout * 1000)

    def _options(self, client: Callable[..., Any], **ours: Any) -> dict[str, Any]:
        """What one of the library's clients is made with. Raises ConfigError."""
        where, settings = self._where, self._settings
        given: dict[str, Any] = {
            "bootstrap_servers": [f"{host}:{port}" for host, port in where.hosts],
            "client_id": f"edc-{self._name}",
            "ssl_context": tls_context(where, settings),
            "security_protocol": ("SASL_" if where.username else "")
            + ("SSL" if where.tls else "PLAINTEXT"),
        }
        if where.username:
            given |= {
                "sasl_plain_username": where.username,
                "sasl_plain_password": where.password,
            }
        kinds = (AIOKafkaProducer, AIOKafkaConsumer, AIOKafkaAdminClient)
        known = {name for kind in kinds for name in inspect.signature(kind).parameters}
        if unknown := settings.options.keys() - known:
            raise ConfigError(
                "[bus] options",
                f"aiokafka has no option {min(unknown)!r}",
                "take one of its producer's, consumer's or admin client's",
            )
        takes = inspect.signature(client).parameters
        more = {name: value for name, value in settings.options.items() if name in takes}
        return given | ours | more

    def topic(self, kind: str) -> str:
        """The name of a topic."""
        return topic(self._settings, kind)

    async def close(self) -> None:
        """See Bus."""
        if self._membership is not None:
            self._membership.cancel()
            await asyncio.wait((self._membership,))
        if self._producer is not None:
            await self._stopped(self._producer, self._settings.timeout)
        if self._admin is not None:
            with contextlib.suppress(*ERRORS):
                await self._admin.close()
        self._membership = self._producer = self._admin = None

    async def _stopped(self, client: Any, within: float) -> None:
        with contextlib.suppress(*ERRORS):
            async with asyncio.timeout(within):
                await client.stop()

    async def publish(self, messages: Sequence[Message]) -> None:
        """See Bus. An idempotent producer keeps the order over its own tries."""
        async with self._publishing:  # one batch after the other: a failure ends the producer
            await self.open()
            try:
                async with asyncio.timeout(3 * self._settings.timeout):
                    if self._producer is None:
                        self._producer = await self._produces()
                    sent = [await self._send(each) for each in messages]
                    confirmed = await asyncio.gather(*sent)
            except ERRORS as error:
                producer, self._producer = self._producer, None
                if producer is not None:
                    await self._stopped(producer, 1)
                raise self._failed(error) from error
            await self._hold_to_account(messages, confirmed)

    async def _hold_to_account(self, messages: Sequence[Message], confirmed: list[Any]) -> None:
        """An offset that was given before: what was there is no more. Raises OSError."""
        offsets: defaultdict[Share, list[int]] = defaultdict(list)
        since: dict[Share, int] = {}
        for message, told in zip(messages, confirmed, strict=True):
            share = message.share
            offsets[share].append(told.offset)
            since[share] = min(since.get(share, message.since), message.since)
        void = {share: self._confirmed[share].add(offsets[share], since[share]) for share in since}
        lost = {share: began for share, began in void.items() if began is not None}
        for share in lost:
            self._complain(share, "it gives offsets that it has given before")
        if lost:
            await self._on_forgotten(min(lost.values()))

    def _complain(self, share: Share, problem: str) -> None:
        log.error(
            "%s has forgotten what it had confirmed: %s",
            self._where.name,
            problem,
            extra={"topic": self.topic(share.event_type), "partition": share.partition},
        )

    async def _produces(self) -> Any:
        producer = AIOKafkaProducer(
            **self._options(
                AIOKafkaProducer,
                acks="all",
                enable_idempotence=True,
                max_request_size=_MOST_REQUEST,
                request_timeout_ms=self._millis(),
            )
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _send(self, message: Message) -> Any:
        headers = [(name, value.encode()) for name, value in message.headers.items()]
        return await self._producer.send(
            self.topic(message.share.event_type),
            message.data,
            partition=message.share.partition,
            headers=headers,
        )

    def assigned(self) -> AbstractSet[Share] | None:
        """See Bus: what the group has given to this store."""
        if self._membership is not None and self._membership.done():
            trouble, self._membership = self._membership.result(), None
            raise trouble
        if self._membership is None:
            self._membership = asyncio.create_task(self._member(), name="member of the group")
        return frozenset(self._assigned)

    async def _member(self) -> BusDown | ConfigError:
        """Be a member of the group until that fails: why. Or until the task is cancelled."""
        consumer = AIOKafkaConsumer(
            **self._options(
                AIOKafkaConsumer,
                group_id=self._settings.group,
                group_instance_id=f"{self._settings.group}-{self._name}",
                enable_auto_commit=False,
                auto_offset_reset="none",  # a log that is not what it was is looked at: kafka_log
                session_timeout_ms=_SESSION_MS,
                heartbeat_interval_ms=_SESSION_MS // 4,
                request_timeout_ms=max(self._millis(), 3 * _SESSION_MS),  # to deal takes long
            )
        )
        topics = [self.topic(kind) for kind in EVENT_TYPES]
        try:
            await self.open()
            consumer.subscribe(topics, listener=_Listener(self))
            await consumer.start()
            self._consumer = consumer
            while True:  # else what ails the group is told to nobody while nobody reads
                heed()
                await consumer.getmany(_NOWHERE, timeout_ms=1000)
        except (*ERRORS, ConfigError) as error:
            await asyncio.sleep(1)
            return error if isinstance(error, ConfigError) else self._failed(error)
        finally:
            self._consumer = None
            self._take(set(self._assigned))
            await self._stopped(consumer, self._settings.timeout)

    def given(self, partitions: Iterable[Any]) -> None:
        """The group has dealt; this is what we have from now on."""
        self._assigned = {self._share(each) for each in partitions}

    def taken(self, partitions: Iterable[Any]) -> None:
        """What is dealt anew: nothing that was read of it counts any more."""
        self._take(set(map(self._share, partitions)))

    def _take(self, shares: set[Share]) -> None:
        for share in shares:
            self._assigned.discard(share)
            self._lost[share] = self._lost.get(share, 0) + 1

    def _share(self, partition: Any) -> Share:
        kind = partition.topic.removeprefix(f"{self._settings.prefix}.")
        return Share(kind, partition.partition)

    def times_lost(self, share: Share) -> int:
        """How often a share was taken away."""
        return self._lost.get(share, 0)

    async def reader(self, share: Share) -> "KafkaReader":
        """See Bus."""
        consumer, at = self._consumer, TopicPartition(self.topic(share.event_type), share.partition)
        if consumer is None or share not in self._assigned:
            raise BusDown(self._where.name, f"{at.topic} {at.partition} is not ours now")
        try:
            await self.open()
            async with asyncio.timeout(3 * self._settings.timeout):
                found = await place(consumer, self._admin, self._settings.group, at)
                if found.problem:
                    self._complain(share, found.problem)
                    await self._on_forgotten(found.since)
                    await consumer.commit({at: (found.offset, "")})  # so that it is told once
                consumer.seek(at, found.offset)
        except ERRORS as error:
            raise self._failed(error) from error
        return KafkaReader(self, consumer, share, at, _AT_ONCE[self._settings.encoding])

    async def lag(self) -> Mapping[str, int]:
        """See Bus: from what is committed to the end, as far as the broker knows its ends."""
        await self.open()
        ends = [
            TopicPartition(self.topic(kind), number)
            for kind in EVENT_TYPES
            for number in range(self._settings.partitions)
        ]
        asking: Any = None
        try:
            asking = AIOKafkaConsumer(
                **self._options(AIOKafkaConsumer, request_timeout_ms=self._millis())
            )
            await asking.start()
            last = await asking.end_offsets(ends)
            first = await asking.beginning_offsets(ends)
            known = await self._admin.list_consumer_group_offsets(self._settings.group)
        except ERRORS as error:
            raise self._failed(error) from error
        finally:
            if asking is not None:
                with contextlib.suppress(*ERRORS):
                    await asking.stop()
        lags = dict.fromkeys(EVENT_TYPES, 0)
        for at in ends:
            found = known.get(at)
            done = first[at] if found is None or found.offset < 0 else found.offset
            lags[self._share(at).event_type] += max(0, last[at] - done)
        return lags

    def _failed(self, error: BaseException) -> BusDown | ConfigError:
        text = " ".join((str(error) or type(error).__name__).split())
        if isinstance(error, _REFUSED) or (
            isinstance(error, KafkaConnectionError) and "uthentication" in text
        ):
            return ConfigError(
                "[bus]", f"{self._where.name} refuses: {text}", "check username and password"
            )
        return BusDown(self._where.name, text)

    def failed(self, error: BaseException) -> BusDown | ConfigError:
        """What a failure of a reader is."""
        return self._failed(error)

    @property
    def timeout(self) -> float:
        """For an answer, seconds."""
        return self._settings.timeout


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # the library has no types
    """What the group deals, told to the bus."""

    def __init__(self, bus: KafkaBus) -> None:
        self._bus = bus

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Before it is dealt anew."""
        self._bus.taken(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        """After."""
        self._bus.given(assigned)
