"""An audit finds each thing that can be wrong with a lake, and nothing in one that is true."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from typer.testing import CliRunner

from edc import footers
from edc.audit import duplicates
from edc.audit.coverage import Cause, Day
from edc.audit.leftovers import Spooled
from edc.audit.verdict import Report, judge, open_lake
from edc.cli import app
from edc.deadletters import DeadLetters
from edc.errors import ConfigError, Skippable
from edc.events import Gap, Origin, Quote, Trade, schema, to_frame
from edc.files import set_aside
from edc.lake import Lake
from edc.sinks.parquet import ParquetSink
from edc.spool import Spool
from edc.times import SECOND
from edc.transport import Frame
from edc.upkeep.compaction import MANIFEST, Compactor, Manifest
from tests.harness import Process, write_config

NEW_YORK = "America/New_York"
HOUR = 3600 * SECOND
FRIDAY = 1_770_958_800 * SECOND
"""2026-02-13T00:00:00 in New York. The Monday after it is a holiday of the NYSE."""
SUMMER_ENDS = 1_793_505_600 * SECOND
"""2026-11-01T00:00:00 in New York, a day of 25 hours."""
YEARS_LATER = FRIDAY + 3 * 365 * 24 * HOUR
COIN = Origin("coins", "v", "v_coins", 1)
STOCK = Origin("shares", "v", "v_shares", 1)
DAY_ONE, DAY_TWO = "2026-02-13", "2026-02-14"


def clock() -> Callable[[], int]:
    ticks = count(YEARS_LATER, 1_000_000)
    return lambda: next(ticks)


NOW = clock()


def lake(folder: Path, instance: str = "main", partition: str = "hour") -> Lake:
    made = Lake(folder / "lake", NEW_YORK, partition, instance, NOW)
    made.path.mkdir(exist_ok=True)
    made.claim()
    return made


def trade(hour: float, start: int = FRIDAY, **fields: Any) -> Trade:
    """A trade so many hours after `start`."""
    at = start + int(hour * HOUR)
    given: dict[str, Any] = {
        "symbol": "btcusd",
        "asset_type": "crypto",
        "event_time": at,
        "last_price": 1.0,
        "last_size": 1.0,
        "created_at": at,
        "origin": COIN,
    }
    return Trade(**(given | fields))


def share(hour: float) -> Trade:
    return trade(hour, symbol="aapl", asset_type="stock", origin=STOCK)


def gap(started: float, ended: float, cause: str = "stale", **fields: Any) -> Gap:
    """A gap of the coins, from and to so many hours after Friday began."""
    given: dict[str, Any] = {
        "feed": "coins",
        "vendor": "v",
        "source": "v_coins",
        "started_at": FRIDAY + int(started * HOUR),
        "ended_at": FRIDAY + int(ended * HOUR),
        "cause": cause,
        "created_at": FRIDAY + int(ended * HOUR),
    }
    return Gap(**(given | fields))


def write(folder: Path, *rows: Trade | Quote | Gap, **options: Any) -> list[Path]:
    """Write rows of one table as the daemon does; the files."""
    kind = rows[0].event_type
    sink = ParquetSink(lake(folder, **options))
    return sink.write(kind, to_frame(kind, rows, NEW_YORK), "").files


def compact(folder: Path) -> Path:
    """Compact the one partition that needs it; its one file."""
    (done,) = Compactor(folder / "lake", NEW_YORK, now_ns=NOW).run()
    (path,) = done.folder.glob("*.parquet")
    return path


def rewrite(path: Path, rows: pl.DataFrame, **footer: str) -> None:
    """Replace a file by one with other rows, and the footer of the first but for what is given."""
    said = pl.read_parquet_metadata(path)
    kept = {key: text for key, text in said.items() if key.startswith("edc.")}
    rows.write_parquet(path, metadata=kept | {f"edc.{key}": text for key, text in footer.items()})


def content(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path, hive_partitioning=False)


def audited(folder: Path, **options: Any) -> Report:
    return judge(open_lake(folder / "lake"), **options)


def wrong(folder: Path) -> list[tuple[str, str, str]]:
    """The findings of an audit: kind, place below the lake, problem."""
    report = audited(folder)
    root = f"{folder / 'lake'}/"
    assert report.sound is (not report.findings)
    return [(each.kind, each.where.removeprefix(root), each.problem) for each in report.findings]


def sound(report: Report) -> Report:
    assert report.findings == []
    assert report.sound
    return report


def days(folder: Path, **options: Any) -> dict[tuple[str, str], Day]:
    found = {(day.day, day.source): day for day in sound(audited(folder, **options)).days}
    assert list(found) == sorted(found)
    return found


def test_a_lake_as_the_daemon_and_the_compaction_leave_it_is_sound(tmp_path: Path) -> None:
    write(tmp_path, trade(1), trade(1.5), trade(2))
    write(tmp_path, trade(1.25, symbol="ethusd"), trade(1, last_price=2.0))
    compact(tmp_path)
    write(tmp_path, trade(1.75))
    quote = Quote(
        symbol="eurusd",
        asset_type="fx",
        event_time=FRIDAY + HOUR + 5,
        created_at=FRIDAY + HOUR + 9,
        bid=1.0,
        ask=2.0,
        mid=1.5,
        origin=Origin("money", "v", "v_fx", 1),
    )
    write(tmp_path, quote)

    report = sound(audited(tmp_path))

    assert (report.rows, report.files, report.schema_versions) == (7, 4, {1: 4})
    assert (report.shared_rows, report.foreign, report.unplaced) == ({}, [], {})
    coins, money = report.days
    assert (coins.day, coins.source, coins.feeds, coins.rows) == (
        DAY_ONE,
        "v_coins",
        [],
        {"trade": 6},
    )
    assert coins.first == "2026-02-13T01:00:00.000000000-05:00"
    assert coins.last == "2026-02-13T02:00:00.000000000-05:00"
    assert (coins.open_seconds, coins.covered_percent, coins.gaps) == (3600.0, 100.0, {})
    assert (money.source, money.rows) == ("v_fx", {"quote": 1})
    assert money.first == money.last == "2026-02-13T01:00:00.000000005-05:00"
    assert (money.open_seconds, money.covered_percent) == (0.0, None)


def test_the_time_before_the_first_data_and_after_the_last_is_not_judged(tmp_path: Path) -> None:
    write(tmp_path, trade(6), trade(18))

    day = days(tmp_path)[DAY_ONE, "v_coins"]

    assert (day.open_seconds, day.covered_percent) == (12 * 3600.0, 100.0)


def test_half_of_a_day_without_data_is_half_of_it_covered(tmp_path: Path) -> None:
    write(tmp_path, trade(0), trade(24))
    write(tmp_path, gap(6, 18))

    day = days(tmp_path)[DAY_ONE, "v_coins"]

    assert (day.open_seconds, day.covered_percent) == (24 * 3600.0, 50.0)
    assert day.longest_gap_seconds == 12 * 3600.0
    assert day.gaps == {"stale": Cause(1, None)}
    assert day.feeds == ["coins"]


def test_a_gap_over_midnight_is_taken_off_both_days(tmp_path: Path) -> None:
    write(tmp_path, trade(12), trade(36))
    write(tmp_path, gap(21, 26))

    found = days(tmp_path)

    one, two = found[DAY_ONE, "v_coins"], found[DAY_TWO, "v_coins"]
    assert (one.open_seconds, one.covered_percent, one.longest_gap_seconds) == (43200, 75.0, 10800)
    assert two.open_seconds == 43200
    assert two.covered_percent == pytest.approx(100 * 10 / 12)
    assert two.longest_gap_seconds == 7200
    assert one.gaps == two.gaps == {"stale": Cause(1, None)}


def test_gaps_that_overlap_are_taken_off_once(tmp_path: Path) -> None:
    write(tmp_path, trade(8), trade(20))
    write(tmp_path, gap(9, 11), gap(10, 12, "killed"), gap(10.25, 10.5, "refused"), gap(15, 16))

    day = days(tmp_path)[DAY_ONE, "v_coins"]

    assert day.covered_percent == pytest.approx(100 * 8 / 12)
    assert day.longest_gap_seconds == 3 * 3600
    assert {cause: each.gaps for cause, each in day.gaps.items()} == {
        "killed": 1,
        "refused": 1,
        "stale": 2,
    }


def test_a_gap_that_was_filled_is_missing_no_more(tmp_path: Path) -> None:
    write(tmp_path, trade(8), trade(20))
    write(tmp_path, gap(9, 11, state="filled", rows_filled=3))

    assert days(tmp_path)[DAY_ONE, "v_coins"].covered_percent == 100.0


def test_a_closed_market_is_not_missed(tmp_path: Path) -> None:
    """From Friday 15:30 to Tuesday 9:45, with a weekend and Presidents' Day between."""
    tuesday = 4 * 24
    write(tmp_path, share(10), share(15.5), share(tuesday + 9.75), share(tuesday + 10.5))
    write(tmp_path, gap(15.5, tuesday + 9.75, "stopped", feed="shares", source="v_shares"))

    found = days(tmp_path)

    assert [day for day, _ in found] == [f"2026-02-{number}" for number in range(13, 18)]
    friday, *closed, last = found.values()
    assert friday.open_seconds == 6 * 3600  # 10:00, the first data ever, to 16:00
    assert friday.covered_percent == pytest.approx(100 * 5.5 / 6)
    assert friday.longest_gap_seconds == 1800
    for day in closed:
        assert (day.open_seconds, day.covered_percent, day.rows) == (0.0, None, {})
    assert (last.open_seconds, last.covered_percent) == (3600.0, 75.0)


