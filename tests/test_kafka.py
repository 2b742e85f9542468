"""What Kafka alone has: logs that are not what they were, and a group that ails unheard."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata

from edc.bus import Bus, Reader
from edc.bus.brokers import connect
from edc.bus.kafka_log import Confirmed
from edc.bus.settings import BusSettings
from edc.errors import BusDown
from tests.brokers.servers import Broker, need
from tests.harness import read, running, until
from tests.test_bus import SHARE, fetched, message, numbers, read_share, settings
from tests.test_roles import both

_MS = 1_000_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with need("kafka")(tmp_path_factory.mktemp("kafka")) as started:
        yield started


def alone(url: str) -> BusSettings:
    """A bus of a group of its own: noida-db keeps every member for ever."""
    wanted = settings(url)
    return wanted.model_copy(update={"group": wanted.prefix})


def at(wanted: BusSettings) -> TopicPartition:
    return TopicPartition(f"{wanted.prefix}.{SHARE.event_type}", SHARE.partition)


def servers(wanted: BusSettings) -> str:
    return wanted.url.get_secret_value().removeprefix("kafka://")


@asynccontextmanager
async def telling(wanted: BusSettings, name: str = "one") -> AsyncIterator[tuple[Bus, list[int]]]:
    """A bus, and since when it was said that the broker has forgotten, each time."""
    told: list[int] = []

    async def tell(since: int) -> None:
        told.append(since)

    bus = connect(wanted, name, tell)
    try:
        await bus.open()
        yield bus, told
    finally:
        await bus.close()


@asynccontextmanager
async def admin(wanted: BusSettings) -> AsyncIterator[Any]:
    client = AIOKafkaAdminClient(bootstrap_servers=servers(wanted))
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def commit(wanted: BusSettings, offset: int, metadata: str) -> None:
    """As a store of before has left it."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers(wanted), group_id=wanted.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([at(wanted)])
        await consumer.commit({at(wanted): OffsetAndMetadata(offset, metadata)})
    finally:
        await consumer.stop()


async def first_times(wanted: BusSettings) -> int:
    """The time of the message at offset 4, ms."""
    consumer = AIOKafkaConsumer(bootstrap_servers=servers(wanted))
    await consumer.start()
    try:
        consumer.assign([at(wanted)])
        consumer.seek(at(wanted), 4)
        return int((await consumer.getone(at(wanted))).timestamp)
    finally:
        await consumer.stop()


@pytest.mark.parametrize(
    ("offset", "metadata", "expected", "told"),
    [
        (5, "{time}/{crc:08x}", [5, 6, 7, 8, 9], []),
        (5, "", [5, 6, 7, 8, 9], []),
        (5, "1771005600123/{crc:08x}", list(range(10)), [1_771_005_600_123 * _MS]),
        (5, "{time}/00000000", list(range(10)), ["{time}"]),
        (10, "{time}/00000000", list(range(10)), ["{time}"]),
        (11, "1771005600123/deadbeef", list(range(10)), [1_771_005_600_123 * _MS]),
        (500, "", list(range(10)), [0]),
    ],
    ids=["sound", "unmarked", "another time", "other bytes", "at the end", "beyond", "far beyond"],
)
async def test_a_store_goes_on_only_in_the_log_that_it_has_read(
    broker: Broker, offset: int, metadata: str, expected: list[int], told: list[int | str]
) -> None:
    wanted = alone(broker.url)
    async with telling(wanted) as (bus, heard):
        await bus.publish([message(number) for number in range(10)])
        time = await first_times(wanted)
        crc = zlib.crc32(message(4).data)
        await commit(wanted, offset, metadata.format(time=time, crc=crc))
        reader = await read_share(bus)
        found = await fetched(reader, len(expected))

        assert numbers(found) == expected
        assert heard == [time * _MS if each == "{time}" else each for each in told]
        await reader.ack(found)
        await reader.close()
        again = await read_share(bus)  # and what is committed now is sound
        assert await again.fetch() == []
        assert len(heard) == len(told)


async def test_a_topic_made_anew_under_a_reader_is_read_from_its_beginning(broker: Broker) -> None:
    wanted = alone(broker.url)
    async with telling(wanted) as (bus, heard), admin(wanted) as client:
        await bus.publish([message(number) for number in range(20)])
        reader = await read_share(bus)
        await reader.ack(await fetched(reader, 20))
        topic = at(wanted).topic
        await client.delete_topics([topic])
        await client.create_topics([NewTopic(topic, wanted.partitions, 1)])
        await _published(bus, [message(number) for number in range(20, 25)])

        found: list[int] = []
        async with asyncio.timeout(40):
            while found != [20, 21, 22, 23, 24]:
                try:
                    found += numbers(list(await reader.fetch()))
                except BusDown:
                    reader = await read_share(bus)
        assert heard  # the collector's half or the store's, whoever was first
        await reader.close()


async def _published(bus: Bus, messages: list[Any]) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await bus.publish(messages)
            except BusDown:
                await asyncio.sleep(0.1)


async def test_a_collector_is_told_that_what_was_confirmed_is_no_more(tmp_path: Path) -> None:
    with need("kafka")(tmp_path) as lossy:
        wanted = settings(lossy.url)
        async with telling(wanted) as (bus, heard):
            await bus.publish([_dated(number) for number in range(10)])
            await asyncio.to_thread(lossy.stop)  # it saves
            await asyncio.to_thread(lossy.start)
            await _published(bus, [_dated(number) for number in range(10, 20)])
            assert heard == []
            await asyncio.to_thread(lossy.kill)
            await asyncio.to_thread(lossy.start)
            await _published(bus, [_dated(number) for number in range(20, 23)])
            assert heard == [1010]
            await _published(bus, [_dated(23)])
            assert heard == [1010]
            reader = await read_share(bus)
            assert numbers(await fetched(reader, 14)) == [*range(10), 20, 21, 22, 23]
            await reader.close()


