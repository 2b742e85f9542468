"""Housekeeping: the command and the daemon's timer do the same, and the timer is safe to end."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from edc import config
from edc.errors import ConfigError
from edc.events import Origin, Trade, to_frame
from edc.lake import Lake
from edc.times import SECOND, parse_iso
from edc.upkeep import offstage
from edc.upkeep.compaction import MANIFEST, Compacted
from edc.upkeep.housekeeping import Busy, Housekeeper, Order, order, said, work
from edc.upkeep.offstage import Problem
from edc.upkeep.retention import Removed
from tests.harness import Process, Script, read, running, supervisor, until, write_config

NEW_YORK = "America/New_York"
NOON = "2024-02-13T12:00:00-05:00"
ORIGIN = Origin("f", "v", "s", 1)
FRAME = (
    '{"messageType":"A","service":"crypto_data",'
    '"data":["T","btcusd","2024-02-13T12:00:%02d-05:00","kraken",0.5,%d]}'
)
TIMER = '\n[compact]\nclosed_after = "0s"\nevery = "1s"\n'


def write(lake: Path, number: int, at: str = NOON) -> Path:
    """A file with one trade at so many seconds after `at`; its folder."""
    moment = parse_iso(at) + number * SECOND
    row = Trade(
        symbol="ethusd",
        asset_type="crypto",
        event_time=moment,
        last_price=1.0,
        last_size=1.0,
        created_at=moment,
        origin=ORIGIN,
    )
    sink = Lake(lake, NEW_YORK, "hour", "main", time.time_ns)
    ((folder, rows),) = sink.partitions("trade", to_frame("trade", [row], NEW_YORK))
    return sink.write("trade", folder, rows, "").path.parent


def an_order(lake: Path, **keep_days: int) -> Order:
    return Order(str(lake), NEW_YORK, "main", 3600.0, keep_days)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def stuck(lake: Path) -> Iterator[Path]:
    """A partition that nobody gets through: one of its files is a pipe without a writer."""
    folder = write(lake, 0, "2020-02-13T12:00:00-05:00")
    write(lake, 1, "2020-02-13T12:00:00-05:00")
    pipe = folder / "consol_feeds_trade_20200213_120000_000000.parquet"
    os.mkfifo(pipe)
    yield folder
    pipe.unlink()


def locked(lake: Path) -> bool:
    """True while somebody is at work."""
    if not (lake / ".compact.lock").exists():
        return False
    with offstage.alone(lake) as mine:
        return not mine


def test_what_is_too_old_goes_and_is_not_compacted_first(lake: Path) -> None:
    old = write(lake, 0, "2020-02-13T12:00:00-05:00")
    write(lake, 1, "2020-02-13T12:00:00-05:00")
    kept = write(lake, 0)
    write(lake, 1)
    wanted = an_order(lake, trade=365)
    now = parse_iso("2024-02-14T12:00:00-05:00")

    planned = list(work(wanted, now_ns=lambda: now, dry_run=True))
    assert old.exists()
    assert len(list(kept.glob("*.parquet"))) == 2
    assert not (lake / ".compact.lock").exists()
    done = list(work(wanted, now_ns=lambda: now))

    size = planned[0].size if isinstance(planned[0], Removed) else 0
    assert planned == [Removed(old.parent, 2, size), Compacted(kept, 2, None, 2, None)]
    assert done == [Removed(old.parent, 2, size), Compacted(kept, 2, 1, 2, 2)]
    assert not old.parent.exists()
    assert list(work(wanted, now_ns=lambda: now)) == []


def test_what_a_kill_has_left_is_removed_first(lake: Path) -> None:
    write(lake, 0)
    left = lake / ".compacting" / ".removed" / "1-2-hour=12"
    left.mkdir(parents=True)
    (left / "a.parquet").write_bytes(b"x")

    assert list(work(an_order(lake))) == []
    assert not left.exists()


def test_two_do_not_work_on_one_lake(lake: Path) -> None:
    write(lake, 0)
    folder = write(lake, 1)
    with offstage.alone(lake):
        assert list(work(an_order(lake))) == [Busy()]
    assert len(list(folder.glob("*.parquet"))) == 2

    assert len(list(work(an_order(lake)))) == 1


def test_a_lake_that_is_not_there_yet_is_nothing_to_do(tmp_path: Path) -> None:
    assert list(work(an_order(tmp_path / "none"))) == []
    assert not (tmp_path / "none").exists()


def test_the_settings_say_what_is_to_be_done() -> None:
    path = Path("config.toml")
    path.write_text(
        '[storage]\npath = "l"\ntimezone = "UTC"\ninstance = "b"\nkeep_days = { quote = 3 }\n'
        'reserve = "1MB"\n[compact]\nclosed_after = "2h"\n'
    )

    assert order(config.load(path)) == Order("l", "UTC", "b", 7200.0, {"quote": 3}, 1_000_000)


@pytest.mark.parametrize(
    ("written", "expected"), [('"90m"', 5400.0), ('"1s"', 1.0), ('"never"', None)]
)
def test_the_timer_has_an_interval_or_none(written: str, expected: float | None) -> None:
    Path("config.toml").write_text(f"[compact]\nevery = {written}\n")

    assert config.load(Path("config.toml")).compact.every == expected


@pytest.mark.parametrize(
    ("written", "mend"), [('"10ms"', "write 1 or more"), ('"often"', 'for example "200ms"')]
)
def test_a_wrong_interval_is_told_with_its_mend(written: str, mend: str) -> None:
    Path("config.toml").write_text(f"[compact]\nevery = {written}\n")

    with pytest.raises(ConfigError, match=r"\[compact\] every") as caught:
        config.load(Path("config.toml"))

    assert mend in str(caught.value)


def test_what_is_done_is_said_in_a_line() -> None:
    folder = Path("l/trade/date=2024-02-13")

    lines = [
        said(Compacted(folder, 20, 1, 12_345, 12_000)),
        said(Compacted(folder, 20, None, 12_345, None), dry_run=True),
        said(Removed(folder, 2, 1234)),
        said(Removed(folder, 2, 1234), dry_run=True),
        said(Problem(folder, "x.parquet: upgrade edc")),
        said(Busy()),
    ]

    assert lines == [
        "l/trade/date=2024-02-13: 20 files, 12,345 rows ─► 1 files, 12,000 rows",
        "l/trade/date=2024-02-13: 20 files, 12,345 rows, would be compacted",
        "l/trade/date=2024-02-13: removed, 2 files, 1,234 bytes",
        "l/trade/date=2024-02-13: would be removed, 2 files, 1,234 bytes",
        "l/trade/date=2024-02-13: x.parquet: upgrade edc",
        "another process is at work on this lake",
    ]


# the command


def test_the_command_says_what_it_does_and_then_that_there_is_nothing(
    tmp_path: Path, lake: Path
) -> None:
    old = write(lake, 0, "2020-02-13T12:00:00-05:00").parent
    folder = write(lake, 0)
    write(lake, 1)
    size = sum(path.stat().st_size for path in old.rglob("*.parquet"))
    path = write_config(tmp_path, "ws://127.0.0.1:1")
    years = (time.time_ns() - parse_iso(NOON)) // (86_400 * SECOND) + 2
    env = {"EDC_STORAGE__KEEP_DAYS": str(years)}
    answers = []
    for options in (["--dry-run"], [], []):
        command = Process(
            "compact", "--config", str(path), "--json", *options, cwd=tmp_path, env=env
        )
        assert command.wait() == 0, command.output
        answers.append(json.loads(command.output))

    nothing = {"dry_run": False, "busy": False, "removed": [], "compacted": [], "problems": []}
    gone = {"folder": str(old), "files": 1, "size": size}
    before = {"folder": str(folder), "files_before": 2, "rows_before": 2}
    assert answers == [
        nothing
        | {"dry_run": True, "removed": [gone]}
        | {"compacted": [before | {"files_after": None, "rows_after": None}]},
        nothing | {"removed": [gone], "compacted": [before | {"files_after": 1, "rows_after": 2}]},
        nothing,
    ]
    assert not old.exists()


def test_the_command_ends_with_1_where_something_is_wrong(tmp_path: Path, lake: Path) -> None:
    folder = write(lake, 0)
    write(lake, 1)
    write(lake, 2)
    bad = max(folder.glob("*.parquet"))
    bad.write_bytes(bad.read_bytes()[:100])
    path = write_config(tmp_path, "ws://127.0.0.1:1")

    command = Process("compact", "--config", str(path), cwd=tmp_path)
    assert command.wait() == 1
    again = Process("compact", "--config", str(path), cwd=tmp_path)
    assert again.wait() == 0

    assert f"edc: {bad}: damaged, and set aside" in command.output.replace("\n", " ")
    assert "2 files, 2 rows ─► 1 files, 2 rows" in command.output
    assert "nothing to compact" in again.output


# the timer


async def test_the_daemon_compacts_what_it_records_while_it_records(
    tmp_path: Path, lake: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows of an hour that is over long since come in, beside a file that is there."""
    folder = write(lake, 30)
    frames = [(FRAME % (number, number)).encode() for number in range(10)]
    caplog.set_level(logging.INFO)
    async with Script(frames) as vendor:
        path = write_config(tmp_path, vendor.url, more=TIMER)
        daemon = supervisor(path)
        async with running(daemon):
            await until(lambda: sum(each.stats.event_count for each in daemon.feeds) == 10)
            await daemon.flush()
            await until(lambda: (folder / MANIFEST).exists() and not locked(lake))
            await until(lambda: daemon.status()["compaction"]["last"])  # type: ignore[index]
            assert daemon.status()["compaction"]["problem"] == ""  # type: ignore[index]

    assert len(list(folder.glob("*.parquet"))) == 1
    assert read(lake, "trade").height == 11
    (line,) = [each for each in caplog.records if "─►" in each.getMessage()]
    assert line.getMessage() == f"{folder}: 2 files, 11 rows ─► 1 files, 11 rows"
    assert (line.name, line.levelname) == ("edc.upkeep.housekeeping", "INFO")


