"""Compaction changes the files and never the set of rows, whatever interrupts it."""

import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edc import compaction
from edc.compaction import Compactor
from edc.errors import NotVerified
from edc.events import Origin, Quote, Trade, identity, to_frame
from edc.lake import Lake
from edc.sinks.parquet import ParquetSink
from edc.times import SECOND
from tests.harness import Process, read, write_config

NEW_YORK = "America/New_York"
NOON = 1_771_002_000 * SECOND
"""2026-02-13T12:00:00 in New York."""
LATER = NOON + 24 * 3600 * SECOND
ORIGIN = Origin("f", "v", "s", 1)


class Killed(BaseException):
    """Stands in for a kill at a named point: nothing may catch it."""


def clock(start: int = LATER) -> Callable[[], int]:
    ticks = count(start, 1_000_000)
    return lambda: next(ticks)


def trade(second: float, symbol: str = "btcusd", price: float = 1.0, created: int = 0) -> Trade:
    at = NOON + int(second * SECOND)
    return Trade(
        symbol=symbol,
        asset_type="crypto",
        event_time=at,
        last_price=price,
        last_size=1.0,
        created_at=at + created,
        origin=ORIGIN,
    )


def sink(folder: Path, instance: str = "main") -> ParquetSink:
    return ParquetSink(Lake(folder / "lake", NEW_YORK, "hour", instance, clock()))


def write(folder: Path, rows: list[Trade], instance: str = "main") -> None:
    sink(folder, instance).write("trade", to_frame("trade", rows, NEW_YORK), "")


def compactor(folder: Path, **options: Any) -> Compactor:
    return Compactor(folder / "lake", NEW_YORK, now_ns=clock(), **options)


def rows_of(folder: Path) -> list[tuple[object, ...]]:
    rows = read(folder / "lake", "trade")
    return sorted(rows.select(identity("trade")).rows(), key=str) if rows.height else []


def test_a_closed_partition_becomes_one_sorted_file_with_the_same_rows(tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path, [trade(number * 10 + second, "eu"[second % 2]) for second in range(10)])
    before = rows_of(tmp_path)

    (done,) = compactor(tmp_path).run()

    (path,) = done.folder.glob("*.parquet")
    assert (done.files_before, done.files_after) == (10, 1)
    assert (done.rows_before, done.rows_after) == (100, 100)
    assert rows_of(tmp_path) == before
    table = pl.read_parquet(path, hive_partitioning=False)
    assert table.equals(table.sort("symbol", "event_time"))
    footer = pl.read_parquet_metadata(path)
    assert footer["edc.compacted"] == "true"
    assert footer["edc.time_range"] == f"{NOON} {NOON + 99 * SECOND}"
    assert not list(compactor(tmp_path).run())


def test_an_event_that_two_instances_recorded_is_there_once_as_it_was_first_received(
    tmp_path: Path,
) -> None:
    rows = [trade(second, created=500) for second in range(50)]
    earlier = [trade(second, created=200) for second in range(25)]
    frame = to_frame("trade", rows, NEW_YORK)
    folder = tmp_path / "lake" / "trade" / "date=2026-02-13" / "hour=12"
    for instance, part in (("main", frame), ("b", to_frame("trade", earlier, NEW_YORK))):
        lake = Lake(tmp_path / "lake", NEW_YORK, "hour", instance, clock())
        lake.write("trade", folder, part, "")

    (done,) = compactor(tmp_path).run()

    assert (done.rows_before, done.rows_after) == (75, 50)
    waits = read(tmp_path / "lake", "trade").select(
        pl.col("created_at").to_physical() - pl.col("event_time").to_physical()
    )
    assert sorted(waits.to_series()) == [200] * 25 + [500] * 25


def test_a_partition_is_left_alone_until_it_is_over_for_an_hour(tmp_path: Path) -> None:
    for second in range(3):
        write(tmp_path, [trade(second)])
    for now, closed in ((NOON + 7199 * SECOND, False), (NOON + 7200 * SECOND, True)):
        early = Compactor(tmp_path / "lake", NEW_YORK, now_ns=lambda now=now: now)  # type: ignore[misc]
        assert bool(list(early.run())) is closed


def test_what_is_written_later_is_compacted_again_and_rows_still_dedupe(tmp_path: Path) -> None:
    write(tmp_path, [trade(1)])
    write(tmp_path, [trade(2)])
    assert len(list(compactor(tmp_path).run())) == 1

    write(tmp_path, [trade(1), trade(2), trade(3)])
    (done,) = compactor(tmp_path).run()

    assert done.rows_after == 3
    assert len(rows_of(tmp_path)) == 3