def _dated(number: int) -> Any:
    plain = message(number)
    return type(plain)(plain.share, plain.data, plain.headers, plain.key, 1000 + number)


def test_an_offset_that_is_given_again_voids_all_from_it_on() -> None:
    told = Confirmed()
    assert [told.add([at], 100 - at) for at in (3, 4, 9, 10)] == [None] * 4
    assert told.add([9, 10, 11], 200) == 90  # those at 9 and 10: 91 and 90
    assert told.add([12], 300) is None
    assert told.add([10], 400) == 200  # in the midst of three, and the one after them
    assert told.add([11, 12, 0], 500) == 96  # cut while they were sent; at 3 and 4: 97 and 96
    assert told.add([13, 5], 600) == 500
    assert told.add([14], 700) is None


async def test_a_group_that_cannot_be_joined_is_told_of(broker: Broker) -> None:
    async with broker.proxy() as proxy:
        gone = broker.url_at(proxy.port)
    bus = connect(alone(gone), "one")
    with pytest.raises(BusDown, match="Unable to bootstrap"):
        await until(lambda: bus.assigned() != frozenset())
    await bus.close()


async def test_what_ails_the_group_is_heard_while_nobody_reads(broker: Broker) -> None:
    """Aiokafka waits for somebody to take note of an error before it goes on with the group."""
    wanted = alone(broker.url)
    async with telling(wanted) as (bus, _):
        await bus.publish([message(0)])
        await (await read_share(bus)).close()
        ailing = bus._consumer  # type: ignore[attr-defined]
        coordinator = ailing._coordinator
        waiting = asyncio.ensure_future(coordinator._push_error_to_user(UnknownMemberIdError()))

        await asyncio.wait_for(waiting, 10)
        reader = await _again(bus)
        assert bus._consumer is not ailing  # type: ignore[attr-defined]
        assert numbers(await fetched(reader, 1)) == [0]
        await reader.close()


async def _again(bus: Bus) -> Any:
    """A reader, though the bus is down for a while."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await read_share(bus)
            except BusDown:
                await asyncio.sleep(0.1)


async def test_a_store_says_that_its_broker_is_silent(tmp_path: Path) -> None:
    with need("kafka")(tmp_path) as silent:
        async with telling(settings(silent.url)) as (bus, _):
            reader = await read_share(bus)
            assert await reader.fetch() == []
            silent.freeze()
            try:
                with pytest.raises(BusDown, match="is silent"):
                    await _idle(reader)
            finally:
                silent.thaw()


async def _idle(reader: Reader) -> None:
    async with asyncio.timeout(20):
        while True:
            assert await reader.fetch() == []


async def test_what_a_broker_has_forgotten_is_a_row_of_the_lake(tmp_path: Path) -> None:
    with need("kafka")(tmp_path) as lossy:
        _, store = both(tmp_path, lossy.url, "ws://127.0.0.1:9")
        wanted = settings(lossy.url, prefix="edc", partitions=1)
        async with telling(wanted) as (bus, _):
            await bus.publish([])
        share = TopicPartition("edc.trade", 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=servers(wanted), group_id=wanted.group)
        await consumer.start()
        consumer.assign([share])
        await consumer.commit({share: OffsetAndMetadata(7, "1771005600123/deadbeef")})
        await consumer.stop()
        async with running(store):
            await until(lambda: store.lanes["gap"].stats.rows_spooled == 1)
        gaps = read(tmp_path / "store" / "lake", "gap")
        assert gaps["cause"].to_list() == ["forgotten"]
        assert gaps["started_at"].to_physical().to_list() == [1_771_005_600_123 * _MS]
        assert gaps["state"].to_list() == ["open"]
        assert gaps["rows_lost"].to_list() == [None]


async def test_the_broker_of_these_tests_forgets_what_it_confirms_while_it_saves(
    tmp_path: Path,
) -> None:
    """By aiokafka alone, past the door that it has in the other tests: its doing, not edc's."""
    with need("kafka")(tmp_path) as saving:
        own, log = f"127.0.0.1:{saving.listens_at()}", TopicPartition("t", 0)
        client = AIOKafkaAdminClient(bootstrap_servers=own)
        await client.start()
        await client.create_topics([NewTopic(log.topic, 1, 1)])
        await client.close()
        producer = AIOKafkaProducer(
            bootstrap_servers=own, acks="all", enable_idempotence=True, request_timeout_ms=1000
        )
        await producer.start()
        for _ in range(80):
            await producer.send_and_wait(log.topic, b"x" * 500_000, partition=0)
        ending = asyncio.create_task(asyncio.to_thread(saving.stop), name="it saves and ends")
        confirmed = 0
        with contextlib.suppress(KafkaError, TimeoutError):
            while True:
                async with asyncio.timeout(2):
                    told = await producer.send_and_wait(log.topic, b"late", partition=0)
                confirmed = told.offset
        await ending
        await asyncio.to_thread(saving.start)
        consumer = AIOKafkaConsumer(bootstrap_servers=f"127.0.0.1:{saving.listens_at()}")
        await consumer.start()
        end = (await consumer.end_offsets([log]))[log]
        await consumer.stop()
        await producer.stop()

        assert end <= confirmed
