"""Events and their frames: columns, order, types, zones, and one spelling of symbols."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc.events import (
    EVENT_TYPES,
    Gap,
    Origin,
    Quote,
    RefPx,
    Trade,
    conform,
    distinct,
    epochs,
    identity,
    mid_of,
    schema,
    side_of,
    spell,
    time_column,
    to_frame,
)

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True)
NEW_YORK = "America/New_York"
ORIGIN = Origin(feed="stocks", vendor="tiingo", source="tiingo_iex", epoch=7)
COLUMNS = {
    "trade": "asset_type event_type symbol last_size last_price event_time vendor source exchange"
    " trade_id side conditions action sequence ordinal created_at",
    "quote": "asset_type event_type symbol bid_size ask_size bid ask mid event_time vendor source"
    " exchange bid_exchange ask_exchange conditions sequence created_at",
    "ref_px": "asset_type event_type symbol price price_type vendor source exchange event_time"
    " sequence created_at",
    "gap": "feed vendor source symbol started_at ended_at cause rows_lost state rows_filled"
    " created_at",
}
TIME = 1_771_006_162_668_051_234  # 2026-02-13 18:09:22.668051234 UTC, 13:09 in New York


def physical(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows, times as integers."""
    return frame.with_columns(pl.col(pl.Datetime).to_physical()).to_dicts()


def trade(**fields: Any) -> Trade:
    """A trade with only what it must have."""
    given_fields: dict[str, Any] = {
        "symbol": "aapl",
        "asset_type": "stock",
        "event_time": TIME,
        "created_at": TIME + 5,
        "origin": ORIGIN,
        "last_price": 189.5,
        "last_size": None,
    }
    return Trade(**(given_fields | fields))


@pytest.mark.parametrize("event_type", ["trade", "quote", "ref_px", "gap"])
def test_names_and_order_of_the_columns_are_fixed(event_type: str) -> None:
    assert list(schema(event_type, "UTC")) == COLUMNS[event_type].split()
    assert to_frame(event_type, [], "UTC").columns == COLUMNS[event_type].split()


def test_there_are_four_tables() -> None:
    assert EVENT_TYPES == ("trade", "quote", "ref_px", "gap")


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_identity_is_every_column_but_created_at(event_type: str) -> None:
    assert identity(event_type) == COLUMNS[event_type].split()[:-1]


@pytest.mark.parametrize(
    ("event_type", "column"),
    [
        ("trade", "event_time"),
        ("quote", "event_time"),
        ("ref_px", "event_time"),
        ("gap", "started_at"),
    ],
)
def test_a_row_is_placed_by_its_own_time(event_type: str, column: str) -> None:
    assert time_column(event_type) == column


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@pytest.mark.parametrize("timezone", ["UTC", NEW_YORK])
def test_an_empty_frame_has_the_types_of_a_full_one(event_type: str, timezone: str) -> None:
    frame = to_frame(event_type, [], timezone)

    assert frame.height == 0
    assert dict(frame.schema) == schema(event_type, timezone)


def test_a_trade_with_everything_becomes_a_row_with_everything() -> None:
    event = trade(
        last_size=100.0,
        exchange="IEX",
        trade_id="4711",
        side="buy",
        conditions="@,I",
        action="cancel",
        sequence=9_007_199_254_740_993,
    )

    frame = to_frame("trade", [event], NEW_YORK)

    assert physical(frame) == [
        {
            "asset_type": "stock",
            "event_type": "trade",
            "symbol": "aapl",
            "last_size": 100.0,
            "last_price": 189.5,
            "event_time": 1_771_006_162_668_051_234,
            "vendor": "tiingo",
            "source": "tiingo_iex",
            "exchange": "IEX",
            "trade_id": "4711",
            "side": "buy",
            "conditions": "@,I",
            "action": "cancel",
            "sequence": 9_007_199_254_740_993,
            "ordinal": 0,
            "created_at": 1_771_006_162_668_051_239,
        }
    ]
    assert dict(frame.schema) == schema("trade", NEW_YORK)


