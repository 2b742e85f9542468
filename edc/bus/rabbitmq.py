"""RabbitMQ as the bus: a quorum queue `<prefix>.<event_type>.<partition>` for each share.

Messages are published to the default exchange and confirmed once a quorum has them on disk. A full
queue refuses (`reject-publish`) and the collectors spool; a broker short of memory or disk answers
nothing, which counts as the same. A queue has one active consumer: where a store dies, what it had
not acknowledged goes to the next one first. Acknowledged is deleted.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    ProbableAuthenticationError,
    PublishError,
)

from edc.bus import DEAD, Delivery, Message, Share, by_share
from edc.bus.settings import Address, BusSettings, tls_context
from edc.errors import BusDown, ConfigError
from edc.events import EVENT_TYPES

_SENT_AT_ONCE = {"arrow": 1, "json": 256}
_PREFETCH = {"arrow": 2000, "json": 65_535}
_AT_ONCE = 1024
_HEARTBEAT = 10
_ERRORS = (*CONNECTION_EXCEPTIONS, TimeoutError)


class RabbitBus:
    """See Bus."""

    def __init__(self, where: Address, settings: BusSettings, consumer: str) -> None:
        self._where, self._settings, self._name = where, settings, consumer
        self._connection: AbstractConnection | None = None
        self._publishing: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._unacknowledged: dict[Share, int] = {}

    async def open(self) -> None:
        """See Bus."""
        async with self._opening:
            if self._stands():
                return
            await self._let_go()
            connection = await self._connected()
            try:
                for kind in EVENT_TYPES:
                    for partition in range(self._settings.partitions):
                        await self._make(connection, Share(kind, partition))
                await self._make(connection, Share(DEAD, 0))
                self._publishing = await connection.channel(publisher_confirms=True)
            except _ERRORS as error:
                await _closed(connection)
                raise self._down(error) from error
            except BaseException:
                await _closed(connection)
                raise
            self._connection = connection

    def _stands(self) -> bool:
        channel = self._publishing
        return (
            self._connection is not None
            and not self._connection.is_closed
            and channel is not None
            and not channel.is_closed
        )

    async def _connected(self) -> AbstractConnection:
        where, settings = self._where, self._settings
        host, port = where.hosts[0]
        given: dict[str, Any] = {
            "host": host,
            "port": port,
            "login": where.username or "guest",
            "password": where.password or "guest",
            "virtualhost": where.path or "/",
            "ssl": where.tls,
            "ssl_context": tls_context(where, settings),
            "timeout": settings.timeout,
            "client_properties": {"connection_name": f"edc {self._name}"},
            "heartbeat": _HEARTBEAT,
            **settings.options,
        }
        try:
            connection: AbstractConnection = await aio_pika.connect(**given)
        except (AuthenticationError, ProbableAuthenticationError) as error:
            raise ConfigError(
                "[bus]", f"{where.name} refuses the user", "check username and password"
            ) from error
        except _ERRORS as error:
            raise self._down(error) from error
        return connection

    async def _make(self, connection: AbstractConnection, share: Share) -> None:
        """A queue: there, made, or refused with the command that makes it."""
        name, wanted = self.queue(share), self._arguments(share)
        channel = await connection.channel()
        try:
            await channel.declare_queue(name, passive=True)
        except ChannelNotFoundEntity:
            if not self._settings.create:
                text = ", ".join(f'"{key}": {_json(value)}' for key, value in wanted.items())
                raise ConfigError(
                    "[bus]",
                    f"{self._where.name} has no queue {name}, and create is false",
                    f"make it: rabbitmqadmin declare queue name={name} durable=true"
                    f" arguments='{{{text}}}'",
                ) from None
            channel = await connection.channel()
            with contextlib.suppress(ChannelPreconditionFailed):  # another was quicker
                await channel.declare_queue(name, durable=True, arguments=wanted)
        with contextlib.suppress(*_ERRORS):
            await channel.close()

    def _arguments(self, share: Share) -> dict[str, Any]:
        settings = self._settings
        arguments: dict[str, Any] = {"x-queue-type": "quorum"}
        if settings.replicas:
            arguments["x-quorum-initial-group-size"] = settings.replicas
        if share.event_type == DEAD:
            return arguments
        return arguments | {
            "x-single-active-consumer": True,
            "x-overflow": "reject-publish",
            "x-max-length-bytes": int(settings.max_bytes) // settings.partitions,
        }

    def queue(self, share: Share) -> str:
        """The name of a share's queue."""
        if share.event_type == DEAD:
            return f"{self._settings.prefix}.{DEAD}"
        return f"{self._settings.prefix}.{share.event_type}.{share.partition}"

    async def close(self) -> None:
        """See Bus."""
        async with self._opening:
            await self._let_go()

    async def _let_go(self) -> None:
        if self._connection is not None:
            await _closed(self._connection)
        self._connection = self._publishing = None

    async def publish(self, messages: Sequence[Message]) -> None:
        """See Bus."""
        await self.open()
        channel = self._publishing
        assert channel is not None
        runs = by_share(messages, _SENT_AT_ONCE[self._settings.encoding])
        try:
            await asyncio.gather(*(self._publish(channel, share) for share in runs))
        except (DeliveryError, PublishError) as error:
            raise BusDown(self._where.name, "a queue is full or gone, and refuses") from error
        except TimeoutError as error:
            await self.close()  # what it confirms later would confirm nothing that is waited for
            problem = "no confirmation: is it blocked, for want of memory or disk?"
            raise BusDown(self._where.name, problem) from error
        except _ERRORS as error:
            raise self._down(error) from error

    async def _publish(self, channel: AbstractChannel, runs: Sequence[Sequence[Message]]) -> None:
        exchange = channel.default_exchange
        for run in runs:
            await asyncio.gather(
                *(
                    exchange.publish(
                        aio_pika.Message(
                            each.data,
                            headers=dict(each.headers),
                            message_id=each.key,
                            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                        ),
                        routing_key=self.queue(each.share),
                        timeout=self._settings.timeout,
                    )
                    for each in run
                )
            )

    async def reader(self, share: Share) -> "RabbitReader":
        """See Bus."""
        await self.open()
        assert self._connection is not None
        try:
            async with asyncio.timeout(self._settings.timeout):
                channel = await self._connection.channel(publisher_confirms=False)
                await channel.set_qos(prefetch_count=_PREFETCH[self._settings.encoding])
                queue = await channel.get_queue(self.queue(share))
                reader = RabbitReader(self, channel, share)
                await queue.consume(reader.came)
        except _ERRORS as error:
            raise self._down(error) from error
        return reader

    async def lag(self) -> Mapping[str, int]:
        """See Bus: what is ready, and what this store holds; not what another holds."""
        await self.open()
        assert self._connection is not None
        lags = dict.fromkeys(EVENT_TYPES, 0)
        try:
            channel = await self._connection.channel()
            for kind in EVENT_TYPES:
                for partition in range(self._settings.partitions):
                    share = Share(kind, partition)
                    queue = await channel.declare_queue(self.queue(share), passive=True)
                    ready = queue.declaration_result.message_count or 0
                    lags[kind] += ready + self._unacknowledged.get(share, 0)
            await channel.close()
        except _ERRORS as error:
            raise self._down(error) from error
        return lags

    def assigned(self) -> AbstractSet[Share] | None:
        """RabbitMQ gives none."""
        return None

    def holds(self, share: Share, change: int | None) -> None:
        """Count what was delivered and not acknowledged; None for none any more."""
        held = self._unacknowledged.get(share, 0)
        self._unacknowledged[share] = 0 if change is None else max(0, held + change)

    def _down(self, error: BaseException) -> BusDown:
        return BusDown(self._where.name, " ".join((str(error) or type(error).__name__).split()))

    def failed(self, error: BaseException) -> BusDown:
        """What a failure of a reader is."""
        return self._down(error)


