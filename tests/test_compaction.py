"""Compaction changes the files and never the set of rows, whatever interrupts it."""

import errno
import shutil
from collections.abc import Callable
from itertools import count, product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edc import events, files, footers
from edc.errors import DiskFailed
from edc.events import Origin, Quote, Trade, identity, to_frame
from edc.lake import Lake
from edc.sinks.parquet import ParquetSink
from edc.times import SECOND
from edc.upkeep import compaction, merging, offstage, swap
from edc.upkeep.compaction import MANIFEST, Compacted, Compactor
from edc.upkeep.merging import Merger
from edc.upkeep.offstage import Problem
from tests.harness import read

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


def compacted(folder: Path, **options: Any) -> Compacted:
    """What one compaction of one partition did."""
    (done,) = compactor(folder, **options).run()
    assert isinstance(done, Compacted), done
    return done


def leftovers(folder: Path) -> list[Path]:
    """What lies in `.compacting` though nothing is at work there."""
    return [path for path in (folder / "lake" / ".compacting").rglob("*") if path.is_file()]


def rows_as_written(rows: list[Trade]) -> list[tuple[object, ...]]:
    frame = to_frame("trade", rows, NEW_YORK).select(identity("trade"))
    return sorted(frame.rows(), key=str)


def rows_of(folder: Path) -> list[tuple[object, ...]]:
    rows = read(folder / "lake", "trade")
    return sorted(rows.select(identity("trade")).rows(), key=str) if rows.height else []


def test_a_closed_partition_becomes_one_sorted_file_with_the_same_rows(tmp_path: Path) -> None:
    for number in range(10):
        write(tmp_path, [trade(number * 10 + second, "eu"[second % 2]) for second in range(10)])
    before = rows_of(tmp_path)

    done = compacted(tmp_path)

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

    done = compacted(tmp_path)

    assert (done.rows_before, done.rows_after) == (75, 50)
    (path,) = folder.glob("*.parquet")
    assert pl.read_parquet_metadata(path)["edc.instance"] == "b,main"
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
    done = compacted(tmp_path)

    assert done.rows_after == 3
    assert len(rows_of(tmp_path)) == 3


POINTS = [
    (Compactor, "_sources", 1),
    (files, "make_folder", 1),
    (files, "replace", 1),
    (Merger, "_plan", 1),
    (Merger, "_split", 1),
    (Merger, "_spill", 2),
    (Merger, "_write", 1),
    (Merger, "_merged", 2),
    (files, "sync_file", 1),
    (Merger, "_verify", 1),
    (compaction, "_fingerprint", 1),
    (files, "replace", 2),
    (swap, "link_others", 1),
    (swap, "exchange", 1),
    (files, "sync_folder", -1),
    (Compactor, "recover", 2),
    (swap, "bring_others", 1),
    (offstage, "discard", 1),
    (shutil, "rmtree", 1),
]
"""Where a compaction may be killed, in the order of its way: at so manieth call of what."""


