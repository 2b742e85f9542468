"""Inspecting files: what is counted, what is found wrong, and what cannot be read."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edc import inspection
from edc.errors import ConfigError
from edc.events import Gap, Origin, Quote, Trade, to_frame
from edc.lake import Lake
from edc.sinks.parquet import ParquetSink
from edc.spool import Spool

NEW_YORK = "America/New_York"
TIME = 1_771_006_162_668_051_234  # 2026-02-13 18:09:22.668051234 UTC, 13:09:22 in New York
MS = 1_000_000
ORIGIN = Origin(feed="stocks", vendor="tiingo", source="tiingo_iex", epoch=1)


def trade(**fields: Any) -> Trade:
    """A trade that was received 3 ms after it happened."""
    time = fields.get("event_time", TIME)
    given_fields: dict[str, Any] = {
        "symbol": "aapl",
        "asset_type": "stock",
        "event_time": time,
        "created_at": time + 3 * MS,
        "origin": ORIGIN,
        "last_price": 1.0,
        "last_size": 100.0,
        "exchange": "IEX",
        "trade_id": "1",
        "side": "buy",
        "conditions": "@",
        "sequence": 1,
    }
    return Trade(**(given_fields | fields))


def frame(*trades: Trade) -> pl.DataFrame:
    """Trades in the columns of the lake."""
    return to_frame("trade", trades, NEW_YORK)


def write(folder: Path, name: str, rows: pl.DataFrame, **metadata: str) -> Path:
    """A file of a lake."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    rows.write_parquet(path, metadata={f"edc.{key}": text for key, text in metadata.items()})
    return path


def only(report: inspection.Report) -> inspection.Table:
    """The one table of a report without trouble."""
    assert report.unreadable == {}
    assert report.foreign == []
    [table] = report.tables
    return table


def test_rows_symbols_sources_and_times_are_counted(tmp_path: Path) -> None:
    other = Origin(feed="x", vendor="tiingo", source="tiingo_equity", epoch=1)
    paths = [
        write(tmp_path, "a.parquet", frame(trade(), trade(symbol="spy", event_time=TIME + 5))),
        write(tmp_path, "b.parquet", frame(trade(symbol="spy", event_time=TIME - 5, origin=other))),
    ]

    table = only(inspection.inspect(paths))

    assert table.event_type == "trade"
    assert (table.files, table.rows, table.duplicates) == (2, 3, 0)
    assert table.size == sum(path.stat().st_size for path in paths)
    assert table.symbols == {"spy": 2, "aapl": 1}
    assert table.sources == {"tiingo_iex": 2, "tiingo_equity": 1}
    assert table.first == "2026-02-13T13:09:22.668051229-05:00"
    assert table.last == "2026-02-13T13:09:22.668051239-05:00"


def test_columns_are_named_with_their_types(tmp_path: Path) -> None:
    table = only(inspection.inspect([write(tmp_path, "a.parquet", frame(trade()))]))

    assert table.columns == {
        "asset_type": "String",
        "event_type": "String",
        "symbol": "String",
        "last_size": "Float64",
        "last_price": "Float64",
        "event_time": "Datetime(ns, America/New_York)",
        "vendor": "String",
        "source": "String",
        "exchange": "String",
        "trade_id": "String",
        "side": "String",
        "conditions": "String",
        "action": "String",
        "sequence": "Int64",
        "ordinal": "Int64",
        "created_at": "Datetime(ns, America/New_York)",
    }


def test_times_are_answered_in_the_zone_that_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "a.parquet", frame(trade()))

    table = only(inspection.inspect([path], "UTC"))

    assert table.first == "2026-02-13T18:09:22.668051234+00:00"
    assert table.columns["event_time"] == "Datetime(ns, UTC)"


def test_files_of_different_zones_are_one_table(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, "a.parquet", frame(trade())),
        write(tmp_path, "b.parquet", to_frame("trade", [trade(event_time=TIME + 1)], "UTC")),
    ]

    table = only(inspection.inspect(paths))

    assert table.rows == 2
    assert table.last == "2026-02-13T13:09:22.668051235-05:00"


def test_duplicates_are_found_within_a_file_and_across_files(tmp_path: Path) -> None:
    twice = write(tmp_path, "a.parquet", frame(trade(), trade(created_at=1), trade(last_price=2.0)))
    again = write(tmp_path, "b.parquet", frame(trade(created_at=2)))

    assert only(inspection.inspect([twice])).duplicates == 1
    assert only(inspection.inspect([twice, again])).duplicates == 2
    assert only(inspection.inspect([again])).duplicates == 0


def test_equal_prints_with_ordinals_are_no_duplicates(tmp_path: Path) -> None:
    two = frame(trade(), trade()).with_columns(ordinal=pl.int_range(2, dtype=pl.Int64))

    assert only(inspection.inspect([write(tmp_path, "a.parquet", two)])).duplicates == 0


