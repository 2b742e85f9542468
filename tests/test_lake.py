"""The lake and the Parquet sink: where rows lie, what a file says, and no row twice."""

import errno
import json
import logging
import os
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc.errors import ConfigError, DiskFailed
from edc.events import Gap, Origin, Trade, to_frame
from edc.lake import Lake
from edc.sinks import Written
from edc.sinks.parquet import ParquetSink

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)
NEW_YORK = "America/New_York"
SECOND = 1_000_000_000
TIME = 1_771_006_162_668_051_234  # 2026-02-13 18:09:22.668051234 UTC, 13:09:22 in New York
SPRING = 1_772_953_200 * SECOND  # 2026-03-08 07:00 UTC: 2:00 becomes 3:00 in New York
AUTUMN = 1_793_512_800 * SECOND  # 2026-11-01 06:00 UTC: 2:00 becomes 1:00
YEAR_2200 = 7_258_118_400 * SECOND
ORIGIN = Origin(feed="crypto", vendor="tiingo", source="tiingo_crypto", epoch=1)


def lake(
    path: Path,
    timezone: str = NEW_YORK,
    partition: str = "hour",
    *,
    now_ns: int = TIME,
    instance: str = "main",
) -> Lake:
    """A lake whose clock stands still."""
    return Lake(path, timezone, partition, instance, lambda: now_ns)


def trade(**fields: Any) -> Trade:
    """A trade."""
    given_fields: dict[str, Any] = {
        "symbol": "btcusd",
        "asset_type": "crypto",
        "event_time": TIME,
        "created_at": TIME + 7,
        "origin": ORIGIN,
        "last_price": 1.0,
        "last_size": 0.5,
    }
    return Trade(**(given_fields | fields))


def frame(*trades: Trade, timezone: str = NEW_YORK) -> pl.DataFrame:
    """Trades as the spool hands them over."""
    return to_frame("trade", trades, timezone)


def at(*times: int) -> pl.DataFrame:
    """Trades at these times."""
    return frame(*(trade(event_time=time) for time in times))


def parquet(path: Path) -> list[str]:
    """The Parquet files under a path that any glob finds, relative to it."""
    return sorted(
        str(file.relative_to(path))
        for file in path.rglob("*.parquet")
        if not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )


def rows(path: Path, event_type: str = "trade") -> list[tuple[Any, ...]]:
    """All rows of a table, times as integers, in any order."""
    files = sorted((path / event_type).rglob("*.parquet"))
    read = pl.concat(pl.read_parquet(file, hive_partitioning=False) for file in files)
    return read.with_columns(pl.col(pl.Datetime).to_physical()).rows()


def prices(path: Path) -> list[float]:
    """The prices of all trades, sorted."""
    return sorted(row[4] for row in rows(path))


def test_a_file_is_named_for_the_time_of_writing_and_placed_by_the_time_of_the_event(
    tmp_path: Path,
) -> None:
    written = ParquetSink(lake(tmp_path)).write("trade", at(TIME - 3600 * SECOND), "1:1-1")

    assert parquet(tmp_path) == [
        "trade/date=2026-02-13/hour=12/consol_feeds_trade_20260213_130922_668051.parquet"
    ]
    assert written.files == [tmp_path / parquet(tmp_path)[0]]
    assert (written.rows, written.duplicates) == (1, 0)
    assert written.size == written.files[0].stat().st_size