class Kill:
    """Raises Killed instead of the so manieth call of a function; -1 is the first after `after`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> None:
        self._function = getattr(owner, name)
        self._call = call
        self.calls = 0
        self.fired = False
        if call < 0:
            exchange = swap.exchange

            def armed(one: Path, other: Path) -> None:
                exchange(one, other)
                self._call = self.calls + 1

            monkeypatch.setattr(swap, "exchange", armed)
        kill = self

        def replaced(*arguments: Any, **options: Any) -> Any:
            kill.calls += 1
            if kill.calls == kill._call:
                kill.fired = True
                raise Killed
            return kill._function(*arguments, **options)

        monkeypatch.setattr(owner, name, replaced)


@pytest.mark.parametrize("before", ["never compacted", "compacted before"])
@pytest.mark.parametrize(("owner", "name", "call"), POINTS)
def test_killed_at_any_point_it_goes_back_or_on_and_no_row_is_lost(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    before: str,
) -> None:
    """Also with a row that comes late, just before the folders change places."""
    rows = [[trade(second), trade(second, "ethusd")] for second in range(5)]
    for part in rows[:3]:
        write(tmp_path, part)
    if before == "compacted before":
        assert len(list(compactor(tmp_path).run())) == 1
    for part in rows[3:]:
        write(tmp_path, part)
    late = trade(200, "late")
    expected = rows_as_written([*(row for part in rows for row in part), late])
    link_others = swap.link_others

    def link_and_write(*arguments: Any) -> None:
        link_others(*arguments)
        write(tmp_path, [late])

    with monkeypatch.context() as patch:
        patch.setattr(swap, "link_others", link_and_write)
        kill = Kill(patch, owner, name, call)
        with pytest.raises(Killed):
            list(compactor(tmp_path, group_rows=3).run())
    assert kill.fired
    lates = [each for each in expected if each[2] == "late"]
    assert [each for each in rows_of(tmp_path) if each not in lates] == [
        each for each in expected if each not in lates
    ]

    list(compactor(tmp_path).run())
    write(tmp_path, [late])  # unless it was killed before that
    list(compactor(tmp_path).run())
    offstage.sweep(tmp_path / "lake")

    assert rows_of(tmp_path) == expected
    assert len(list((tmp_path / "lake").rglob("*.parquet"))) == 1
    assert leftovers(tmp_path) == []


def test_a_row_that_came_late_is_there_after_a_kill_at_the_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old folder had a manifest too: which of the two is the new one must be told apart."""
    for second in range(2):
        write(tmp_path, [trade(second)])
    list(compactor(tmp_path).run())
    write(tmp_path, [trade(2)])
    exchange = swap.exchange

    def late(one: Path, other: Path) -> None:
        write(tmp_path, [trade(3)])
        exchange(one, other)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(swap, "exchange", late)
        with pytest.raises(Killed):
            list(compactor(tmp_path).run())

    list(compactor(tmp_path).run())

    assert rows_of(tmp_path) == rows_as_written([trade(second) for second in range(4)])


def test_a_file_that_comes_while_it_works_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(3):
        write(tmp_path, [trade(second)])
    exchange = swap.exchange

    def late(one: Path, other: Path) -> None:
        write(tmp_path, [trade(100, price=2.0)])
        exchange(one, other)

    monkeypatch.setattr(swap, "exchange", late)
    done = compacted(tmp_path)

    assert done.rows_after == 3
    assert read(tmp_path / "lake", "trade").height == 4


def lossy(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.head(-1)


def doubling(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([rows, rows.head(1)])


def altering(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("created_at") + pl.duration(nanoseconds=1, time_unit="ns"))


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        *product(["distinct"], [lossy, doubling]),
        *product(["_spill", "result"], [lossy, doubling, altering]),
    ],
)
def test_a_result_that_is_not_the_sources_rows_never_replaces_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    fault: Callable[[pl.DataFrame], pl.DataFrame],
) -> None:
    """A fault in sorting, on the way through the pieces, or in the file that was written."""
    for second in range(3):
        write(tmp_path, [trade(second)])
    before = rows_of(tmp_path)
    if place == "distinct":
        distinct = events.distinct
        monkeypatch.setattr(merging, "distinct", lambda *given: fault(distinct(*given)))
    elif place == "_spill":
        spill = Merger._spill
        monkeypatch.setattr(
            Merger, "_spill", lambda self, plan, rows: spill(self, plan, fault(rows))
        )
    else:
        sync_file = files.sync_file

        def spoilt(path: Path) -> None:
            fault(pl.read_parquet(path, hive_partitioning=False)).write_parquet(path)
            sync_file(path)

        monkeypatch.setattr(files, "sync_file", spoilt)

    (problem,) = compactor(tmp_path).run()

    assert isinstance(problem, Problem)
    assert rows_of(tmp_path) == before
    assert len(list((tmp_path / "lake").rglob("*.parquet"))) == 3
    assert leftovers(tmp_path) == []