def test_nulls_are_counted_by_column_where_there_are_any(tmp_path: Path) -> None:
    rows = frame(trade(side=None), trade(side=None, last_size=None), trade())

    table = only(inspection.inspect([write(tmp_path, "a.parquet", rows)]))

    assert table.nulls == {"side": 2, "last_size": 1}


def test_latencies_are_nearest_rank_percentiles(tmp_path: Path) -> None:
    """Of the latencies 1 to 1000 ms, each percentile is its own rank."""
    rows = frame(
        *(trade(event_time=TIME + n, created_at=TIME + n + n * MS) for n in range(1000, 0, -1))
    )

    table = only(inspection.inspect([write(tmp_path, "a.parquet", rows)]))

    assert table.latency_ms == {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999, "max": 1000}


@pytest.mark.parametrize(
    ("waits_ns", "expected"),
    [
        ([1_234_567], {"p50": 1.23, "p90": 1.23, "p99": 1.23, "p99.9": 1.23, "max": 1.23}),
        ([-2 * MS, 0], {"p50": -2.0, "p90": 0.0, "p99": 0.0, "p99.9": 0.0, "max": 0.0}),
        (
            [MS, 2 * MS, 3 * MS, 4 * MS],
            {"p50": 2.0, "p90": 4.0, "p99": 4.0, "p99.9": 4.0, "max": 4.0},
        ),
    ],
)
def test_latencies_have_three_digits_and_may_be_negative(
    tmp_path: Path, waits_ns: list[int], expected: dict[str, float]
) -> None:
    rows = frame(*(trade(created_at=TIME + wait) for wait in waits_ns))

    table = only(inspection.inspect([write(tmp_path, "a.parquet", rows)]))

    assert table.latency_ms == pytest.approx(expected)


def test_the_first_rows_are_shown_with_all_digits(tmp_path: Path) -> None:
    rows = frame(*(trade(event_time=TIME + n, last_price=float(n)) for n in range(7)))

    table = only(inspection.inspect([write(tmp_path, "a.parquet", rows)]))

    assert [row["last_price"] for row in table.head] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert table.head[0] == {
        "asset_type": "stock",
        "event_type": "trade",
        "symbol": "aapl",
        "last_size": 100.0,
        "last_price": 0.0,
        "event_time": "2026-02-13T13:09:22.668051234-05:00",
        "vendor": "tiingo",
        "source": "tiingo_iex",
        "exchange": "IEX",
        "trade_id": "1",
        "side": "buy",
        "conditions": "@",
        "action": "new",
        "sequence": 1,
        "ordinal": 0,
        "created_at": "2026-02-13T13:09:22.671051234-05:00",
    }


def test_the_first_rows_come_from_several_folders_where_one_has_few(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "a", "a.parquet", frame(trade(last_price=1.0))),
        write(tmp_path / "b", "b.parquet", frame(*(trade(last_price=2.0 + n) for n in range(9)))),
    ]

    table = only(inspection.inspect(paths))

    assert [row["last_price"] for row in table.head] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert table.rows == 10


def test_each_type_is_a_table_in_the_order_of_the_tables(tmp_path: Path) -> None:
    gap = Gap(
        feed="stocks",
        vendor="tiingo",
        source="tiingo_iex",
        started_at=TIME,
        ended_at=TIME + 9,
        cause="stale",
        created_at=TIME,
    )
    quote = Quote(
        symbol="aapl",
        asset_type="stock",
        event_time=TIME,
        created_at=TIME,
        origin=ORIGIN,
        bid=1.0,
        ask=2.0,
        mid=1.5,
    )
    paths = [
        write(tmp_path, "g.parquet", to_frame("gap", [gap], NEW_YORK)),
        write(tmp_path, "q.parquet", to_frame("quote", [quote], NEW_YORK)),
        write(tmp_path, "t.parquet", frame(trade())),
    ]

    report = inspection.inspect(paths)

    assert [(table.event_type, table.rows) for table in report.tables] == [
        ("trade", 1),
        ("quote", 1),
        ("gap", 1),
    ]
    assert report.tables[2].latency_ms == {}
    assert report.tables[2].first == "2026-02-13T13:09:22.668051234-05:00"


def test_a_table_without_rows_has_no_times(tmp_path: Path) -> None:
    table = only(inspection.inspect([write(tmp_path, "a.parquet", frame())]))

    assert (table.files, table.rows, table.duplicates) == (1, 0, 0)
    assert (table.first, table.last, table.latency_ms, table.head) == (None, None, {}, [])


def test_a_file_without_rows_does_not_hide_the_times_of_others(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "a", "a.parquet", frame()),
        write(tmp_path / "b", "b.parquet", frame(trade())),
    ]

    assert only(inspection.inspect(paths)).first == "2026-02-13T13:09:22.668051234-05:00"


