"""NATS JetStream as the bus: a stream `<prefix>_<event_type>` over `<prefix>.<event_type>.*`.

The last part of a subject is the partition. Streams are work queues: what is acknowledged is
deleted. A message carries `Nats-Msg-Id`, so that one sent twice within two minutes is one. A full
stream refuses (`discard = new`) and the collectors spool. A share is read by a consumer that is
made anew when it is taken, so that what the last reader had not acknowledged comes again at once
and in order, and not after its `ack_wait`. A PubAck means that the server has it; when it is on
the disk, the server's `sync_interval` says.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import AuthorizationError, Error, NoServersError
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from edc.bus import DEAD, Delivery, Message, Share, by_share
from edc.bus.settings import Address, BusSettings, tls_context
from edc.errors import BusDown, ConfigError
from edc.events import EVENT_TYPES

_AT_ONCE = {"arrow": 32, "json": 1024}
_SENT_AT_ONCE = {"arrow": 1, "json": 256}
_ACK_WAIT = 30.0
_BEAT = 10.0
_MOST_PENDING = 200_000
_DEDUPE_WINDOW = 120.0
_DEAD_BYTES = 64 << 20
_ID = "Nats-Msg-Id"


class NatsBus:
    """See Bus."""

    def __init__(self, where: Address, settings: BusSettings, consumer: str) -> None:
        self._where, self._settings, self._name = where, settings, consumer
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """See Bus."""
        async with self._opening:
            if self._client is not None and not self._client.is_closed:
                return
            client = await self._connected()
            try:
                for kind in (*EVENT_TYPES, DEAD):
                    await self._make(client, kind)
            except BaseException:
                await client.close()
                raise
            self._client = client

    async def _connected(self) -> Client:
        where, settings = self._where, self._settings
        refused: list[Exception] = []

        async def on_error(error: Exception) -> None:
            refused.append(error)

        given: dict[str, Any] = {
            "servers": [f"nats://{host}:{port}" for host, port in where.hosts],
            "user": where.username,
            "password": where.password,
            "tls": tls_context(where, settings),
            "name": f"edc {self._name}",
            "connect_timeout": settings.timeout,
            "max_reconnect_attempts": 1,
            "allow_reconnect": False,  # what was under way is not known then: begin anew
            "ping_interval": max(1, int(settings.timeout / 2)),
            "max_outstanding_pings": 2,
            "error_cb": on_error,
            **settings.options,
        }
        try:
            async with asyncio.timeout(settings.timeout):
                return await nats.connect(**given)
        except (Error, OSError, TimeoutError) as error:
            told = [error, *refused]
            if any(isinstance(each, AuthorizationError) or _unauthorised(each) for each in told):
                raise ConfigError(
                    "[bus]", f"{where.name} refuses the user", "check username and password"
                ) from error
            none = isinstance(error, NoServersError) and refused
            raise self._down(refused[-1] if none else error) from error

    async def _make(self, client: Client, kind: str) -> None:
        """A stream: there, made, or refused with the command that makes it."""
        settings, stream = self._settings, self._stream(kind)
        manager = client.jsm(timeout=settings.timeout)
        subject = f"{settings.prefix}.{kind}" + ("" if kind == DEAD else ".*")
        try:
            try:
                await manager.stream_info(stream)
            except NotFoundError:
                if not settings.create:
                    raise ConfigError(
                        "[bus]",
                        f"{self._where.name} has no stream {stream}, and create is false",
                        f"make it: nats stream add {stream} --subjects '{subject}'"
                        f" --retention {'limits' if kind == DEAD else 'work'} --discard"
                        f" {'old' if kind == DEAD else 'new'} --storage file --max-bytes"
                        f" {settings.max_bytes} --dupe-window 2m --defaults",
                    ) from None
            else:
                return
            await manager.add_stream(
                StreamConfig(
                    name=stream,
                    subjects=[subject],
                    retention=RetentionPolicy.LIMITS
                    if kind == DEAD
                    else RetentionPolicy.WORK_QUEUE,
                    discard=DiscardPolicy.OLD if kind == DEAD else DiscardPolicy.NEW,
                    max_bytes=_DEAD_BYTES if kind == DEAD else int(settings.max_bytes),
                    storage=StorageType.FILE,
                    num_replicas=settings.replicas or 1,
                    duplicate_window=_DEDUPE_WINDOW,
                )
            )
        except (Error, OSError, TimeoutError) as error:
            if isinstance(error, APIError) and not isinstance(error, ServiceUnavailableError):
                raise ConfigError(
                    "[bus]",
                    f"{self._where.name} does not make the stream {stream}: {error.description}",
                    "lower max_bytes, or make the stream yourself",
                ) from error
            raise self._down(error) from error

    def _stream(self, kind: str) -> str:
        return f"{self._settings.prefix}_{kind}"

    def _subject(self, share: Share) -> str:
        if share.event_type == DEAD:
            return f"{self._settings.prefix}.{DEAD}"
        return f"{self._settings.prefix}.{share.event_type}.{share.partition}"

    async def close(self) -> None:
        """See Bus."""
        if self._client is not None:
            with contextlib.suppress(Error, OSError, TimeoutError):
                await self._client.close()
            self._client = None

    async def client(self) -> Client:
        """A connection that stands, made anew where need be."""
        if self._client is None or not self._client.is_connected:
            await self.close()
            await self.open()
        assert self._client is not None
        return self._client

    async def publish(self, messages: Sequence[Message]) -> None:
        """See Bus."""
        client = await self.client()
        runs = by_share(messages, _SENT_AT_ONCE[self._settings.encoding])
        try:
            await asyncio.gather(*(self._publish(client, share) for share in runs))
        except (Error, OSError, TimeoutError) as error:
            raise self._down(error) from error

    async def _publish(self, client: Client, runs: Sequence[Sequence[Message]]) -> None:
        stream = client.jetstream(timeout=self._settings.timeout)
        for run in runs:
            await asyncio.gather(
                *(
                    stream.publish(
                        self._subject(each.share),
                        each.data,
                        headers={**each.headers, _ID: each.key},
                    )
                    for each in run
                )
            )

    async def reader(self, share: Share) -> "NatsReader":
        """See Bus."""
        client = await self.client()
        stream, settings = self._stream(share.event_type), self._settings
        name = f"{settings.group}_{share.event_type}_{share.partition}"
        context = client.jetstream(timeout=settings.timeout)
        try:
            seen = 0
            with contextlib.suppress(NotFoundError):
                last = await context.consumer_info(stream, name)
                seen = last.delivered.stream_seq if last.delivered else 0
                await context.delete_consumer(stream, name)
            await context.add_consumer(
                stream,
                ConsumerConfig(
                    durable_name=name,
                    filter_subject=self._subject(share),
                    ack_policy=AckPolicy.EXPLICIT,
                    deliver_policy=DeliverPolicy.ALL,
                    ack_wait=_ACK_WAIT,
                    max_ack_pending=_MOST_PENDING,
                ),
            )
            subscription = await context.pull_subscribe_bind(
                name, stream, pending_bytes_limit=-1, pending_msgs_limit=-1
            )
        except (Error, OSError, TimeoutError) as error:
            raise self._down(error) from error
        return NatsReader(self, client, share, subscription, seen)

    async def lag(self) -> Mapping[str, int]:
        """See Bus."""
        client = await self.client()
        manager = client.jsm(timeout=self._settings.timeout)
        try:
            return {
                kind: (await manager.stream_info(self._stream(kind))).state.messages
                for kind in EVENT_TYPES
            }
        except (Error, OSError, TimeoutError) as error:
            raise self._down(error) from error

    def assigned(self) -> AbstractSet[Share] | None:
        """NATS gives none."""
        return None

    def _down(self, error: Exception) -> BusDown:
        text = str(error) or type(error).__name__
        return BusDown(self._where.name, " ".join(text.removeprefix("nats: ").split()))

    def failed(self, error: Exception) -> BusDown:
        """What a failure of a reader is."""
        return self._down(error)

    @property
    def at_once(self) -> int:
        """Messages of one fetch."""
        return _AT_ONCE[self._settings.encoding]

    @property
    def timeout(self) -> float:
        """For an answer, seconds."""
        return self._settings.timeout


class NatsReader:
    """See Reader. Tells the server now and then that what it holds is being worked on."""

    def __init__(
        self, bus: NatsBus, client: Client, share: Share, subscription: Any, seen: int
    ) -> None:
        self._bus, self._client, self._share = bus, client, share
        self._subscription = subscription
        self._seen = seen
        """Up to this number of the stream, messages were delivered before."""
        self._pending: dict[int, Msg] = {}
        self._beating = asyncio.create_task(self._beat(), name=f"beat {share}")

    async def fetch(self) -> Sequence[Delivery]:
        """See Reader."""
        if not self._client.is_connected:
            raise BusDown(self._bus.failed(ConnectionError()).name, "the connection is lost")
        try:
            messages = await self._subscription.fetch(self._bus.at_once, timeout=1)
        except (nats.errors.TimeoutError, TimeoutError):
            return []
        except (Error, OSError) as error:
            raise self._bus.failed(error) from error
        return [self._delivery(message) for message in messages]

    def _delivery(self, message: Msg) -> Delivery:
        known = message.metadata
        number = known.sequence.stream
        self._pending[number] = message
        headers = {name: value for name, value in (message.headers or {}).items() if name != _ID}
        again = known.num_delivered > 1 or number <= self._seen
        return Delivery(Message(self._share, message.data, headers, ""), number, again)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See Reader."""
        try:
            for each in deliveries:
                message = self._pending.pop(int(str(each.token)), None)
                if message is not None:
                    await message.ack()
            await self._client.flush(int(self._bus.timeout) or 1)
        except (Error, OSError, TimeoutError) as error:
            raise self._bus.failed(error) from error

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            with contextlib.suppress(Error, OSError):  # the next fetch finds out
                for message in list(self._pending.values()):
                    await message.in_progress()

    async def close(self) -> None:
        """See Reader: what is pending comes to the next consumer."""
        self._beating.cancel()
        with contextlib.suppress(Error, OSError, TimeoutError):
            await self._subscription.unsubscribe()


def _unauthorised(error: Exception) -> bool:
    text = str(error).lower()
    return "authorization" in text or "authentication" in text or "permissions" in text
