"""Power loss for real: an ext4 is shut down under a daemon that records, mounted and looked at.

Each round a daemon (`edc run`) and in every other one a compaction (`edc compact`) work on a
loop-mounted ext4 until, at a random moment, the file system is shut down without flushing even its
journal: the pages that no fsync has written are gone. Both are killed, the disk is mounted again,
which replays the journal, and is looked at before edc may mend anything:

* every name in the lake and the spool is that of a whole file,
* every event of a chunk that the spool had acknowledged is there,
* the rows of the partition that is being compacted are there, each once.

In the end the daemon recovers by itself. The lake must hold, once, every event that was sent longer
before a shutdown than the spool's interval and some slack; and every event that is not there, heard
or not, must lie inside a row of the gap table. `control` is the same with an fsync that does
nothing: there the look at the disk must find fault in every round.
"""

import asyncio
import contextlib
import io
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from edc import files
from edc.events import Origin, Quote, to_frame
from edc.simulator.market import Market
from edc.simulator.tiingo import TiingoSimulator
from edc.spool import read_chunk
from tests.harness import KEY, serving, until, write_config
from tests.torture import loopdisk, oracle
from tests.torture.fsync import Altered, take_acknowledged
from tests.torture.table import Row

INTERVAL = 0.2
"""Of the spool, in seconds; the default."""
SLACK = 0.5
"""Seconds that an fsync may take, on top of the interval and of the daemon's waiting for a CPU."""
_RATE = 2000
_NEW_YORK = "America/New_York"
_OLD = 1_770_996_600 * oracle.SECOND
"""2026-02-13T10:30:00 in New York, in the partition that is compacted."""
_OLD_FOLDER = Path("quote", "date=2026-02-13", "hour=10")
_BATCHES = '[batch]\nmax_rows = 400\nmax_age = "250ms"\n'


@dataclass(slots=True)
class Outage:
    """One shutdown: its moment, the daemon's end (ns), and what was wrong on the disk after it.

    `starved` is how long (ns) the daemon's threads had waited for a CPU, all together.
    """

    at: int
    starved: int = 0
    ended_at: int = 0
    problems: list[str] = field(default_factory=list)

    def span(self) -> oracle.Span:
        """When an event must have been sent for this to have cost it."""
        slack = int(SLACK * oracle.SECOND)
        late = int(INTERVAL * oracle.SECOND) + slack + self.starved
        return self.at - late, self.ended_at + slack + self.starved


