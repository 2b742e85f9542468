"""An event is the same event at every station: frame, chunk, file, and any reader's answer."""

import json
import math
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc import partitions
from edc.events import (
    EVENT_TYPES,
    Event,
    Gap,
    Origin,
    Quote,
    RefPx,
    Row,
    Trade,
    schema,
    to_frame,
)
from edc.lake import Lake
from edc.sinks.parquet import ParquetSink
from edc.spool import Spool
from edc.times import parse_iso
from edc.transport import Frame
from tests.harness import Script, read, running, supervisor, until, until_events, write_config

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)
SECOND = 1_000_000_000
HOUR = 3600 * SECOND
YEAR_2250 = 8_835_984_000 * SECOND
NOW = 1_771_006_162_668_051_234

CHANGES = {
    "America/New_York": (1_772_953_200 * SECOND, 1_793_512_800 * SECOND),
    "Europe/London": (1_774_746_000 * SECOND, 1_792_890_000 * SECOND),
    "Australia/Lord_Howe": (1_775_314_800 * SECOND, 1_791_041_400 * SECOND),
    "Asia/Kathmandu": (504_901_800 * SECOND,),
    "UTC": (0,),
}
"""Zones, and the instants at which their clocks change: an hour, half an hour, a quarter, never.

2026-03-08T07:00Z, 2026-11-01T06:00Z; 2026-03-29T01:00Z, 2026-10-25T01:00Z; 2026-04-04T15:00Z,
2026-10-03T15:30Z; 1985-12-31T18:30Z.
"""
ZONES = sorted(CHANGES)

TIMES = st.one_of(
    st.integers(0, YEAR_2250),
    st.integers(-2_000_000_000 * SECOND, 0),
    st.sampled_from([-1, 0, 1, 999, -999_999_999, 9_007_199_254_740_993]),
    *(
        st.integers(-2 * HOUR, 2 * HOUR).map(change.__add__)
        for changes in CHANGES.values()
        for change in changes
    ),
)
REALS = st.one_of(
    st.floats(allow_nan=False),
    st.sampled_from([-0.0, 0.0, 5e-324, -5e-324, 2.2250738585072014e-308]),
    st.sampled_from([1.7976931348623157e308, -1.7976931348623157e308, math.inf, -math.inf]),
    st.sampled_from([0.1, 1 / 3, 1.0000000000000002, 9_007_199_254_740_993]),
    st.integers(-(2**63), 2**64),
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(
        [
            *("", " ", "BRK/B", "../../x", "..", ".", "/", "~", "-rf", "%2e%2e%2f", "CON", "*?[a]"),
            *("a\0b", "a\nb", "a\r\nb", "\x1b[2J", "null", "None", "NaN", "\ufeffbom", "'\";--"),
            *("\u05d0\u05d1\u05d2", "\u202eabc", "e\u0301", "\u00e9", "\U0001f680", "\U0010ffff"),
            "x" * 10_000,
        ]
    ),
)
WHOLES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([-(2**63), 2**63 - 1, 2**53 + 1, -1, 0]),
)
MAYBE_TEXT, MAYBE_REAL, MAYBE_WHOLE = (st.none() | each for each in (TEXTS, REALS, WHOLES))
EVENT: dict[str, st.SearchStrategy[Any]] = {
    "symbol": TEXTS,
    "asset_type": st.sampled_from(["stock", "etf", "fx", "crypto"]),
    "event_time": TIMES,
    "created_at": TIMES,
    "origin": st.builds(Origin, TEXTS, TEXTS, TEXTS, st.integers(0, 9)),
    "exchange": MAYBE_TEXT,
    "sequence": MAYBE_WHOLE,
}
ROWS: dict[str, st.SearchStrategy[Row]] = {
    "trade": st.builds(
        Trade,
        **EVENT,
        last_price=REALS,
        last_size=MAYBE_REAL,
        trade_id=MAYBE_TEXT,
        side=st.sampled_from([None, "buy", "sell"]),
        conditions=MAYBE_TEXT,
        action=st.sampled_from(["new", "cancel", "correct"]),
    ),
    "quote": st.builds(
        Quote,
        **EVENT,
        **dict.fromkeys(("bid", "ask", "mid", "bid_size", "ask_size"), MAYBE_REAL),
        **dict.fromkeys(("bid_exchange", "ask_exchange", "conditions"), MAYBE_TEXT),
    ),
    "ref_px": st.builds(RefPx, **EVENT, price=REALS, price_type=TEXTS),
    "gap": st.builds(
        Gap,
        **dict.fromkeys(("feed", "vendor", "source", "symbol"), MAYBE_TEXT),
        **dict.fromkeys(("started_at", "ended_at", "created_at"), TIMES),
        **dict.fromkeys(("rows_lost", "rows_filled"), MAYBE_WHOLE),
        cause=TEXTS,
        state=st.sampled_from(["open", "closed"]),
    ),
}


