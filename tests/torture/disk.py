"""A disk that is full for a while, under each policy of a full queue.

The lake lies on a disk in memory that is filled to the last byte, held so while events come, and
then freed. `block` may lose nothing at all; what the others drop is in the ledger, to the row.
"""

import asyncio
import errno
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

from tests.harness import Process
from tests.torture import loopdisk
from tests.torture.oracle import Finding
from tests.torture.stage import RATE, Stage, stage
from tests.torture.table import Row

_POLICIES = ("block", "drop_oldest", "drop_newest")
_MOST = 4
"""Episodes that one daemon lives through."""
_DISK_KIB = 8192
_QUEUE = """
[queue]
capacity = 800
when_full = "{policy}"
"""


def run(times: int, folder: Path, seed: int) -> Row:
    """The row of full disks."""
    if os.geteuid() != 0:
        return Row("full disk", skipped="only root can mount a disk to fill")
    return asyncio.run(_full(times, folder, random.Random(f"{seed} full disk")))


async def _full(times: int, folder: Path, rng: random.Random) -> Row:
    row = Row("full disk", times)
    dropped = 0
    scene = min(_MOST, max(1, times // len(_POLICIES)))
    firsts = range(0, times, scene)
    for first, policy in zip(firsts, islice(cycle(_POLICIES), len(firsts)), strict=True):
        size = min(scene, times - first)
        place = folder / f"{first}"
        place.mkdir(parents=True)
        with loopdisk.tmpfs(place, kib=_DISK_KIB) as disk:
            more = _QUEUE.format(policy=policy)
            async with stage(place, rng, lake=disk / "lake", more=more) as it:
                daemon = await it.daemon(receives=RATE // 2)
                for _ in range(size):
                    await _fill(it, daemon, disk)
                await it.stop(daemon)
                finding = await it.examine()
                _hold_to_policy(row, finding, policy)
                dropped += finding.rows_lost("queue_full")
                it.judge(row, finding, size)
    row.note = f"{dropped:,} dropped and counted"
    if times >= len(_POLICIES) and not dropped:
        row.problems.append("no queue was ever full: nothing was tried")
    return row


async def _fill(it: Stage, daemon: Process, disk: Path) -> None:
    """Full from now on for a second or two; over once all is written again."""
    began = time.time_ns()
    with _ballast(disk) as top_up:
        for _ in range(it.rng.randint(5, 20)):
            top_up()
            await asyncio.sleep(0.1)
            assert daemon.process.poll() is None, daemon.output
    await it.until_caught_up(daemon)
    it.hidden.append((began, time.time_ns()))
    await it.until_heard(it.market.heard + it.rng.randrange(RATE // 2), daemon)


@contextmanager
def _ballast(disk: Path) -> Iterator[Callable[[], None]]:
    """A file that takes all the room there is, each time that it is called to."""
    path = disk / "ballast"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)

    def top_up() -> None:
        for size in (1 << 20, 4096, 1):
            try:
                while os.write(descriptor, bytes(size)):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    try:
        yield top_up
    finally:
        os.close(descriptor)
        path.unlink()


def _hold_to_policy(row: Row, finding: Finding, policy: str) -> None:
    counted = finding.rows_lost("queue_full")
    lost = len(finding.lost)
    if policy == "block" and lost:
        row.problems.append(f"block has lost {lost} events")
    if counted != lost:
        row.problems.append(f"{policy}: {lost} events are lost, the ledger counts {counted}")
