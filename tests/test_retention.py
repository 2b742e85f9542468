"""Retention removes whole days that are too old, and nothing else."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from edc import config
from edc.errors import ConfigError
from edc.times import parse_iso
from edc.upkeep import offstage
from edc.upkeep.offstage import Problem
from edc.upkeep.retention import Removed, Retention

NEW_YORK = "America/New_York"


class Killed(BaseException):
    """Stands in for a kill at a named point: nothing may catch it."""


def day(lake: Path, name: str, table: str = "trade", *, hours: bool = False) -> Path:
    """A day's folder with files of 100 bytes and what edc leaves beside them."""
    folder = lake / table / f"date={name}"
    for place in [folder / "hour=09", folder / "hour=10"] if hours else [folder]:
        place.mkdir(parents=True)
        (place / "consol_feeds_trade_20260213_130922_668051.parquet").write_bytes(b"x" * 100)
        (place / ".manifest.json").write_bytes(b"y" * 10)
        (place / ".consol_feeds_trade_20260213.parquet.17.tmp").write_bytes(b"")
    return folder


def retention(lake: Path, now: str, timezone: str = NEW_YORK, **keep_days: int) -> Retention:
    return Retention(lake, timezone, keep_days, now_ns=lambda: parse_iso(now))


def removed(found: Any) -> list[str]:
    """The days that went; there must be no problem."""
    done = list(found)
    assert all(isinstance(each, Removed) for each in done), done
    return [each.folder.name for each in done]


@pytest.mark.parametrize("hours", [True, False])
def test_a_day_goes_once_its_youngest_row_is_older_than_that(tmp_path: Path, hours: bool) -> None:  # noqa: FBT001 - pytest passes it so
    for name in ("2026-02-12", "2026-02-13", "2026-02-14", "2026-02-15"):
        day(tmp_path, name, hours=hours)

    (first,) = retention(tmp_path, "2026-02-14T23:59:59-05:00", trade=1).run()
    (second,) = retention(tmp_path, "2026-02-15T00:00:00-05:00", trade=1).run()

    number = 2 if hours else 1
    folder = tmp_path / "trade"
    assert first == Removed(folder / "date=2026-02-12", 3 * number, 110 * number)
    assert second == Removed(folder / "date=2026-02-13", 3 * number, 110 * number)
    assert sorted(path.name for path in folder.iterdir()) == ["date=2026-02-14", "date=2026-02-15"]
    assert not [path for path in (tmp_path / ".compacting").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("timezone", "expected"),
    [(NEW_YORK, ["date=2026-02-12"]), ("UTC", ["date=2026-02-12", "date=2026-02-13"])],
)
def test_days_are_those_of_the_storage_time_zone(
    tmp_path: Path, timezone: str, expected: list[str]
) -> None:
    for name in ("2026-02-12", "2026-02-13", "2026-02-14"):
        day(tmp_path, name)

    found = retention(tmp_path, "2026-02-15T03:00:00Z", timezone, trade=1).run()

    assert removed(found) == expected


def test_days_are_calendar_days_also_where_the_clocks_change(tmp_path: Path) -> None:
    """2026-03-08 has 23 hours in New York, 2026-11-01 has 25."""
    for name in ("2026-03-07", "2026-03-08"):
        day(tmp_path, name)

    assert removed(retention(tmp_path, "2026-03-08T23:59:00-04:00", trade=1).run()) == []
    assert removed(retention(tmp_path, "2026-03-09T00:00:00-04:00", trade=1).run()) == [
        "date=2026-03-07"
    ]
    day(tmp_path, "2026-10-31")
    assert "date=2026-10-31" not in removed(
        retention(tmp_path, "2026-11-01T23:59:00-05:00", trade=1).run()
    )
    assert removed(retention(tmp_path, "2026-11-02T00:00:00-05:00", trade=1).run()) == [
        "date=2026-10-31"
    ]


def test_each_table_has_its_own_number_and_one_without_is_kept_for_ever(tmp_path: Path) -> None:
    for table in ("trade", "quote", "ref_px", "gap"):
        day(tmp_path, "2026-01-01", table)

    found = retention(tmp_path, "2026-02-13T12:00:00-05:00", trade=365, quote=30, gap=42).run()

    assert [each.folder.parent.name for each in found] == ["quote", "gap"]
    assert (tmp_path / "trade" / "date=2026-01-01").exists()
    assert (tmp_path / "ref_px" / "date=2026-01-01").exists()


