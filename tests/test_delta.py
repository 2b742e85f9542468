"""Delta Lake as the lake: on a disk and in an S3 bucket, read back by others than who wrote it."""

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable, QueryBuilder

from edc.events import identity, schema, time_column, to_frame
from edc.files import Damage
from edc.object_store import ObjectStore
from edc.simulator.tiingo import TiingoSimulator
from edc.sinks import LakeSink
from edc.sinks.delta import DeltaSink, from_delta
from edc.spool import read_chunk
from edc.upkeep.compaction import Compacted
from edc.upkeep.delta import DeltaUpkeep
from edc.upkeep.retention import Removed
from edc.volumes import LocalVolume
from tests.harness import (
    KEY,
    Process,
    SimulatorProcess,
    running,
    serving,
    supervisor,
    until_events,
    wait_until,
    write_config,
)
from tests.s3 import BUCKET, S3
from tests.test_lake import NEW_YORK, TIME, at, frame, trade

DAY = 86_400 * 1_000_000_000
URL = f"s3://{BUCKET}/delta"


def sink(
    root: Path, instance: str = "main", on_damaged: Callable[[Damage], None] = lambda _damage: None
) -> DeltaSink:
    """Tables in a folder; what is written has the clock of the events."""
    volume = LocalVolume(root, 0, lambda: None)
    made = DeltaSink(volume, {}, NEW_YORK, instance, lambda: TIME, on_damaged)
    root.mkdir(exist_ok=True)
    made.begin()
    return made


def rows_of(
    table: str | Path, event_type: str = "trade", options: dict[str, str] | None = None
) -> pl.DataFrame:
    """All rows, as Polars reads a Delta table, in the columns of a plain lake."""
    scan = pl.scan_delta(str(table), storage_options=options)
    rows = from_delta(event_type, scan, NEW_YORK).collect()
    return rows.sort(time_column(event_type), "symbol")


def test_polars_duckdb_and_delta_s_own_engine_read_the_same_rows(tmp_path: Path) -> None:
    """To the nanosecond; an hour before and after midnight in New York are two dates."""
    midnight = 1_771_045_200 * 1_000_000_000  # 2026-02-14 05:00 UTC
    rows = frame(
        trade(event_time=midnight - 1, last_price=1.5, trade_id="a"),
        trade(event_time=midnight + 1, last_price=2.5, last_size=None, side="buy"),
    )

    written = sink(tmp_path).write("trade", rows, "7:1-2")

    assert (written.rows, written.duplicates, len(written.files)) == (2, 0, 2)
    assert rows_of(tmp_path / "trade").equals(rows)
    table = DeltaTable(tmp_path / "trade")
    expected = [(midnight - 1, 1.5, "a", None), (midnight + 1, 2.5, None, "buy")]
    asked = "select event_time_ns, last_price, trade_id, side from {} order by event_time_ns"
    own = QueryBuilder().register("trade", table).execute(asked.format("trade")).read_all()
    assert pl.DataFrame(own).rows() == expected
    with duckdb.connect() as connection:
        assert connection.sql(asked.format(f"read_parquet({table.file_uris()})")).fetchall() == (
            expected
        )
    assert sorted(str(day) for day in table.partitions() if day) == [
        "{'date': '2026-02-13'}",
        "{'date': '2026-02-14'}",
    ]


@pytest.mark.parametrize("event_type", ["trade", "quote", "ref_px", "gap"])
def test_every_table_has_its_columns(tmp_path: Path, event_type: str) -> None:
    sink(tmp_path).write(event_type, to_frame(event_type, [], NEW_YORK), "")

    read = rows_of(tmp_path / event_type, event_type)
    found = DeltaTable(tmp_path / event_type).schema()
    times = [name for name, dtype in schema(event_type, "UTC").items() if dtype == pl.Datetime]
    expected = [*schema(event_type, "UTC"), *(f"{name}_ns" for name in times), "date"]
    assert [field.name for field in found.fields] == expected
    assert dict(read.schema) == schema(event_type, NEW_YORK)


