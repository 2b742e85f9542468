"""Feeds live and die each by itself; the disk's faults are waited out or end the daemon."""

import asyncio
import contextlib
import errno
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from edc import config, markets
from edc.adapters.tiingo.stream import TiingoStream
from edc.errors import ConfigError, DiskFailed, Unwritten
from edc.events import Event
from edc.simulator.tiingo import Faults, TiingoSimulator
from edc.supervisor import Supervisor, recover
from edc.transport import Frame
from edc.transport.sockets import MOST_AT_ONCE, Timing
from tests.harness import (
    ALL_CHANNELS,
    CRYPTO,
    FAST,
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

FX = """
[feeds.fx]
vendor = "tiingo"
channel = "fx"
threshold_level = 5
symbols = { fx = ["eurusd"] }
"""


def _states(daemon: Supervisor) -> dict[str, str]:
    return {runner.feed.name: runner.stats.state for runner in daemon.feeds}


async def test_a_refused_feed_stops_with_its_mend_while_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = (400, "thresholdLevel not valid for your subscription tier")
    simulator = TiingoSimulator(key=KEY, rate=500, faults=Faults(refuse={"iex": refusal}))
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, feeds=ALL_CHANNELS))
        with caplog.at_level(logging.ERROR):
            async with running(daemon) as task:
                await until(lambda: _states(daemon)["stocks"] == "failed")
                await until(lambda: _states(daemon)["reference"] == "failed")
                before = events_of(daemon)
                await until(lambda: events_of(daemon) > before + 100)
                attempts = daemon.feeds[1].stats.connects
            outcome = await task

    gaps = read(tmp_path / "lake", "gap").filter(feed="stocks")
    assert gaps["cause"].to_list() == ["failed"]
    assert (gaps["ended_at"] - gaps["started_at"]).dt.total_milliseconds()[0] > 100  # to the end
    assert attempts == 1
    assert set(outcome.failed) == {"stocks", "reference"}
    assert outcome.exit_code == 1
    (line,) = [
        record.getMessage() for record in caplog.records if "feed stocks" in record.getMessage()
    ]
    assert line == (
        "feed stocks stopped: Tiingo refused (400): thresholdLevel not valid for your "
        "subscription tier; set threshold_level to one that your plan includes (for iex: 6)"
    )


async def test_a_bad_key_ends_the_run_when_it_was_the_only_feed(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key="another")
    async with serving(simulator):
        outcome = await supervisor(write_config(tmp_path, simulator.url)).run()

    assert outcome.exit_code == 2
    assert outcome.failed == {
        "crypto": "Tiingo refused (401): Invalid token.; "
        "check the API key (TIINGO_API_KEY) and the plan it belongs to"
    }
    assert simulator.connections == 1


async def test_a_vendor_that_hangs_up_at_once_is_not_stormed(tmp_path: Path) -> None:
    """Delays grow to their cap although each connection is accepted: only data resets them."""
    simulator = TiingoSimulator(key=KEY, faults=Faults(refuse={"crypto_data": (503, "busy")}))
    times = replace(FAST, first_delay=0.2, longest_delay=60.0)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url), times=times, duration=2.0)
        await daemon.run()

    # full jitter from a tenth: 0.02 + 0.04 + 0.08 + … reaches 2 s after at most seven tries
    assert 2 <= simulator.connections <= 8
    assert daemon.feeds[0].stats.disconnects["server_error"] == simulator.connections


async def test_a_mute_connection_is_stale_although_heartbeats_come(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, faults=Faults(mute=True), heartbeat=0.05)
    feeds = CRYPTO + 'stale_after = "300ms"\n'
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, feeds=feeds))
        async with running(daemon):
            await until(lambda: daemon.feeds[0].stats.disconnects["stale"] >= 2)
            simulator.faults.mute = False
            await until(lambda: events_of(daemon) > 10)

    gaps = read(tmp_path / "lake", "gap")
    assert "stale" in gaps["cause"].to_list()