@pytest.mark.parametrize(
    ("timezone", "partition", "time", "folder"),
    [
        (NEW_YORK, "hour", TIME, "date=2026-02-13/hour=13"),
        (NEW_YORK, "day", TIME, "date=2026-02-13"),
        ("UTC", "hour", TIME, "date=2026-02-13/hour=18"),
        ("Asia/Kathmandu", "hour", TIME, "date=2026-02-13/hour=23"),  # +05:45: 23:54:22
        ("Asia/Kathmandu", "hour", TIME + 338 * SECOND, "date=2026-02-14/hour=00"),  # 00:00:00
        ("Asia/Tokyo", "day", TIME, "date=2026-02-14"),
        (NEW_YORK, "hour", 0, "date=1969-12-31/hour=19"),
        (NEW_YORK, "hour", SPRING - 1, "date=2026-03-08/hour=01"),
        (NEW_YORK, "hour", SPRING, "date=2026-03-08/hour=03"),
        (NEW_YORK, "hour", AUTUMN - 1, "date=2026-11-01/hour=01"),
        (NEW_YORK, "hour", AUTUMN, "date=2026-11-01/hour=01"),
        (NEW_YORK, "hour", AUTUMN + 3600 * SECOND, "date=2026-11-01/hour=02"),
        (NEW_YORK, "day", AUTUMN + 23 * 3600 * SECOND - 1, "date=2026-11-01"),
        (NEW_YORK, "day", AUTUMN + 23 * 3600 * SECOND, "date=2026-11-02"),
    ],
)
def test_a_row_lies_in_the_folder_of_its_local_time(
    tmp_path: Path, timezone: str, partition: str, time: int, folder: str
) -> None:
    sink = ParquetSink(lake(tmp_path, timezone, partition))

    sink.write("trade", frame(trade(event_time=time), timezone=timezone), "")

    [file] = parquet(tmp_path)
    assert str(Path(file).parent) == f"trade/{folder}"
    assert rows(tmp_path)[0][5] == time


def test_the_hour_that_comes_twice_is_one_folder_and_one_file(tmp_path: Path) -> None:
    both = at(AUTUMN - 1800 * SECOND, AUTUMN + 1800 * SECOND)

    written = ParquetSink(lake(tmp_path)).write("trade", both, "")

    assert len(written.files) == 1
    assert [row[5] for row in rows(tmp_path)] == [
        1_793_511_000_000_000_000,
        1_793_514_600_000_000_000,
    ]


def test_a_batch_across_an_hour_becomes_a_file_in_each_and_loses_nothing(tmp_path: Path) -> None:
    start = TIME - TIME % (3600 * SECOND)
    times = [start - 1, start, start + 3600 * SECOND - 1, start + 3600 * SECOND]

    written = ParquetSink(lake(tmp_path)).write("trade", at(*times), "")

    assert [str(path.parent.relative_to(tmp_path)) for path in written.files] == [
        "trade/date=2026-02-13/hour=12",
        "trade/date=2026-02-13/hour=13",
        "trade/date=2026-02-13/hour=14",
    ]
    assert written.rows == 4
    assert sorted(row[5] for row in rows(tmp_path)) == times


def test_a_gap_is_placed_by_its_start(tmp_path: Path) -> None:
    gap = Gap(
        feed="crypto",
        vendor="tiingo",
        source="tiingo_crypto",
        started_at=TIME - 3600 * SECOND,
        ended_at=TIME,
        cause="stale",
        created_at=TIME,
    )

    ParquetSink(lake(tmp_path)).write("gap", to_frame("gap", [gap], NEW_YORK), "")

    assert parquet(tmp_path) == [
        "gap/date=2026-02-13/hour=12/consol_feeds_gap_20260213_130922_668051.parquet"
    ]


def test_a_name_that_is_taken_moves_on_by_a_microsecond(tmp_path: Path) -> None:
    for price in (1.0, 2.0, 3.0):
        ParquetSink(lake(tmp_path)).write("trade", frame(trade(last_price=price)), "")

    assert [Path(file).name for file in parquet(tmp_path)] == [
        "consol_feeds_trade_20260213_130922_668051.parquet",
        "consol_feeds_trade_20260213_130922_668052.parquet",
        "consol_feeds_trade_20260213_130922_668053.parquet",
    ]
    assert prices(tmp_path) == [1.0, 2.0, 3.0]


def test_the_footer_says_where_a_file_comes_from(tmp_path: Path) -> None:
    sink = ParquetSink(lake(tmp_path, instance="host-2"))

    [file] = sink.write("trade", at(TIME + 5, TIME, TIME + 2), "5:1-3 6:1-1").files

    said = pl.read_parquet_metadata(file)
    assert {key: text for key, text in said.items() if key.startswith("edc.")} == {
        "edc.schema_version": "1",
        "edc.version": version("edc"),
        "edc.instance": "host-2",
        "edc.event_type": "trade",
        "edc.chunks": "5:1-3 6:1-1",
        "edc.time_range": "1771006162668051234 1771006162668051239",
    }


