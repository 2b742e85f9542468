"""Several connections of one feed, at a handover or always: nothing is lost, nothing twice."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edc.errors import ConfigError
from edc.events import Trade
from edc.exposition import DaemonCollector, registry
from edc.lines import Race
from edc.metrics import FeedStats, PathStats
from edc.plan import plan_feeds
from edc.settings import BackfillSettings, ServerSettings, Settings, SpoolSettings, StorageSettings
from edc.simulator.binance import BinanceVenue
from edc.simulator.venue import Faults
from edc.supervisor import Supervisor
from tests.harness import FAST, read, running, until

MS = 10**6
SHUTDOWN = json.dumps(
    {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1770123456789}}
).encode()


def daemon_of(venue: BinanceVenue, folder: Path, **options: Any) -> Supervisor:
    settings = Settings(
        storage=StorageSettings(path=folder / "lake"),
        spool=SpoolSettings(interval="50ms"),
        server=ServerSettings(listen=""),
        backfill=BackfillSettings(within="never"),
        vendors={"binance": venue.options()},
        feeds={
            "crypto": {
                "vendor": "binance",
                "channel": "spot",
                "symbols": {"crypto": ["btcusdt", "ethusdt"]},
                **options,
            }
        },
    )
    return Supervisor(settings, plan_feeds(settings, folder / "config.toml"), times=FAST)


@asynccontextmanager
async def recording(
    folder: Path, faults: Faults | None = None, lifetime: float | None = None, **options: Any
) -> AsyncIterator[tuple[BinanceVenue, Supervisor]]:
    """A venue and a daemon; on the way out all that was sent has arrived."""
    venue = BinanceVenue(rate=500.0, faults=faults)
    await venue.start()
    try:
        daemon = daemon_of(venue, folder, **options)
        if lifetime is not None:
            runner = daemon.feeds[0]
            build = runner.feed.build

            def short_lived() -> Any:
                adapter: Any = build()
                adapter.lifetime = lifetime
                return adapter

            runner.feed = replace(runner.feed, build=short_lived)
        async with running(daemon):
            yield venue, daemon
            venue.faults.mute = True
            await until(lambda: not any(line.waiting for line in venue.lines))
            await until(lambda: arrived(daemon) >= len(venue.heard))
    finally:
        await venue.stop()


def arrived(daemon: Supervisor) -> int:
    """Rows that are in chunks or files, and those that turned out to be there already."""
    stats = daemon.feeds[0].stats
    return stats.event_count + stats.repeated


def assert_once_each(venue: BinanceVenue, folder: Path) -> None:
    trades, quotes = read(folder / "lake", "trade"), read(folder / "lake", "quote")
    sent = Counter(
        (venue.ours(tick.name), tick.price, tick.size)
        for tick in venue.heard
        if tick.kind == "trade"
    )
    assert Counter(trades.select("symbol", "last_price", "last_size").rows()) == sent
    books = Counter(
        (venue.ours(tick.name), tick.bid, tick.bid_size)
        for tick in venue.heard
        if tick.kind == "quote"
    )
    assert Counter(quotes.select("symbol", "bid", "bid_size").rows()) == books
    for symbol in ("btcusdt", "ethusdt"):
        numbers = sorted(trades.filter(symbol=symbol)["sequence"])
        assert numbers == list(range(numbers[0], numbers[-1] + 1))


async def more(venue: BinanceVenue, number: int) -> None:
    """So many more events are sent."""
    heard = len(venue.heard)
    await until(lambda: len(venue.heard) > heard + number)


def _has_more_than(venue: BinanceVenue, connections: int) -> bool:
    return venue.connections > connections


def gaps(folder: Path) -> pl.DataFrame:
    return read(folder / "lake", "gap")


async def test_a_connection_that_grows_old_is_replaced_without_a_gap(tmp_path: Path) -> None:
    async with recording(tmp_path, lifetime=0.4) as (venue, daemon):
        await until(lambda: venue.connections >= 5)

    assert_once_each(venue, tmp_path)
    assert daemon.feeds[0].stats.disconnects == {}
    assert gaps(tmp_path).is_empty()


async def test_a_notice_of_the_end_is_in_time(tmp_path: Path) -> None:
    async with recording(tmp_path, Faults(insert={100: SHUTDOWN})) as (venue, daemon):
        await until(lambda: venue.connections == 2 and len(venue.lines) == 1)
        await more(venue, 100)

    assert_once_each(venue, tmp_path)
    assert daemon.feeds[0].stats.disconnects == {}
    assert daemon.feeds[0].stats.skipped == {}
    assert gaps(tmp_path).is_empty()


async def test_a_successor_that_is_refused_is_tried_again_while_the_old_one_delivers(
    tmp_path: Path,
) -> None:
    faults = Faults(insert={100: SHUTDOWN}, handshakes=[])
    async with recording(tmp_path, faults) as (venue, _daemon):
        await until(lambda: venue.frames > 50)
        faults.handshakes += [503, 429, 503]
        await until(lambda: venue.connections == 2 and len(venue.lines) == 1)
        await more(venue, 100)

    assert_once_each(venue, tmp_path)
    assert gaps(tmp_path).is_empty()


async def test_an_old_connection_that_ends_too_early_leaves_a_gap_that_is_told(
    tmp_path: Path,
) -> None:
    """The vendor says goodbye, and is gone before anybody can connect again."""
    faults = Faults(insert={100: SHUTDOWN})
    async with recording(tmp_path, faults) as (venue, daemon):
        await until(lambda: venue.frames > 50)
        faults.handshakes += [503] * 8
        await until(lambda: len(faults.handshakes) < 8)
        venue.cut()
        await until(lambda: venue.connections == 2)
        await more(venue, 100)

    assert sum(daemon.feeds[0].stats.disconnects.values()) >= 1
    assert "disconnected" in gaps(tmp_path)["cause"].to_list()


async def test_two_connections_cut_in_turn_lose_nothing(tmp_path: Path) -> None:
    async with recording(tmp_path, connections=2) as (venue, daemon):
        stats = daemon.feeds[0].stats
        await until(lambda: len(venue.lines) == 2)
        for turn in range(6):
            await more(venue, 60)
            # the one that has been there longer, and the younger one, in turn
            lines = sorted(venue.lines, key=lambda line: line.transport.get_extra_info("peername"))
            lines[turn % 2].transport.close()
            before = venue.connections
            await until(partial(_has_more_than, venue, before))
            await until(lambda: all(line.topics for line in venue.lines))
            await more(venue, 60)
        assert stats.state == "live"

    assert_once_each(venue, tmp_path)
    assert stats.disconnects["disconnected"] == 6
    assert gaps(tmp_path).is_empty()
    assert set(stats.paths) == {0, 1}
    assert all(path.first + path.behind > 0 for path in stats.paths.values())
    assert stats.repeated > 0


async def test_when_both_connections_are_gone_the_silence_is_told(tmp_path: Path) -> None:
    async with recording(tmp_path, connections=2) as (venue, _daemon):
        await until(lambda: len(venue.lines) == 2 and len(venue.heard) > 100)
        venue.faults.handshakes += [503] * 4
        venue.cut()
        await until(lambda: len(venue.lines) == 2)
        await more(venue, 100)

    causes = gaps(tmp_path)["cause"].to_list()
    assert causes.count("disconnected") == 1
    assert "sequence" in causes


async def test_status_shows_which_path_is_first_and_by_how_much(tmp_path: Path) -> None:
    async with recording(tmp_path, connections=2) as (venue, daemon):
        await until(lambda: len(venue.lines) == 2)
        await more(venue, 100)
        feeds: Any = daemon.status()["feeds"]

    paths = feeds[0]["paths"]
    assert [each["path"] for each in paths] == [1, 2]
    assert sum(each["first"] for each in paths) > 50
    assert any(each["behind_ms"] is not None for each in paths)


def test_which_path_is_first_and_by_how_much() -> None:
    """Path 1 brings trades 1 and 2 before path 2, by 3 ms and 5 ms; path 2 trade 3, by 8 ms."""
    stats = FeedStats("crypto", "binance", "binance")
    race = Race(stats.paths)
    for number, path, ms in [(1, 0, 0), (1, 1, 3), (2, 0, 10), (2, 1, 15), (3, 1, 20), (3, 0, 28)]:
        race.arrived(_trade(number), path, ms * MS)

    assert stats.paths == {0: PathStats(2, 1, 8 * MS), 1: PathStats(1, 2, 8 * MS)}
    text = generate_latest(registry(DaemonCollector(lambda: [stats], {}, {}))).decode()
    told = {
        sample.name + sample.labels["path"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "path" in sample.labels
    }
    assert told == {
        "edc_feed_path_first_events_total1": 2,
        "edc_feed_path_first_events_total2": 1,
        "edc_feed_path_behind_seconds_total1": 0.008,
        "edc_feed_path_behind_seconds_total2": 0.008,
    }


def _trade(number: int) -> Trade:
    return Trade(
        symbol="btcusdt",
        asset_type="crypto",
        event_time=number * MS,
        exchange="BINANCE",
        last_price=1.0,
        last_size=1.0,
        trade_id=str(number),
    )


@pytest.mark.parametrize("connections", [0, 5])
def test_a_number_of_connections_that_makes_no_sense_is_refused(
    connections: int, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="connections"):
        daemon_of(BinanceVenue(), tmp_path, connections=connections)


def test_a_polled_feed_has_no_second_connection(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="channel spot_rest is a poll channel; remove it"):
        daemon_of(BinanceVenue(), tmp_path, channel="spot_rest", connections=2)
