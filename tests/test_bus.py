"""One suite over every broker: what the contract of a bus says, held against real servers."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edc.bus import DEAD, Bus, BusStats, Delivery, Message, Reader, Share
from edc.bus.brokers import connect
from edc.bus.messages import encode
from edc.bus.settings import BusSettings
from edc.bus.shares import Shares
from edc.consumer import Consumer, ConsumerLane
from edc.errors import BusDown, ConfigError
from edc.events import EVENT_TYPES
from edc.lake import Lake
from edc.metrics import LaneStats
from edc.sinks.parquet import ParquetSink
from tests.brokers.servers import BROKERS, Broker, need
from tests.harness import read, until
from tests.test_messages import ZONE, rows

SHARE = Share("trade", 1)


@pytest.fixture(params=BROKERS, scope="module")
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """Each broker in turn, one for the whole module."""
    with need(request.param)(tmp_path_factory.mktemp(request.param)) as started:
        yield started


_numbers = iter(range(10_000))


def settings(url: str, **more: Any) -> BusSettings:
    """A bus of a prefix of its own."""
    values: dict[str, Any] = {
        "prefix": f"t{next(_numbers)}",
        "partitions": 2,
        "timeout": "2s",
        "max_bytes": 67_108_864,
    }
    return BusSettings(url=url, **values | more)


@asynccontextmanager
async def opened(wanted: BusSettings, name: str = "one") -> AsyncIterator[Bus]:
    """The bus, open while inside."""
    bus = connect(wanted, name)
    try:
        await bus.open()
        yield bus
    finally:
        await bus.close()


def message(number: int, share: Share = SHARE, size: int = 10) -> Message:
    headers = {"edc-type": share.event_type, "edc-encoding": "arrow"}
    data = f"{number:06d}".encode().ljust(size, b".")
    return Message(share, data, headers, f"key {share} {number}")


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(each.message.data[:6]) for each in deliveries]


async def read_share(bus: Bus, share: Share = SHARE) -> Reader:
    """A reader, once the broker gives the share to this one."""
    await until(lambda: (given := bus.assigned()) is None or share in given)
    async with asyncio.timeout(40):
        while True:
            try:
                return await bus.reader(share)
            except BusDown:  # the group is still at it
                await asyncio.sleep(0.2)


async def fetched(reader: Reader, count: int) -> list[Delivery]:
    """The next so many deliveries, and not one more."""
    found: list[Delivery] = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += await reader.fetch()
    assert len(found) == count
    return found


async def test_what_is_published_comes_in_order_and_once(broker: Broker) -> None:
    async with opened(settings(broker.url, **broker.more)) as bus:
        await bus.publish([message(number) for number in range(40)])
        await bus.publish([message(7, Share("trade", 0)), message(40)])
        reader = await read_share(bus)
        found = await fetched(reader, 41)

        assert numbers(found) == list(range(41))
        assert found[0].message.headers == message(0).headers
        assert [each.redelivered for each in found] == [False] * 41
        await reader.ack(found)
        assert await reader.fetch() == []
        await until_lag(bus, 1)
        await reader.close()


async def until_refused(bus: Bus) -> int:
    """How many messages of 200,000 bytes the broker takes."""
    for number in range(200):
        try:
            await bus.publish([message(number, size=200_000)])
        except BusDown:
            return number
    return 200


async def until_lag(bus: Bus, wanted: int) -> None:
    """Brokers count when they get to it."""
    async with asyncio.timeout(15):
        while True:
            if (await bus.lag())["trade"] == wanted:
                return
            await asyncio.sleep(0.1)


async def test_what_is_not_acknowledged_comes_again_before_what_follows(broker: Broker) -> None:
    wanted = settings(broker.url, **broker.more)
    async with opened(wanted) as bus:
        await bus.publish([message(number) for number in range(10)])
        reader = await read_share(bus)
        found = await fetched(reader, 10)
        await reader.ack(found[:4])
        await reader.close()
    heir = "one" if broker.name == "kafka" else "other"  # noida-db keeps the place of a member
    async with opened(wanted, heir) as bus:
        await bus.publish([message(10)])
        reader = await read_share(bus)
        again = await fetched(reader, 7)

        assert numbers(again) == [4, 5, 6, 7, 8, 9, 10]
        if broker.name != "kafka":  # which keeps no count of deliveries
            assert [each.redelivered for each in again] == [True] * 6 + [False]
        await reader.ack(again)
        await reader.close()


MAKE: Mapping[str, str] = {
    "redis": r"make it: redis-cli XGROUP CREATE t\d+\.trade\.0 edc 0 MKSTREAM",
    "nats": r"make it: nats stream add t\d+_trade --subjects 't\d+\.trade\.\*' --retention work",
    "amqp": r"make it: rabbitmqadmin declare queue name=t\d+\.trade\.0 durable=true",
    "kafka": r"make it: kafka-topics\.sh --bootstrap-server .* --create --topic t\d+\.trade",
}


async def test_what_is_missing_is_refused_with_the_command_that_makes_it(broker: Broker) -> None:
    with pytest.raises(ConfigError, match=MAKE[broker.name]):
        async with opened(settings(broker.url, create=False, **broker.more)):
            pass


async def test_what_was_made_before_is_taken_as_it_is(broker: Broker) -> None:
    wanted = settings(broker.url, **broker.more)
    async with opened(wanted):
        pass
    async with opened(wanted.model_copy(update={"create": False})) as bus:
        await bus.publish([message(1)])


async def test_nobody_there_is_waited_out(broker: Broker) -> None:
    async with broker.proxy() as proxy:
        gone = broker.url_at(proxy.port)
    bus = connect(settings(gone, **broker.more), "one")
    with pytest.raises(BusDown, match=f"the bus {broker.name}://127.0.0.1:{proxy.port}: "):
        await bus.publish([message(1)])
    await bus.close()


async def test_a_connection_that_goes_dead_loses_nothing_and_is_made_anew(broker: Broker) -> None:
    async with broker.proxy() as proxy:
        wanted = settings(broker.url_at(proxy.port), **broker.more)
        async with opened(wanted) as bus:
            await bus.publish([message(0)])
            assert proxy.freeze()
            async with asyncio.timeout(40):
                while True:
                    try:
                        await bus.publish([message(1)])
                        break
                    except BusDown:  # aiokafka finds another way by itself, the others by us
                        proxy.bury()
                        await asyncio.sleep(0.1)
            reader = await read_share(bus)
            found: list[Delivery] = []
            async with asyncio.timeout(20):
                while not numbers(found) or numbers(found)[-1] != 1:
                    found += await reader.fetch()
            assert sorted(set(numbers(found))) == [0, 1]  # the first try may have arrived
            assert numbers(found) == sorted(numbers(found))
            await reader.close()


async def test_a_slow_broker_is_waited_for(broker: Broker) -> None:
    async with opened(settings(broker.url, **broker.more | {"timeout": "8s"})) as bus:
        await bus.publish([message(0)])
        broker.freeze()
        try:
            publishing = asyncio.create_task(bus.publish([message(1)]), name="publish")
            await asyncio.sleep(1)
            assert not publishing.done()
        finally:
            broker.thaw()
        await publishing


async def test_a_poison_message_is_put_with_the_dead_and_the_others_are_stored(
    broker: Broker, tmp_path: Path
) -> None:
    wanted = settings(broker.url, **broker.more)
    good, again = (
        encode("trade", rows("trade"), chunks=f"a/1:{each}", encoding="arrow", partitions=2)
        for each in ("1-1", "1-2")  # as after a failure half way
    )
    poison = Message(SHARE, b"\xff garbage\n", {**good[0].headers}, "poison")
    stats = BusStats("test", "store")
    async with opened(wanted) as bus:
        await bus.publish([*good, poison, *again])
        async with storing(bus, stats, tmp_path, wanted):
            await until(lambda: stats.of("trade").consumed >= 2 * len(good) + 1)
            await until(lambda: stats.of("trade").dead == 1)
        found = read(tmp_path / "lake", "trade")

        assert found.sort("created_at").equals(rows("trade"), null_equal=True)
        dead = await bury_ground(bus, wanted)
        assert [each.data for each in dead] == [poison.data]
        assert "Arrow data cannot be read" in dead[0].headers["edc-reason"]
        assert dead[0].headers["edc-topic"] == "trade.1"


async def test_what_could_not_be_acknowledged_is_read_again_and_then_is(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing else fails: else it would be on the bus for as long as its reader lives."""
    wanted = settings(broker.url, **broker.more)
    stats = BusStats("test", "store")
    async with opened(wanted) as bus:
        reader = await read_share(bus)
        await reader.close()
        kind = type(reader)
        acknowledge, failures = kind.ack, iter([BusDown("test", "once")])

        async def once(reader: Any, deliveries: Any) -> None:
            for failure in failures:
                raise failure
            await acknowledge(reader, deliveries)

        monkeypatch.setattr(kind, "ack", once)
        sent = encode("trade", rows("trade"), chunks="a/1:1-1", encoding="arrow", partitions=2)
        async with storing(bus, stats, tmp_path, wanted):
            await bus.publish(sent)
            await until(lambda: stats.errors["ack"] == 1)
            await until_lag(bus, 0)
        assert stats.errors["read"] == 1
        found = read(tmp_path / "lake", "trade")
        assert found.sort("created_at").equals(rows("trade"), null_equal=True)


