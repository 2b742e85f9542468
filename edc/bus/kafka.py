"""Kafka as the bus: topics `<prefix>.<event_type>` with `partitions` partitions each.

Producers are idempotent and wait for all replicas in sync (`acks = all`). Stores are a consumer
group, to which the broker deals out the partitions; an offset is committed once the rows before it
are in the lake, and a partition is read from there whenever it is taken. Messages stay for
`retention`, stored or not.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    AuthenticationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from edc.bus import DEAD, Delivery, Message, Share
from edc.bus.settings import Address, BusSettings, tls_context
from edc.errors import BusDown, ConfigError
from edc.events import EVENT_TYPES

_MOST_REQUEST = 4 << 20
_AT_ONCE = {"arrow": 32, "json": 4096}
_ERRORS = (KafkaError, OSError, TimeoutError, RuntimeError)
_SESSION_MS = 10_000
_REFUSED = (
    AuthenticationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)


class KafkaBus:
    """See Bus."""

    def __init__(self, where: Address, settings: BusSettings, consumer: str) -> None:
        self._where, self._settings, self._name = where, settings, consumer
        self._producer: Any = None
        self._consumer: Any = None
        self._admin: Any = None
        self._opening = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._publishing = asyncio.Lock()
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
                await self._make(admin)
            except BaseException as error:
                with contextlib.suppress(*_ERRORS):
                    await admin.close()
                if isinstance(error, _ERRORS):
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
        return f"{self._settings.prefix}.{kind}"

    async def _make(self, admin: Any) -> None:
        """Topics: there, made, or refused with the command that makes them."""
        settings = self._settings
        wanted = {self.topic(kind): settings.partitions for kind in EVENT_TYPES}
        wanted[self.topic(DEAD)] = 1
        present = set(await admin.list_topics())
        missing = [name for name in wanted if name not in present]
        config = {"retention.ms": str(int(settings.retention * 1000))}
        if missing and not settings.create:
            host, port = self._where.hosts[0]
            raise ConfigError(
                "[bus]",
                f"{self._where.name} has no topic {missing[0]}, and create is false",
                f"make it: kafka-topics.sh --bootstrap-server {host}:{port} --create --topic"
                f" {missing[0]} --partitions {wanted[missing[0]]} --config"
                f" retention.ms={config['retention.ms']}",
            )
        made = [
            NewTopic(name, wanted[name], settings.replicas or 1, topic_configs=config)
            for name in missing
        ]
        if made:
            answer = await admin.create_topics(made)
            for name, code, *_ in answer.topic_errors:
                error = for_code(code)
                if code and error is not TopicAlreadyExistsError:
                    raise ConfigError(
                        "[bus]",
                        f"{self._where.name} does not make the topic {name}: {error.__name__}",
                        "make it yourself, or let the user do it",
                    )
        for known in await admin.describe_topics(list(wanted)):
            counted = len(known["partitions"])
            if counted != wanted.get(known["topic"], counted):
                raise ConfigError(
                    "[bus] partitions",
                    f"the topic {known['topic']} has {counted}",
                    f"write partitions = {counted}, or take another prefix",
                )

    async def close(self) -> None:
        """See Bus."""
        for client in (self._consumer, self._producer):
            if client is not None:
                with contextlib.suppress(*_ERRORS):
                    async with asyncio.timeout(self._settings.timeout):
                        await client.stop()
        if self._admin is not None:
            with contextlib.suppress(*_ERRORS):
                await self._admin.close()
        self._consumer = self._producer = self._admin = None

    async def publish(self, messages: Sequence[Message]) -> None:
        """See Bus. An idempotent producer keeps the order over its own tries."""
        async with self._publishing:  # one batch after the other: a failure ends the producer
            await self.open()
            try:
                async with asyncio.timeout(3 * self._settings.timeout):
                    if self._producer is None:
                        self._producer = await self._produces()
                    sent = [await self._send(each) for each in messages]
                    await asyncio.gather(*sent)
            except _ERRORS as error:
                producer, self._producer = self._producer, None
                if producer is not None:
                    with contextlib.suppress(*_ERRORS):
                        async with asyncio.timeout(1):
                            await producer.stop()
                raise self._failed(error) from error

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
        if self._consumer is None:
            self._begin_reading()
        return frozenset(self._assigned)

    def _begin_reading(self) -> None:
        """Join the group, in a task of its own, unless one is at it."""
        if not self._reading.locked():
            self._joining = asyncio.create_task(self._join(), name="join the group")

    async def _join(self) -> None:
        async with self._reading:
            if self._consumer is not None:
                return
            consumer = AIOKafkaConsumer(
                **self._options(
                    AIOKafkaConsumer,
                    group_id=self._settings.group,
                    group_instance_id=f"{self._settings.group}-{self._name}",
                    enable_auto_commit=False,
                    auto_offset_reset="earliest",
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
            except (*_ERRORS, ConfigError):
                with contextlib.suppress(*_ERRORS):
                    await consumer.stop()
                await asyncio.sleep(1)
                return
            self._consumer = consumer

    def given(self, partitions: Iterable[Any]) -> None:
        """The group has dealt; this is what we have from now on."""
        self._assigned = {self._share(each) for each in partitions}

    def taken(self, partitions: Iterable[Any]) -> None:
        """What is dealt anew: nothing that was read of it counts any more."""
        for share in map(self._share, partitions):
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
            async with asyncio.timeout(self._settings.timeout):
                offset = await consumer.committed(at)
                if offset is None:
                    await consumer.seek_to_beginning(at)
                else:
                    consumer.seek(at, offset)
        except _ERRORS as error:
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
        except _ERRORS as error:
            raise self._failed(error) from error
        finally:
            if asking is not None:
                with contextlib.suppress(*_ERRORS):
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


class KafkaReader:
    """See Reader. Void once the group has dealt anew."""

    def __init__(
        self, bus: KafkaBus, consumer: Any, share: Share, at: TopicPartition, at_once: int
    ) -> None:
        self._bus, self._consumer, self._share, self._at = bus, consumer, share, at
        self._at_once = at_once
        self._epoch = bus.times_lost(share)

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
        except _ERRORS as error:
            raise self._bus.failed(error) from error
        self._check()
        return [self._delivery(each) for each in found.get(self._at, [])]

    def _delivery(self, record: Any) -> Delivery:
        headers = {name: value.decode(errors="replace") for name, value in record.headers}
        message = Message(self._share, record.value or b"", headers, "")
        return Delivery(message, record.offset)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See Reader."""
        self._check()
        try:
            async with asyncio.timeout(self._bus.timeout):  # while the group deals it may wait long
                await self._consumer.commit({self._at: int(str(deliveries[-1].token)) + 1})
        except _ERRORS as error:
            raise self._bus.failed(error) from error

    async def close(self) -> None:
        """See Reader: whoever reads next begins at what is committed."""