def test_rows_are_sorted_by_symbol_then_time(tmp_path: Path) -> None:
    mixed = frame(
        trade(symbol="eth", event_time=TIME),
        trade(symbol="btc", event_time=TIME + 2),
        trade(symbol="eth", event_time=TIME - 1),
        trade(symbol="btc", event_time=TIME + 1),
    )

    ParquetSink(lake(tmp_path)).write("trade", mixed, "")

    assert [(row[2], row[5] - TIME) for row in rows(tmp_path)] == [
        ("btc", 1),
        ("btc", 2),
        ("eth", -1),
        ("eth", 0),
    ]


def test_any_reader_finds_compressed_row_groups_with_statistics(tmp_path: Path) -> None:
    count = 122_881
    one = frame(trade())
    many = pl.concat([one] * count).with_columns(sequence=pl.int_range(count, dtype=pl.Int64))

    [file] = ParquetSink(lake(tmp_path)).write("trade", many, "").files

    with duckdb.connect() as connection:
        groups = connection.execute(
            "SELECT row_group_num_rows, compression, stats_min_value IS NULL"
            " FROM parquet_metadata(?) WHERE path_in_schema = 'sequence' ORDER BY row_group_id",
            [str(file)],
        ).fetchall()
    assert groups == [(122_880, "ZSTD", False), (1, "ZSTD", False)]


def test_duckdb_reads_the_same_instants(tmp_path: Path) -> None:
    ParquetSink(lake(tmp_path)).write("trade", at(AUTUMN + 1, AUTUMN + 2), "")

    with duckdb.connect() as connection:
        found = connection.execute(
            "SELECT count(*), min(epoch_ns(event_time)) // 1000 FROM read_parquet(?)",
            [f"{tmp_path}/trade/*/*/*.parquet"],
        ).fetchall()

    assert found == [(2, 1_793_512_800_000_000)]


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    ParquetSink(lake(tmp_path)).write("trade", at(TIME, TIME - 3600 * SECOND), "")

    everything = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(everything) == len(parquet(tmp_path)) == 2