@asynccontextmanager
async def storing(
    bus: Bus, stats: BusStats, path: Path, wanted: BusSettings
) -> AsyncIterator[Consumer]:
    """A store, running while inside."""
    lake = Lake(path / "lake", ZONE, "hour", "one", lambda: 1_771_100_000_000_000_000, whole=True)
    sink = ParquetSink(lake)
    (path / "lake").mkdir(exist_ok=True)
    lanes = {
        kind: ConsumerLane(
            *(kind, bus, stats, sink, LaneStats(kind)),
            timezone=ZONE,
            partitions=wanted.partitions,
            max_rows=1000,
            max_age=0.3,
        )
        for kind in EVENT_TYPES
    }
    store = Consumer(bus, stats, lanes, Shares(path / "shares", "one", wanted.partitions))
    stopping = asyncio.Event()
    task = asyncio.create_task(store.run(stopping), name="store")
    try:
        yield store
    finally:
        stopping.set()
        await task


async def bury_ground(bus: Bus, wanted: BusSettings) -> list[Message]:
    """What lies in `<prefix>.dead`, by each broker's own client."""
    topic = f"{wanted.prefix}.{DEAD}"
    match type(bus).__name__:
        case "RedisBus":
            entries = await bus.call("XRANGE", topic, "-", "+")  # type: ignore[attr-defined]
            return [
                Message(Share(DEAD, 0), data.pop(b"data"), _text(data), "")
                for _, fields in entries
                for data in [dict(fields)]
            ]
        case "NatsBus":
            client = await bus.client()  # type: ignore[attr-defined]
            found = await client.jsm().get_msg(f"{wanted.prefix}_{DEAD}", seq=1)
            return [Message(Share(DEAD, 0), found.data, found.headers or {}, "")]
        case "RabbitBus":
            channel = await bus._connection.channel()  # type: ignore[attr-defined]
            queue = await channel.get_queue(topic)
            got = await queue.get(no_ack=True)
            return [Message(Share(DEAD, 0), got.body, dict(got.headers), "")]
        case _:
            from aiokafka import AIOKafkaConsumer  # noqa: PLC0415 - an extra

            host, port = wanted.url.get_secret_value().removeprefix("kafka://").split(":")
            consumer = AIOKafkaConsumer(
                topic, bootstrap_servers=f"{host}:{port}", auto_offset_reset="earliest"
            )
            await consumer.start()
            try:
                record = await asyncio.wait_for(consumer.getone(), 20)
            finally:
                await consumer.stop()
            return [Message(Share(DEAD, 0), record.value, _text(dict(record.headers)), "")]