def written(path: Path, event_type: str, received: Sequence[Row], zone: str, part: str) -> None:
    """Rows through the spool into a lake, as the daemon brings them there."""
    spool = Spool(path, "main")
    spool.open()
    chunk = spool.append(event_type, to_frame(event_type, received, zone))
    rows = Spool(path, "main").read(chunk)
    ParquetSink(Lake(path, zone, part, "main", lambda: NOW)).write(event_type, rows, "")
    spool.close()


def bits(value: object) -> object:
    """A value that equals another only if it is the same to the last bit, and of one kind."""
    return struct.pack("<d", value) if isinstance(value, float) else value


def expected(event_type: str, received: Sequence[Row]) -> Counter[tuple[object, ...]]:
    """What a lake must hold: of rows equal in all but `created_at` the first, to the bit."""
    first: dict[tuple[object, ...], tuple[object, ...]] = {}
    for row in received:
        values: list[Any] = []
        for name, dtype in schema(event_type, "UTC").items():
            if event_type != "gap" and name in ("vendor", "source"):
                value = getattr(row.origin, name)  # type: ignore[union-attr]
            else:
                value = 0 if name == "ordinal" else getattr(row, name)
            values.append(float(value) if value is not None and dtype == pl.Float64() else value)
        first.setdefault(tuple(values[:-1]), tuple(map(bits, values)))  # created_at is the last
    return Counter(first.values())


def with_polars(path: Path, event_type: str) -> Counter[tuple[object, ...]]:
    """All rows of a table, read as the README says."""
    scan = pl.scan_parquet(path / event_type / "**" / "*.parquet", hive_partitioning=False)
    rows = scan.with_columns(pl.col(pl.Datetime).to_physical()).collect().rows()
    return Counter(tuple(map(bits, row)) for row in rows)


def with_duckdb(path: Path, event_type: str) -> Counter[tuple[object, ...]]:
    """All rows of a table, read by somebody else's code."""
    columns = ", ".join(
        f"epoch_ns({name})" if isinstance(dtype, pl.Datetime) else name
        for name, dtype in schema(event_type, "UTC").items()
    )
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT {columns} FROM read_parquet(?, hive_partitioning=false)",
            [f"{path}/{event_type}/**/*.parquet"],
        ).fetchall()
    return Counter(tuple(map(bits, row)) for row in rows)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@PROPERTY
@given(data=st.data(), zone=st.sampled_from(ZONES), part=st.sampled_from(["hour", "day"]))
def test_an_event_comes_out_of_the_lake_as_it_went_into_the_spool(
    tmp_path_factory: pytest.TempPathFactory,
    event_type: str,
    data: st.DataObject,
    zone: str,
    part: str,
) -> None:
    received = data.draw(st.lists(ROWS[event_type], min_size=1, max_size=6))
    path = tmp_path_factory.mktemp("lake")

    written(path, event_type, received, zone, part)

    assert with_polars(path, event_type) == expected(event_type, received)
    assert with_duckdb(path, event_type) == expected(event_type, received)
    for file in (path / event_type).rglob("*.parquet"):
        assert dict(pl.read_parquet_schema(file)) == schema(event_type, zone)