class Rig:
    """A lake on a disk that can lose its power, a market, and what is known of both."""

    def __init__(
        self, disk: loopdisk.LoopDisk, config: Path, simulator: TiingoSimulator, fsync: str
    ) -> None:
        self.disk = disk
        self.lake = disk.path / "lake"
        self.folder = config.parent
        self.simulator = simulator
        self.outages: list[Outage] = []
        self.began = 0
        self._config = config
        self._fsync = fsync
        self._commands: list[Altered] = []
        self._old: list[int] = []
        self._times: dict[Path, set[int]] = {}

    @property
    def market(self) -> Market:
        """What goes on whether or not the daemon lives."""
        return self.simulator.markets["crypto_data"]

    def command(self, name: str) -> Altered:
        """An edc command, imported and waiting to be let go."""
        arguments = (name, "--config", str(self._config))
        command = Altered(*arguments, cwd=self.folder, fsync=self._fsync, waiting=True)
        self._commands.append(command)
        return command

    def end(self) -> None:
        """Kill what was never let go, or still runs because something has gone wrong."""
        for command in self._commands:
            if command.process.poll() is None:
                command.kill()

    async def connected(self, daemon: Altered) -> None:
        """Let a daemon go, and return once it has subscribed."""
        connections = self.simulator.connections
        daemon.go()
        await until(lambda: self.simulator.connections > connections)
        self.began = self.began or time.time_ns()

    def sow(self) -> None:
        """Add three files to a closed partition, so that there is something to compact."""
        folder = self.lake / _OLD_FOLDER
        files.make_folder(folder)
        for _ in range(3):
            first = len(self._old)
            times = [_OLD + number * 1_000_000 for number in range(first, first + 40)]
            buffer = io.BytesIO()
            to_frame("quote", [_old_quote(at) for at in times], _NEW_YORK).write_parquet(buffer)
            files.publish(folder / f"old_{first:06d}.parquet", buffer.getbuffer())
            self._old += times

    def look(self, outage: Outage) -> None:
        """Read what has survived, and note what is not as it should be."""
        known, self._times = self._times, {}
        for path in self._files():
            try:
                self._times[path] = known[path] if path in known else _times_in(path)
            except Exception as error:  # noqa: BLE001 - whatever a reader would raise
                size = path.stat().st_size
                outage.problems.append(f"{path.name} ({size} bytes): {error}")
        old = [at for path in self._old_files() for at in self._times.get(path, ())]
        if sorted(old) != self._old:
            outage.problems.append(
                f"of {len(self._old)} old rows {len(set(old))} are left, in {len(old)}"
            )
        held = set().union(*self._times.values())
        if gone := take_acknowledged(self.folder) - held:
            outage.problems.append(f"{len(gone)} events are gone that were said to be on disk")

    def _files(self) -> Iterator[Path]:
        for kind in ("trade", "quote", "gap"):
            yield from oracle.files(self.lake, kind)
        yield from self.lake.glob(".spool/main/*/[0-9]*.arrow")

    def _old_files(self) -> list[Path]:
        return [path for path in self._times if path.parent == self.lake / _OLD_FOLDER]

    def without_old(self) -> None:
        """Take the rows of `sow` away, which the oracle does not know."""
        for path in (self.lake / _OLD_FOLDER).glob("*.parquet"):
            path.unlink()


def _old_quote(at: int) -> Quote:
    return Quote(
        symbol="aapl",
        asset_type="stock",
        event_time=at,
        bid=1.0,
        ask=2.0,
        mid=1.5,
        created_at=at,
        origin=Origin("old", "old", "old", 1),
    )


def _times_in(path: Path) -> set[int]:
    """The event times in a file, all of it read, and a chunk held to its checksum."""
    rows = read_chunk(path) if path.suffix == ".arrow" else pl.read_parquet(path)
    return set(rows["event_time"].to_physical()) if "event_time" in rows.columns else set()


@asynccontextmanager
async def rig(folder: Path, *, fsync: str = "") -> AsyncIterator[Rig]:
    """A market that is open, and a fresh disk."""
    simulator = TiingoSimulator(key=KEY, rate=_RATE, market={"crypto_data": 2})
    async with serving(simulator):
        config = write_config(folder, simulator.url, more=_BATCHES)
        text = config.read_text().replace(
            f'path = "{folder / "lake"}"', f'path = "{folder / "disk" / "lake"}"\nreserve = 0'
        )
        config.write_text(text.replace('"50ms"', f'"{int(INTERVAL * 1000)}ms"'))
        with loopdisk.ext4(folder) as disk:
            made = Rig(disk, config, simulator, fsync)
            try:
                yield made
            finally:
                made.end()


async def lose_power(
    it: Rig, daemon: Altered, compaction: Altered | None, seconds: float, compact_for: float
) -> None:
    """Let both work, cut the power after about so many seconds, and look at what is left."""
    it.sow()
    await it.connected(daemon)
    starved = _starved(daemon)
    await asyncio.sleep(seconds)
    if compaction is not None:
        compaction.go()
    await asyncio.sleep(compact_for)  # the moment is what is tried
    at = it.disk.power_off()
    outage = Outage(at, _starved(daemon) - starved)
    it.outages.append(outage)
    for process in filter(None, (daemon, compaction)):
        await asyncio.to_thread(process.kill)
    outage.ended_at = time.time_ns()
    it.disk.unmount()
    it.disk.mount(commit=1 + 4 * (len(it.outages) % 2))
    await asyncio.to_thread(it.look, outage)


