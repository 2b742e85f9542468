"""One lake, one market that goes on whatever happens, and the daemons that come and go."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Container, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edc import control
from edc.simulator.market import Market
from edc.simulator.tiingo import TiingoSimulator
from tests.harness import KEY, Process, until
from tests.torture.oracle import (
    Finding,
    Span,
    examine,
    excess,
    files,
    kill_costs,
    late_losses,
    time_of,
    times_in,
)
from tests.torture.table import Row

ROOT = Path(__file__).parents[2]
RATE = 2500
INTERVAL = 0.1
"""Seconds: the spool's."""
SLACK = 0.5
"""Seconds that a busy machine may take to write a chunk, on top of the interval."""
MOST_SLACK = 4.0
"""The same, once in a while, where the machine is overloaded."""
_NOT_BEHIND = 200_000_000
"""Nanoseconds from an event's time to the answer that knows of it."""
SMALL_BATCHES = 'max_rows = 400\nmax_age = "250ms"'
_TOO_WIDE = 3.0
"""Seconds that the ledger may claim for each trouble beyond its real span."""

_CONFIG = """
[storage]
path = "{lake}"
reserve = 0

[spool]
interval = "{interval}ms"

[batch]
{batch}

[compact]
closed_after = "0s"

[server]
listen = ""
{more}
[vendors.tiingo]
url = "{url}"
api_key = "{key}"

[feeds.crypto]
vendor = "tiingo"
channel = "crypto"
threshold_level = 2
{feed}
symbols = {{ crypto = ["btcusd", "ethusd"] }}
"""