def test_the_longest_gap_is_open_time_in_one_piece(tmp_path: Path) -> None:
    """A night is between the last half hour of Thursday and the first hour of Friday."""
    write(tmp_path, share(-14), share(15))
    write(tmp_path, gap(-8.5, 10.5, "killed", feed="shares", source="v_shares"))

    thursday, friday = days(tmp_path).values()

    assert (thursday.longest_gap_seconds, friday.longest_gap_seconds) == (1800, 3600)


def test_rows_lost_are_summed_by_cause_and_unknown_where_one_is(tmp_path: Path) -> None:
    write(tmp_path, trade(1), trade(25))
    write(
        tmp_path,
        gap(2, 2.1, "queue_full", rows_lost=5),
        gap(3, 3.1, "queue_full", rows_lost=7),
        gap(23.9, 24.1, "queue_full", rows_lost=2),
        gap(4, 4.1, "sequence", rows_lost=1),
        gap(5, 5.1, "sequence"),
        gap(6, 6.1, "damaged", rows_lost=9, feed=None, vendor=None, source=None),
    )

    report = sound(audited(tmp_path))

    one, two = report.days
    assert one.gaps == {"queue_full": Cause(3, 14), "sequence": Cause(2, None)}
    assert two.gaps == {}
    assert one.covered_percent == two.covered_percent == 100.0
    assert report.unplaced == {"damaged": Cause(1, 9)}