def test_what_a_lake_wrote_is_found_sound(tmp_path: Path) -> None:
    sink = ParquetSink(Lake(tmp_path, NEW_YORK, "hour", "main", lambda: TIME))
    batch = frame(*(trade(event_time=TIME + n * 1_800_000_000_000) for n in range(4)))
    sink.write("trade", batch, "")
    sink.write("trade", batch, "")

    table = only(inspection.inspect(inspection.find([str(tmp_path)])))

    assert (table.files, table.rows, table.duplicates) == (2, 4, 0)


def test_chunks_of_the_spool_are_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "main")
    spool.open()
    spool.append("trade", frame(trade(), trade(last_price=2.0)))
    spool.close()

    paths = inspection.find([str(tmp_path / ".spool")])

    table = only(inspection.inspect(paths))
    assert (table.event_type, table.files, table.rows) == ("trade", 1, 2)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.parquet", frame(trade()), schema_version="2")

    with pytest.raises(ConfigError) as caught:
        inspection.inspect([path])

    assert str(caught.value) == (
        f"{path}: written in schema version 2, this edc knows up to 1; upgrade edc"
    )


@pytest.mark.parametrize(("name", "content"), [("a.parquet", b""), ("b.arrow", b"PAR1 garbage")])
def test_a_file_that_cannot_be_read_is_listed_and_others_are_counted(
    tmp_path: Path, name: str, content: bytes
) -> None:
    good = write(tmp_path, "good.parquet", frame(trade()))
    bad = tmp_path / name
    bad.write_bytes(content)

    report = inspection.inspect([bad, good])

    assert list(report.unreadable) == [str(bad)]
    assert report.unreadable[str(bad)].strip()
    assert "\n" not in report.unreadable[str(bad)]
    assert [table.rows for table in report.tables] == [1]


def test_a_truncated_file_is_listed(tmp_path: Path) -> None:
    path = write(tmp_path, "a.parquet", frame(trade()))
    path.write_bytes(path.read_bytes()[:-7])

    report = inspection.inspect([path])

    assert list(report.unreadable) == [str(path)]
    assert report.tables == []


def test_a_file_that_makes_polars_panic_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "a.parquet", frame(trade()))

    def panic(*arguments: object, **named: object) -> pl.DataFrame:
        raise pl.exceptions.PanicException("bit rot")

    monkeypatch.setattr(pl, "read_parquet", panic)

    assert inspection.inspect([path]).unreadable == {str(path): "bit rot"}


def test_our_columns_with_other_types_are_listed(tmp_path: Path) -> None:
    odd = frame(trade()).with_columns(pl.col("event_time").dt.to_string("iso"))
    path = write(tmp_path, "a.parquet", odd)

    assert list(inspection.inspect([path]).unreadable) == [str(path)]


def test_files_of_others_are_named_and_not_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "a.parquet", pl.DataFrame({"a": [1]}))

    report = inspection.inspect([path])

    assert report.foreign == [str(path)]
    assert report.tables == []


def test_files_folders_and_globs_are_found(tmp_path: Path) -> None:
    first = write(tmp_path / "x", "a.parquet", frame(trade()))
    second = write(tmp_path / "x" / "y", "b.parquet", frame(trade()))
    (tmp_path / "x" / "notes.txt").write_text("")

    assert inspection.find([str(first)]) == [first]
    assert inspection.find([str(tmp_path)]) == [first, second]
    assert inspection.find([str(tmp_path / "x" / "*" / "*.parquet")]) == [second]
    assert inspection.find([str(tmp_path / "*")]) == [first, second]
    assert inspection.find([str(second), str(first)]) == [second, first]


def test_a_folder_does_not_mean_what_is_hidden_in_it(tmp_path: Path) -> None:
    for name in (".spool/a.arrow", "_delta/b.parquet", ".c.parquet", "_d.parquet"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    seen = write(tmp_path, "seen.parquet", frame(trade()))

    assert inspection.find([str(tmp_path)]) == [seen]
    assert inspection.find([str(tmp_path / ".spool")]) == [tmp_path / ".spool" / "a.arrow"]


@pytest.mark.parametrize("name", ["missing", "missing/*.parquet"])
def test_a_path_that_names_nothing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        inspection.find([str(tmp_path / name)])


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Parquet file in there"):
        inspection.find([str(tmp_path)])


def test_a_chunk_whose_bytes_have_changed_is_listed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "main")
    spool.open()
    chunk = spool.append("trade", to_frame("trade", [trade()], "UTC"))
    spool.close()
    damaged = bytearray(chunk.path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.path.write_bytes(damaged)

    report = inspection.inspect([chunk.path])

    assert report.tables == []
    assert report.unreadable == {str(chunk.path): f"checksum of {chunk.path.name} does not match"}