def test_unknown_is_null_and_nothing_else() -> None:
    quote = Quote(
        symbol="eurusd",
        asset_type="fx",
        event_time=TIME,
        created_at=TIME,
        origin=ORIGIN,
        bid=None,
        ask=1.0825,
        mid=None,
    )

    frame = to_frame("quote", [quote], "UTC")

    assert [name for name in frame.columns if frame[name].null_count()] == [
        "bid_size",
        "ask_size",
        "bid",
        "mid",
        "exchange",
        "bid_exchange",
        "ask_exchange",
        "conditions",
        "sequence",
    ]


def test_a_reference_price_becomes_a_row() -> None:
    event = RefPx(
        symbol="spy",
        asset_type="etf",
        event_time=TIME,
        created_at=TIME + 1,
        origin=ORIGIN,
        price=600.25,
        price_type="reference",
    )

    assert physical(to_frame("ref_px", [event], "UTC")) == [
        {
            "asset_type": "etf",
            "event_type": "ref_px",
            "symbol": "spy",
            "price": 600.25,
            "price_type": "reference",
            "vendor": "tiingo",
            "source": "tiingo_iex",
            "exchange": None,
            "event_time": 1_771_006_162_668_051_234,
            "sequence": None,
            "created_at": 1_771_006_162_668_051_235,
        }
    ]


def test_a_gap_becomes_a_row() -> None:
    gap = Gap(
        feed="stocks",
        vendor="tiingo",
        source="tiingo_iex",
        started_at=10,
        ended_at=20,
        cause="disconnected",
        created_at=30,
    )

    assert physical(to_frame("gap", [gap], NEW_YORK)) == [
        {
            "feed": "stocks",
            "vendor": "tiingo",
            "source": "tiingo_iex",
            "symbol": None,
            "started_at": 10,
            "ended_at": 20,
            "cause": "disconnected",
            "rows_lost": None,
            "state": "open",
            "rows_filled": None,
            "created_at": 30,
        }
    ]


def test_a_zone_names_an_instant_and_does_not_move_it() -> None:
    here, there = (to_frame("trade", [trade()], zone)["event_time"] for zone in ("UTC", NEW_YORK))

    assert here.to_physical().to_list() == there.to_physical().to_list() == [TIME]
    assert there.dt.hour().to_list() == [13]
    assert here.dt.hour().to_list() == [18]


def test_whole_numbers_are_prices_too() -> None:
    frame = to_frame("trade", [trade(last_price=189.5), trade(last_price=190)], "UTC")

    assert frame["last_price"].to_list() == [189.5, 190.0]
    assert frame.schema["last_price"] == pl.Float64()


def test_each_row_has_the_epoch_of_its_connection() -> None:
    rows = [trade(origin=Origin("a", "b", "c", epoch)) for epoch in (3, 1, 3)]

    assert epochs(rows).to_list() == [3, 1, 3]


def test_rows_of_several_connections_and_feeds_keep_their_own_origin() -> None:
    other = Origin(feed="etfs", vendor="other", source="other_iex", epoch=9)
    rows = [trade(), trade(origin=other, exchange="X"), trade(action="cancel")]

    frame = to_frame("trade", rows, NEW_YORK)

    assert frame["vendor"].to_list() == ["tiingo", "other", "tiingo"]
    assert frame["source"].to_list() == ["tiingo_iex", "other_iex", "tiingo_iex"]
    assert frame["exchange"].to_list() == [None, "X", None]
    assert frame["action"].to_list() == ["new", "new", "cancel"]
    assert epochs(rows).to_list() == [7, 9, 7]


PRICES = st.sampled_from([0.0, -0.0, float("nan"), -float("nan"), 1.0, 1e308, 5e-324])