def test_the_record_reaches_as_far_as_the_watermark_says(tmp_path: Path) -> None:
    write(tmp_path, trade(6), trade(7))
    folder = tmp_path / "lake" / ".spool" / "main"
    folder.mkdir(parents=True)
    mark = {"vendor": "v", "source": "v_coins", "until": FRIDAY + 9 * HOUR, "cause": "killed"}
    (folder / "watermarks.json").write_text(json.dumps({"feeds": {"coins": mark}}))

    day = days(tmp_path)[DAY_ONE, "v_coins"]

    assert (day.open_seconds, day.feeds) == (3 * 3600.0, ["coins"])
    (folder / "watermarks.json").write_text("{")
    assert days(tmp_path)[DAY_ONE, "v_coins"].open_seconds == 3600.0


def test_days_that_are_asked_for_are_judged_by_what_lies_around_them(tmp_path: Path) -> None:
    write(tmp_path, trade(12))
    write(tmp_path, trade(30), share(34))
    write(tmp_path, trade(24 * 3 + 6))
    write(tmp_path, gap(20, 27), gap(47, 73, "killed"))

    def asked(first: int, last: int) -> dict[tuple[str, str], Day]:
        return days(tmp_path, first=date(2026, 2, first), last=date(2026, 2, last))

    (two,) = [day for day in asked(14, 14).values() if day.source == "v_coins"]
    assert (two.open_seconds, two.rows) == (24 * 3600.0, {"trade": 1})
    assert two.covered_percent == pytest.approx(100 * 20 / 24)
    assert two.gaps == {"killed": Cause(1, None), "stale": Cause(1, None)}
    (three,) = asked(15, 15).values()  # not a row in it
    assert (three.day, three.rows, three.covered_percent) == ("2026-02-15", {}, 0.0)
    assert three.open_seconds == three.longest_gap_seconds == 24 * 3600.0
    assert asked(10, 12) == asked(17, 20) == {}
    everything = days(tmp_path)
    assert {key: day for key, day in everything.items() if key[0] == DAY_TWO} == asked(14, 14)


