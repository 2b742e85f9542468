"""The disk goes: its power, its right to be written, its mount. Needs root, and loop devices."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edc.simulator.tiingo import TiingoSimulator
from tests.harness import KEY, Process, read, serving, until, write_config
from tests.torture import loopdisk, powerloss

needs_disks = pytest.mark.skipif(bool(loopdisk.missing()), reason=loopdisk.missing())
EVENTS = 6000


@needs_disks
def test_power_loss_costs_what_no_fsync_had_reached_and_the_ledger_has_it(tmp_path: Path) -> None:
    row = powerloss.run(4, tmp_path)

    assert row.problems == []
    assert (row.lost - row.explained, row.duplicates) == (0, 0)
    assert row.found > 500


@needs_disks
def test_without_fsync_the_same_check_finds_fault(tmp_path: Path) -> None:
    """A negative control: without it, the test above would prove nothing."""
    row = powerloss.run_control(2, tmp_path)

    assert row.note == "negative control: 2 of 2 rounds violated, as they must"
    assert row.problems == []
    assert not (tmp_path / "disk").is_mount()


def causes(lake: Path) -> set[str]:
    """Of the gap rows."""
    rows = read(lake, "gap")
    return set(rows["cause"]) if rows.height else set()


class Recorder:
    """A daemon that records on a disk of its own, and what it says of itself."""

    def __init__(self, folder: Path, disk: loopdisk.LoopDisk, simulator: TiingoSimulator) -> None:
        self.disk = disk
        self.simulator = simulator
        self.lake = disk.path / "lake"
        self.config = folder / "config.toml"
        self.process = Process("run", "--config", str(self.config), cwd=folder)

    @property
    def sent(self) -> int:
        """Events on the wire."""
        return self.simulator.sent["crypto_data"]

    def rows(self) -> int:
        """Events in the lake."""
        return sum(read(self.lake, kind).height for kind in ("trade", "quote"))

    async def stop(self) -> int:
        """The exit code."""
        self.process.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait)


@asynccontextmanager
async def recording(folder: Path, policy: str, capacity: int) -> AsyncIterator[Recorder]:
    simulator = TiingoSimulator(key=KEY, rate=1500, events=EVENTS)
    async with serving(simulator):
        more = (
            f'[queue]\ncapacity = {capacity}\nwhen_full = "{policy}"\n'
            '[batch]\nmax_rows = 300\nmax_age = "200ms"\n'
        )
        config = write_config(folder, simulator.url, more=more)
        lake = f'path = "{folder / "disk" / "lake"}"\nreserve = 0'
        config.write_text(config.read_text().replace(f'path = "{folder / "lake"}"', lake))
        with loopdisk.ext4(folder) as disk:
            recorder = Recorder(folder, disk, simulator)
            try:
                await until(lambda: recorder.sent >= 1000 and recorder.rows() > 300)
                yield recorder
            finally:
                if recorder.process.process.poll() is None:
                    recorder.process.process.kill()
                    recorder.process.wait()


@needs_disks
async def test_a_disk_that_turns_read_only_loses_nothing_where_the_queue_blocks(
    tmp_path: Path,
) -> None:
    async with recording(tmp_path, "block", 500) as recorder:
        recorder.disk.read_only()
        await until(lambda: "Read-only file system" in recorder.process.output)
        await asyncio.sleep(1)  # the queue fills, the socket is not read
        assert recorder.process.process.poll() is None
        recorder.disk.writable()
        await until(lambda: recorder.sent == EVENTS and recorder.rows() == EVENTS)

        assert await recorder.stop() == 0
        assert recorder.rows() == EVENTS
        assert causes(recorder.lake) == set()


@needs_disks
async def test_a_disk_that_turns_read_only_costs_what_the_ledger_says_where_the_queue_drops(
    tmp_path: Path,
) -> None:
    async with recording(tmp_path, "drop_oldest", 500) as recorder:
        recorder.disk.read_only()
        await until(lambda: recorder.sent == EVENTS)
        await until(lambda: "Read-only file system" in recorder.process.output)
        recorder.disk.writable()
        await until(lambda: "is written again" in recorder.process.output)

        assert await recorder.stop() == 0
        dropped = read(recorder.lake, "gap").filter(cause="queue_full")["rows_lost"].sum()
        assert dropped > 0
        assert EVENTS - recorder.rows() == dropped


@needs_disks
async def test_a_mount_that_vanishes_gets_nothing_written_below_it(tmp_path: Path) -> None:
    """And what came meanwhile is on the disk once that is back."""
    async with recording(tmp_path, "block", 65_536) as recorder:
        recorder.disk.unmount(lazily=True)
        begun = recorder.sent
        await until(lambda: recorder.sent > begun + 1500)
        assert list(recorder.disk.path.iterdir()) == []
        assert recorder.process.process.poll() is None
        assert "gone: unmounted, moved or deleted" in recorder.process.output
        recorder.disk.mount()
        await until(lambda: recorder.sent == EVENTS and recorder.rows() == EVENTS)

        assert await recorder.stop() == 0
        assert recorder.rows() == EVENTS
        assert causes(recorder.lake) == set()
        recorder.disk.unmount()
        assert list(recorder.disk.path.iterdir()) == []
        recorder.disk.mount()