async def test_silence_in_a_closed_market_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markets, "is_open", lambda _kind, _now: False)
    simulator = TiingoSimulator(key=KEY, faults=Faults(mute=True), heartbeat=0.05)
    feeds = CRYPTO + 'stale_after = "150ms"\n'
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, feeds=feeds))
        async with running(daemon):
            await until(lambda: daemon.feeds[0].stats.frames > 20)

    assert simulator.connections == 1
    assert not daemon.feeds[0].stats.disconnects


async def test_a_peer_that_is_gone_without_a_word_is_noticed_by_its_missing_pong(
    tmp_path: Path,
) -> None:
    """A relay that stops forwarding: TCP stays up, nothing comes, no FIN, no RST."""
    simulator = TiingoSimulator(key=KEY, rate=200)
    cut, healed = asyncio.Event(), asyncio.Event()
    relays: list[asyncio.Task[None] | None] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if cut.is_set():
                    await healed.wait()
                    return
                writer.write(data)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.append(asyncio.current_task())
        to_server, from_client = await asyncio.open_connection("127.0.0.1", simulator.port)
        await asyncio.gather(
            pump(reader, from_client), pump(to_server, writer), return_exceptions=True
        )

    async with serving(simulator):
        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        times = replace(FAST, socket=replace(FAST.socket, ping_timeout=0.3))
        daemon = supervisor(write_config(tmp_path, f"ws://127.0.0.1:{port}"), times=times)
        async with running(daemon):
            await until(lambda: events_of(daemon) > 10)
            cut.set()
            started = time.monotonic()
            await until(lambda: daemon.feeds[0].stats.disconnects["half_open"] == 1)
            noticed = time.monotonic() - started
            cut.clear()
            healed.set()
            before = events_of(daemon)
            await until(lambda: events_of(daemon) > before)
        server.close()
        await asyncio.gather(*(relay for relay in relays if relay is not None))

    assert noticed < 5  # 0.6 s by its timing; the real one is ten


def test_the_real_timing_finds_a_dead_peer_within_twelve_seconds() -> None:
    timing = Timing()
    assert timing.ping_after + timing.ping_timeout + timing.tick + timing.close_timeout <= 12


async def test_an_adapter_that_crashes_on_a_frame_loses_that_frame_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = TiingoStream.decode
    calls = 0

    def flawed(self: TiingoStream, frame: Frame) -> Sequence[Event]:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise KeyError("a fault of ours")
        return decode(self, frame)

    monkeypatch.setattr(TiingoStream, "decode", flawed)
    simulator = TiingoSimulator(key=KEY, rate=1000, events=50)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url))
        async with running(daemon):
            await until_events(daemon, 49)

    assert simulator.connections == 1
    assert dict(daemon.feeds[0].stats.skipped) == {"error": 1}


async def test_a_transport_that_crashes_again_and_again_gives_up_that_feed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe = TiingoStream.subscribe

    def flawed(self: TiingoStream) -> Sequence[str]:
        if self.url.endswith("/fx"):
            raise ZeroDivisionError
        return subscribe(self)

    monkeypatch.setattr(TiingoStream, "subscribe", flawed)
    simulator = TiingoSimulator(key=KEY, rate=500)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, feeds=CRYPTO + FX))
        async with running(daemon):
            await until(lambda: _states(daemon)["fx"] == "failed")
            before = events_of(daemon)
            await until(lambda: events_of(daemon) > before + 10)

    assert daemon.feeds[1].stats.connects == 5