def test_a_source_that_never_delivered_is_shown_with_its_gaps(tmp_path: Path) -> None:
    write(tmp_path, gap(3, 4, "refused"))

    (day,) = days(tmp_path).values()

    assert (day.rows, day.first, day.covered_percent) == ({}, None, None)
    assert day.gaps == {"refused": Cause(1, None)}


def test_the_day_on_which_the_clocks_go_back_has_twenty_five_hours(tmp_path: Path) -> None:
    (folder,) = {
        path.parent for path in write(tmp_path, trade(1, SUMMER_ENDS), trade(2, SUMMER_ENDS))
    }
    write(tmp_path, trade(0, SUMMER_ENDS), trade(25, SUMMER_ENDS))

    day = days(tmp_path)["2026-11-01", "v_coins"]

    assert folder.name == "hour=01"
    assert (day.open_seconds, day.rows) == (25 * 3600.0, {"trade": 3})
    assert day.last == "2026-11-01T01:00:00.000000000-05:00"


def test_a_row_that_is_there_twice_is_found(tmp_path: Path) -> None:
    (first,) = write(tmp_path, trade(1), trade(1.5))
    rows = content(first)
    second = first.with_name("consol_feeds_trade_again.parquet")
    shutil.copy(first, second)
    again = rows.head(1).with_columns(pl.col("created_at") + pl.duration(seconds=1, time_unit="ns"))
    rewrite(second, again, time_range=f"{FRIDAY + HOUR} {FRIDAY + HOUR}")

    folder = f"trade/date={DAY_ONE}/hour=01"
    problem = f"1 rows are there already, for example in {first.name} and {second.name}"
    assert wrong(tmp_path) == [("duplicate", folder, problem)]
    other = again.with_columns(pl.col("ordinal") + 1)
    rewrite(second, other)
    assert wrong(tmp_path) == []


def test_every_further_copy_counts_also_within_one_file(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1), trade(1.5))
    rows = content(path)
    rewrite(path, pl.concat([rows, rows, rows.head(1)]))

    [(kind, _, problem)] = wrong(tmp_path)

    assert (kind, problem.split(" rows")[0]) == ("duplicate", "3")