def wall_clock(ns: int, zone: str) -> datetime:
    """What a clock on the wall shows, to the second."""
    return datetime.fromtimestamp(ns // SECOND, ZoneInfo(zone))


@pytest.mark.parametrize(("zone", "change"), [(z, c) for z in ZONES for c in CHANGES[z]])
@pytest.mark.parametrize("part", ["hour", "day"])
def test_where_clocks_change_every_row_lies_in_the_folder_of_its_wall_clock(
    tmp_path: Path, zone: str, change: int, part: str
) -> None:
    """Every five minutes for two hours on both sides, and the moments themselves."""
    near = [change + minute * 60 * SECOND for minute in range(-120, 121, 5)]
    times = [at + step for at in near for step in (-1, 0)]
    trades = [trade(event_time=at) for at in times]

    written(tmp_path, "trade", trades, zone, part)

    found: dict[str, list[int]] = {}
    for file in (tmp_path / "trade").rglob("*.parquet"):
        [folder] = {file.parent}
        rows = pl.read_parquet(file, hive_partitioning=False)["event_time"].to_physical()
        found.setdefault(str(folder.relative_to(tmp_path / "trade")), []).extend(rows)
        first, after = partitions.span(folder, ZoneInfo(zone))
        assert first <= min(rows)
        assert max(rows) < after
    form = "date=%Y-%m-%d/hour=%H" if part == "hour" else "date=%Y-%m-%d"
    expected_folders: dict[str, list[int]] = {}
    for at in times:
        expected_folders.setdefault(wall_clock(at, zone).strftime(form), []).append(at)
    assert {folder: sorted(rows) for folder, rows in found.items()} == expected_folders


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/London", "Australia/Lord_Howe"])
def test_the_repeated_hour_keeps_each_of_its_moments_and_drops_what_comes_again(
    tmp_path: Path, zone: str
) -> None:
    back = {"Australia/Lord_Howe": 0}.get(zone, 1)  # there the clocks go back in April
    change = CHANGES[zone][back]
    step = HOUR // 2 if zone == "Australia/Lord_Howe" else HOUR
    first, second = trade(event_time=change - step + 7), trade(event_time=change + 7)
    one, other = (
        wall_clock(each.event_time, zone).replace(tzinfo=None) for each in (first, second)
    )
    assert one == other

    for _ in range(2):
        written(tmp_path, "trade", [first, second], zone, "hour")

    assert sum(with_polars(tmp_path, "trade").values()) == 2
    assert with_polars(tmp_path, "trade") == expected("trade", [first, second])


CRYPTO_TIME = "2026-02-13T18:09:22.668051+00:00"


def crypto_trade(ticker: str, price: float) -> bytes:
    """A trade as Tiingo sends it."""
    data = ["T", ticker, CRYPTO_TIME, "gdax", 1.0, price]
    return json.dumps({"service": "crypto_data", "messageType": "A", "data": data}).encode()


def trade(**fields: Any) -> Trade:
    """A trade."""
    values: dict[str, Any] = {
        "symbol": "btcusd",
        "asset_type": "crypto",
        "event_time": NOW,
        "created_at": NOW,
        "origin": Origin("crypto", "tiingo", "tiingo_crypto", 1),
        "last_price": 1.0,
        "last_size": None,
    }
    return Trade(**(values | fields))


@pytest.mark.parametrize(
    "bad",
    [
        {"symbol": "\ud800"},
        {"exchange": "a\udfff"},
        {"sequence": 2**63},
        {"sequence": -(2**63) - 1},
        {"sequence": 1.5},
        {"event_time": 2**63},
        {"event_time": -(2**63) - 1},
        {"last_price": "1"},
        {"last_price": 10**400},
    ],
    ids=lambda bad: str(bad)[:30],
)
async def test_a_row_that_fits_no_column_costs_only_itself_and_is_in_the_ledger(
    tmp_path: Path, bad: dict[str, Any]
) -> None:
    """Types are the adapter's promise; one that breaks it must not cost its neighbours."""
    prices = [1.0, 2.0, 3.0]
    async with Script([crypto_trade("btcusd", price) for price in prices]) as script:
        daemon = supervisor(write_config(tmp_path, script.url))
        runner = daemon.feeds[0]
        adapter = runner.feed.build()
        decode = adapter.decode

        def broken(frame: Frame) -> Sequence[Event]:
            events = decode(frame)
            for event in events:
                if isinstance(event, Trade) and event.last_price == prices[1]:
                    for name, value in bad.items():
                        setattr(event, name, value)
            return events

        adapter.decode = broken  # type: ignore[method-assign]
        adapter.short = None  # type: ignore[attr-defined]
        runner.feed = replace(runner.feed, build=lambda: adapter)
        async with running(daemon):
            await until_events(daemon, 3)
            await until(lambda: daemon.lanes["gap"].stats.rows_spooled)

    assert sorted(read(tmp_path / "lake", "trade")["last_price"]) == [1.0, 3.0]
    gaps = read(tmp_path / "lake", "gap").filter(cause="undecodable")
    assert gaps["rows_lost"].to_list() == [1]
    started, ended = gaps.select(pl.col("started_at", "ended_at").to_physical()).row(0)
    if "event_time" in bad:  # no row can hold that: it stands at its receipt
        assert parse_iso(CRYPTO_TIME) < started == ended
    else:
        assert started <= parse_iso(CRYPTO_TIME) <= ended