async def test_a_gap_row_spans_the_time_between_two_connections(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, rate=500, events=200, faults=Faults(cut_after=[100]))
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url))
        async with running(daemon):
            await until_events(daemon, 200)

    (gap,) = read(tmp_path / "lake", "gap").rows(named=True)
    assert (gap["feed"], gap["vendor"], gap["source"]) == ("crypto", "tiingo", "tiingo_crypto")
    assert (gap["cause"], gap["state"], gap["rows_lost"]) == ("disconnected", "open", None)
    received = sorted(
        (row["created_at"], row["event_time"])
        for kind in ("trade", "quote")
        for row in read(tmp_path / "lake", kind)
        .select(pl.col("created_at", "event_time").to_physical())
        .iter_rows(named=True)
    )
    ends = read(tmp_path / "lake", "gap").select("started_at", "ended_at")
    assert ends.row(0) == (gap["started_at"], gap["ended_at"])
    started, ended = (ends[name].to_physical()[0] for name in ("started_at", "ended_at"))
    assert started == received[99][1]  # made by the vendor, the last that arrived before the cut
    assert ended == received[100][0]  # received, the first after it


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
async def test_what_a_full_queue_drops_is_counted_and_in_the_ledger_to_the_row(
    tmp_path: Path, policy: str
) -> None:
    more = f'[queue]\ncapacity = 50\nwhen_full = "{policy}"\n'
    simulator = TiingoSimulator(key=KEY, rate=20_000, events=4000)
    async with serving(simulator):
        path = write_config(tmp_path, simulator.url, more=more)
        path.write_text(path.read_text().replace('"50ms"', '"400ms"'))
        daemon = supervisor(path)
        async with running(daemon):
            await until_events(daemon, 4000)

    rows = sum(read(tmp_path / "lake", kind).height for kind in ("trade", "quote"))
    dropped = sum(queue.dropped for queue in daemon.queues.values())
    gaps = read(tmp_path / "lake", "gap")
    assert dropped > 0
    assert rows + dropped == 4000
    assert gaps["cause"].unique().to_list() == ["queue_full"]
    assert gaps["rows_lost"].sum() == dropped


async def test_a_full_queue_that_blocks_loses_nothing_and_stays_bounded(tmp_path: Path) -> None:
    more = '[queue]\ncapacity = 50\nwhen_full = "block"\n'
    simulator = TiingoSimulator(key=KEY, rate=20_000, events=8000)
    deepest = 0
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, more=more))
        async with running(daemon):

            def done() -> bool:
                nonlocal deepest
                deepest = max(deepest, *(len(queue) for queue in daemon.queues.values()))
                return events_of(daemon) == 8000

            await until(done)

    assert deepest <= 50 + MOST_AT_ONCE
    assert sum(read(tmp_path / "lake", kind).height for kind in ("trade", "quote")) == 8000
    assert read(tmp_path / "lake", "gap").is_empty()


async def test_a_disk_that_is_full_for_a_while_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = False
    refused = 0
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        nonlocal refused
        if full:
            refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    simulator = TiingoSimulator(key=KEY, rate=2000)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url))
        async with running(daemon):
            await until(lambda: events_of(daemon) > 0)
            full = True
            await until(lambda: daemon.lanes["trade"].stats.spool_errors)
            await until(lambda: refused >= 3)
            full = False

    events = events_of(daemon)
    assert sum(read(tmp_path / "lake", kind).height for kind in ("trade", "quote")) == events
    assert not list((tmp_path / "lake").rglob("*.tmp"))


async def test_a_disk_that_is_full_at_the_end_says_how_much_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    simulator = TiingoSimulator(key=KEY, rate=2000, events=300)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url))
        task = asyncio.create_task(daemon.run())
        await until(lambda: sum(lane.stats.rows_spooled for lane in daemon.lanes.values()) > 0)
        monkeypatch.setattr(os, "write", full)
        await until_events(daemon, 300)
        daemon.stop()
        with pytest.raises(Unwritten) as caught:
            await task
    monkeypatch.undo()
    recovered = await asyncio.to_thread(recover, config.load(tmp_path / "config.toml"))

    assert caught.value.lost > 0
    assert sum(each.rows for each in recovered.values()) == 300 - caught.value.lost