def test_many_duplicates_are_counted_in_several_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 rows, of which 100 are there twice and 50 three times."""
    (path,) = write(tmp_path, *(trade(1 + number / 1000) for number in range(300)))
    rows = content(path)
    rewrite(path, pl.concat([rows, rows.head(100), rows.head(50)]))

    for held, doubtful in ((40, 20), (40, 10_000), (10_000, 7)):
        monkeypatch.setattr(duplicates, "HELD", held)
        monkeypatch.setattr(duplicates, "DOUBTFUL", doubtful)
        [(_, _, problem)] = wrong(tmp_path)
        assert problem.startswith("150 rows ")


def test_what_two_instances_recorded_is_no_fault_and_gone_once_compacted(tmp_path: Path) -> None:
    (ours,) = write(tmp_path, trade(1), trade(1.25))
    rows = content(ours)
    beside = lake(tmp_path, "standby").write("trade", ours.parent, rows, "")

    report = sound(audited(tmp_path))

    assert report.shared_rows == {str(ours.parent): 2}
    rewrite(beside.path, pl.concat([rows, rows.head(1)]))  # that is one of its own
    [(kind, _, problem)] = wrong(tmp_path)
    assert (kind, problem.split(" rows")[0]) == ("duplicate", "1")
    compact(tmp_path)
    report = sound(audited(tmp_path))
    assert (report.shared_rows, report.rows) == ({}, 2)


def test_rows_in_the_wrong_folder_are_found(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1.25), trade(1.5))
    moved = path.parents[1] / "hour=05" / path.name
    moved.parent.mkdir()
    path.rename(moved)
    path.parent.rmdir()

    assert wrong(tmp_path) == [
        (
            "misplaced",
            f"trade/date={DAY_ONE}/hour=05",
            f"2 rows of trade/date={DAY_ONE}/hour=01",
        )
    ]


def test_files_outside_of_all_partitions_are_found(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1))
    path.rename(tmp_path / "lake" / "trade" / path.name)

    assert wrong(tmp_path) == [("misplaced", "trade", f"1 rows of trade/date={DAY_ONE}/hour=01")]


def test_rows_without_a_time_are_found(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1), trade(1.5))
    late = pl.col("event_time").dt.minute() == 30
    no_time = pl.when(~late).then("event_time").alias("event_time")
    rewrite(
        path,
        content(path).with_columns(no_time),
        time_range=f"{FRIDAY + HOUR} {FRIDAY + HOUR}",
    )

    assert [(kind, problem) for kind, _, problem in wrong(tmp_path)] == [
        ("misplaced", "1 rows have no time")
    ]


DRIFTS: list[tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = [
    (lambda rows: rows.with_columns(mood=pl.lit("x")), "mood is unknown"),
    (lambda rows: rows.drop("side"), "side is missing"),
    (
        lambda rows: rows.with_columns(pl.col("last_size").cast(pl.Float32)),
        "last_size is Float32, not Float64",
    ),
    (
        lambda rows: rows.with_columns(pl.col("event_time").dt.convert_time_zone("UTC")),
        "event_time is Datetime(ns, UTC), not Datetime(ns, America/New_York)",
    ),
    (lambda rows: rows.select(reversed(rows.columns)), "the columns are in another order"),
    (
        lambda rows: rows.drop("side").with_columns(mood=pl.lit("x")),
        "side is missing; mood is unknown",
    ),
]


@pytest.mark.parametrize(("change", "problem"), DRIFTS)
def test_columns_that_are_not_those_of_the_table_are_found(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], problem: str
) -> None:
    (path,) = write(tmp_path, trade(1), trade(1.5))
    rewrite(path, change(content(path)))

    assert wrong(tmp_path) == [
        ("drift", f"trade/date={DAY_ONE}/hour=01/{path.name}", problem),
    ]
    assert audited(tmp_path).rows == 2


def test_values_that_cannot_be_of_the_table_are_found(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1))
    rewrite(path, content(path).with_columns(last_price=pl.lit("dear")))

    [(kind, _, problem)] = wrong(tmp_path)

    assert (kind, problem) == ("drift", "last_price is String, not Float64")


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("2", "written in schema version 2, this edc knows up to 1: upgrade edc"),
        ("new", "schema version 'new' is none"),
    ],
)
def test_a_version_that_is_not_known_is_found(tmp_path: Path, version: str, problem: str) -> None:
    (path,) = write(tmp_path, trade(1))
    rewrite(path, content(path), schema_version=version)

    assert [(kind, said) for kind, _, said in wrong(tmp_path)] == [("drift", problem)]


def test_files_of_others_are_named_and_ignored(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1))
    foreign = path.with_name("notes.parquet")
    pl.DataFrame({"note": ["x"]}).write_parquet(foreign)

    report = sound(audited(tmp_path))

    assert (report.foreign, report.rows) == ([str(foreign)], 1)


def test_rows_and_footers_of_another_event_type_are_found(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1), trade(1.5))
    first = pl.int_range(pl.len()) == 0
    kind = pl.when(first).then(pl.lit("quote")).otherwise("event_type")
    rewrite(path, content(path).with_columns(event_type=kind), event_type="quote")

    assert [(kind, problem) for kind, _, problem in wrong(tmp_path)] == [
        ("event_type", "its footer says 'quote'"),
        ("event_type", "1 rows of another type"),
    ]


def test_a_footer_that_says_other_times_is_found(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1), trade(1.5))
    end = FRIDAY + HOUR * 3 // 2
    rewrite(path, content(path).tail(1))

    assert [(kind, problem) for kind, _, problem in wrong(tmp_path)] == [
        ("footer", f"says times {FRIDAY + HOUR} {end}, has {end} {end}")
    ]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_in_a_compacted_file_is_found_wherever_it_is(tmp_path: Path) -> None:
    write(tmp_path, trade(1))
    write(tmp_path, trade(1.5))
    path = compact(tmp_path)
    whole = path.read_bytes()
    name = f"trade/date={DAY_ONE}/hour=01/{path.name}"

    for at in range(4, len(whole), len(whole) // 40):
        flip(path, at)
        assert ("checksum", name, "its bytes are not those of the manifest") in wrong(tmp_path)
        path.write_bytes(whole)
    assert wrong(tmp_path) == []


def test_a_compacted_file_that_is_short_or_missing_is_found(tmp_path: Path) -> None:
    write(tmp_path, trade(1))
    write(tmp_path, trade(1.5))
    path = compact(tmp_path)
    name = f"trade/date={DAY_ONE}/hour=01/{path.name}"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-10])

    short, damaged = wrong(tmp_path)
    assert short == (
        "checksum",
        name,
        f"has {size - 10:,} bytes, the manifest says {size:,}",
    )
    assert damaged[:2] == ("damaged", name)
    path.unlink()
    assert wrong(tmp_path) == [("checksum", name, "is missing, with 2 rows")]


def test_sources_of_a_compaction_that_are_back_are_found(tmp_path: Path) -> None:
    (source,) = write(tmp_path, trade(1))
    data = source.read_bytes()
    write(tmp_path, trade(1.5))
    path = compact(tmp_path)
    source.write_bytes(data)

    folder = f"trade/date={DAY_ONE}/hour=01"
    assert wrong(tmp_path)[0] == (
        "checksum",
        f"{folder}/{source.name}",
        "was compacted, but is still there",
    )
    assert wrong(tmp_path)[1][:2] == ("duplicate", folder)
    (path.parent / MANIFEST).write_text("?")
    kind, where, problem = wrong(tmp_path)[0]
    assert (kind, where) == ("checksum", f"{folder}/{MANIFEST}")
    assert problem.startswith("cannot be read: ")


def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1))
    path.write_bytes(path.read_bytes()[:-20])

    [(kind, where, _)] = wrong(tmp_path)

    assert (kind, where) == ("damaged", f"trade/date={DAY_ONE}/hour=01/{path.name}")


def test_a_file_is_read_to_its_last_page_in_every_column(tmp_path: Path) -> None:
    """The footer is whole, and only pages of `created_at`, the last column, are not."""
    (path,) = write(tmp_path, *(trade(1 + number / 10_000) for number in range(9_000)))
    said = pl.read_parquet_metadata(path)
    del said["ARROW:schema"]
    pl.read_parquet(path, hive_partitioning=False).write_parquet(path, metadata=said)  # no seal
    data = path.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    middle = len(data) - footer - 1500
    path.write_bytes(data[:middle] + bytes(200) + data[middle + 200 :])
    assert pl.scan_parquet(path).select(pl.len()).collect().item() == 9_000
    others = [name for name in schema("trade", NEW_YORK) if name != "created_at"]
    assert pl.read_parquet(path, columns=others, hive_partitioning=False).height == 9_000

    [(kind, _, problem)] = wrong(tmp_path)

    assert kind == "damaged"
    assert problem.startswith("after 0 rows: ")


def test_what_lies_beside_the_tables_is_told_and_no_fault(tmp_path: Path) -> None:
    (path, bad) = write(tmp_path, trade(1), trade(2))
    root = tmp_path / "lake"
    set_aside(root, bad, "bit rot")
    letters = DeadLetters(root)
    for text in (b"{", b"\xff"):
        letters.keep(
            Origin("coins", "tiingo", "tiingo_crypto", 1),
            Frame(text, 1, 1),
            Skippable("malformed", "no JSON"),
        )
    spool = Spool(root, "main")
    spool.open()
    spool.append("trade", to_frame("trade", [trade(2), trade(3)], NEW_YORK))
    spool.close()
    half_done = root / ".compacting" / path.parent.relative_to(root)
    half_done.mkdir(parents=True)
    (half_done / MANIFEST).write_bytes(msgspec.json.encode(Manifest(1, [path.name])))

    left = sound(audited(tmp_path)).leftovers

    assert left.quarantined == {bad.name: f"{bad}: bit rot"}
    assert left.dead_letters == {"coins": 2}
    assert left.spooled == [Spooled("main", 2, running=False)]
    assert left.compactions == [f"trade/date={DAY_ONE}/hour=01"]


def test_a_partition_that_is_compacted_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (1, 1.25, 1.5):
        write(tmp_path, trade(hour))
    reading, calls = footers.read, count()

    def disturbed(path: Path, event_type: str, timezone: str) -> footers.Footer:
        if next(calls) == 1:
            compact(tmp_path)
        return reading(path, event_type, timezone)

    monkeypatch.setattr(footers, "read", disturbed)

    report = sound(audited(tmp_path))

    assert (report.rows, report.files) == (3, 1)


def test_a_partition_that_is_compacted_after_its_last_file_was_opened_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (1, 1.25, 1.5):
        write(tmp_path, trade(hour))
    reading, calls = footers.batches, count()

    def disturbed(path: Path) -> Iterator[pl.DataFrame]:
        yield from reading(path)
        if next(calls) == 2:
            compact(tmp_path)

    monkeypatch.setattr(footers, "batches", disturbed)

    report = sound(audited(tmp_path))

    assert (report.rows, report.files) == (3, 1)


def test_a_partition_that_goes_by_its_age_while_it_is_read_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write(tmp_path, trade(1))
    write(tmp_path, trade(2))
    reading = footers.batches

    def disturbed(each: Path) -> Iterator[pl.DataFrame]:
        yield from reading(each)
        if each == path:
            shutil.rmtree(path.parent)

    monkeypatch.setattr(footers, "batches", disturbed)

    assert sound(audited(tmp_path)).rows == 1


def test_a_folder_that_never_holds_still_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, trade(1))

    def gone(path: Path, *_others: str) -> footers.Footer:
        raise FileNotFoundError(path)

    monkeypatch.setattr(footers, "read", gone)

    with pytest.raises(OSError, match=r"files keep vanishing from .*hour=01"):
        audited(tmp_path)


def test_what_is_no_lake_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no lake"):
        open_lake(tmp_path)
    with pytest.raises(ConfigError, match="there is no lake"):
        open_lake(tmp_path / "nowhere", NEW_YORK, "hour")
    assert open_lake(tmp_path, "UTC", "hour").timezone == "UTC"
    assert list(tmp_path.iterdir()) == []
    marker = tmp_path / ".lake.json"
    marker.write_text("{")
    with pytest.raises(ConfigError, match=r"\.lake\.json: cannot be read"):
        open_lake(tmp_path)
    marker.write_text('{"schema_version": 9, "timezone": "UTC", "partition": "day"}')
    with pytest.raises(ConfigError, match="has schema version 9, this edc knows up to 1"):
        open_lake(tmp_path)


def command(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code of `edc audit`, and all that it printed."""
    if not (folder / "config.toml").exists():
        write_config(folder, "ws://127.0.0.1:9")
    done = CliRunner().invoke(app, ["audit", *arguments])
    return done.exit_code, done.output