def test_what_is_no_partition_of_ours_stays(tmp_path: Path) -> None:
    kept = day(tmp_path, "2030-01-01")
    table = tmp_path / "trade"
    for name in ("date=2020-02-31", "date=20200101", "date=2020-01-01x", "2020-01-02", "notes"):
        shutil.copytree(kept, table / name)
    (table / "date=2020-03-03").write_bytes(b"a file")
    (table / "date=2020-04-04").symlink_to(kept)
    day(tmp_path, "2020-01-01", "trades")
    before = sorted(tmp_path.rglob("*"))

    assert list(retention(tmp_path, "2026-02-13T12:00:00Z", trade=1).run()) == []
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["notes.txt", "hour=09/notes.txt", "_SUCCESS", ".keep"])
def test_a_day_that_holds_something_of_others_stays_and_is_told(tmp_path: Path, name: str) -> None:
    folder = day(tmp_path, "2020-01-01", hours=True)
    (folder / name).write_text("mine")
    day(tmp_path, "2020-01-02")

    problem, gone = retention(tmp_path, "2026-02-13T12:00:00Z", trade=30).run()

    strange = Path(name).name
    assert problem == Problem(folder, f"is older than 30 days, but holds {strange}: not ours")
    assert isinstance(gone, Removed)
    assert gone.folder.name == "date=2020-01-02"
    assert (folder / name).read_text() == "mine"


def test_a_link_inside_a_day_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.parquet").write_bytes(b"mine")
    lake = tmp_path / "lake"
    folder = day(lake, "2020-01-01")
    (folder / "hour=09").symlink_to(outside)

    (problem,) = retention(lake, "2026-02-13T12:00:00Z", trade=30).run()

    assert isinstance(problem, Problem)
    assert (outside / "a.parquet").read_bytes() == b"mine"


def test_killed_half_way_it_is_gone_from_the_table_and_the_next_run_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = day(tmp_path, "2020-01-01")

    def killed(*_arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(Killed):
            list(retention(tmp_path, "2026-02-13T12:00:00Z", trade=30).run())
    assert not folder.exists()
    assert list((tmp_path / ".compacting").rglob("*.parquet"))

    offstage.sweep(tmp_path)

    assert not [path for path in (tmp_path / ".compacting").rglob("*") if path.is_file()]


def test_a_day_that_cannot_be_removed_is_told_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = day(tmp_path, "2020-01-01")
    day(tmp_path, "2020-01-02")
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self == first:
            raise PermissionError(13, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    problem, gone = retention(tmp_path, "2026-02-13T12:00:00Z", trade=30).run()

    assert isinstance(problem, Problem)
    assert problem.folder == first
    assert "Permission denied" in problem.problem
    assert isinstance(gone, Removed)
    assert not gone.folder.exists()


def test_asked_what_it_would_remove_it_removes_nothing(tmp_path: Path) -> None:
    folder = day(tmp_path, "2020-01-01")

    (found,) = retention(tmp_path, "2026-02-13T12:00:00Z", trade=30).wanted()

    assert found == Removed(folder, 3, 110)
    assert len(list(folder.iterdir())) == 3


def test_a_lake_without_tables_has_nothing_to_remove(tmp_path: Path) -> None:
    assert list(retention(tmp_path / "none", "2026-02-13T12:00:00Z", trade=1).run()) == []


ALL = {"trade": 30, "quote": 30, "ref_px": 30, "gap": 30}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", {}),
        ('keep_days = "for ever"', {}),
        ("keep_days = 30", ALL),
        ("keep_days = { trade = 365, gap = 3650 }", {"trade": 365, "gap": 3650}),
    ],
)
def test_days_to_keep_are_one_number_or_one_for_each_table(
    written: str, expected: dict[str, int]
) -> None:
    path = Path("config.toml")
    path.write_text(f"[storage]\n{written}\n")

    assert config.load(path).storage.keep_days == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("30", ALL), ("for ever", {}), ('{"quote": 7}', {"quote": 7})],
)
def test_days_to_keep_can_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: dict[str, int]
) -> None:
    monkeypatch.setenv("EDC_STORAGE__KEEP_DAYS", value)

    assert config.load(None).storage.keep_days == expected


WRITE = 'write a number of days, "for ever", or days by event type, like { quote = 30 }'


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[30]", f"the value is not understood; {WRITE}"),
        ('"30d"', f"'30d' is not understood; {WRITE}"),
        ("0", "0 is too small; write 1 or more"),
        ("{ trade = -1 }", "-1 is too small; write 1 or more"),
        ('{ trade = "x" }', "'x' is no whole number; write one without quotes, like 6"),
        (
            "{ trades = 3 }",
            "'trades' is none of the choices; write 'trade', 'quote', 'ref_px' or 'gap'",
        ),
    ],
)
def test_wrong_days_to_keep_are_told_with_the_mend(written: str, expected: str) -> None:
    path = Path("config.toml")
    path.write_text(f"[storage]\nkeep_days = {written}\n")

    with pytest.raises(ConfigError) as caught:
        config.load(path)

    assert str(caught.value).startswith("config.toml: [storage] keep_days")
    assert str(caught.value).endswith(f": {expected}")