@dataclass(slots=True)
class Stage:
    """Where a scene is played. Times are ns since the epoch.

    `kills` are the moments at which a process died, `safe` the times of all events that were on
    disk at one of them. `hidden` are spans of trouble that the market cannot know of, because it
    has written to a connection.
    """

    folder: Path
    lake: Path
    config: Path
    simulator: TiingoSimulator
    rng: random.Random
    kills: list[int] = field(default_factory=list)
    safe: set[int] = field(default_factory=set)
    hidden: list[Span] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stopped_at: int = 0
    _started: list[Process] = field(default_factory=list)
    _read: set[Path] = field(default_factory=set)

    @property
    def market(self) -> Market:
        """The market of the one feed."""
        return self.simulator.markets["crypto_data"]

    def command(
        self,
        *arguments: str,
        module: str = "edc",
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """A command of edc in a process of its own; `options` come before it."""
        process = Process(
            *(*options, *arguments, "--config", str(self.config)),
            cwd=self.folder,
            env={"PYTHONPATH": str(ROOT), **(env or {})},
            module=module,
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        """Leave no process behind."""
        for process in self._started:
            if process.process.poll() is None:
                process.process.kill()
                process.wait()

    def configure(
        self, url: str, *, batch: str = SMALL_BATCHES, more: str = "", feed: str = ""
    ) -> None:
        """Write the config."""
        text = _CONFIG.format(
            lake=self.lake,
            interval=round(INTERVAL * 1000),
            batch=batch,
            more=more,
            url=url,
            key=KEY,
            feed=feed,
        )
        self.config.write_text(text)

    async def daemon(self, *, module: str = "edc", receives: int = 1) -> Process:
        """A daemon, once it has been sent so many events."""
        heard = self.market.heard
        process = self.command("run", module=module)
        await self.until_heard(heard + receives, process)
        return process

    async def until_heard(self, number: int, process: Process, within: float = 20.0) -> None:
        """Wait until somebody got so many events in all. Raises where the daemon is dead."""
        await until(
            lambda: self.market.heard >= number or process.process.poll() is not None, within
        )
        if process.process.poll() is not None:
            code = await self.gone(process)
            raise AssertionError(f"a daemon ended by itself ({code}):\n{process.output}")

    async def until_alive(self, process: Process) -> None:
        """Wait until a daemon or a flush has taken the instance, or has ended."""
        lock = self.lake / ".spool" / "main" / "lock"
        pid = str(process.process.pid)
        await until(
            lambda: (
                process.process.poll() is not None or (lock.exists() and lock.read_text() == pid)
            )
        )

    async def kill(self, process: Process) -> None:
        """`kill -9`, which a process may have forestalled by its own death."""
        process.process.send_signal(signal.SIGKILL)
        await self.gone(process)

    async def gone(self, process: Process, within: float = 30.0) -> int:
        """Wait for an end, of which the moment counts as a kill unless it was in order."""
        code = await asyncio.to_thread(process.wait, within)
        if code == -signal.SIGKILL:
            self.kills.append(time.time_ns())
            await asyncio.to_thread(self._note_safe)
        return code

    def _note_safe(self) -> None:
        """What is in whole files now has to be in the lake at the end, whatever dies when."""
        chunks = set(self.lake.glob(".spool/main/*/[0-9]*.arrow"))
        batches = {path for kind in ("trade", "quote") for path in files(self.lake, kind)}
        for path in (chunks | batches) - self._read:
            with suppress(FileNotFoundError):  # a daemon that lives has just done with it
                self.safe |= times_in(path)
        self._read |= chunks | batches

    async def stop(self, process: Process) -> None:
        """SIGTERM, and an orderly end. No event after this counts."""
        self.stopped_at = time.time_ns()
        process.process.send_signal(signal.SIGTERM)
        code = await self.gone(process)
        if code:
            self.problems.append(f"a stopped daemon ended with {code}:\n{process.output[-2000:]}")

    async def succeed(self, process: Process, but_for: str = "") -> None:
        """Wait for a command's end, which must be in order; it may complain of one thing only."""
        code = await self.gone(process)
        complaints = [line for line in process.output.splitlines() if line.startswith("edc: ")]
        expected = but_for and code == 1 and all(but_for in line for line in complaints)
        if code and not expected:
            self.problems.append(f"a command ended with {code}:\n{process.output[-2000:]}")

    async def until_caught_up(self, process: Process, within: float = 60.0) -> None:
        """Wait until a daemon has what is sent now, and neither disk nor queue holds it up."""
        socket = self.lake / ".spool" / "main" / "control.sock"
        async with asyncio.timeout(within):
            while True:
                assert process.process.poll() is None, process.output
                status: dict[str, Any] = await asyncio.to_thread(control.ask, socket, "status")
                behind = status["now"] - (status["feeds"][0]["last_event"] or 0)
                if behind < _NOT_BEHIND and not any(
                    table["problems"] for table in status["tables"].values()
                ):
                    return
                await asyncio.sleep(0.05)

    async def compact(self, but_for: str = "") -> None:
        """An undisturbed compaction of all partitions, that may complain of one thing only."""
        await self.succeed(self.command("compact", module="tests.torture.hurried"), but_for)

    async def examine(self) -> Finding:
        """What the oracle finds; what was sent before anybody listened does not count."""
        record = self.market.record
        first = next((each for each in record if each.listeners), None)
        if first is None:
            raise AssertionError("nobody ever got anything")
        window = (time_of(first), self.stopped_at)
        finding = await asyncio.to_thread(examine, self.lake, list(record), window)
        finding.problems += self.problems
        if list(self.lake.glob(".spool/*/*/[0-9]*.arrow")):
            finding.problems.append("chunks are left in the spool")
        return finding

    def late_losses(self, finding: Finding) -> list[int]:
        """What was lost though it had to be on disk before any trouble."""
        return late_losses(finding, self.kills, INTERVAL, MOST_SLACK, self.hidden)

    def judge(
        self,
        row: Row,
        finding: Finding,
        faults: int,
        *,
        allowed: float = 0.0,
        forgiven: Container[int] = (),
    ) -> None:
        """Hold a run of so many faults to what kills may cost and the ledger may claim.

        `allowed` are seconds that it may claim beyond that, `forgiven` events that it may lack for
        another reason.
        """
        late = [at for at in self.late_losses(finding) if at not in forgiven]
        if late:
            row.problems.append(
                f"{len(late)} lost events were received long before any trouble, from {min(late)}"
                f" to {max(late)}; kills at {self.kills}"
            )
        unsafe = [at for at in finding.lost if at in self.safe and at not in forgiven]
        if unsafe:
            row.problems.append(f"{len(unsafe)} lost events were on disk, one at {unsafe[0]}")
        row.costs += kill_costs(finding, self.kills, INTERVAL + MOST_SLACK)
        too_much = excess(finding.gaps, [*finding.unheard(), *self.hidden])
        if too_much > _TOO_WIDE * faults + allowed:
            row.problems.append(
                f"the ledger claims {too_much:.1f} s more than {faults} faults have taken"
            )
        finding.add_to(row)


async def play_all(scenes: Iterable[Coroutine[None, None, None]]) -> None:
    """Play scenes, each on a stage of its own, two at a time: they mostly wait for processes."""
    room = asyncio.Semaphore(2)

    async def play(scene: Coroutine[None, None, None]) -> None:
        async with room:
            await scene

    async with asyncio.TaskGroup() as tasks:
        for scene in scenes:
            tasks.create_task(play(scene))


@asynccontextmanager
async def stage(
    folder: Path,
    rng: random.Random,
    *,
    batch: str = SMALL_BATCHES,
    more: str = "",
    feed: str = "",
    lake: Path | None = None,
) -> AsyncIterator[Stage]:
    """A lake in `folder`, unless it is elsewhere, and a market that is open while inside."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nobody waits
    simulator = TiingoSimulator(
        key=KEY, rate=RATE, seed=rng.randrange(1 << 30), market={"crypto_data": 2}, heartbeat=0.2
    )
    await simulator.start()
    try:
        place = lake or folder / "lake"
        config = folder / "config.toml"
        it = Stage(folder, place, config, simulator, rng)
        it.configure(simulator.url, batch=batch, more=more, feed=feed)
        try:
            yield it
        finally:
            it.end()
    finally:
        await simulator.stop()