@pytest.fixture(params=[errno.EINVAL, errno.ENOSYS])
def cannot_exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system, or a kernel, without RENAME_EXCHANGE."""

    def refused(_one: Path, other: Path) -> None:
        raise OSError(request.param, "refused", str(other))

    monkeypatch.setattr(swap, "exchange", refused)


@pytest.mark.usefixtures("cannot_exchange")
def test_where_folders_cannot_be_exchanged_files_come_before_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader may see rows twice for a while, and misses none at any step."""
    for second in range(4):
        write(tmp_path, [trade(second), trade(second, "ethusd")])
    before = rows_of(tmp_path)
    seen: list[int] = []

    def watched(name: str) -> None:
        function = getattr(Path, name)

        def step(self: Path, *arguments: Any, **options: Any) -> Any:
            done = function(self, *arguments, **options)
            rows = rows_of(tmp_path)
            assert sorted(set(rows), key=str) == before
            seen.append(len(rows))
            return done

        monkeypatch.setattr(Path, name, step)

    watched("rename")

    (done,) = compactor(tmp_path, group_rows=2, file_rows=4).run()

    assert isinstance(done, Compacted)
    assert done.files_after == 2
    assert rows_of(tmp_path) == before
    assert max(seen) == 16
    assert leftovers(tmp_path) == []
    assert list(compactor(tmp_path).run()) == []


@pytest.mark.usefixtures("cannot_exchange")
@pytest.mark.parametrize("before", ["never compacted", "compacted before"])
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (files, "replace", 2),
        (files, "replace", 3),
        (Compactor, "recover", 2),
        (swap, "publish", 1),
        (Path, "rename", 1),
        (Path, "rename", 2),
        (Path, "rename", 3),
        (Path, "rename", 4),
        (offstage, "discard", 1),
    ],
)
def test_killed_where_folders_cannot_be_exchanged_it_is_finished(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    before: str,
) -> None:
    for second in range(3):
        write(tmp_path, [trade(second), trade(second, "ethusd")])
    if before == "compacted before":
        compacted(tmp_path)
        write(tmp_path, [trade(7)])
    expected = rows_of(tmp_path)
    with monkeypatch.context() as patch:
        kill = Kill(patch, owner, name, call)
        with pytest.raises(Killed):
            list(compactor(tmp_path, group_rows=3, file_rows=4).run())
    assert kill.fired
    assert sorted(set(rows_of(tmp_path)), key=str) == expected
    write(tmp_path, [trade(99)])  # by a daemon that goes on meanwhile

    list(compactor(tmp_path).run())
    list(compactor(tmp_path).run())

    assert rows_of(tmp_path) == sorted([*expected, *rows_as_written([trade(99)])], key=str)
    assert leftovers(tmp_path) == []


def test_a_result_that_is_gone_when_it_is_to_be_published_keeps_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(3):
        write(tmp_path, [trade(second)])
    before = rows_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(swap, "exchanged", lambda _one, _other: False)
        patch.setattr(swap, "publish", raising(Killed))
        with pytest.raises(Killed):
            list(compactor(tmp_path).run())
    for path in (tmp_path / "lake" / ".compacting").rglob("*.parquet"):
        path.unlink()

    (problem,) = compactor(tmp_path).run()

    assert isinstance(problem, Problem)
    assert "a result, is gone" in problem.problem
    assert rows_of(tmp_path) == before


def raising(error: type[BaseException]) -> Callable[..., None]:
    def function(*_arguments: object, **_options: object) -> None:
        raise error

    return function