def test_the_command_says_sound_and_ends_with_0(tmp_path: Path) -> None:
    write(tmp_path, trade(0), trade(24))
    write(tmp_path, gap(6, 18), gap(20, 20.1, "queue_full", rows_lost=1234))

    code, output = command(tmp_path)

    assert code == 0
    assert output.splitlines()[-1] == "4 rows in 4 files: sound"
    for text in (DAY_ONE, "v_coins", "50.00 %", "of 24:00:00", "1 queue_full (1,234 rows)"):
        assert text in output
    process = Process("audit", "--path", "lake", cwd=tmp_path)  # as cron sees it
    assert (process.wait(), process.output) == (0, output)


def test_the_command_ends_with_1_for_any_finding_and_names_it(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1))
    path.write_bytes(path.read_bytes()[:-20])

    code, output = command(tmp_path)

    assert code == 1
    assert f"damaged  {path}: " in output.replace("\n", "")
    assert output.splitlines()[-1] == "0 rows in 1 files: 1 finding"


def test_a_damaged_file_is_set_aside_on_request_and_the_next_audit_is_sound(tmp_path: Path) -> None:
    (bad, good) = sorted(write(tmp_path, trade(1), trade(2)))
    bad.write_bytes(bad.read_bytes()[:-20])

    code, output = command(tmp_path, "--set-aside")

    assert code == 1
    aside = tmp_path / "lake" / ".quarantine" / bad.name
    assert f"set aside: {aside}" in output
    assert aside.exists()
    assert not bad.exists()
    assert good.exists()
    gaps = pl.read_parquet(tmp_path / "lake" / "gap" / "**" / "*.parquet", hive_partitioning=False)
    assert gaps["cause"].to_list() == ["damaged"]
    code, output = command(tmp_path, "--set-aside")
    assert code == 0
    assert "sound" in output
    assert command(tmp_path, "--set-aside", "--path", "lake")[0] == 2


