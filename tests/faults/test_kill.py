"""`kill -9`: at most the last spool interval is lost, nothing is written twice, nothing is torn.

The oracle is the simulator: it keeps every frame that it sent, and each carries the time of its
making.
"""

import asyncio
import json
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

from edc.events import identity
from edc.simulator.tiingo import TiingoSimulator
from edc.times import SECOND, parse_iso
from tests.harness import KEY, Process, read, serving, until, write_config

KILLS = 20
INTERVAL = 0.2
SLACK = 0.4
"""Seconds that an overloaded test machine may take to write a chunk, on top of the interval."""


async def _flush(path: Path) -> dict[str, dict[str, int]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edc", "flush", "--config", str(path), "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    answer, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
    found: dict[str, dict[str, int]] = json.loads(answer)
    return found


def _has_connected(simulator: TiingoSimulator, times: int) -> bool:
    return simulator.connections >= times


def _files(folder: Path) -> list[Path]:
    return list((folder / "lake").glob("[tq]*/**/*.parquet"))


def _has_moved(command: Process, folder: Path, files: int) -> bool:
    """There are more files than before, or the command has ended."""
    return len(_files(folder)) > files or command.process.poll() is not None


async def test_kills_at_random_moments_cost_at_most_the_last_interval(tmp_path: Path) -> None:
    """Batches are small, so that kills hit chunk writes, batch writes and recoveries alike."""
    rng = random.Random(20260213)
    simulator = TiingoSimulator(key=KEY, rate=3000, record=True)
    killed: list[int] = []
    async with serving(simulator):
        path = write_config(
            tmp_path, simulator.url, more='[batch]\nmax_rows = 400\nmax_age = "250ms"\n'
        )
        path.write_text(path.read_text().replace('"50ms"', f'"{int(INTERVAL * 1000)}ms"'))
        for kill in range(KILLS):
            daemon = Process("run", "--config", str(path), cwd=tmp_path)
            await until(partial(_has_connected, simulator, kill + 1))
            await asyncio.sleep(rng.uniform(0.0, 1.0))  # the moment is what is tried
            daemon.process.send_signal(signal.SIGKILL)
            killed.append(time.time_ns())
            await asyncio.to_thread(daemon.wait)
            if kill % 4 == 0:
                await _flush(path)
        await _flush(path)

    sent = {}
    for frame in simulator.frames["crypto_data"]:
        data = json.loads(frame)["data"]
        sent[parse_iso(data[2])] = data
    rows = {kind: read(tmp_path / "lake", kind) for kind in ("trade", "quote")}
    for kind, table in rows.items():
        assert table.unique(identity(kind)).height == table.height
    held = {time_ns for table in rows.values() for time_ns in table["event_time"].to_physical()}
    assert held <= sent.keys()
    assert len(held) == sum(table.height for table in rows.values())
    late = int((INTERVAL + SLACK) * SECOND)
    unexplained = [
        moment
        for moment in sent.keys() - held
        if not any(at - late <= moment <= at + int(SLACK * SECOND) for at in killed)
    ]
    assert unexplained == []
    assert len(held) > len(sent) / 2
    assert not list((tmp_path / "lake").rglob("*.arrow"))
    assert not (tmp_path / "lake" / ".quarantine").exists()


async def test_a_flush_killed_half_way_is_done_again_without_doubles(tmp_path: Path) -> None:
    """The spool of a killed daemon is flushed by commands that are themselves killed."""
    simulator = TiingoSimulator(key=KEY, rate=20_000, events=30_000)
    async with serving(simulator):
        path = write_config(
            tmp_path, simulator.url, more='[batch]\nmax_rows = 1000000\nmax_age = "1h"\n'
        )
        daemon = Process("run", "--config", str(path), cwd=tmp_path)
        await until(lambda: simulator.sent["crypto_data"] == 30_000)
        spool = tmp_path / "lake" / ".spool" / "main"
        await until(
            lambda: (
                sum(int(chunk.name.split("-")[2]) for chunk in spool.rglob("[0-9]*.arrow"))
                == 30_000
            )
        )
        daemon.process.send_signal(signal.SIGKILL)
        daemon.wait()
    path.write_text(path.read_text().replace("max_rows = 1000000", "max_rows = 2000"))
    for _ in range(5):
        files = len(_files(tmp_path))
        command = Process("flush", "--config", str(path), cwd=tmp_path)
        await until(partial(_has_moved, command, tmp_path, files))
        command.process.send_signal(signal.SIGKILL)
        command.wait()

    await _flush(path)

    tables = {kind: read(tmp_path / "lake", kind) for kind in ("trade", "quote")}
    assert sum(table.height for table in tables.values()) == 30_000
    for kind, table in tables.items():
        assert table.unique(identity(kind)).height == table.height
