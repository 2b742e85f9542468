"""Redis Streams as the bus: a stream `<prefix>.<event_type>.<partition>` for each share.

A batch is one MULTI, so that a server without room takes all of it or nothing; with
`replicas`, a WAIT behind it. Stores read by the consumer group `bus.group`; what another has read
and not acknowledged is claimed when a share is taken (XAUTOCLAIM), before anything new. What is
acknowledged is deleted: the streams hold what is yet to be stored, and their length is the lag.
How safe a confirmed entry is, the server's own `appendonly` and `appendfsync` say.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from edc.bus import DEAD, Delivery, Message, Share
from edc.bus.settings import Address, BusSettings
from edc.errors import BusDown, ConfigError
from edc.events import EVENT_TYPES

_AT_ONCE = {"arrow": 32, "json": 4096}
_WAITS_MS = 1000
_DATA = b"data"


class RedisBus:
    """See Bus. `consumer` is this store's name in the group."""

    def __init__(self, where: Address, settings: BusSettings, consumer: str) -> None:
        self._where, self._settings, self._consumer = where, settings, consumer
        host, port = where.hosts[0]
        tls: dict[str, Any] = {}
        if where.tls:
            tls = {
                "ssl": True,
                "ssl_ca_certs": settings.ca_file or None,
                "ssl_certfile": settings.cert_file or None,
                "ssl_keyfile": settings.key_file or None,
            }
        given: dict[str, Any] = {
            "host": host,
            "port": port,
            "db": int(where.path) if where.path.isdigit() else 0,
            "username": where.username,
            "password": where.password,
            "socket_connect_timeout": settings.timeout,
            "socket_timeout": settings.timeout + _WAITS_MS / 1000,
            "retry": Retry(NoBackoff(), 0),
            **tls,
            **settings.options,
        }
        self._redis: client.Redis = client.Redis(**given)
        self._ready = False

    async def open(self) -> None:
        """See Bus."""
        for kind in EVENT_TYPES:
            for partition in range(self._settings.partitions):
                await self._make(self.stream(Share(kind, partition)))
        self._ready = True

    async def _make(self, stream: str) -> None:
        group = self._settings.group
        try:
            if self._settings.create:
                await self._redis.xgroup_create(stream, group, id="0", mkstream=True)
                return
            groups = await self._redis.xinfo_groups(stream) if await self._exists(stream) else []
        except ResponseError as error:
            if "BUSYGROUP" in str(error):
                return
            raise self._failed(error) from error
        except (RedisError, OSError, TimeoutError) as error:
            raise self._failed(error) from error
        if group.encode() not in {each["name"] for each in groups}:
            raise ConfigError(
                "[bus]",
                f"{self._where.name} has no stream {stream} with a group {group}, and create is"
                " false",
                f"make it: redis-cli XGROUP CREATE {stream} {group} 0 MKSTREAM",
            )

    async def _exists(self, stream: str) -> bool:
        return bool(await self._redis.exists(stream))

    def stream(self, share: Share) -> str:
        """The key of a share."""
        if share.event_type == DEAD:
            return f"{self._settings.prefix}.{DEAD}"
        return f"{self._settings.prefix}.{share.event_type}.{share.partition}"

    async def close(self) -> None:
        """See Bus."""
        await self._redis.aclose()

    async def publish(self, messages: Sequence[Message]) -> None:
        """See Bus."""
        if not self._ready:
            await self.open()
        replicas, seconds = self._settings.replicas, self._settings.timeout
        pipe = self._redis.pipeline(transaction=False)  # by hand: WAIT must follow on the same line
        pipe.execute_command("MULTI")
        for message in messages:
            fields: dict[Any, Any] = {_DATA: message.data, **message.headers}
            pipe.xadd(self.stream(message.share), fields)
        pipe.execute_command("EXEC")
        if replicas:
            pipe.execute_command("WAIT", replicas, int(seconds * 900))
        try:
            answers = await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise self._failed(error) from error
        if replicas and int(answers[-1]) < replicas:
            problem = f"{answers[-1]} of {replicas} replicas have confirmed"
            raise BusDown(self._where.name, problem)

    async def reader(self, share: Share) -> "RedisReader":
        """See Bus."""
        await self._make(self.stream(share))
        reader = RedisReader(self, share)
        await reader.claim()
        return reader

    async def lag(self) -> Mapping[str, int]:
        """See Bus."""
        lags = dict.fromkeys(EVENT_TYPES, 0)
        pipe = self._redis.pipeline(transaction=False)
        shares = [Share(k, p) for k in EVENT_TYPES for p in range(self._settings.partitions)]
        for share in shares:
            pipe.xlen(self.stream(share))
        try:
            for share, length in zip(shares, await pipe.execute(), strict=True):
                lags[share.event_type] += length
        except (RedisError, OSError, TimeoutError) as error:
            raise self._failed(error) from error
        return lags

    def assigned(self) -> AbstractSet[Share] | None:
        """Redis gives none."""
        return None

    def _failed(self, error: Exception) -> BusDown | ConfigError:
        """What a failure means: credentials are the operator's, all else is waited out."""
        text = str(error) or type(error).__name__
        if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError):
            return ConfigError(
                "[bus]",
                f"{self._where.name} refuses: {text}",
                "check username and password, and what the user may do",
            )
        return BusDown(self._where.name, text)

    async def call(self, *command: Any) -> Any:
        """The answer to one command. Raises as everything here does."""
        try:
            return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as error:
            raise self._failed(error) from error

    async def forget(self, stream: str, ids: Sequence[bytes]) -> None:
        """Acknowledge and delete, as one."""
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.xack(stream, self._settings.group, *ids)
                pipe.xdel(stream, *ids)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise self._failed(error) from error

    @property
    def group(self) -> tuple[str, str]:
        """The group and this consumer in it."""
        return self._settings.group, self._consumer

    @property
    def at_once(self) -> int:
        """Entries of one read."""
        return _AT_ONCE[self._settings.encoding]