async def test_a_failure_is_a_warning_and_the_next_time_may_be_better(
    lake: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write(lake, 0)
    write(lake, 1)
    bad = min(folder.glob("*.parquet"))
    rows = pl.read_parquet(bad)
    rows.write_parquet(bad, metadata={"edc.schema_version": "99"})
    keeper, stopping = Housekeeper(an_order(lake), 1.0), asyncio.Event()
    task = asyncio.create_task(keeper.run(stopping))
    try:
        await until(lambda: keeper.problem)
        rows.write_parquet(bad)
        await until(lambda: not keeper.problem and keeper.last_ns)
    finally:
        stopping.set()
        await task

    warnings = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "housekeeping failed, and is tried again: " in warnings[0].getMessage()
    assert "upgrade edc" in warnings[0].getMessage()
    assert len(list(folder.glob("*.parquet"))) == 1


async def test_a_process_that_cannot_be_started_is_a_warning_too(
    lake: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    keeper, stopping = Housekeeper(an_order(lake), 1.0), asyncio.Event()
    task = asyncio.create_task(keeper.run(stopping))
    try:
        await until(lambda: keeper.problem)
    finally:
        stopping.set()
        await task

    assert "No such file or directory" in keeper.problem
    assert "housekeeping failed" in caplog.text


def children() -> list[int]:
    """The processes that this one has started."""
    found = Path("/proc/self/task").glob("*/children")
    return [int(pid) for path in found for pid in path.read_text().split()]


async def test_a_niced_process_that_is_killed_is_a_warning_and_tried_again(
    lake: Path, stuck: Path
) -> None:
    others = set(children())
    keeper, stopping = Housekeeper(an_order(lake), 1.0), asyncio.Event()
    task = asyncio.create_task(keeper.run(stopping))
    try:
        await until(lambda: locked(lake))
        (child,) = set(children()) - others
        nicer = os.getpriority(os.PRIO_PROCESS, child) - os.getpriority(os.PRIO_PROCESS, 0)
        assert nicer == 10
        os.kill(child, signal.SIGKILL)
        await until(lambda: keeper.problem)
        assert keeper.problem == "it ended with -9"
        await until(lambda: locked(lake))
    finally:
        stopping.set()
        await task


async def test_the_end_of_the_daemon_does_not_wait_for_a_compaction(
    tmp_path: Path, lake: Path, stuck: Path
) -> None:
    async with Script([b""]) as vendor:
        path = write_config(tmp_path, vendor.url, more=TIMER)
        daemon = supervisor(path)
        async with running(daemon):
            await until(lambda: locked(lake))
            started = time.monotonic()
        took = time.monotonic() - started

    assert took < 1.0
    assert not locked(lake)


async def test_cancelled_it_leaves_no_process_behind(lake: Path, stuck: Path) -> None:
    """As by the task group of a daemon whose disk fails."""
    task = asyncio.create_task(Housekeeper(an_order(lake), 1.0).run(asyncio.Event()))
    await until(lambda: locked(lake))

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert not locked(lake)


def test_a_daemon_that_is_killed_takes_its_compaction_along(
    tmp_path: Path, lake: Path, stuck: Path
) -> None:
    path = write_config(tmp_path, "ws://127.0.0.1:1", more=TIMER)
    daemon = Process("run", "--config", str(path), cwd=tmp_path)
    until_now(lambda: locked(lake))

    daemon.process.kill()
    daemon.wait()

    until_now(lambda: not locked(lake))


def until_now(condition: object, within: float = 30.0) -> None:
    """As `until`, without a loop."""
    assert callable(condition)
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


async def test_never_is_never(lake: Path) -> None:
    folder = write(lake, 0)
    write(lake, 1)
    keeper = Housekeeper(an_order(lake), None)

    stopping = asyncio.Event()
    task = asyncio.create_task(keeper.run(stopping))
    await asyncio.sleep(0.2)
    assert len(list(folder.glob("*.parquet"))) == 2
    assert keeper.last_ns == 0

    keeper.change(an_order(lake), 0.1)  # until another config says so
    await until(lambda: keeper.last_ns)
    stopping.set()
    await task
    assert len(list(folder.glob("*.parquet"))) == 1


def test_the_process_works_only_for_the_daemon_that_started_it(lake: Path, tmp_path: Path) -> None:
    """One whose parent is gone before it could ask to go with it ends at once."""
    write(lake, 0)
    orphan = Process("1", cwd=tmp_path, module="edc.upkeep.housekeeping")

    assert orphan.wait() == 1
    assert not (lake / ".compact.lock").exists()
