"""The books of a daemon: stops and kills are gaps, and no watermark runs ahead of the disk."""

import asyncio
import errno
import json
import os
from pathlib import Path

import msgspec
import polars as pl
import pytest

from edc import files
from edc.events import Event, Row
from edc.simulator.tiingo import TiingoSimulator
from edc.supervisor import Supervisor
from edc.times import parse_iso
from edc.wire import Batch
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


def marks(folder: Path) -> dict[str, dict[str, object]]:
    """What `watermarks.json` says."""
    path = folder / "lake" / ".spool" / "main" / "watermarks.json"
    found: dict[str, dict[str, object]] = msgspec.json.decode(path.read_bytes())["feeds"]
    return found


def times(folder: Path, column: str) -> list[int]:
    """A time of all events in the lake, ascending."""
    return sorted(
        moment
        for kind in ("trade", "quote")
        for moment in read(folder / "lake", kind)[column].to_physical()
    )


async def die(daemon: Supervisor, task: asyncio.Task[object]) -> None:
    """End a daemon as a kill does, as far as its files are concerned: nothing more is written."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    daemon.spool.close()


async def test_a_stop_is_a_gap_from_the_last_data_to_the_first(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, rate=1000)
    async with serving(simulator):
        path = write_config(tmp_path, simulator.url)
        first = supervisor(path)
        async with running(first):
            await until(lambda: events_of(first) > 50)
        before, received = times(tmp_path, "event_time")[-1], times(tmp_path, "created_at")[-1]
        assert marks(tmp_path)["crypto"]["cause"] == "stopped"
        second = supervisor(path)
        async with running(second):
            await until(lambda: events_of(second) > 50)

    gaps = read(tmp_path / "lake", "gap")
    assert gaps.select("feed", "source", "cause", "rows_lost").rows() == [
        ("crypto", "tiingo_crypto", "stopped", None)
    ]
    (started,), (ended,) = (gaps[name].to_physical() for name in ("started_at", "ended_at"))
    assert started == before
    assert ended == min(moment for moment in times(tmp_path, "created_at") if moment > received)


async def test_a_kill_is_a_gap_that_covers_what_was_not_on_disk(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, rate=1000, record=True)
    async with serving(simulator):
        path = write_config(tmp_path, simulator.url)
        first = supervisor(path)
        task = asyncio.create_task(first.run())
        await until(lambda: marks(tmp_path)["crypto"] if first.lanes["quote"].durable else None)
        await until(lambda: events_of(first) > 200)
        await die(first, task)
        second = supervisor(path)
        async with running(second):
            await until(lambda: events_of(second) > 50)

    sent = times_of(simulator)
    held = set(times(tmp_path, "event_time"))
    rows = read(tmp_path / "lake", "gap").select(
        "cause", pl.col("started_at", "ended_at").to_physical()
    )
    assert "killed" in rows["cause"]
    first_start, last = min(held), max(held)
    missing = [moment for moment in sent - held if first_start <= moment <= last]
    for moment in missing:
        assert rows.filter(
            (pl.col("started_at") <= moment) & (pl.col("ended_at") >= moment)
        ).height, moment


def times_of(simulator: TiingoSimulator) -> set[int]:
    """The times of all events that were sent, ns."""
    stamps = [msgspec.json.decode(frame)["data"][2] for frame in simulator.frames["crypto_data"]]
    return set(pl.Series(stamps).str.to_datetime(time_unit="ns", time_zone="UTC").to_physical())


async def test_a_kill_before_the_first_data_is_still_the_gap_of_the_stop(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, rate=1000)
    async with serving(simulator):
        path = write_config(tmp_path, simulator.url)
        async with running(supervisor(path)) as task:
            await until(lambda: simulator.sent["crypto_data"] > 20)
            assert not task.done()
        stopped = marks(tmp_path)
        simulator.faults.mute = True
        second = supervisor(path)
        task = asyncio.create_task(second.run())
        await until(lambda: second.feeds[0].stats.connects)
        await until(lambda: second.lanes["gap"].durable)
        await die(second, task)

    assert marks(tmp_path) == stopped


async def test_a_watermark_waits_for_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a gap row cannot be written, the mark stays before the loss that it tells of."""
    publish = files.publish

    def refusing(path: Path, data: bytes | memoryview) -> None:
        if path.parent.name == "gap":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        publish(path, data)

    simulator = TiingoSimulator(key=KEY, rate=1000)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url))
        async with running(daemon):
            await until(lambda: events_of(daemon) > 50)
            monkeypatch.setattr(files, "publish", refusing)
            daemon.feeds[0].ingest._ledger.silent(
                daemon.feeds[0].ingest._lines.origin, "disconnected", 1, 2
            )
            await until(lambda: "spool" in daemon.lanes["gap"].stats.problems)
            before = marks(tmp_path)
            seen = events_of(daemon)
            chunks = daemon.lanes["quote"].stats.chunks_written
            await until(lambda: events_of(daemon) > seen + 200)
            await until(lambda: daemon.lanes["quote"].stats.chunks_written > chunks + 3)
            assert marks(tmp_path) == before
            assert daemon.status()["tables"]["gap"]["problems"] == {  # type: ignore[index]
                "spool": "[Errno 28] No space left on device"
            }
            assert not daemon._readiness()["spool gap"]
            monkeypatch.undo()
            await until(lambda: marks(tmp_path) != before)
            assert daemon._readiness()["spool gap"]

    assert read(tmp_path / "lake", "gap")["cause"].to_list() == ["disconnected"]


def event_times(queued: Row | Batch) -> list[int]:
    if isinstance(queued, Batch):
        return [parse_iso(json.loads(frame)["data"][2]) for frame in queued.frames]
    assert isinstance(queued, Event)
    return [queued.event_time]


async def test_a_watermark_never_passes_an_event_that_is_not_on_disk(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, rate=2000, events=2000)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url))
        async with running(daemon):
            while events_of(daemon) < 2000:
                await asyncio.sleep(0.02)
                path = tmp_path / "lake" / ".spool" / "main" / "watermarks.json"
                if not path.exists():
                    continue
                until_ns = marks(tmp_path)["crypto"]["until"]
                assert isinstance(until_ns, int)
                in_memory = [
                    event_time
                    for kind in ("trade", "quote")
                    for queued in daemon.queues[kind]._rows
                    for event_time in event_times(queued)
                ]
                assert all(moment >= until_ns for moment in in_memory)
            await until_events(daemon, 2000)