def test_gaps_fail_only_where_a_day_is_covered_less_than_was_asked(tmp_path: Path) -> None:
    write(tmp_path, trade(0), trade(48))
    write(tmp_path, gap(6, 18))

    assert command(tmp_path, "--fail-under", "50")[0] == 0
    code, output = command(tmp_path, "--fail-under", "50.1")
    assert code == 1
    assert f"coverage  {DAY_ONE} v_coins: 50.0000 % covered, less than 50.1 %" in output
    assert command(tmp_path, "--fail-under", "99.5", "--from", DAY_TWO, "--to", DAY_TWO)[0] == 0


def test_json_is_one_document_of_the_same(tmp_path: Path) -> None:
    (path,) = write(tmp_path, trade(1), trade(1.5))
    rewrite(path, pl.concat([content(path)] * 2))

    code, output = command(tmp_path, "--json")

    assert code == 1
    assert msgspec.json.decode(output, type=Report) == judge(open_lake(Path("lake").absolute()))
    answer = json.loads(output)
    assert answer["sound"] is False
    assert [each["kind"] for each in answer["findings"]] == ["duplicate"]
    assert answer["days"][0]["rows"] == {"trade": 4}


def test_what_the_operator_must_edit_ends_with_2(tmp_path: Path) -> None:
    write(tmp_path, trade(1))

    assert command(tmp_path, "--from", "yesterday") == (
        2,
        "edc: --from: 'yesterday' is no date; write it as 2026-02-13\n",
    )
    assert command(tmp_path, "--path", "nowhere")[0] == 2


