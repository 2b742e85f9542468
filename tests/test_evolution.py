"""A lake of an older schema version goes on being read; a newer one is refused."""

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edc import events
from edc.errors import ConfigError
from edc.events import columns_of, conform, schema, version_of
from edc.inspection import find, inspect
from edc.lake import Lake
from edc.sinks.parquet import ParquetSink
from edc.spool import Spool
from edc.upkeep import compaction
from edc.upkeep.compaction import Compactor
from tests.harness import Process, read, supervisor, write_config

NEW_YORK = "America/New_York"
NOON = 1_771_002_000_000_000_000  # 2026-02-13 12:00:00 in New York
LATER = NOON + 48 * 3600 * 1_000_000_000
HOUR = Path("trade/date=2026-02-13/hour=12")
TIMES = ("event_time", "created_at")


def row(second: int, **fields: object) -> dict[str, object]:
    """A trade as the first version of the schema has it, spelled out."""
    at = NOON + second * 1_000_000_000
    values: dict[str, object] = {
        "asset_type": "crypto",
        "event_type": "trade",
        "symbol": "btcusd",
        "last_size": 0.5,
        "last_price": 100.0,
        "event_time": at,
        "vendor": "tiingo",
        "source": "tiingo_crypto",
        "exchange": "KRAKEN",
        "trade_id": None,
        "side": None,
        "conditions": None,
        "action": "new",
        "sequence": None,
        "ordinal": 0,
        "created_at": at + 5,
    }
    return values | fields


def table(*rows: dict[str, object], without: tuple[str, ...] = ()) -> pl.DataFrame:
    """Rows as a frame, made by hand; `without` are columns that its version does not have."""
    texts = ("trade_id", "side", "conditions", "venue")
    frame = pl.DataFrame(
        list(rows),
        schema_overrides={name: pl.String for name in texts if name in rows[0]}
        | {"sequence": pl.Int64},
    )
    times = [pl.col(name).cast(pl.Datetime("ns", "UTC")) for name in TIMES]
    zoned = frame.with_columns(times).with_columns(pl.col(TIMES).dt.convert_time_zone(NEW_YORK))
    return zoned.drop(without)


def put(path: Path, name: str, frame: pl.DataFrame, **footer: str) -> Path:
    """A file of the lake with the footer that edc gives it, version 1 unless said."""
    times = frame["event_time"].to_physical()
    said = {"schema_version": "1", "time_range": f"{times.min()!s} {times.max()!s}"} | footer
    file = path / HOUR / name
    file.parent.mkdir(parents=True, exist_ok=True)
    metadata = {f"edc.{key}": text for key, text in said.items()}
    frame.write_parquet(file, metadata=metadata)
    return file


def sink(path: Path) -> ParquetSink:
    return ParquetSink(Lake(path, NEW_YORK, "hour", "main", lambda: LATER))


def compact(path: Path) -> list[compaction.Compacted]:
    done = list(Compactor(path, NEW_YORK, now_ns=lambda: LATER).run())
    assert all(isinstance(each, compaction.Compacted) for each in done)
    return [each for each in done if isinstance(each, compaction.Compacted)]


def rows(path: Path, *names: str) -> list[tuple[Any, ...]]:
    """These columns of all trades, times as integers, sorted by time."""
    found = read(path, "trade").sort("event_time")
    return found.with_columns(pl.col(pl.Datetime).to_physical()).select(names).rows()