class RedisReader:
    """See Reader."""

    def __init__(self, bus: RedisBus, share: Share) -> None:
        self._bus, self._share = bus, share
        self._stream = bus.stream(share)
        self._claimed: list[Delivery] = []

    async def claim(self) -> None:
        """Take over what was read, by whomever, and not acknowledged."""
        group, consumer = self._bus.group
        start: bytes | str = "0-0"
        while True:
            answer = await self._bus.call(
                "XAUTOCLAIM", self._stream, group, consumer, 0, start, "COUNT", 1000
            )
            start, entries = answer[0], answer[1]
            self._claimed += [self._delivery(entry, redelivered=True) for entry in entries if entry]
            if start == b"0-0":
                return

    async def fetch(self) -> Sequence[Delivery]:
        """See Reader."""
        if self._claimed:
            count = self._bus.at_once
            taken, self._claimed = self._claimed[:count], self._claimed[count:]
            return taken
        answer = await self._bus.call(
            *("XREADGROUP", "GROUP", *self._bus.group, "COUNT", self._bus.at_once),
            *("BLOCK", _WAITS_MS, "STREAMS", self._stream, ">"),
        )
        if not answer:
            return []
        entries = next(iter(answer.values()))[0] if isinstance(answer, dict) else answer[0][1]
        return [self._delivery(entry) for entry in entries]

    def _delivery(self, entry: Any, *, redelivered: bool = False) -> Delivery:
        number, fields = entry
        found = dict(fields) if isinstance(fields, dict) else dict(_pairs(fields))
        headers = {
            name.decode(errors="replace"): value.decode(errors="replace")
            for name, value in found.items()
            if name != _DATA
        }
        data = found.get(_DATA, b"")
        return Delivery(Message(self._share, data, headers, ""), number, redelivered)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See Reader."""
        ids = [each.token for each in deliveries if isinstance(each.token, bytes)]
        for start in range(0, len(ids), 1000):
            await self._bus.forget(self._stream, ids[start : start + 1000])

    async def close(self) -> None:
        """See Reader: what is pending is claimed by whoever comes next."""


def _pairs(flat: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
