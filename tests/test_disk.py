"""The disk under the lake: little room, no room, gone and back; what the daemon says meanwhile."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from edc import files
from edc.errors import Unwritten
from edc.simulator.tiingo import TiingoSimulator
from edc.supervisor import Supervisor
from tests.harness import (
    KEY,
    events_of,
    read,
    running,
    serving,
    supervisor,
    until,
    until_events,
    write_config,
)

SMALL = '[batch]\nmax_rows = 50\nmax_age = "50ms"\n'


def rows(folder: Path) -> int:
    """Trades and quotes in the lake."""
    return sum(read(folder, kind).height for kind in ("trade", "quote"))


def problems(daemon: Supervisor, stage: str) -> list[str]:
    """What status says of one stage, of all tables that have trouble with it."""
    tables: dict[str, dict[str, dict[str, str]]] = daemon.status()["tables"]  # type: ignore[assignment]
    return [table["problems"][stage] for table in tables.values() if stage in table["problems"]]


async def test_batches_wait_below_the_reserve_and_nothing_is_lost(tmp_path: Path) -> None:
    """The spool goes on: it is what the reserve is kept for."""
    simulator = TiingoSimulator(key=KEY, rate=1000, events=300)
    async with serving(simulator):
        path = write_config(tmp_path, simulator.url, more=SMALL)
        path.write_text(path.read_text().replace("[storage]", '[storage]\nreserve = "900PB"'))
        daemon = supervisor(path)
        task = asyncio.create_task(daemon.run())
        await until_events(daemon, 300)
        await until(lambda: problems(daemon, "lake"))
        assert "storage.reserve keeps 900,000,000,000" in problems(daemon, "lake")[0]
        assert problems(daemon, "spool") == []
        ready = daemon._readiness()
        assert not ready["lake quote"] or not ready["lake trade"]
        assert ready["spool quote"]
        assert not list((tmp_path / "lake").glob("[tq]*/**/*.parquet"))
        daemon.stop()
        with pytest.raises(Unwritten) as caught:
            await task
    assert caught.value.lost == 0

    path.write_text(path.read_text().replace("900PB", "0"))
    daemon = supervisor(path)
    async with running(daemon):
        await until(lambda: rows(tmp_path / "lake") == 300)
        assert problems(daemon, "lake") == []


async def test_a_reserve_that_is_free_again_lets_the_batches_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    simulator = TiingoSimulator(key=KEY, rate=1000, events=300)
    room = files.check_room

    def no_room(path: Path, needed: int, reserve: int) -> None:
        raise OSError(errno.ENOSPC, "only 3 MB are free", str(path))

    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, more=SMALL))
        async with running(daemon):
            monkeypatch.setattr(files, "check_room", no_room)
            await until(lambda: problems(daemon, "lake"))
            monkeypatch.setattr(files, "check_room", room)
            await until(lambda: not problems(daemon, "lake"))
            await until_events(daemon, 300)

    assert rows(tmp_path / "lake") == 300
    said = [record.message for record in caplog.records]
    assert sum("the lake cannot be written" in line for line in said) <= 2  # one for each table
    assert "the lake is written again" in said


@pytest.mark.parametrize(("free", "fits"), [(1_500, True), (1_499, False)])
def test_the_reserve_is_what_stays_free_after_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, free: int, fits: bool
) -> None:
    class Disk:
        f_bavail, f_frsize = free, 1

    monkeypatch.setattr(os, "statvfs", lambda _path: Disk)

    if fits:
        files.check_room(tmp_path, needed=500, reserve=1_000)
    else:
        with pytest.raises(OSError, match=r"storage\.reserve keeps") as caught:
            files.check_room(tmp_path, needed=500, reserve=1_000)
        assert caught.value.errno == errno.ENOSPC
    files.check_room(tmp_path, needed=500, reserve=0)  # the disk itself says when it is full


async def test_nothing_is_written_below_a_folder_that_went_away(tmp_path: Path) -> None:
    """As where a mount vanishes: an empty folder, or one like the old, is there in its place."""
    simulator = TiingoSimulator(key=KEY, rate=1000, events=600)
    lake, away = tmp_path / "lake", tmp_path / "away"
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, more=SMALL))
        async with running(daemon):
            await until(lambda: rows(lake) > 0)
            lake.rename(away)
            for kind in ("trade", "quote", "gap"):
                (lake / ".spool" / "main" / kind).mkdir(parents=True)
            (lake / ".spool" / "main" / "lock").touch()
            await until(lambda: "gone" in " ".join(problems(daemon, "spool")))
            seen = events_of(daemon)
            await until(lambda: events_of(daemon) > seen or seen == 600)
            left = [path for path in lake.rglob("*") if path.is_file() and path.name != "lock"]
            assert left == []
            for path in sorted(lake.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            lake.rmdir()
            away.rename(lake)
            await until(lambda: not problems(daemon, "spool"))
            await until_events(daemon, 600)

    assert rows(lake) == 600
