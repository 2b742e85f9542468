"""What a configuration takes: measured in the lake where it can be, estimated where it cannot."""

from pathlib import Path
from typing import Any

import pytest

from edc.audit.verdict import open_lake
from edc.budget import Budget, budget
from edc.events import Origin
from edc.plan import plan_feeds
from edc.settings import Settings
from edc.times import SECOND
from tests.test_query import HOUR, NEW_YORK, NOON, Stage, trade

DAY = 24 * HOUR * SECOND
BINANCE = {"vendor": "binance", "channel": "spot", "symbols": {"crypto": ["btcusdt", "ethusdt"]}}
POLLED = {"vendor": "binance", "channel": "spot_rest", "symbols": {"crypto": ["btcusdt"]}}


def taken(
    *feeds: dict[str, Any], lake: Path | None = None, home: Path | None = None, **options: Any
) -> Budget:
    settings = Settings(feeds={f"f{number}": each for number, each in enumerate(feeds)})
    wanted: dict[str, Any] = {"days": 30, "keep_days": {}, "reserve": 0, **options}
    return budget(
        plan_feeds(settings, Path("config.toml")),
        None if lake is None else open_lake(lake, NEW_YORK, "hour"),
        now_ns=NOON + 3 * DAY,
        home=home,
        **wanted,
    )


def test_a_source_of_the_lake_is_measured_on_its_whole_days(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    rows = [trade(number, second=number) for number in range(100)]
    rows += [trade(number, second=24 * HOUR + number) for number in range(300)]
    rows += [trade(number, second=3 * 24 * HOUR - HOUR + number) for number in range(50)]  # today
    for row in rows:
        row.origin = Origin("f0", "binance", "binance_spot", 1)
    stage.receive(*rows)
    stage.flush()
    stage.spool.close()
    sizes = [
        path.stat().st_size
        for day in ("date=2026-02-13", "date=2026-02-14")
        for path in (stage.path / "trade" / day).rglob("*.parquet")
    ]

    found = taken(BINANCE, lake=stage.path)

    (each,) = found.expected
    assert (each.source, each.feeds, each.table) == ("binance_spot", ["f0"], "trade")
    assert each.rows == 200
    assert each.bytes == pytest.approx(sum(sizes) / 2)
    assert each.basis == "the lake, 2026-02-13 to 2026-02-14"
    assert found.needed == pytest.approx(30 * each.bytes)


def test_a_source_that_the_lake_does_not_know_is_estimated_and_that_is_said() -> None:
    found = taken(BINANCE)

    assert {each.basis for each in found.expected} == {"a rough estimate"}
    by_table = {each.table: each.rows for each in found.expected}
    assert by_table["trade"] == 2 * 86_400
    assert found.rows_a_day == sum(by_table.values())
    assert found.connections == {"binance": 1}


def test_a_polled_feed_counts_requests_and_no_connection() -> None:
    found = taken(POLLED)

    assert found.connections == {}
    assert found.requests_per_minute["binance"] > 0


def test_stocks_are_estimated_for_the_hours_of_their_market() -> None:
    stocks = {"vendor": "alpaca", "channel": "iex", "symbols": {"stock": ["aapl"]}}
    settings = Settings(
        vendors={"alpaca": {"api_key": "k" * 20, "api_secret": "s" * 20}}, feeds={"f": stocks}
    )
    found = budget(
        plan_feeds(settings, Path("config.toml")),
        None,
        now_ns=NOON,
        days=1,
        keep_days={},
        home=None,
        reserve=0,
    )
    trades = next(each for each in found.expected if each.table == "trade")
    four_days = 4 * 6.5 * HOUR  # of the week after 2026-02-13, whose Monday is Presidents' Day
    assert trades.rows == pytest.approx(0.5 * four_days / 7, rel=0.1)


def test_days_that_are_not_kept_need_no_room() -> None:
    whole = taken(BINANCE)
    trades = next(each for each in whole.expected if each.table == "trade")
    quotes = next(each for each in whole.expected if each.table == "quote")

    found = taken(BINANCE, keep_days={"quote": 10})

    assert whole.needed - found.needed == pytest.approx(20 * quotes.bytes)
    assert trades.bytes * 30 < found.needed


def test_a_disk_without_the_room_does_not_fit(tmp_path: Path) -> None:
    roomy = taken(BINANCE, home=tmp_path / "not" / "yet")
    assert roomy.free is not None
    assert roomy.fits
    full = taken(BINANCE, home=tmp_path, reserve=roomy.free * 2)
    assert not full.fits
    assert full.lasts_days == 0
    assert taken(BINANCE).fits, "a disk that is not ours to ask"