def test_a_full_disk_is_told_and_the_batch_can_be_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sink = ParquetSink(lake(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left") as caught:
            sink.write("trade", at(TIME), "")
    assert caught.value.errno == errno.ENOSPC
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    assert sink.write("trade", at(TIME), "").rows == 1


def test_a_failed_fsync_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", lost)

    with pytest.raises(DiskFailed):
        ParquetSink(lake(tmp_path)).write("trade", at(TIME), "")


def test_a_batch_that_comes_again_is_dropped(tmp_path: Path) -> None:
    sink = ParquetSink(lake(tmp_path))
    batch = at(TIME, TIME + 1, TIME + 1, TIME + 3600 * SECOND)

    first, second = (sink.write("trade", batch, "") for _ in range(2))

    assert (first.rows, first.duplicates, len(first.files)) == (3, 1, 2)
    assert (second.rows, second.duplicates, second.size, second.files) == (0, 4, 0, [])


def test_what_became_of_batches_adds_up() -> None:
    total = Written(1, 2, 3, [Path("a")])

    total.add(Written(10, 20, 30, [Path("b"), Path("c")]))

    assert total == Written(11, 22, 33, [Path("a"), Path("b"), Path("c")])


def test_an_empty_batch_writes_nothing(tmp_path: Path) -> None:
    written = ParquetSink(lake(tmp_path)).write("trade", frame(), "")

    assert (written.rows, written.duplicates, written.files) == (0, 0, [])
    assert parquet(tmp_path) == []


def test_the_first_received_of_equal_rows_is_kept(tmp_path: Path) -> None:
    sink = ParquetSink(lake(tmp_path))
    sink.write("trade", frame(trade(created_at=50), trade(created_at=40)), "")
    sink.write("trade", frame(trade(created_at=10)), "")

    assert [row[-1] for row in rows(tmp_path)] == [50]


@pytest.mark.parametrize(
    "difference",
    [
        {"event_time": TIME + 1},
        {"symbol": "ethusd"},
        {"asset_type": "stock"},
        {"last_price": 1.0000000000000002},
        {"last_size": None},
        {"exchange": "KRAKEN"},
        {"trade_id": "1"},
        {"side": "buy"},
        {"conditions": "@"},
        {"action": "cancel"},
        {"sequence": 1},
        {"origin": Origin("crypto", "tiingo", "other", 1)},
        {"origin": Origin("crypto", "other", "tiingo_crypto", 1)},
    ],
)
def test_rows_that_differ_anywhere_but_in_receipt_are_two(
    tmp_path: Path, difference: dict[str, Any]
) -> None:
    sink = ParquetSink(lake(tmp_path))

    sink.write("trade", frame(trade()), "")
    written = sink.write("trade", frame(trade(**difference), trade(created_at=1)), "")

    assert (written.rows, written.duplicates) == (1, 1)


def test_ordinals_make_equal_prints_two_rows(tmp_path: Path) -> None:
    two = frame(trade(), trade()).with_columns(ordinal=pl.int_range(2, dtype=pl.Int64))
    sink = ParquetSink(lake(tmp_path))

    assert sink.write("trade", two, "").rows == 2
    assert sink.write("trade", two, "").rows == 0


def test_the_feed_and_the_connection_make_no_difference(tmp_path: Path) -> None:
    sink = ParquetSink(lake(tmp_path))
    sink.write("trade", frame(trade()), "")

    written = sink.write(
        "trade", frame(trade(origin=Origin("x", "tiingo", "tiingo_crypto", 9))), ""
    )

    assert written.rows == 0


@pytest.mark.parametrize("timezone", ["UTC", "Asia/Kathmandu"])
def test_rows_written_in_another_zone_are_the_same_rows(tmp_path: Path, timezone: str) -> None:
    """As they are in a partition that another tool rewrote."""
    [file] = ParquetSink(lake(tmp_path)).write("trade", at(TIME, TIME + 1), "").files
    rewritten = pl.read_parquet(file, hive_partitioning=False).with_columns(
        pl.col(pl.Datetime).dt.convert_time_zone(timezone)
    )
    file.unlink()
    rewritten.write_parquet(file.with_name("rewritten.parquet"))

    written = ParquetSink(lake(tmp_path)).write("trade", at(TIME, TIME + 1, TIME + 2), "")

    assert (written.rows, written.duplicates) == (1, 2)


def test_rows_rewritten_in_microseconds_are_the_same_rows(tmp_path: Path) -> None:
    whole = TIME - TIME % 1000
    [file] = ParquetSink(lake(tmp_path)).write("trade", at(whole), "").files
    rewritten = pl.read_parquet(file, hive_partitioning=False).with_columns(
        pl.col(pl.Datetime).dt.cast_time_unit("us")
    )
    file.unlink()
    rewritten.write_parquet(file.with_name("rewritten.parquet"))

    written = ParquetSink(lake(tmp_path)).write("trade", at(whole, whole + 1), "")

    assert (written.rows, written.duplicates) == (1, 1)


@pytest.mark.parametrize("size", [0, 3, 100, -1, -60])
def test_a_truncated_file_is_set_aside_and_intact_ones_stay(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    sink = ParquetSink(lake(tmp_path))
    [intact] = sink.write("trade", frame(trade(last_price=1.0)), "").files
    [broken] = sink.write("trade", frame(trade(last_price=2.0)), "").files
    broken.write_bytes(broken.read_bytes()[:size])

    with caplog.at_level(logging.ERROR):
        both = frame(trade(last_price=1.0), trade(last_price=2.0))
        written = ParquetSink(lake(tmp_path, now_ns=TIME + 9000)).write("trade", both, "")

    assert (written.rows, written.duplicates) == (1, 1)
    assert prices(tmp_path) == [1.0, 2.0]
    assert intact.exists()
    assert not broken.exists()
    aside = tmp_path / ".quarantine" / broken.name
    assert aside.exists()
    assert str(broken) in aside.with_name(f"{aside.name}.reason").read_text()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_file_whose_rows_are_damaged_is_set_aside(tmp_path: Path) -> None:
    """The footer is whole, the pages are not."""
    [file] = ParquetSink(lake(tmp_path)).write("trade", at(TIME), "").files
    data = bytearray(file.read_bytes())
    data[4:1000] = bytes(996)
    file.write_bytes(data)

    written = ParquetSink(lake(tmp_path, now_ns=TIME + 9000)).write("trade", at(TIME), "")

    assert written.rows == 1
    assert (tmp_path / ".quarantine" / file.name).exists()
    assert len(rows(tmp_path)) == 1


def test_a_fault_of_ours_does_not_cost_an_intact_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ParquetSink(lake(tmp_path))
    [file] = sink.write("trade", at(TIME), "").files

    def wrong(*arguments: object, **named: object) -> pl.LazyFrame:
        raise pl.exceptions.ComputeError("a wrong question")

    monkeypatch.setattr(pl, "scan_parquet", wrong)

    with pytest.raises(pl.exceptions.ComputeError, match="a wrong question"):
        sink.write("trade", at(TIME), "")

    assert file.exists()


def test_a_file_that_makes_polars_panic_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [file] = ParquetSink(lake(tmp_path)).write("trade", at(TIME), "").files

    def panic(*arguments: object, **named: object) -> pl.DataFrame:
        raise pl.exceptions.PanicException("bit rot")

    with monkeypatch.context() as patch:
        patch.setattr(pl, "read_parquet_metadata", panic)
        patch.setattr(pl, "read_parquet", panic)
        written = ParquetSink(lake(tmp_path, now_ns=TIME + 9000)).write("trade", at(TIME), "")

    assert written.rows == 1
    assert (tmp_path / ".quarantine" / file.name).exists()


@pytest.mark.parametrize(
    "foreign",
    [
        pl.DataFrame({"a": [1]}),
        pl.DataFrame({"event_time": [TIME]}),
        pl.DataFrame({"event_time": ["2026-02-13"]}),
        at(TIME).drop("symbol"),
        at(TIME).with_columns(pl.col("event_time").dt.to_string("iso")),
    ],
)
def test_a_file_of_others_is_left_alone(
    tmp_path: Path, foreign: pl.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    sink = ParquetSink(lake(tmp_path))
    [ours] = sink.write("trade", at(TIME), "").files
    path = ours.with_name("theirs.parquet")
    foreign.write_parquet(path)

    with caplog.at_level(logging.WARNING):
        results = [sink.write("trade", at(TIME, TIME + step), "").rows for step in (1, 2)]

    assert results == [1, 1]
    assert path.exists()
    assert [record.getMessage() for record in caplog.records] == [
        "a Parquet file of others is ignored"
    ]


def test_our_columns_written_by_others_count(tmp_path: Path) -> None:
    folder = tmp_path / "trade" / "date=2026-02-13" / "hour=13"
    folder.mkdir(parents=True)
    other = at(TIME).with_columns(note=pl.lit("x"))
    other.select(reversed(other.columns)).write_parquet(folder / "theirs.parquet")
    at().write_parquet(folder / "empty.parquet")

    written = ParquetSink(lake(tmp_path)).write("trade", at(TIME, TIME + 1), "")

    assert (written.rows, written.duplicates) == (1, 1)


def test_hidden_files_are_not_looked_at(tmp_path: Path) -> None:
    sink = ParquetSink(lake(tmp_path))
    [file] = sink.write("trade", at(TIME), "").files
    file.rename(file.with_name(f"_{file.name}"))
    (file.parent / ".half.parquet").write_bytes(b"half")

    assert sink.write("trade", at(TIME), "").rows == 1


def test_a_file_that_was_compacted_away_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ParquetSink(lake(tmp_path))
    [file] = sink.write("trade", at(TIME), "").files
    scan = pl.scan_parquet

    def vanish(path: Path, **named: Any) -> pl.LazyFrame:
        file.unlink(missing_ok=True)
        return scan(path, **named)

    monkeypatch.setattr(pl, "scan_parquet", vanish)

    assert sink.write("trade", at(TIME), "").rows == 1


def test_a_folder_that_does_not_hold_still_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ParquetSink(lake(tmp_path))
    [file] = sink.write("trade", at(TIME), "").files

    def vanished(*arguments: object, **named: object) -> pl.LazyFrame:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))

    with monkeypatch.context() as patch:
        patch.setattr(pl, "scan_parquet", vanished)
        with pytest.raises(OSError, match="files keep vanishing"):
            sink.write("trade", at(TIME), "")

    assert sink.write("trade", at(TIME), "").rows == 0


def test_rows_that_moved_to_another_file_meanwhile_are_still_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ParquetSink(lake(tmp_path))
    [file] = sink.write("trade", at(TIME), "").files
    scan = pl.scan_parquet

    def move(path: Path, **named: Any) -> pl.LazyFrame:
        if file.exists():
            file.rename(file.with_name("compacted.parquet"))
        return scan(path, **named)

    monkeypatch.setattr(pl, "scan_parquet", move)

    assert sink.write("trade", at(TIME), "").rows == 0


def test_only_files_that_may_hold_a_row_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ParquetSink(lake(tmp_path))
    early = sink.write("trade", at(TIME, TIME + 10), "").files[0]
    late = sink.write("trade", at(TIME + 100, TIME + 110), "").files[0]
    read: list[Path] = []
    scan = pl.scan_parquet

    def note(path: Path, **named: Any) -> pl.LazyFrame:
        read.append(path)
        return scan(path, **named)

    monkeypatch.setattr(pl, "scan_parquet", note)

    again = ParquetSink(lake(tmp_path))
    again.write("trade", at(TIME + 50), "")
    assert read == []
    again.write("trade", at(TIME + 105), "")
    assert read == [late]
    assert early.exists()


def test_more_folders_than_are_remembered_are_still_deduplicated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edc.lake._FOLDERS_KEPT", 2)
    sink = ParquetSink(lake(tmp_path))
    batch = at(*(TIME + hour * 3600 * SECOND for hour in range(5)))

    assert [sink.write("trade", batch, "").rows for _ in range(3)] == [5, 0, 0]
    assert len(sink._lake._ranges) == 2


TABLE = st.tuples(
    st.sampled_from([0, 1, 2, 3599, 3600, 7200]),  # seconds
    st.sampled_from(["btcusd", "ethusd"]),
    st.sampled_from([1.0, 2.0]),
    st.sampled_from([None, "7"]),
    st.integers(0, 9),  # when it was received
)


@PROPERTY
@given(
    st.lists(st.tuples(st.lists(TABLE, max_size=12), st.booleans()), max_size=6),
    st.sampled_from(["hour", "day"]),
    st.sampled_from([NEW_YORK, "UTC"]),
)
def test_however_rows_are_split_and_repeated_the_lake_holds_each_once(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[tuple[list[tuple[Any, ...]], bool]],
    partition: str,
    timezone: str,
) -> None:
    path = tmp_path_factory.mktemp("lake")
    start = AUTUMN - 3600 * SECOND
    sink = ParquetSink(lake(path, timezone, partition))
    expected: dict[tuple[Any, ...], int] = {}
    for batch, restart in [*batches, *batches]:
        if restart:
            sink = ParquetSink(lake(path, timezone, partition))
        before = len(expected)
        trades = []
        for second, symbol, price, trade_id, received in batch:
            expected.setdefault((second, symbol, price, trade_id), received)
            trades.append(
                trade(
                    event_time=start + second * SECOND,
                    symbol=symbol,
                    last_price=price,
                    trade_id=trade_id,
                    created_at=received,
                )
            )

        written = sink.write("trade", frame(*trades, timezone=timezone), "")

        assert written.rows == len(expected) - before
        assert written.rows + written.duplicates == len(batch)

    found = rows(path) if expected else []
    assert Counter(
        ((row[5] - start) // SECOND, row[2], row[4], row[9], row[-1]) for row in found
    ) == Counter((*key, received) for key, received in expected.items())


def test_the_first_to_write_lays_out_the_lake(tmp_path: Path) -> None:
    lake(tmp_path).claim()
    lake(tmp_path).claim()

    assert json.loads((tmp_path / ".lake.json").read_bytes()) == {
        "schema_version": 1,
        "timezone": "America/New_York",
        "partition": "hour",
    }


@pytest.mark.parametrize(("timezone", "partition"), [("UTC", "hour"), (NEW_YORK, "day")])
def test_another_layout_is_refused(tmp_path: Path, timezone: str, partition: str) -> None:
    lake(tmp_path).claim()

    with pytest.raises(ConfigError, match=r"timezone 'America/New_York' and partition 'hour'"):
        lake(tmp_path, timezone, partition).claim()


def test_a_lake_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".lake.json").write_text(
        '{"schema_version": 2, "timezone": "America/New_York", "partition": "hour"}'
    )

    with pytest.raises(ConfigError, match="schema version 2, this edc knows up to 1; upgrade edc"):
        lake(tmp_path).claim()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff", b"{}", b"[]"])
def test_a_damaged_layout_is_the_operators_to_mend(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".lake.json").write_bytes(content)

    with pytest.raises(ConfigError, match="cannot be read") as caught:
        lake(tmp_path).claim()

    assert caught.value.place == str(tmp_path / ".lake.json")


def test_a_lake_that_cannot_be_written_is_the_operators_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ConfigError, match=r"\[storage\] path"):
        lake(tmp_path / "file").claim()