async def test_a_failed_fsync_ends_the_daemon_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = TiingoSimulator(key=KEY, rate=500)
    calls = 0

    def fsync(_descriptor: int) -> None:
        nonlocal calls
        calls += 1
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url))
        task = asyncio.create_task(daemon.run())
        await until(lambda: events_of(daemon) > 0)
        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(DiskFailed) as caught:
            await task

    assert caught.value.exit_code == 74
    assert calls <= len(daemon.lanes) + 1  # each lane, and the watermarks: never retried


async def test_damaged_chunks_are_set_aside_and_intact_ones_recovered(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, rate=1000)
    async with serving(simulator):
        more = '[batch]\nmax_age = "1h"\n'
        path = write_config(tmp_path, simulator.url, more=more)
        daemon = supervisor(path)
        daemon.lanes["trade"].flush = daemon.lanes["trade"].write_chunk  # type: ignore[method-assign, assignment]
        spooled = tmp_path / "lake" / ".spool" / "main" / "trade"
        async with running(daemon):
            await until(lambda: len(list(spooled.glob("*.arrow"))) > 2)
    events = events_of(daemon)
    chunks = sorted(spooled.glob("*.arrow"))
    chunks[0].write_bytes(chunks[0].read_bytes()[:-50])
    damaged = bytearray(chunks[1].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunks[1].write_bytes(damaged)
    intact = sum(int(chunk.name.split("-")[2]) for chunk in chunks[2:])

    daemon = supervisor(path)
    async with running(daemon):
        await until(lambda: daemon.lanes["trade"].stats.recovery_seconds)
        assert daemon.lanes["trade"].stats.rows_pending == 0
        assert daemon.lanes["trade"].stats.chunks_pending == 0
        assert daemon.lanes["ref_px"].stats.recovery_seconds == 0

    assert read(tmp_path / "lake", "trade").height == intact
    aside = {path.name for path in (tmp_path / "lake" / ".quarantine").iterdir()}
    expected = {chunks[0].name, chunks[1].name}
    assert aside == expected | {f"{name}.reason" for name in expected}
    gaps = read(tmp_path / "lake", "gap").filter(cause="damaged")
    assert gaps["rows_lost"].sum() == events - intact - read(tmp_path / "lake", "quote").height
    assert gaps["feed"].null_count() == 2


@pytest.mark.parametrize(
    ("setting", "said"),
    [('timezone = "UTC"', "'America/New_York'"), ('partition = "day"', "partition 'hour'")],
)
async def test_a_lake_keeps_the_layout_it_was_begun_with(
    tmp_path: Path, setting: str, said: str
) -> None:
    """Else equal rows would be looked for in another folder than they lie in."""
    path = write_config(tmp_path, "ws://127.0.0.1:1")
    first = supervisor(path)
    first.open()
    first.spool.close()
    path.write_text(path.read_text().replace("[storage]", f"[storage]\n{setting}"))

    with pytest.raises(ConfigError) as caught:
        await supervisor(path).run()

    assert said in str(caught.value)
    assert str(caught.value).endswith("keep those, or choose another path")
    path.write_text(path.read_text().replace(setting, ""))
    again = supervisor(path)
    again.open()  # and the instance was let go
    again.spool.close()


async def test_a_row_that_fits_no_column_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = TiingoStream.decode
    calls = 0

    def flawed(self: TiingoStream, frame: Frame) -> Sequence[Event]:
        nonlocal calls
        events = decode(self, frame)
        for event in events:
            calls += 1
            if calls == 5:
                event.event_time = 1 << 80
        return events

    monkeypatch.setattr(TiingoStream, "decode", flawed)
    simulator = TiingoSimulator(key=KEY, rate=1000, events=50)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url))
        async with running(daemon):
            await until_events(daemon, 50)

    assert sum(read(tmp_path / "lake", kind).height for kind in ("trade", "quote")) == 49
    gaps = read(tmp_path / "lake", "gap")
    assert gaps.select("cause", "rows_lost").rows() == [("undecodable", 1)]
