"""The short form of `python -m tests.brokers`: real processes, a real broker, kills and a cut."""

import asyncio
from pathlib import Path

import polars as pl
import pytest

from edc.bus.brokers import connect
from edc.bus.settings import BusSettings
from tests.brokers.proof import COLLECTORS, STORES, Harm, Result, Stage, found, prove, settled
from tests.brokers.servers import BROKERS, need
from tests.brokers.vendor import BEGIN, symbol_of
from tests.harness import read


@pytest.mark.parametrize("name", BROKERS)
def test_every_event_arrives_once_whatever_is_killed(name: str, tmp_path: Path) -> None:
    """Not a coroutine: on a busy machine the processes take longer than one may."""
    events = 12_000
    with need(name)(tmp_path) as broker:
        stage = Stage(tmp_path, broker, events, rate=3000)
        try:
            harm = Harm(store_kills=1, broker_restarts=1, cut_seconds=2)
            result = asyncio.run(prove(stage, events, harm, within=240))
        finally:
            stage.abandon()

    assert result.true, result


def test_what_a_broker_has_forgotten_is_in_the_ledger_and_nobody_waits_for_it(
    tmp_path: Path,
) -> None:
    """noida-db killed with nothing saved but its empty topics: offsets begin again at 0."""
    events = 20_000
    with need("kafka")(tmp_path) as broker:
        asyncio.run(_make_topics(broker.url))
        broker.stop()
        broker.start()
        stage = Stage(tmp_path, broker, events, rate=3000)
        try:
            result = asyncio.run(_forgotten(stage, events))
        finally:
            stage.abandon()

    assert (result.twice, result.strange, result.lag) == (0, 0, 0)
    missing = _sent(events).join(read(stage.lake, "trade"), on=["symbol", "last_price"], how="anti")
    assert 0 < missing.height == result.lost < result.sent
    gaps = read(stage.lake, "gap").filter(cause="forgotten")
    told = missing.join_where(
        gaps.select(pl.col("started_at", "ended_at").dt.convert_time_zone("UTC")),
        pl.col("event_time") >= pl.col("started_at"),
        pl.col("event_time") <= pl.col("ended_at"),
    )
    assert told.select("symbol", "last_price").unique().height == missing.height


async def _forgotten(stage: Stage, events: int) -> Result:
    """The broker is killed when it has confirmed something, and before there are stores.

    The other collector begins when the first has written again: else it might be the one that gets
    the offsets of before, and the first would not know.
    """
    result = Result(stage.broker.name, events * len(COLLECTORS))
    first, second = COLLECTORS
    async with stage.broker.proxy() as one, stage.broker.proxy() as other:
        stage.begin()
        stage.collect(first, one.port)
        confirmed = await _published(stage, first, 1)
        await asyncio.to_thread(stage.broker.kill)
        await asyncio.to_thread(stage.broker.start)
        await _published(stage, first, confirmed + 1)
        stage.collect(second, other.port)
        for who in STORES:
            stage.store(who)
        result.lag = await settled(stage, 240)
        await asyncio.to_thread(stage.end)
    await asyncio.to_thread(found, stage.lake, events, result)
    return result


async def _published(stage: Stage, who: str, count: int) -> int:
    """How many messages the broker has confirmed to a collector, once it is so many."""
    while True:
        found = await asyncio.to_thread(stage.topics, who, "published")
        if found >= count:
            return found
        await asyncio.sleep(0.1)


async def _make_topics(url: str) -> None:
    bus = connect(BusSettings(url=url), "before")
    await bus.open()
    await bus.close()


def _sent(events: int) -> pl.DataFrame:
    """What both collectors are sent; the event's time is its number in ms."""
    numbers = [number for _ in COLLECTORS for number in range(events)]
    return pl.DataFrame(
        {
            "symbol": [symbol_of(who, number) for who in COLLECTORS for number in range(events)],
            "last_price": [number + 1.0 for number in numbers],
            "event_time": [BEGIN * 10**9 + number * 10**6 for number in numbers],
        }
    ).with_columns(pl.col("event_time").cast(pl.Datetime("ns", "UTC")))