def test_a_repeated_commit_is_a_no_op(tmp_path: Path) -> None:
    """Known by its chunks alone: not a file is read, and the table's version stays."""
    sink(tmp_path).write("trade", at(TIME, TIME + 1), "7:1-2 8:1-1")
    version = DeltaTable(tmp_path / "trade").version()
    for file in (tmp_path / "trade").rglob("*.parquet"):
        file.chmod(0)
        file.write_bytes(b"not to be read")

    again = sink(tmp_path).write("trade", at(TIME, TIME + 1), "7:1-2 8:1-1")

    assert (again.rows, again.duplicates) == (0, 2)
    table = DeltaTable(tmp_path / "trade")
    assert table.version() == version
    assert table.transaction_version("edc/main/7") == 2
    assert table.transaction_version("edc/main/8") == 1


@pytest.mark.parametrize("chunks", ["7:1-3", "east/7:1-2", ""])
def test_rows_that_come_in_another_batch_are_found_by_reading(tmp_path: Path, chunks: str) -> None:
    """A batch that was partly written, one of a bus, one of nobody's chunks, another instance's."""
    sink(tmp_path).write("trade", at(TIME, TIME + 1), "7:1-2")

    written = sink(tmp_path, "west").write("trade", at(TIME + 1, TIME + 2), chunks)

    assert (written.rows, written.duplicates) == (1, 1)
    assert rows_of(tmp_path / "trade").equals(at(TIME, TIME + 1, TIME + 2))


def test_equal_but_for_a_nanosecond_are_two(tmp_path: Path) -> None:
    """Though Delta's own timestamps are the same."""
    tables = sink(tmp_path)
    tables.write("trade", at(TIME), "7:1-1")
    assert tables.write("trade", at(TIME + 1), "7:2-2").rows == 1

    assert rows_of(tmp_path / "trade")["event_time"].to_physical().to_list() == [TIME, TIME + 1]
    assert pl.read_delta(str(tmp_path / "trade"))["event_time"].n_unique() == 1


def test_a_damaged_file_leaves_its_table_with_its_loss_told(tmp_path: Path) -> None:
    [file] = sink(tmp_path).write("trade", at(TIME), "7:1-1").files
    file.write_bytes(file.read_bytes()[:-20])
    damages: list[Damage] = []

    written = sink(tmp_path, on_damaged=damages.append).write("trade", at(TIME), "7:2-2")

    assert written.rows == 1
    assert [damage.path for damage in damages] == [file]
    assert rows_of(tmp_path / "trade").equals(at(TIME))
    assert [each.name for each in (tmp_path / ".quarantine").iterdir() if each.suffix != ".reason"]


@pytest.mark.parametrize("left", [0, 40])
def test_a_commit_that_a_power_cut_tore_is_set_aside(tmp_path: Path, left: int) -> None:
    """It was not synced, so its chunks are still there and come again."""
    tables = sink(tmp_path)
    tables.write("trade", at(TIME), "7:1-1")
    tables.write("trade", at(TIME + 1), "7:2-2")
    last = max((tmp_path / "trade/_delta_log").glob("*.json"))
    last.write_bytes(last.read_bytes()[:left])

    sink(tmp_path).write("trade", at(TIME + 1), "7:2-2")

    assert rows_of(tmp_path / "trade").equals(at(TIME, TIME + 1))
    assert (tmp_path / ".quarantine" / last.name).exists()