def parquet(folder: Path, hour: int = 12) -> list[Path]:
    place = folder / "lake" / "trade" / "date=2026-02-13" / f"hour={hour:02d}"
    return sorted(place.glob("*.parquet"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4:40] = bytes(byte ^ 0xFF for byte in data[4:40])  # the head of the first column's page
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_file_is_set_aside_and_the_rest_is_compacted(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    for second in range(4):
        write(tmp_path, [trade(second)])
        write(tmp_path, [trade(second - 3600)])
    bad = parquet(tmp_path)[1]
    damage(bad)

    first, problem, second_done = compactor(tmp_path).run()

    assert isinstance(first, Compacted)
    assert (first.folder.name, first.rows_after) == ("hour=11", 4)
    assert isinstance(problem, Problem)
    assert problem.folder == bad
    assert isinstance(second_done, Compacted)
    assert (second_done.files_before, second_done.rows_after) == (3, 3)
    kept = [*(trade(second - 3600) for second in range(4)), trade(0), trade(2), trade(3)]
    assert rows_of(tmp_path) == rows_as_written(kept)
    aside = tmp_path / "lake" / ".quarantine" / bad.name
    assert aside.exists()
    assert str(bad) in aside.with_name(bad.name + ".reason").read_text()


def test_a_damaged_file_is_in_the_ledger_before_it_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(3):
        write(tmp_path, [trade(second), trade(second + 10)])
    flip(parquet(tmp_path)[0])  # its footer can be read
    cut(parquet(tmp_path)[1])  # its footer cannot
    with monkeypatch.context() as patch:
        patch.setattr(files, "set_aside", raising(Killed))
        with pytest.raises(Killed):
            list(compactor(tmp_path).run())
    assert len(parquet(tmp_path)) == 3

    list(compactor(tmp_path).run())

    gaps = read(tmp_path / "lake", "gap").select(
        "feed",
        "cause",
        pl.col("started_at").to_physical() - NOON,
        pl.col("ended_at").to_physical() - NOON,
        "rows_lost",
    )
    assert set(gaps.rows()) == {
        (None, "damaged", 0, 10 * SECOND, 2),
        (None, "damaged", 0, 3600 * SECOND - 1, None),
    }
    assert rows_of(tmp_path) == rows_as_written([trade(2), trade(12)])


def rewrite(path: Path, rows: pl.DataFrame, **footer: str) -> None:
    """Put `rows` in the place of a file, with its footer changed."""
    said = pl.read_parquet_metadata(path)
    said.pop("ARROW:schema", None)
    rows.write_parquet(path, metadata={**said, **footer})


def test_a_partition_with_a_newer_schema_stays_and_the_others_are_compacted(
    tmp_path: Path,
) -> None:
    for second in range(2):
        write(tmp_path, [trade(second)])
        write(tmp_path, [trade(second + 3600)])
    path = parquet(tmp_path)[0]
    newer = pl.read_parquet(path).with_columns(pl.lit("x").alias("invented"))
    rewrite(path, newer, **{"edc.schema_version": "2"})

    problem, done = compactor(tmp_path).run()

    assert isinstance(problem, Problem)
    assert problem.folder == path.parent
    assert path.name in problem.problem
    assert "upgrade edc" in problem.problem
    assert isinstance(done, Compacted)
    assert done.folder.name == "hour=13"
    assert len(parquet(tmp_path)) == 2
    assert "invented" in pl.read_parquet_schema(path)


def test_files_of_an_older_schema_are_compacted_with_nulls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if `conditions` had come with version 2, and this edc wrote that."""
    for second in range(3):
        write(tmp_path, [trade(second)])
    path = parquet(tmp_path)[0]
    rewrite(path, pl.read_parquet(path).drop("conditions"))
    for module in (events, footers, compaction, merging):
        monkeypatch.setattr(module, "SCHEMA_VERSION", 2)
    monkeypatch.setitem(events.SINCE, "trade", {"conditions": 2})

    done = compacted(tmp_path)

    assert done.rows_after == 3
    (path,) = parquet(tmp_path)
    assert pl.read_parquet_metadata(path)["edc.schema_version"] == "2"
    assert pl.read_parquet(path)["conditions"].to_list() == [None] * 3
    assert rows_of(tmp_path) == rows_as_written([trade(second) for second in range(3)])


def test_a_column_that_is_not_ours_is_not_dropped(tmp_path: Path) -> None:
    for second in range(2):
        write(tmp_path, [trade(second)])
    path = parquet(tmp_path)[0]
    rewrite(path, pl.read_parquet(path).with_columns(pl.lit("x").alias("note")))

    (problem,) = compactor(tmp_path).run()

    assert isinstance(problem, Problem)
    assert problem.problem == f"{path.name}: note is unknown"
    assert len(parquet(tmp_path)) == 2


def test_a_file_of_others_is_left_where_it_is(tmp_path: Path) -> None:
    for second in range(2):
        write(tmp_path, [trade(second)])
    other = parquet(tmp_path)[0].with_name("other.parquet")
    pl.DataFrame({"a": [1]}).write_parquet(other)

    done = compacted(tmp_path)

    assert (done.files_before, done.files_after, done.rows_after) == (2, 1, 2)
    assert pl.read_parquet(other).rows() == [(1,)]


def test_a_result_whose_bytes_have_changed_is_not_merged_as_if_they_had_not(
    tmp_path: Path,
) -> None:
    """A readable file with other rows than were verified: its manifest tells."""
    for second in range(2):
        write(tmp_path, [trade(second)])
    compacted(tmp_path)
    write(tmp_path, [trade(5)])
    result = min(
        parquet(tmp_path), key=lambda path: "edc.compacted" not in pl.read_parquet_metadata(path)
    )
    rewrite(result, pl.read_parquet(result).with_columns(pl.lit(9.0).alias("last_price")))

    (problem,) = compactor(tmp_path).run()

    assert isinstance(problem, Problem)
    assert problem.problem == f"{result.name} is not what its manifest says"
    assert len(parquet(tmp_path)) == 2


def test_a_damaged_manifest_does_not_stop_the_next_compaction(tmp_path: Path) -> None:
    for second in range(2):
        write(tmp_path, [trade(second)])
    compacted(tmp_path)
    write(tmp_path, [trade(5)])
    (parquet(tmp_path)[0].parent / MANIFEST).write_bytes(b"{\xff")

    done = compacted(tmp_path)

    assert (done.files_before, done.rows_after) == (2, 3)
    assert list(compactor(tmp_path).run()) == []


def test_a_full_disk_is_told_and_leaves_all_as_it_was(tmp_path: Path) -> None:
    for second in range(2):
        write(tmp_path, [trade(second)])

    (problem,) = compactor(tmp_path, reserve=1 << 60).run()

    assert isinstance(problem, Problem)
    assert "are free" in problem.problem
    assert len(parquet(tmp_path)) == 2
    assert leftovers(tmp_path) == []


def test_an_error_while_it_writes_is_told_and_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(2):
        write(tmp_path, [trade(second)])

    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "sync_file", full)
    (problem,) = compactor(tmp_path).run()

    assert isinstance(problem, Problem)
    assert "No space left" in problem.problem
    assert len(parquet(tmp_path)) == 2
    assert leftovers(tmp_path) == []


def test_a_failed_fsync_ends_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for second in range(2):
        write(tmp_path, [trade(second)])

    def failed(path: Path) -> None:
        raise DiskFailed(str(path), "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_file", failed)
        with pytest.raises(DiskFailed):
            list(compactor(tmp_path).run())

    assert compacted(tmp_path).rows_after == 2


def test_work_on_a_partition_that_somebody_has_removed_is_removed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(2):
        write(tmp_path, [trade(second)])
    with monkeypatch.context() as patch:
        patch.setattr(Merger, "_verify", raising(Killed))
        with pytest.raises(Killed):
            list(compactor(tmp_path).run())
    assert leftovers(tmp_path) != []
    shutil.rmtree(tmp_path / "lake" / "trade")

    offstage.sweep(tmp_path / "lake")

    assert leftovers(tmp_path) == []


def test_a_folder_that_only_looks_like_a_partition_is_left_alone(tmp_path: Path) -> None:
    for second in range(2):
        write(tmp_path, [trade(second)])
    day = tmp_path / "lake" / "trade" / "date=2026-99-99"
    day.mkdir()
    for path in parquet(tmp_path):
        shutil.copy(path, day)
    (tmp_path / "lake" / "trade" / "date=2020-01-01").symlink_to(day)

    done = compacted(tmp_path)

    assert done.folder.parent.name == "date=2026-02-13"
    assert len(list(day.iterdir())) == 2


def test_a_checksum_is_that_of_rows_in_any_order_and_tells_columns_apart() -> None:
    rows = to_frame("trade", [trade(second, price=2.0) for second in range(50)], NEW_YORK)
    swapped = rows.with_columns(last_price=pl.col("last_size"), last_size=pl.col("last_price"))

    whole = merging.checksum(rows)

    assert whole.rows == 50
    assert merging.checksum(rows[::-1]) == whole
    assert merging.checksum(rows[:20]) + merging.checksum(rows[20:]) == whole
    assert merging.checksum(pl.concat([rows[:49], rows[:1]])) != whole
    assert merging.checksum(swapped) != whole


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

    done = compacted(tmp_path)

    assert (done.files_after, done.rows_after) == (1, 2)


def test_a_lake_that_is_not_there_yet_is_nothing_to_compact(tmp_path: Path) -> None:
    assert list(Compactor(tmp_path / "none", NEW_YORK, now_ns=clock()).run()) == []