def _text(headers: Mapping[Any, bytes]) -> dict[str, str]:
    return {
        name.decode() if isinstance(name, bytes) else name: value.decode()
        for name, value in headers.items()
    }


# What only some brokers have.


async def test_a_full_broker_takes_no_more_until_there_is_room(
    broker: Broker, tmp_path: Path
) -> None:
    """And what it has taken stands in order, without a hole."""
    if broker.name == "kafka":
        pytest.skip("Kafka has no such limit: what is old goes, stored or not")
    if broker.name == "redis":  # of which the whole server is full
        with need("redis")(tmp_path, small=True) as small:
            await _fill(settings(small.url))
    else:
        await _fill(settings(broker.url, max_bytes=2_097_152))


async def _fill(wanted: BusSettings) -> None:
    async with opened(wanted) as bus:
        taken = await until_refused(bus)
        assert 3 <= taken < 60
        reader = await read_share(bus)
        found = await fetched(reader, taken)
        assert numbers(found) == list(range(taken))
        await reader.ack(found)
        async with asyncio.timeout(20):
            while True:
                try:
                    await bus.publish([message(taken, size=200_000)])
                    break
                except BusDown:
                    await asyncio.sleep(0.1)
        assert numbers(await fetched(reader, 1)) == [taken]
        await reader.close()


async def test_rabbitmq_without_memory_blocks_and_is_told(tmp_path: Path) -> None:
    with need("amqp")(tmp_path, small=True) as started:
        bus = connect(settings(started.url, timeout="1s"), "one")
        try:
            await bus.open()
            await asyncio.sleep(1)  # it looks at its memory when it gets to it
            with pytest.raises(BusDown, match="is it blocked, for want of memory or disk"):
                await bus.publish([message(number) for number in range(20)])
        finally:
            await bus.close()


async def test_redis_refuses_a_user(tmp_path: Path) -> None:
    with need("redis")(tmp_path) as started:
        url = f"redis://edc:wrong-pass@127.0.0.1:{started.port}"
        await _refused(settings(url), "wrong-pass")


async def test_rabbitmq_refuses_a_user(broker: Broker) -> None:
    if broker.name != "amqp":
        pytest.skip("of RabbitMQ")
    url = f"amqp://guest:wrong-pass@127.0.0.1:{broker.port}"
    await _refused(settings(url), "wrong-pass")


async def _refused(wanted: BusSettings, secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with opened(wanted):
            pass
    assert "check username and password" in str(caught.value)
    assert secret not in str(caught.value)


async def test_redis_waits_for_replicas_where_told_to(tmp_path: Path) -> None:
    with need("redis")(tmp_path) as started:
        async with opened(settings(started.url, replicas=1, timeout="500ms")) as bus:
            with pytest.raises(BusDown, match="0 of 1 replicas have confirmed"):
                await bus.publish([message(1)])