class RabbitReader:
    """See Reader: a channel of its own, whose end is that of all that it delivered."""

    def __init__(self, bus: RabbitBus, channel: AbstractChannel, share: Share) -> None:
        self._bus, self._channel, self._share = bus, channel, share
        self._arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        bus.holds(share, None)

    async def came(self, message: AbstractIncomingMessage) -> None:
        """The broker delivers."""
        self._bus.holds(self._share, 1)
        self._arrived.put_nowait(message)

    async def fetch(self) -> Sequence[Delivery]:
        """See Reader."""
        taken: list[AbstractIncomingMessage] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                taken.append(await self._arrived.get())
        if self._channel.is_closed:
            raise self._bus.failed(ConnectionError("the connection is lost"))
        while len(taken) < _AT_ONCE and not self._arrived.empty():
            taken.append(self._arrived.get_nowait())
        return [self._delivery(each) for each in taken]

    def _delivery(self, message: AbstractIncomingMessage) -> Delivery:
        headers = {name: str(value) for name, value in message.headers.items()}
        again = bool(message.redelivered)
        return Delivery(Message(self._share, message.body, headers, ""), message, again)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See Reader: they came in order, so the last stands for all."""
        last = deliveries[-1].token
        assert isinstance(last, AbstractIncomingMessage)
        if self._channel.is_closed:
            raise self._bus.failed(ConnectionError("the connection is lost"))
        try:
            await last.ack(multiple=True)
        except _ERRORS as error:
            raise self._bus.failed(error) from error
        self._bus.holds(self._share, -len(deliveries))

    async def close(self) -> None:
        """See Reader."""
        self._bus.holds(self._share, None)
        with contextlib.suppress(*_ERRORS):
            async with asyncio.timeout(2):
                await self._channel.close()


async def _closed(connection: AbstractConnection) -> None:
    with contextlib.suppress(*_ERRORS):
        async with asyncio.timeout(2):
            await connection.close()


def _json(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int) else f'"{value}"'
