"""Files of the lake: texts that are written as numbers are texts to whoever reads them."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc import encoding, seal
from edc.encoding import in_order, numbered, serialised
from edc.events import schema

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)
TIME = 1_771_006_162_668_051_234
ZONE = "America/New_York"
TEXT = st.sampled_from([None, "", "a", "b", "ä€", "a text that is longer than the twelve bytes"])


def trades(**columns: Sequence[str | int | None]) -> pl.DataFrame:
    """Trades with these columns; all else is the same in all of them, or null."""
    dtypes = schema("trade", ZONE)
    count = len(next(iter(columns.values())))
    given_to_all = {"event_type": "trade", "vendor": "tiingo", "ordinal": 0, "last_price": 1.5}
    every = {name: [value] * count for name, value in given_to_all.items()} | columns
    return pl.DataFrame(
        [
            pl.Series(name, every.get(name, [None] * count), strict=False).cast(dtype)
            for name, dtype in dtypes.items()
        ]
    )


def of_many(count: int) -> pl.DataFrame:
    """Trades of three symbols, a microsecond apart."""
    return trades(
        symbol=["ethusd", "btcusd", "ltcusd"] * count,
        event_time=[TIME + 1000 * number for number in range(3 * count)],
        created_at=[TIME] * 3 * count,
        exchange=["N", None, "Q"] * count,
    )


@PROPERTY
@given(
    st.lists(st.tuples(TEXT, TEXT, TEXT, st.integers(0, 3), st.integers(0, 2)), min_size=1),
    st.integers(1, 2),
)
def test_what_is_written_is_read_in_the_order_of_symbols_and_times(
    told: list[tuple[str | None, str | None, str | None, int, int]], pieces: int
) -> None:
    symbols, exchanges, numbers, seconds, received = map(list, zip(*told, strict=True))
    rows = trades(
        symbol=symbols,
        exchange=exchanges,
        trade_id=numbers,
        event_time=[TIME + second for second in seconds],
        created_at=[TIME + late for late in received],
    )
    rows = pl.concat([rows[: pieces - 1], rows[pieces - 1 :]], rechunk=False)

    made = serialised("trade", rows, "main", "")

    read = pl.read_parquet(io.BytesIO(made.data))
    assert read.schema == rows.schema
    wanted = rows.sort("symbol", "event_time", "created_at", nulls_last=True, maintain_order=True)
    assert read.equals(wanted)
    assert (made.low, made.high) == (TIME + min(seconds), TIME + max(seconds))


def test_the_file_is_the_one_that_texts_would_have_made_byte_for_byte() -> None:
    rows = of_many(1000)
    ordered = in_order(numbered(rows), "event_time")
    assert {name for name, dtype in ordered.schema.items() if isinstance(dtype, pl.Enum)} == {
        *("symbol", "event_type", "vendor")
    }

    pages, footer = encoding.parquet(ordered, {"edc.version": "1"})

    plain = encoding._written(ordered.cast({pl.Enum: pl.String}), {"edc.version": "1"})
    assert bytes(pages) + footer == bytes(plain)


def test_other_readers_find_texts_and_may_pass_over_what_they_do_not_want(tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    path.write_bytes(serialised("trade", of_many(100), "main", "").data)

    with duckdb.connect() as database:
        types = database.execute(f"DESCRIBE SELECT symbol, vendor FROM '{path}'").fetchall()
        found = database.execute(
            f"SELECT symbol, vendor, count(*) FROM '{path}' GROUP BY ALL ORDER BY 1"
        ).fetchall()
        spans = database.execute(
            "SELECT path_in_schema, stats_min_value, stats_max_value"
            f" FROM parquet_metadata('{path}') WHERE path_in_schema IN ('symbol', 'vendor')"
        ).fetchall()

    assert [row[1] for row in types] == ["VARCHAR", "VARCHAR"]
    assert found == [(name, "tiingo", 100) for name in ("btcusd", "ethusd", "ltcusd")]
    assert spans == [("symbol", "btcusd", "ltcusd"), ("vendor", "tiingo", "tiingo")]


@pytest.fixture
def another_polars(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One that does not say what its columns are to readers of Arrow."""
    monkeypatch.setattr("edc.encoding._SCHEMA", "arrow-schema")
    encoding._writes_as_texts.cache_clear()
    yield
    encoding._writes_as_texts.cache_clear()


@pytest.mark.usefixtures("another_polars")
def test_a_polars_that_writes_in_another_way_is_given_texts() -> None:
    assert not encoding._writes_as_texts()
    rows = of_many(10)

    made = serialised("trade", rows, "main", "")

    read = pl.read_parquet(io.BytesIO(made.data))
    assert read.schema == rows.schema
    assert read["symbol"].to_list() == ["btcusd"] * 10 + ["ethusd"] * 10 + ["ltcusd"] * 10


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 70_000])
def test_an_entry_of_any_length_is_found_and_replaced(length: int) -> None:
    tail = (9).to_bytes(4, "little") + b"PAR1"
    key = b"\x18\x0cARROW:schema\x18"
    footer = b"before" + key + encoding._varint(3) + b"old" + b"after" + tail

    told = encoding._with_schema(footer, b"x" * length)

    assert encoding._schema_in(told) == b"x" * length
    assert told.startswith(b"before" + key)
    body = told[:-8]
    assert body.endswith(b"after")
    assert told[-8:] == len(body).to_bytes(4, "little") + b"PAR1"
    assert encoding._with_schema(told, b"old")[:-8] == footer[:-8]


def test_a_footer_without_an_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="not found"):
        encoding._with_schema(b"none" + bytes(8), b"")


def test_what_is_sealed_is_parted_as_it_was() -> None:
    pages, footer = encoding.parquet(in_order(numbered(of_many(10)), "event_time"), {})

    again = seal.parted(memoryview(bytes(pages) + footer))

    assert (bytes(again[0]), again[1]) == (bytes(pages), footer)
    assert seal.check(io.BytesIO(seal.sealed(pages, footer)))
