"""An fsync that fails, and one that takes seconds."""

import asyncio
import json
import re
import signal
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edc import control
from edc.simulator.market import Market
from edc.simulator.tiingo import TiingoSimulator
from tests.harness import KEY, serving, until, write_config
from tests.torture import oracle
from tests.torture.fsync import Altered, failure, take_acknowledged

INTERVAL = 0.05
SLACK = 1.0
"""Seconds that an overloaded test machine may take to write a chunk, on top of the interval."""
SLOW = 2.0
CAPACITY = 20_000


class Rig:
    """A lake, and a market that goes on whatever becomes of the daemon."""

    def __init__(self, folder: Path, simulator: TiingoSimulator) -> None:
        self.folder = folder
        self.lake = folder / "lake"
        self.simulator = simulator
        self.config = write_config(
            folder,
            simulator.url,
            more=f'[batch]\nmax_rows = 300\nmax_age = "200ms"\n[queue]\ncapacity = {CAPACITY}\n',
        )
        text = self.config.read_text().replace('listen = ""', 'listen = "127.0.0.1:0"')
        self.config.write_text(text)

    @property
    def market(self) -> Market:
        """What is sent."""
        return self.simulator.markets["crypto_data"]

    def start(self, fsync: str = "") -> Altered:
        """The daemon, with such an fsync."""
        return Altered("run", "--config", str(self.config), cwd=self.folder, fsync=fsync)

    async def heard(self, events: int) -> None:
        """Wait until so many more events were sent to somebody."""
        already = self.market.heard
        await until(lambda: self.market.heard >= already + events)

    async def end(self, daemon: Altered) -> tuple[int, int]:
        """Silence the market and stop the daemon: the moment of the silence, the exit code."""
        moment = time.time_ns()
        self.market.mute = True
        await asyncio.sleep(0.2)  # what is on its way arrives
        daemon.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(daemon.wait, 40)
        self.market.mute = False
        return moment, code


@asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    simulator = TiingoSimulator(key=KEY, rate=1000, market={"crypto_data": 2})
    async with serving(simulator):
        yield Rig(folder, simulator)


AT_THE_START = (
    *(f"fail:{number}" for number in (1, 2, 4, 6, 8, 10)),  # folders, the layout, the watermarks
    r"fail:1:watermarks\.json",
    r"fail:1:/main$",
)
WHILE_RECORDING = (
    r"fail:2:watermarks\.json",
    r"fail:1:\.arrow\.",
    r"fail:5:\.arrow\.",
    r"fail:1:main/(trade|quote)$",
    r"fail:1:\.parquet\.",
    r"fail:3:\.parquet\.",
    r"fail:1:/hour=\d\d$",
    r"fail:3:/hour=\d\d$",
)


@pytest.mark.parametrize("fsync", [*AT_THE_START, *WHILE_RECORDING])
async def test_a_failed_fsync_ends_the_daemon_and_costs_nothing_that_was_safe(
    fsync: str, tmp_path: Path
) -> None:
    async with rig(tmp_path) as it:
        daemon = it.start(fsync)
        await until(lambda: it.simulator.connections or daemon.process.poll() is not None)
        begun, connected = time.time_ns(), bool(it.simulator.connections)
        code = await asyncio.to_thread(daemon.wait)
        ended = time.time_ns()

        failed_at, path = failure(tmp_path)
        assert code == 74
        assert daemon.output.count("\nedc: ") + daemon.output.startswith("edc: ") == 1
        assert daemon.output.splitlines()[-1].startswith(
            f"edc: fsync of {path} failed: Input/output error; check the disk"
        )
        assert "Traceback" not in daemon.output
        safe = take_acknowledged(tmp_path)

        again = it.start()
        await it.heard(300)
        end, code = await it.end(again)

        assert code == 0, again.output
        assert connected == (fsync in WHILE_RECORDING)  # before that, nothing is promised
        finding = oracle.examine(it.lake, it.market.record, (begun if connected else end, end))
        assert finding.problems == []
        assert finding.duplicates == 0
        assert safe.isdisjoint(finding.lost)
        late, after = int((INTERVAL + SLACK) * oracle.SECOND), int(SLACK * oracle.SECOND)
        dying = [(failed_at - late, ended + after)]
        assert oracle.outside(finding.lost_though_sent, dying) == []
        assert not list(it.lake.glob(".spool/main/*/*.arrow"))


@dataclass(slots=True)
class Watch:
    """What a daemon answered while it was watched."""

    longest: float = 0.0
    answers: int = 0
    queued: int = 0
    feeds: list[dict[str, Any]] = field(default_factory=list)


async def _watch(it: Rig, port: int, seconds: float) -> Watch:
    """Ask `/livez` and for the status, four times a second; each has to answer within a second."""
    watch = Watch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        asked = time.monotonic()
        await asyncio.to_thread(_see_it_alive, port)
        answered = time.monotonic()
        status = await asyncio.to_thread(_status, it.lake)
        watch.longest = max(watch.longest, answered - asked, time.monotonic() - answered)
        watch.answers += 1
        queued = max(int(table["queued"]) for table in status["tables"].values())
        watch.queued = max(watch.queued, queued)
        watch.feeds = status["feeds"]
        await asyncio.sleep(0.25)
    return watch


def _see_it_alive(port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
        assert answer.status == 200
        assert json.load(answer) == {"alive": True}


def _status(lake: Path) -> Any:
    return control.ask(lake / ".spool" / "main" / "control.sock", "status")


def test_an_fsync_of_two_seconds_delays_the_lake_and_nothing_else(tmp_path: Path) -> None:
    """It may take longer than the minute that asynchronous tests have."""
    asyncio.run(_slow(tmp_path))


async def _slow(folder: Path) -> None:
    async with rig(folder) as it:
        first = it.start()
        await it.heard(300)
        begun, code = await it.end(first)  # the folders are there
        assert code == 0, first.output

        daemon = it.start(f"slow:{SLOW}")
        await until(lambda: "metrics and health on" in daemon.output)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", daemon.output)
        assert found is not None
        watch = await _watch(it, int(found[1]), 4 * SLOW)
        stopping = time.monotonic()
        end, code = await it.end(daemon)
        stopped_in = time.monotonic() - stopping

        assert code == 0, daemon.output
        assert watch.answers > 5
        assert watch.longest < 1.0
        assert watch.queued < CAPACITY / 2
        assert [feed["connects"] for feed in watch.feeds] == [1]
        finding = oracle.examine(it.lake, it.market.record, (begun, end))
        assert finding.problems == []
        assert finding.duplicates == 0
        assert finding.lost_though_sent == []
        assert {gap.cause for gap in finding.gaps} == {"stopped"}
        assert stopped_in < 16 * SLOW, stopped_in