_MEASURE = """
import resource, sys
from pathlib import Path
from edc.audit.verdict import judge, open_lake
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = judge(open_lake(Path(sys.argv[1])))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(report.rows, report.sound, (after - before) // 1024)
"""


def test_a_large_partition_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """2.4 million quotes, half of them in one large file: read whole they take 1.7 GiB."""
    made = lake(tmp_path, partition="day")
    folder = made.path / "quote" / f"date={DAY_ONE}"
    folder.mkdir(parents=True)
    empty = to_frame("quote", [], NEW_YORK)
    number = pl.int_range(200_000, dtype=pl.Int64)
    for part in range(12):
        at = FRIDAY + (part * 200_000 + number) * 20_000_000
        rows = pl.select(
            asset_type=pl.lit("crypto"),
            event_type=pl.lit("quote"),
            source=pl.lit("v_coins"),
            symbol=pl.format("pair-of-coins-{}", number % 50),
            exchange=pl.lit("an exchange of coins"),
            event_time=at.cast(pl.Datetime("ns", NEW_YORK)),
            created_at=(at + 3_000_000).cast(pl.Datetime("ns", NEW_YORK)),
            bid=100 + number % 997 / 100,
            ask=101 + number % 991 / 100,
            bid_size=number % 7 + 1.0,
            ask_size=number % 11 + 1.0,
            sequence=part * 200_000 + number,
        )
        rows = pl.concat([empty, rows], how="diagonal")
        rows.write_parquet(folder / (f".{part}.parquet" if part < 6 else f"q{part}.parquet"))
    hidden = [folder / f".{part}.parquet" for part in range(6)]
    pl.scan_parquet(hidden, hive_partitioning=False).sink_parquet(folder / "large.parquet")

    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(made.path)], check=True, capture_output=True, text=True
    )

    rows_read, is_sound, grown = done.stdout.split()
    assert (int(rows_read), is_sound) == (2_400_000, "True")
    assert int(grown) < 500, grown
