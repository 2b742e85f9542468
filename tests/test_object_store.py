"""A lake in an object store, over a real S3 server on loopback."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edc import config
from edc.backends import check_storage
from edc.errors import ConfigError
from edc.files import Damage
from edc.lake import Lake
from edc.object_store import ObjectStore
from edc.simulator.tiingo import TiingoSimulator
from edc.sinks.parquet import ParquetSink
from edc.spool import read_chunk
from tests.harness import (
    KEY,
    Process,
    SimulatorProcess,
    running,
    serving,
    supervisor,
    until,
    until_events,
    wait_until,
    write_config,
)
from tests.s3 import BUCKET, S3, SECRET
from tests.test_lake import NEW_YORK, TIME, at, frame, trade

URL = f"s3://{BUCKET}/market"
FOLDER = "date=2026-02-13/hour=13"


@pytest.fixture
def s3() -> Iterator[S3]:
    with S3() as server:
        for key in server.keys():  # noqa: SIM118 - moto keeps them for the whole process
            server.client().delete_object(Bucket=BUCKET, Key=key)
        yield server


def lake(s3: S3, instance: str = "main", **options: Any) -> Lake:
    volume = ObjectStore(URL, s3.options)
    return Lake(Path(), NEW_YORK, "hour", instance, lambda: TIME, volume=volume, **options)


def read(s3: S3, event_type: str) -> pl.DataFrame:
    """All rows of a table, as any user of Polars would read them."""
    place = f"{URL}/{event_type}/**/*.parquet"
    return pl.scan_parquet(place, storage_options=s3.options, hive_partitioning=False).collect()


def on_s3(folder: Path, url: str, s3: S3, more: str = "") -> Path:
    """A config whose lake is in the bucket."""
    path = write_config(folder, url, more=more)
    options = ", ".join(f'{name} = "{value}"' for name, value in s3.options.items())
    text = path.read_text().replace(
        f'path = "{folder / "lake"}"',
        f'path = "{URL}"\nlocal = "{folder / "local"}"\noptions = {{ {options} }}',
    )
    path.write_text(text)
    return path


def test_a_file_is_there_once_and_is_never_replaced(s3: S3) -> None:
    volume = ObjectStore(URL, s3.options)
    file = Path("trade") / FOLDER / "a.parquet"

    volume.publish(file, b"one")
    volume.publish(file, b"one")  # the answer to the first was lost, say

    with pytest.raises(FileExistsError):
        volume.publish(file, b"other")
    assert volume.read(file) == b"one"
    assert s3.keys() == [f"market/trade/{FOLDER}/a.parquet"]
    with pytest.raises(FileNotFoundError):
        volume.read(file.with_name("b.parquet"))


def test_folders_are_listed_as_on_a_disk(s3: S3) -> None:
    volume = ObjectStore(URL, s3.options)
    for name in (f"{FOLDER}/b.parquet", f"{FOLDER}/.c.parquet", f"{FOLDER}/d.txt"):
        volume.publish(Path("trade") / name, b"x")
    volume.publish(Path("trade/date=2026-02-12/hour=09/a.parquet"), b"x")
    volume.publish(Path("quote/date=2026-02-14/a.parquet"), b"x")

    assert volume.names(Path("trade") / FOLDER) == {"b.parquet"}
    assert volume.names(Path("trade/date=2026-02-13")) == set()
    assert list(volume.partitions(Path("trade"))) == [
        Path("trade/date=2026-02-12/hour=09"),
        Path("trade") / FOLDER,
    ]
    assert list(volume.partitions(Path("quote"))) == [Path("quote/date=2026-02-14")]
    assert list(volume.partitions(Path("gap"))) == []


def test_rows_are_there_once_for_polars_whoever_wrote_them_before(s3: S3) -> None:
    first = ParquetSink(lake(s3)).write("trade", at(TIME, TIME + 1), "1:1-1")
    again = ParquetSink(lake(s3)).write("trade", at(TIME + 1, TIME + 2), "1:1-2")

    assert (first.rows, first.duplicates) == (2, 0)
    assert (again.rows, again.duplicates) == (1, 1)
    assert [str(file) for file in first.files] == [s3.keys()[0].removeprefix("market/")]
    expected = at(TIME, TIME + 1, TIME + 2)
    assert read(s3, "trade").sort("event_time").equals(expected)


def test_a_damaged_object_is_set_aside_with_its_loss_and_the_rest_goes_on(s3: S3) -> None:
    ParquetSink(lake(s3)).write("trade", at(TIME), "1:1-1")
    [key] = s3.keys()
    whole = s3.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.client().put_object(Bucket=BUCKET, Key=key, Body=whole[: len(whole) // 2])
    damages: list[Damage] = []

    written = ParquetSink(lake(s3, on_damaged=damages.append)).write("trade", at(TIME), "1:1-2")

    assert written.rows == 1
    [damage] = damages
    assert damage.started_at <= TIME <= damage.ended_at
    assert damage.rows is None
    names = [each.removeprefix("market/") for each in s3.keys()]  # noqa: SIM118 - a method
    assert [name.split("/")[0] for name in names] == [".quarantine", ".quarantine", "trade"]
    assert names[1] == f"{names[0]}.reason"
    assert read(s3, "trade").height == 1


def test_a_lake_keeps_its_time_zone(s3: S3) -> None:
    lake(s3).claim()
    volume = ObjectStore(URL, s3.options)

    with pytest.raises(ConfigError, match="was begun with timezone 'America/New_York'"):
        Lake(Path(), "UTC", "hour", "main", lambda: TIME, volume=volume).claim()


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("s3://elsewhere/market", {}, "elsewhere/market cannot be written"),
        (URL, {"regoin": "us-east-1"}, "'regoin' is not valid"),
        ("s3:///", {}, "no place for a lake"),
        ("ftp://host/lake", {}, "no place for a lake"),
    ],
)
def test_what_cannot_be_a_lake_is_refused_with_the_mend(
    s3: S3, tmp_path: Path, url: str, options: dict[str, str], said: str
) -> None:
    path = on_s3(tmp_path, "ws://127.0.0.1:1", s3)
    option = next(iter(options), "region")
    path.write_text(path.read_text().replace(URL, url).replace("region =", f"{option} ="))

    with pytest.raises(ConfigError, match=said):
        supervisor(path).open()


def test_retention_is_the_bucket_s_business(s3: S3, tmp_path: Path) -> None:
    path = on_s3(tmp_path, "ws://127.0.0.1:1", s3)
    path.write_text(path.read_text().replace("[spool]", "keep_days = 30\n[spool]", 1))

    with pytest.raises(ConfigError, match="lifecycle rule"):
        check_storage(config.load(path).storage)


async def test_an_outage_of_the_store_loses_nothing(tmp_path: Path) -> None:
    """The bucket does not answer at the start, nor for a while later on."""
    with S3() as s3:
        port = int(s3.endpoint.rpartition(":")[2])
    simulator = TiingoSimulator(key=KEY, rate=2000, events=600, record=True)
    async with serving(simulator):
        path = on_s3(tmp_path, simulator.url, s3, more="[batch]\nmax_rows = 100\n")
        daemon = supervisor(path)
        async with running(daemon) as task:
            await until_events(daemon, 600)
            lanes = daemon.lanes
            await until(lambda: "lake" in lanes["trade"].stats.problems)
            assert sum(lane.stats.rows_pending for lane in lanes.values()) > 0
            with S3(port) as s3:
                await until(lambda: not lanes["trade"].stats.problems)
                await daemon.flush()
                rows = [read(s3, kind) for kind in ("trade", "quote")]
                assert SECRET not in json.dumps(daemon.status(), default=str)
                daemon.stop()
                await task

    assert sum(frame.height for frame in rows) == len(set(simulator.frames["crypto_data"])) == 600


def test_kills_leave_every_row_in_the_bucket_once(s3: S3, tmp_path: Path) -> None:
    """Five kills at random moments, then a run that ends in order: what any chunk held is there."""
    chance = random.Random(8)
    vendor = SimulatorProcess(tmp_path, rate=3000)
    path = on_s3(tmp_path, vendor.url, s3, more="[batch]\nmax_rows = 300\n")
    spooled = tmp_path / "local/.spool/main"
    for _ in range(5):
        before = set(spooled.rglob("*.arrow"))
        daemon = Process("run", "--config", str(path), cwd=tmp_path)
        wait_until(lambda before=before: set(spooled.rglob("*.arrow")) - before)  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.8))  # the moment of the kill, which nothing announces
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
        rows = read(s3, kind)
        identity = [name for name in rows.columns if name != "created_at"]
        assert rows.height == rows.unique(identity).height > 0
        if kind in safe:
            missing = safe[kind].join(rows, on=identity, how="anti", nulls_equal=True)
            assert missing.is_empty()
    for log in tmp_path.glob("*.log"):
        assert SECRET not in log.read_text()


def test_what_works_on_folders_says_so(s3: S3, tmp_path: Path) -> None:
    path = on_s3(tmp_path, "ws://127.0.0.1:1", s3)
    for command in ("compact", "audit"):
        asked = Process(command, "--config", str(path), cwd=tmp_path)
        assert asked.wait() == 2
        assert f"edc {command} works on a folder, and {URL} is none" in " ".join(
            asked.output.split()
        )


def test_one_trade_by_hand(s3: S3) -> None:
    """A row as it was written, to the last digit."""
    row = trade(symbol="btcusdt", last_price=66000.1, trade_id="17", created_at=TIME + 5)
    ParquetSink(lake(s3)).write("trade", frame(row), "1:1-1")

    [found] = read(s3, "trade").with_columns(pl.col(pl.Datetime).to_physical()).to_dicts()
    assert found["event_time"] == TIME
    assert found["created_at"] == TIME + 5
    assert (found["symbol"], found["last_price"], found["trade_id"]) == ("btcusdt", 66000.1, "17")