@PROPERTY
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.integers(0, 2),
            PRICES,
            st.none() | PRICES,
            st.sampled_from([None, "x", ""]),
        ),
        max_size=30,
    )
)
def test_of_equal_rows_the_first_is_kept_as_polars_would(rows: list[tuple[Any, ...]]) -> None:
    trades = [
        trade(
            symbol=symbol,
            event_time=TIME + time,
            last_price=price,
            last_size=size,
            exchange=exchange,
            created_at=number,
        )
        for number, (symbol, time, price, size, exchange) in enumerate(rows)
    ]
    frame = to_frame("trade", trades, NEW_YORK)

    kept = distinct("trade", frame)

    wanted = frame.unique(identity("trade"), keep="first", maintain_order=True)
    assert kept["created_at"].to_list() == wanted["created_at"].to_list()
    assert kept.schema == frame.schema


def test_conforming_restores_columns_order_zone_and_unit() -> None:
    frame = to_frame("trade", [trade(event_time=1_771_006_162_668_051_000)], NEW_YORK)
    other = frame.select(reversed(frame.columns)).with_columns(
        pl.col("event_time").dt.cast_time_unit("us").dt.convert_time_zone("Asia/Kathmandu"),
        pl.col("sequence").cast(pl.Int32),
        extra=pl.lit(1),
    )

    same = conform(other, "trade", NEW_YORK)

    assert dict(same.schema) == schema("trade", NEW_YORK)
    assert physical(same) == physical(frame)


@pytest.mark.parametrize(
    ("symbol", "asset_type", "spelled"),
    [
        ("AAPL", "stock", "aapl"),
        ("BRK.B", "stock", "brk-b"),
        ("BRK/B", "stock", "brk-b"),
        ("brk_b", "stock", "brk-b"),
        ("BRK B", "stock", "brk-b"),
        ("brk-b", "stock", "brk-b"),
        (" SPY ", "etf", "spy"),
        ("EUR/USD", "fx", "eurusd"),
        ("eur-usd", "fx", "eurusd"),
        ("EUR USD", "fx", "eurusd"),
        ("BTC-USD", "crypto", "btcusd"),
        ("BTC_USDT", "crypto", "btcusdt"),
        ("1INCH.USD", "crypto", "1inchusd"),
    ],
)
def test_a_symbol_has_one_spelling(symbol: str, asset_type: str, spelled: str) -> None:
    assert spell(symbol, asset_type) == spelled


@PROPERTY
@given(st.text("abcXYZ0189./_- ", max_size=12), st.sampled_from(["stock", "etf", "fx", "crypto"]))
def test_spelling_twice_is_spelling_once(symbol: str, asset_type: str) -> None:
    once = spell(symbol, asset_type)

    assert spell(once, asset_type) == once


@pytest.mark.parametrize(
    ("price", "size", "side"),
    [
        (1.5, 10.0, (1.5, 10.0)),
        (1.5, None, (1.5, None)),
        (1.5, 0.0, (1.5, 0.0)),
        (None, 10.0, (None, None)),
        (0.0, 10.0, (None, None)),
        (-3.5, 2.0, (-3.5, 2.0)),
    ],
)
def test_a_side_without_a_price_is_not_there(
    price: float | None, size: float | None, side: tuple[float | None, float | None]
) -> None:
    assert side_of(price, size) == side


@pytest.mark.parametrize(
    ("bid", "ask", "sent", "mid"),
    [
        (1.0, 2.0, None, 1.5),
        (2.0, 1.0, None, 1.5),
        (1.0, 2.0, 1.25, 1.25),
        (None, 2.0, None, None),
        (1.0, None, None, None),
        (None, None, 1.25, None),
        (-1.0, 1.0, None, 0.0),
    ],
)
def test_mid_is_the_vendors_or_the_mean_of_two_sides(
    bid: float | None, ask: float | None, sent: float | None, mid: float | None
) -> None:
    assert mid_of(bid, ask, sent) == mid
