"""`kill -9` of the daemon, a recovery or a compaction: at random moments, and at named points."""

import asyncio
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from tests.harness import until
from tests.torture.doomed import POINTS
from tests.torture.stage import RATE, SMALL_BATCHES, Stage, play_all, stage
from tests.torture.table import Row

_MOST = 20
"""Kills on one lake."""
_KINDS = ("flush", "compact", "run", "run", "run")
_LARGE_BATCHES = 'max_rows = 100000\nmax_age = "1h"'
_NEVER_REACHED = 20.0
"""Seconds after which a point is taken for one that is not reached."""


@dataclass(slots=True)
class _Family:
    """The row of a family, and what its scenes add to its note."""

    row: Row
    done: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)

    def said(self) -> str:
        """What kills cost."""
        costs = self.row.costs
        if not costs:
            return "no kill cost anything that was sent"
        cost = f"{statistics.median(costs):.2f} s of data in the median, {max(costs):.2f} at most"
        return f"{len(costs)} cost {cost}"


def run_random(kills: int, folder: Path, seed: int) -> Row:
    """The row of kills at random moments."""
    return asyncio.run(_play_random(kills, folder, seed))


def run_named(kills: int, folder: Path, seed: int) -> Row:
    """The row of kills at every named point."""
    return asyncio.run(play_points(kills, folder, seed, list(POINTS)))


async def _play_random(kills: int, folder: Path, seed: int) -> Row:
    family = _Family(Row("kill -9 at random", kills))
    scenes = _scenes(list(islice(cycle(_KINDS), kills)))
    await play_all(
        _random_scene(family, folder / f"{number}", f"{seed} random kills {number}", kinds)
        for number, kinds in enumerate(scenes)
    )
    spread = ", ".join(f"{count} {kind}" for kind, count in sorted(family.done.items()))
    family.row.note = f"{spread}; {family.said()}"
    return family.row


async def _random_scene(family: _Family, folder: Path, seed: str, kinds: Sequence[str]) -> None:
    # some scenes leave all to the recovery, which then takes a while
    batch = _LARGE_BATCHES if folder.name in "13579" else SMALL_BATCHES
    async with stage(folder, random.Random(seed), batch=batch) as it:
        await it.kill(await it.daemon(receives=RATE // 2))
        for kind in kinds:
            await _KILL[kind](it)
            family.done[kind] += 1
        await _end(it, family, len(kinds) + 1)


async def _kill_run(it: Stage) -> None:
    """From the moment that it has the spool to about a second of data."""
    heard = it.market.heard
    process = it.command("run")
    if it.rng.random() < 0.3:
        await it.until_alive(process)
        await asyncio.sleep(it.rng.uniform(0, 0.2))  # it recovers, then connects
    else:
        await it.until_heard(heard + it.rng.randrange(RATE), process)
    await it.kill(process)


async def _kill_flush(it: Stage) -> None:
    """The recovery without a daemon, in batches of a few chunks."""
    process = it.command("flush", env={"EDC_BATCH__MAX_ROWS": "300"})
    await it.until_alive(process)
    await asyncio.sleep(it.rng.uniform(0, 0.15))
    await it.kill(process)


async def _kill_compact(it: Stage) -> None:
    """While a daemon writes to the same partitions."""
    daemon = await it.daemon()
    process = it.command("compact", module="tests.torture.hurried")
    await until(lambda: _compacts(it) or process.process.poll() is not None)
    await asyncio.sleep(it.rng.uniform(0, 0.3))
    await it.kill(process)
    await it.kill(daemon)


def _compacts(it: Stage) -> bool:
    return any(it.lake.glob(".compacting/*/*/*"))


_KILL = {"run": _kill_run, "flush": _kill_flush, "compact": _kill_compact}


async def play_points(kills: int, folder: Path, seed: int, points: Sequence[str]) -> Row:
    """So many kills at these points, each as often as the others."""
    family = _Family(Row("kill -9 at points", kills))
    shuffled = random.Random(f"{seed} points").sample(points, len(points))
    scenes = _scenes(list(islice(cycle(shuffled), kills)))
    await play_all(
        _points_scene(family, folder / f"{number}", f"{seed} named kills {number}", names)
        for number, names in enumerate(scenes)
    )
    family.row.note = f"{len(family.done)} points; {family.said()}"
    for name in sorted(family.tried.keys() - family.done.keys()):
        family.row.problems.append(f"the point {name} was never reached")
    return family.row


async def _points_scene(family: _Family, folder: Path, seed: str, names: Sequence[str]) -> None:
    async with stage(folder, random.Random(seed)) as it:
        await it.kill(await it.daemon(receives=RATE // 2))
        for name in names:
            family.tried[name] += 1
            if await _kill_at(it, name):
                family.done[name] += 1
        await _end(it, family, len(names) + 1)


async def _kill_at(it: Stage, name: str) -> bool:
    """Let a command run until it dies there; False where it never came there."""
    point = POINTS[name]
    nth = str(it.rng.randint(1, point.most))
    daemon = None if point.command == "run" else await it.daemon(receives=RATE // 2)
    doomed = it.command(point.command, module="tests.torture.doomed", options=(name, nth))
    try:
        await until(lambda: doomed.process.poll() is not None, _NEVER_REACHED)
        died = await it.gone(doomed) == -9
    except TimeoutError:
        died = False
        await it.kill(doomed)
    if daemon is not None:
        await it.kill(daemon)
    return died


async def _end(it: Stage, family: _Family, kills: int) -> None:
    """One more daemon, undisturbed and stopped in order; then the verdict."""
    await it.stop(await it.daemon(receives=RATE // 2))
    await it.compact()
    finding = await it.examine()
    if list((it.lake / ".quarantine").glob("*")):
        finding.problems.append("files were set aside, though nothing was damaged")
    if list(it.lake.rglob("*.tmp")):
        finding.problems.append("half-written files are left")
    it.judge(family.row, finding, kills)


def _scenes(kills: Sequence[str]) -> list[Sequence[str]]:
    """In parts of a scene each, of which there are two at least."""
    size = min(_MOST, (len(kills) + 1) // 2)
    return [kills[first : first + size] for first in range(0, len(kills), size)]
