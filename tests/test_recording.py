"""Frames to a file and back: the same rows, whatever the file's form, and however often."""

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edc.errors import ConfigError
from edc.plan import Feed, plan_feeds
from edc.recording import Recorder, frames_of, line_of
from edc.settings import ServerSettings, Settings, StorageSettings
from edc.simulator.binance import BinanceVenue
from edc.simulator.venue import Faults
from edc.supervisor import Supervisor
from edc.transport import Frame
from edc.transport.libraries import library
from tests.harness import FAST, Process, read, until

FEED = {
    "vendor": "binance",
    "channel": "spot",
    "symbols": {"crypto": ["btcusdt", "ethusdt"]},
}


def settings_of(folder: Path, venue: BinanceVenue | None = None) -> Settings:
    return Settings(
        storage=StorageSettings(path=folder / "lake"),
        server=ServerSettings(listen=""),
        vendors={"binance": venue.options()} if venue else {},
        feeds={"crypto": FEED},
    )


def feed_of(settings: Settings) -> Feed:
    (feed,) = plan_feeds(settings, Path("config.toml"))
    return feed


async def recorded(folder: Path, path: Path, faults: Faults | None = None) -> BinanceVenue:
    """A file with a session of a venue, which is given."""
    venue = BinanceVenue(rate=500.0, faults=faults)
    await venue.start()
    try:
        recorder = Recorder(feed_of(settings_of(folder, venue)), path, library("auto"), FAST)
        stopping = asyncio.Event()
        task = asyncio.create_task(recorder.run(stopping))
        await until(lambda: len(venue.heard) > 150)
        venue.faults.mute = True
        await until(lambda: recorder.stats.event_count >= len(venue.heard))
        stopping.set()
        await task
    finally:
        await venue.stop()
    return venue


async def replayed(folder: Path, path: Path) -> Supervisor:
    settings = settings_of(folder)
    daemon = Supervisor(settings, [])
    await daemon.replay(feed_of(settings), frames_of(path))
    return daemon


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
async def test_a_recorded_session_replays_to_the_rows_that_were_sent(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"session.jsonl{suffix}"
    venue = await recorded(tmp_path, path)

    daemon = await replayed(tmp_path, path)

    trades, quotes = read(tmp_path / "lake", "trade"), read(tmp_path / "lake", "quote")
    sent = [tick for tick in venue.heard if tick.kind == "trade"]
    assert sorted(trades.select("last_price", "last_size").rows()) == sorted(
        (tick.price, tick.size) for tick in sent
    )
    assert trades.height + quotes.height == len(venue.heard)
    frames = {frame.received_ns for frame in frames_of(path)}
    for rows in (trades, quotes):
        assert set(rows["created_at"].dt.convert_time_zone("UTC").to_physical()) <= frames
    assert daemon.lanes["gap"].stats.rows_written == 0
    assert not (tmp_path / "lake/.spool/main/watermarks.json").exists()


async def test_a_second_replay_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    venue = await recorded(tmp_path, path)
    await replayed(tmp_path, path)
    before = read(tmp_path / "lake", "trade").sort(pl.all())

    daemon = await replayed(tmp_path, path)

    lanes = daemon.lanes
    assert sum(lane.stats.rows_written for lane in lanes.values()) == 0
    assert sum(lane.stats.duplicates for lane in lanes.values()) == len(venue.heard)
    assert read(tmp_path / "lake", "trade").sort(pl.all()).equals(before)


async def test_a_connection_that_broke_is_replayed_as_two(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    venue = await recorded(tmp_path, path, Faults(cut_after={60}))

    await replayed(tmp_path, path)

    assert len({frame.epoch for frame in frames_of(path)}) == 2
    rows = sum(read(tmp_path / "lake", kind).height for kind in ("trade", "quote"))
    assert rows == len(venue.heard)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(b'{"a": 1}', 1_771_957_307_903_000_000, 1),
        Frame("Überraschung".encode(), 1, 7),
        Frame(b"\xff\x00\x01", 5, 2),
        Frame(b"[]", 5, 3, 200, "BTCUSDT"),
        Frame(b"", 0, 0),
    ],
)
def test_a_frame_is_the_same_after_its_line(frame: Frame, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(line_of(frame) * 2)

    assert list(frames_of(path)) == [frame, frame]


def test_a_line_is_what_the_design_says(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"received_ns": 1771957307903000000, "epoch": 1, "text": "hello"}\n')

    assert list(frames_of(path)) == [Frame(b"hello", 1_771_957_307_903_000_000, 1)]


def _torn(data: bytes) -> bytes:
    return data[:-9]


def _in_the_middle(data: bytes) -> bytes:
    return b'{"epoch": 1}\n' + data


@pytest.mark.parametrize(
    ("suffix", "harm", "frames"),
    [("", _torn, 99), (".gz", _torn, None), ("", _in_the_middle, 0)],
    ids=["a torn line", "a torn gzip file", "a line that is none"],
)
def test_what_a_kill_has_torn_is_read_as_far_as_it_goes(
    suffix: str, harm: Callable[[bytes], bytes], frames: int | None, tmp_path: Path
) -> None:
    whole = b"".join(line_of(Frame(b"x" * number, number, 1)) for number in range(100))
    path = tmp_path / f"session.jsonl{suffix}"
    path.write_bytes(harm(gzip.compress(whole) if suffix else whole))

    if frames == 0:
        with pytest.raises(ConfigError, match=r"session.jsonl:1: is no recorded frame"):
            list(frames_of(path))
        return
    read_back = list(frames_of(path))
    assert frames is None or len(read_back) == frames
    assert all(frame.received_ns == number for number, frame in enumerate(read_back))


def test_a_file_that_is_not_there_or_is_there_already_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        list(frames_of(tmp_path / "none.jsonl"))
    (tmp_path / "old.jsonl").write_text("")
    recorder = Recorder(feed_of(settings_of(tmp_path)), tmp_path / "old.jsonl", library("auto"))

    with pytest.raises(ConfigError, match="exists already"):
        asyncio.run(recorder.run(asyncio.Event()))


async def test_the_commands_record_and_replay(tmp_path: Path) -> None:
    venue = BinanceVenue(rate=500.0)
    await venue.start()
    try:
        (tmp_path / "config.toml").write_text(
            f"""
            [vendors.binance]
            url = "{venue.url}"
            rest_url = "{venue.rest_url}"
            [feeds.crypto]
            vendor = "binance"
            channel = "spot"
            symbols = {{ crypto = ["btcusdt"] }}
            """
        )
        process = Process("record", "crypto", "--duration", "2s", "--json", cwd=tmp_path)
        assert await asyncio.to_thread(process.wait) == 0
    finally:
        await venue.stop()
    said = answer(process)
    assert said["file"] == "crypto.jsonl"
    assert said["events"]["trade"] > 10

    process = Process("replay", "crypto.jsonl", "--feed", "crypto", "--json", cwd=tmp_path)
    assert await asyncio.to_thread(process.wait) == 0

    again = answer(process)
    assert again["events"] == said["events"]
    assert {kind: rows for kind, rows in again["rows"].items() if rows} == said["events"]
    assert again["frames"] == said["frames"]


def answer(process: Process) -> dict[str, Any]:
    line = next(line for line in process.output.splitlines() if line.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found
