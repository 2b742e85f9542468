"""Files that are torn off, or have a bit flipped, while the daemon is down.

They are chunks of the spool, Parquet files of the lake, and edc's own notes.

Whatever is damaged, the next daemon starts; the damaged files go to `.quarantine/`, their rows are
in the ledger, and everything else is kept.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.oracle import Finding, files, outside, times_in
from tests.torture.stage import RATE, Stage, play_all, stage
from tests.torture.table import Row

_MOST = 12
"""Damaged files on one lake."""
_BATCHES = 'max_rows = 1500\nmax_age = "1s"'
_NOTES_LAG = 61.0
"""Seconds by which a gap is too wide where the watermarks were damaged: a minute, by design."""
_SET_ASIDE = "damaged, and set aside in .quarantine"

_Damage = Callable[[bytearray, random.Random], None]


@dataclass(slots=True)
class _Scene:
    """A lake, and what was done to it: `held` are the times of the events in damaged files."""

    it: Stage
    touched: set[Path] = field(default_factory=set)
    held: set[int] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    notes: int = 0


def run_torn(times: int, folder: Path, seed: int) -> Row:
    """The row of files that end too early."""
    return asyncio.run(_family("torn file", times, folder, seed, _tear))


def run_flipped(times: int, folder: Path, seed: int) -> Row:
    """The row of files of which one bit is another."""
    return asyncio.run(_family("flipped bit", times, folder, seed, _flip))


def _tear(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


async def _family(name: str, times: int, folder: Path, seed: int, damage: _Damage) -> Row:
    row = Row(name, times)
    kinds: Counter[str] = Counter()

    async def play(first: int) -> None:
        async with stage(
            folder / f"{first}", random.Random(f"{seed} {name} {first}"), batch=_BATCHES
        ) as it:
            scene = await _play(it, min(_MOST, times - first), damage)
            _judge(row, scene, await it.examine())
            kinds.update(scene.kinds)

    await play_all(play(first) for first in range(0, times, _MOST))
    row.note = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return row


async def _play(it: Stage, times: int, damage: _Damage) -> _Scene:
    """Daemons killed, files damaged, a compaction now and then; at the end all is looked at."""
    scene = _Scene(it)
    while scene.kinds.total() < times:
        await it.kill(await it.daemon(receives=RATE // 2 + it.rng.randrange(RATE)))
        if it.rng.random() < 0.3:
            await it.compact(_SET_ASIDE)
        for _ in range(min(it.rng.randint(2, 4), times - scene.kinds.total())):
            _damage_one(scene, damage)
    await it.stop(await it.daemon(receives=RATE))
    await it.compact(_SET_ASIDE)
    await it.stop(await it.daemon())  # it brings what the compaction found into the lake
    return scene


def _damage_one(scene: _Scene, damage: _Damage) -> None:
    """Damage one file; chunks and batches more often than notes."""
    rng, lake = scene.it.rng, scene.it.lake
    chunks = set(lake.glob(".spool/main/*/[0-9]*.arrow")) - scene.touched
    batches = {path for kind in ("trade", "quote") for path in files(lake, kind)} - scene.touched
    notes = {*lake.glob(".spool/main/watermarks.json"), *lake.rglob(".manifest.json")}
    found = {"chunk": (chunks, 5), "parquet": (batches, 5), "note": (notes - scene.touched, 2)}
    weights = [weight if paths else 0 for paths, weight in found.values()]
    kind = rng.choices(list(found), weights)[0]
    path = rng.choice(sorted(found[kind][0]))
    scene.kinds[kind] += 1
    if path.name == "watermarks.json":
        scene.notes += 1
    elif kind == "note":
        scene.touched.add(path)
    else:
        scene.touched.add(path)
        scene.held |= times_in(path)
    data = bytearray(path.read_bytes())
    damage(data, rng)
    path.write_bytes(data)


def _judge(row: Row, scene: _Scene, finding: Finding) -> None:
    """What the damaged files held is lost as `damaged`, and nothing else beyond what kills cost."""
    it = scene.it
    late = set(it.late_losses(finding))
    damaged = [gap.span for gap in finding.gaps if gap.cause == "damaged"]
    untold = outside(late & scene.held, damaged)
    if untold:
        row.problems.append(f"{len(untold)} rows of damaged files are in no damaged row")
    aside = list((it.lake / ".quarantine").glob("*.arrow"))
    chunks = scene.kinds["chunk"]
    if len(aside) != chunks:
        row.problems.append(f"{chunks} chunks were damaged, {len(aside)} were set aside")
    without = [path for path in aside if not path.with_name(f"{path.name}.reason").exists()]
    if without:
        row.problems.append(f"{len(without)} files were set aside without a reason")
    allowed = _NOTES_LAG * scene.notes
    it.judge(row, finding, len(it.kills) + 2, allowed=allowed, forgiven=scene.held)