def _starved(process: Altered) -> int:
    """How long the threads of a process have waited for a CPU, all together, in ns."""
    waited = 0
    for task in Path(f"/proc/{process.process.pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that has ended
            waited += int(task.read_text().split()[1])
    return waited


async def _recover(it: Rig, daemon: Altered) -> tuple[int, list[str]]:
    """Run the daemon undisturbed, and let it stop in order: when (ns), and what went wrong."""
    await it.connected(daemon)
    heard = it.market.heard
    await until(lambda: it.market.heard > heard + _RATE * INTERVAL)
    end = time.time_ns()
    it.market.mute = True
    await asyncio.sleep(INTERVAL)  # what is on its way arrives
    daemon.process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(daemon.wait)
    return end, [f"the last run ended with {code}:\n{daemon.output}"] if code else []


async def torture(rounds: int, folder: Path, seed: int) -> Row:
    """So many power losses on one disk, and the verdict."""
    row = Row("power loss", rounds)
    rng = random.Random(seed)
    async with rig(folder) as it:
        daemon, compaction = it.command("run"), None
        for number in range(rounds):
            following = it.command("run"), it.command("compact") if number % 2 == 0 else None
            await lose_power(it, daemon, compaction, rng.uniform(0, 0.8), rng.uniform(0, 0.3))
            daemon, compaction = following
        end, row.problems = await _recover(it, daemon)
        await asyncio.to_thread(_judge, it, (it.began, end), row)
    return row


def _judge(it: Rig, window: oracle.Span, row: Row) -> None:
    """Compare the lake, recovered, with what was sent."""
    it.look(final := Outage(window[1]))
    row.problems += [text for each in (*it.outages, final) for text in each.problems]
    for left in it.lake.glob(".spool/main/*/[0-9]*.arrow"):
        row.problems.append(f"{left.name} is left in the spool")
    for aside in it.lake.glob(".quarantine/*.reason"):
        row.problems.append(f"set aside: {aside.read_text().strip()}")
    it.without_old()
    finding = oracle.examine(it.lake, it.market.record, window)
    finding.add_to(row)
    heard = finding.lost_though_sent
    if safe := oracle.outside(heard, [outage.span() for outage in it.outages]):
        row.problems.append(f"{len(safe)} lost events had had time enough to be written")
    oldest = max((_age(heard, outage) for outage in it.outages), default=0.0)
    starved = max(outage.starved for outage in it.outages) / oracle.SECOND
    row.note = (
        f"{len(heard)} lost though sent, the oldest {oldest:.2f} s before;"
        f" a daemon waited up to {starved:.2f} s for a CPU"
    )


def _age(lost: list[int], outage: Outage) -> float:
    """How long before an outage the first of these was sent that it may have cost, in s."""
    near = [moment for moment in lost if outage.span()[0] <= moment <= outage.at]
    return (outage.at - min(near)) / oracle.SECOND if near else 0.0


async def control(rounds: int, folder: Path) -> Row:
    """The same with an fsync that does nothing, so that it is known that the look can see."""
    violated = 0
    for _ in range(rounds):
        async with rig(folder, fsync="none") as it:
            await lose_power(it, it.command("run"), it.command("compact"), 0.8, 0.2)
            violated += bool(it.outages[0].problems)
    row = Row("power loss, no fsync", rounds)
    row.note = f"negative control: {violated} of {rounds} rounds violated, as they must"
    if violated < rounds:
        row.problems.append(f"without fsync only {violated} of {rounds} rounds were violated")
    return row


def run(rounds: int, folder: Path, seed: int = 1) -> Row:
    """The row of `make torture`."""
    if reason := loopdisk.missing():
        return Row("power loss", skipped=reason)
    return asyncio.run(torture(rounds, folder, seed))


def run_control(rounds: int, folder: Path) -> Row:
    """The row of its negative control."""
    if reason := loopdisk.missing():
        return Row("power loss, no fsync", skipped=reason)
    return asyncio.run(control(rounds, folder))