@pytest.fixture
def second_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edc in which the trade table got the columns `venue`, `conditions` and `ordinal`."""
    columns: dict[str, pl.DataType] = {}
    for name, dtype in events._COLUMNS["trade"].items():
        if name == "created_at":
            columns["venue"] = pl.String()
        columns[name] = dtype
    monkeypatch.setitem(events._COLUMNS, "trade", columns)
    since = {"venue": 2, "conditions": 2, "ordinal": 2}
    monkeypatch.setattr(events, "SINCE", {"trade": since})
    for name, module in list(sys.modules.items()):
        if name.startswith("edc.") and hasattr(module, "SCHEMA_VERSION"):
            monkeypatch.setattr(module, "SCHEMA_VERSION", 2)


NEW = ("venue", "conditions", "ordinal")


def old(*rows: dict[str, object]) -> pl.DataFrame:
    """Trades as the version before `second_version` wrote them."""
    return table(*rows, without=("conditions", "ordinal"))


def new(*rows: dict[str, object]) -> pl.DataFrame:
    """Trades in the columns of `second_version`."""
    return conform(table(*rows), "trade", NEW_YORK, version=1)


def test_every_column_came_with_a_version_that_there_is() -> None:
    assert all(
        1 < version <= events.SCHEMA_VERSION and name in schema(event_type, "UTC")
        for event_type, since in events.SINCE.items()
        for name, version in since.items()
    )
    assert columns_of("trade", 1) == list(row(0))


@pytest.mark.parametrize("said", ["", "0", "-1", "1.0", " 1", "two", "\u0661"])
def test_a_version_is_a_whole_number_from_one(said: str) -> None:
    with pytest.raises(ValueError, match="is no schema version"):
        version_of({"edc.schema_version": said})


def test_a_file_that_another_tool_rewrote_is_taken_for_the_first_version() -> None:
    assert version_of({"pandas": "{}"}) == 1


@pytest.mark.usefixtures("second_version")
def test_columns_that_an_older_version_had_not_are_null() -> None:
    read = conform(old(row(1), row(2)), "trade", NEW_YORK, version=1)

    assert dict(read.schema) == schema("trade", NEW_YORK)
    assert read.select(NEW).rows() == [(None, None, None)] * 2
    assert read["event_time"].to_physical().to_list() == [NOON + 10**9, NOON + 2 * 10**9]


@pytest.mark.usefixtures("second_version")
def test_no_other_missing_column_is_made_up() -> None:
    for frame, version in [(old(row(1)).drop("symbol"), 1), (old(row(1)), 2), (old(row(1)), None)]:
        with pytest.raises(pl.exceptions.ColumnNotFoundError):
            conform(frame, "trade", NEW_YORK, version)


@pytest.mark.usefixtures("second_version")
def test_an_older_version_with_a_value_there_keeps_it() -> None:
    """Another tool may have added the column."""
    frame = old(row(1)).with_columns(venue=pl.lit("dark"))

    assert conform(frame, "trade", NEW_YORK, version=1)["venue"].to_list() == ["dark"]


@pytest.mark.usefixtures("second_version")
def test_rows_of_an_older_lake_are_deduplicated_against(tmp_path: Path) -> None:
    put(tmp_path, "old.parquet", old(row(1), row(2)))
    again = old(row(1), row(2, created_at=NOON + 99), row(3))
    rows_again = conform(again, "trade", NEW_YORK, version=1)
    told_more = rows_again.head(1).with_columns(venue=pl.lit("dark"))

    written = sink(tmp_path).write("trade", pl.concat([rows_again, told_more]), "")

    assert (written.rows, written.duplicates) == (2, 2)
    (tmp_path / HOUR / "old.parquet").unlink()
    assert rows(tmp_path, "venue", "event_time") == [
        ("dark", NOON + 10**9),
        (None, NOON + 3 * 10**9),
    ]


@pytest.mark.usefixtures("second_version")
def test_an_older_lake_is_inspected(tmp_path: Path) -> None:
    put(tmp_path, "old.parquet", old(row(1), row(2)))
    put(tmp_path, "new.parquet", new(row(3, venue="dark")), schema_version="2")

    report = inspect(find([str(tmp_path)]))

    [trades] = report.tables
    assert (report.unreadable, report.foreign) == ({}, [])
    assert (trades.files, trades.rows, trades.duplicates) == (2, 3, 0)
    assert trades.nulls["venue"] == 2
    assert trades.nulls["ordinal"] == 2


@pytest.mark.usefixtures("second_version")
def test_an_older_lake_is_compacted(tmp_path: Path) -> None:
    put(tmp_path, "a.parquet", old(row(1), row(2)))
    put(tmp_path, "b.parquet", old(row(2, created_at=NOON), row(4)))
    put(tmp_path, "c.parquet", new(row(3, venue="dark")), schema_version="2")

    [done] = compact(tmp_path)

    assert (done.rows_before, done.rows_after) == (5, 4)
    [file] = (tmp_path / HOUR).glob("*.parquet")
    assert dict(pl.read_parquet_schema(file)) == schema("trade", NEW_YORK)
    assert pl.read_parquet_metadata(file)["edc.schema_version"] == "2"
    second = 1_000_000_000
    assert rows(tmp_path, "event_time", "created_at", "venue", "ordinal") == [
        (NOON + second, NOON + second + 5, None, None),
        (NOON + 2 * second, NOON, None, None),
        (NOON + 3 * second, NOON + 3 * second + 5, "dark", 0),
        (NOON + 4 * second, NOON + 4 * second + 5, None, None),
    ]


async def test_what_an_older_edc_left_in_the_spool_comes_into_the_lake(
    tmp_path: Path, second_version: None
) -> None:
    spool = Spool(tmp_path / "lake", "main")
    spool.open()
    spool.append("trade", old(row(1), row(2)))
    spool.close()
    daemon = supervisor(write_config(tmp_path, "ws://127.0.0.1:1"), duration=0.0)

    await asyncio.wait_for(daemon.run(), 30)

    assert rows(tmp_path / "lake", *NEW) == [(None, None, None)] * 2


@pytest.mark.usefixtures("second_version")
def test_a_file_of_the_present_version_without_a_column_is_not_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = put(tmp_path, "bad.parquet", old(row(1)), schema_version="2")
    some = new(row(1))

    with caplog.at_level(logging.WARNING):
        written = sink(tmp_path).write("trade", some, "")

    assert (written.rows, written.duplicates) == (1, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "a Parquet file of others is ignored"
    ]
    assert bad.exists()
    assert inspect([bad]).foreign == [str(bad)]


def test_a_file_whose_version_cannot_be_read_is_not_ours(tmp_path: Path) -> None:
    bad = put(tmp_path, "bad.parquet", table(row(1)), schema_version="one")

    assert sink(tmp_path).write("trade", table(row(1)), "").rows == 1
    assert bad.exists()
    with pytest.raises(ConfigError, match="written in schema version one, this edc knows up to 1"):
        inspect([bad])


def test_columns_that_others_added_are_no_trouble(tmp_path: Path) -> None:
    put(tmp_path, "a.parquet", table(row(1), row(2)).with_columns(note=pl.lit("x")))
    put(tmp_path, "b.parquet", table(row(2), row(3)))

    assert sink(tmp_path).write("trade", table(row(1), row(3)), "").rows == 0
    [trades] = inspect(find([str(tmp_path)])).tables
    assert (trades.rows, trades.duplicates) == (4, 1)
    assert set(trades.columns) == set(schema("trade", NEW_YORK))


def test_a_newer_edc_raises_the_version_of_the_lake_and_the_older_one_is_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim() -> None:
        Lake(tmp_path, NEW_YORK, "hour", "main", lambda: LATER).claim()

    claim()
    with monkeypatch.context() as patch:
        patch.setattr("edc.claim.SCHEMA_VERSION", 2)
        claim()
        claim()
    assert json.loads((tmp_path / ".lake.json").read_bytes()) == {
        "schema_version": 2,
        "timezone": NEW_YORK,
        "partition": "hour",
    }

    with pytest.raises(ConfigError, match="the lake has schema version 2, this edc knows up to 1"):
        claim()


def test_a_newer_edc_that_is_refused_for_its_layout_leaves_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lake(tmp_path, NEW_YORK, "hour", "main", lambda: LATER).claim()
    before = (tmp_path / ".lake.json").read_bytes()
    monkeypatch.setattr("edc.claim.SCHEMA_VERSION", 2)

    with pytest.raises(ConfigError, match="timezone"):
        Lake(tmp_path, "UTC", "hour", "main", lambda: LATER).claim()

    assert (tmp_path / ".lake.json").read_bytes() == before


@pytest.mark.parametrize("command", ["run", "flush", "compact", "audit"])
def test_every_command_refuses_a_newer_lake_and_changes_nothing(
    tmp_path: Path, command: str
) -> None:
    config = write_config(tmp_path, "ws://127.0.0.1:1")
    path = tmp_path / "lake"
    first = put(path, "a.parquet", table(row(1), row(1)), schema_version="2")
    second = put(path, "b.parquet", table(row(1)), schema_version="2")
    before = first.read_bytes(), second.read_bytes()
    (path / ".lake.json").write_text(
        json.dumps({"schema_version": 2, "timezone": NEW_YORK, "partition": "hour"})
    )

    process = Process(command, "--config", str(config), cwd=tmp_path)

    assert process.wait() == 2
    assert "schema version 2, this edc knows up to 1; upgrade edc" in process.output
    assert (first.read_bytes(), second.read_bytes()) == before


def test_inspect_refuses_a_newer_file(tmp_path: Path) -> None:
    put(tmp_path, "a.parquet", table(row(1)))
    newer = put(tmp_path, "b.parquet", table(row(1)), schema_version="2")

    process = Process("inspect", str(tmp_path), cwd=tmp_path)

    assert process.wait() == 2
    assert f"{newer}: written in schema version 2" in process.output