@pytest.mark.parametrize(
    "point", ["_groups", "_merge", "_verify", "_fingerprint", "exchange", "_recover", "rmtree"]
)
def test_killed_at_any_point_it_goes_back_or_on_and_no_row_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    for second in range(5):
        write(tmp_path, [trade(second), trade(second, "ethusd")])
    before = rows_of(tmp_path)
    calls = 0

    def killed(*_arguments: object, **_options: object) -> None:
        nonlocal calls
        calls += 1
        if point != "_recover" or calls > 1:  # the first one finds nothing to do
            raise Killed

    owner = shutil if point == "rmtree" else Compactor if hasattr(Compactor, point) else compaction
    with monkeypatch.context() as patch:
        patch.setattr(owner, point, killed)
        with pytest.raises(Killed):
            list(compactor(tmp_path).run())
    assert rows_of(tmp_path) == before

    list(compactor(tmp_path).run())

    assert rows_of(tmp_path) == before
    assert len(list((tmp_path / "lake").rglob("*.parquet"))) == 1


def test_a_file_that_comes_while_it_works_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(3):
        write(tmp_path, [trade(second)])
    exchange = compaction.exchange

    def late(one: Path, other: Path) -> None:
        write(tmp_path, [trade(100, price=2.0)])
        exchange(one, other)

    monkeypatch.setattr(compaction, "exchange", late)
    (done,) = compactor(tmp_path).run()

    assert done.rows_after == 3
    assert read(tmp_path / "lake", "trade").height == 4


def test_a_result_that_lacks_a_row_never_replaces_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(3):
        write(tmp_path, [trade(second)])
    before = rows_of(tmp_path)
    distinct = Compactor._distinct

    def lossy(self: Compactor, event_type: str, rows: pl.DataFrame) -> pl.DataFrame:
        return distinct(self, event_type, rows).head(2)

    monkeypatch.setattr(Compactor, "_distinct", lossy)
    with pytest.raises(NotVerified):
        list(compactor(tmp_path).run())

    assert rows_of(tmp_path) == before
    assert len(list((tmp_path / "lake").rglob("*.parquet"))) == 3


def test_two_compactions_do_not_work_on_one_lake(tmp_path: Path) -> None:
    for second in range(3):
        write(tmp_path, [trade(second)])
    first = compactor(tmp_path).run()
    next(first)

    assert list(compactor(tmp_path).run()) == []
    first.close()  # type: ignore[attr-defined]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 5).map(float),
                st.sampled_from(["a", "b", "brk/b", "../x", "\u05d0", "c" * 300]),
                st.sampled_from([1.0, -0.0, 1e308, 5e-324]),
                st.integers(0, 3),
            ),
            min_size=1,
            max_size=12,
        ),
        min_size=2,
        max_size=5,
    ),
    group_rows=st.integers(1, 8),
    file_rows=st.integers(1, 20),
)
def test_compaction_never_changes_the_set_of_rows(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[float, str, float, int]]],
    group_rows: int,
    file_rows: int,
) -> None:
    tmp_path = tmp_path_factory.mktemp("lake")
    folder = tmp_path / "lake" / "trade" / "date=2026-02-13" / "hour=12"
    lake = Lake(tmp_path / "lake", NEW_YORK, "hour", "main", clock())
    expected: dict[tuple[float, str, float], int] = {}
    for batch in batches:
        rows = [trade(*row) for row in batch]
        lake.write("trade", folder, to_frame("trade", rows, NEW_YORK), "")
        for second, symbol, price, created in batch:
            key = (second, symbol, price)
            expected[key] = min(created, expected.get(key, created))

    list(compactor(tmp_path, group_rows=group_rows, file_rows=file_rows).run())

    found = read(tmp_path / "lake", "trade").select(
        (pl.col("event_time").to_physical() - NOON) / SECOND,
        "symbol",
        "last_price",
        pl.col("created_at").to_physical() - pl.col("event_time").to_physical(),
    )
    assert sorted(found.rows()) == sorted((*key, created) for key, created in expected.items())


def test_quotes_are_compacted_as_trades_are(
    tmp_path: Path,
) -> None:
    quotes = [
        Quote(
            symbol="eurusd",
            asset_type="fx",
            event_time=NOON + second,
            bid=1.0,
            ask=None,
            mid=None,
            created_at=NOON,
            origin=ORIGIN,
        )
        for second in range(2)
    ]
    for quote in quotes:
        sink(tmp_path).write("quote", to_frame("quote", [quote], NEW_YORK), "")

    (done,) = compactor(tmp_path).run()

    assert (done.files_after, done.rows_after) == (1, 2)


def test_the_command_says_what_it_merged_and_then_that_there_is_nothing(tmp_path: Path) -> None:
    for second in range(3):
        write(tmp_path, [trade(second)])
    path = write_config(tmp_path, "ws://127.0.0.1:1")
    answers = []
    for _ in range(2):
        command = Process("compact", "--config", str(path), "--json", cwd=tmp_path)
        assert command.wait() == 0
        answers.append(json.loads(command.output))

    folder = str(tmp_path / "lake" / "trade" / "date=2026-02-13" / "hour=12")
    expected = {"folder": folder, "files_before": 3, "files_after": 1}
    assert answers == [[expected | {"rows_before": 3, "rows_after": 3}], []]


def test_a_lake_that_is_not_there_yet_is_nothing_to_compact(tmp_path: Path) -> None:
    assert list(Compactor(tmp_path / "none", NEW_YORK, now_ns=clock()).run()) == []