def test_a_torn_checkpoint_is_set_aside(tmp_path: Path) -> None:
    tables = sink(tmp_path)
    for number in range(101):
        tables.write("trade", at(TIME + number), f"7:{number + 1}-{number + 1}")
    [checkpoint] = (tmp_path / "trade/_delta_log").glob("*.checkpoint.parquet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])

    sink(tmp_path).write("trade", at(TIME + 200), "8:1-1")

    assert rows_of(tmp_path / "trade").height == 102


def test_compaction_by_the_library_keeps_every_row_and_open_days(tmp_path: Path) -> None:
    tables = sink(tmp_path)
    for number in range(4):
        tables.write(
            "trade", at(TIME + number, TIME + DAY + number), f"7:{number + 1}-{number + 1}"
        )
    before = rows_of(tmp_path / "trade")
    later = TIME + DAY  # the second day is not over

    def upkeep(**keep: int) -> DeltaUpkeep:
        return DeltaUpkeep(
            str(tmp_path), {}, NEW_YORK, closed_after=3600.0, keep_days=keep, now_ns=lambda: later
        )

    folder = Path("trade/date=2026-02-13")
    assert list(upkeep().run(dry_run=True)) == [Compacted(folder, 4, None, 4, None)]
    assert rows_of(tmp_path / "trade").equals(before)
    assert list(upkeep().run()) == [Compacted(folder, 4, 1, 4, 4)]
    assert list(upkeep().run()) == []
    assert rows_of(tmp_path / "trade").equals(before)
    assert len(DeltaTable(tmp_path / "trade").file_uris()) == 5
    assert sink(tmp_path).write("trade", at(TIME + 2, TIME + 9), "8:1-1").rows == 1

    later = TIME + 2 * DAY
    [removed] = [each for each in upkeep(trade=1).run() if isinstance(each, Removed)]
    assert replace(removed, size=0) == Removed(folder, 2, 0)
    assert rows_of(tmp_path / "trade")["event_time"].min() > before["event_time"].min()  # type: ignore[operator]


@pytest.fixture
def s3() -> Iterator[S3]:
    with S3() as server:
        for key in server.keys():  # noqa: SIM118 - moto keeps them for the whole process
            server.client().delete_object(Bucket=BUCKET, Key=key)
        yield server


def test_two_instances_commit_to_one_table_in_a_bucket(s3: S3) -> None:
    """In turns, each with the rows of both: every row once."""
    sinks: list[LakeSink] = [
        DeltaSink(
            ObjectStore(URL, s3.options), s3.options, NEW_YORK, name, lambda: TIME, lambda _: None
        )
        for name in ("east", "west")
    ]
    for each in sinks:
        each.begin()
    for number in range(3):
        for each in sinks:
            each.write(
                "trade", at(TIME + number, TIME + number + 1), f"7:{number + 1}-{number + 1}"
            )

    rows = rows_of(f"{URL}/trade", options=s3.options)
    assert rows.equals(at(TIME, TIME + 1, TIME + 2, TIME + 3))
    assert [name.split("/")[1] for name in s3.keys()][:2] == [".lake.json", "trade"]  # noqa: SIM118


def delta_config(folder: Path, url: str, more: str = "") -> Path:
    path = write_config(folder, url, more=more)
    path.write_text(path.read_text().replace("[storage]", '[storage]\nformat = "delta"'))
    return path


async def test_from_a_socket_to_a_delta_table(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, rate=2000, events=400, record=True)
    async with serving(simulator):
        daemon = supervisor(delta_config(tmp_path, simulator.url, "[batch]\nmax_rows = 100\n"))
        async with running(daemon):
            await until_events(daemon, 400)

    sent = [json.loads(each)["data"] for each in simulator.frames["crypto_data"]]
    trades = rows_of(tmp_path / "lake/trade")
    expected = {(data[1], data[4], data[5]) for data in sent if data[0] == "T"}
    assert set(trades.select("symbol", "last_size", "last_price").iter_rows()) == expected
    assert trades.height + rows_of(tmp_path / "lake/quote", "quote").height == 400


def test_kills_leave_every_row_once(tmp_path: Path) -> None:
    """Killed at five moments that nothing announces: what any chunk held is in the tables, once."""
    chance = random.Random(5)
    vendor = SimulatorProcess(tmp_path, rate=3000)
    path = delta_config(tmp_path, vendor.url, "[batch]\nmax_rows = 300\n")
    spooled = tmp_path / "lake/.spool/main"
    for _ in range(5):
        before = set(spooled.rglob("*.arrow"))
        daemon = Process("run", "--config", str(path), cwd=tmp_path)
        wait_until(lambda before=before: set(spooled.rglob("*.arrow")) - before)  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.8))
        daemon.process.kill()
        daemon.wait()
    safe = {
        kind: pl.concat([read_chunk(each) for each in chunks])
        for kind in ("trade", "quote")
        if (chunks := sorted((spooled / kind).glob("[!.]*.arrow")))
    }
    flushed = Process("flush", "--config", str(path), cwd=tmp_path)
    assert flushed.wait() == 0, flushed.output
    vendor.end()

    for kind in ("trade", "quote"):
        rows = rows_of(tmp_path / "lake" / kind, kind)
        assert rows.height == rows.unique(identity(kind)).height > 0
        if kind in safe:
            missing = safe[kind].join(rows, on=identity(kind), how="anti", nulls_equal=True)
            assert missing.is_empty()
    compacted = Process("compact", "--config", str(path), cwd=tmp_path)
    assert compacted.wait() == 0, compacted.output
