"""Writers take turns, wait for nobody too long, and go after the thread that receives."""

import asyncio
import ctypes
import os
import platform
import sys
import threading
from pathlib import Path

import pytest

from edc import writers
from edc.writers import Writers
from tests.harness import Process, until

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has nice threads")


class Work:
    """Work that goes on until it is let go; how many were at it together."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.at_once = self.most = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        assert self.go_on.wait(30)
        with self._lock:
            self.at_once -= 1


async def ended(work: Work, *tasks: "asyncio.Task[None]") -> None:
    work.go_on.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("number", [1, 2])
async def test_no_more_compute_at_once_than_there_are_processors(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "_PATIENCE", 30)
    pool, work = Writers(number), Work()
    tasks = [asyncio.create_task(pool.run(work)) for _ in range(4)]

    await until(lambda: work.at_once == number)
    await ended(work, *tasks)

    assert work.most == number
    pool.close()


async def test_who_waits_for_another_machine_keeps_nobody_from_their_turn() -> None:
    pool, upload = Writers(1), Work()
    task = asyncio.create_task(pool.apart(upload))
    await until(lambda: upload.at_once == 1)

    assert await pool.run(lambda number: number + 1, 1) == 2

    await ended(upload, task)
    pool.close()


async def test_a_turn_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_PATIENCE", 0.01)
    pool, batch = Writers(1), Work()
    task = asyncio.create_task(pool.run(batch))
    await until(lambda: batch.at_once == 1)

    assert await pool.run(lambda: "safe") == "safe"

    await ended(batch, task)
    assert await pool.run(lambda: "still one turn") == "still one turn"
    pool.close()


async def test_what_is_raised_is_raised_and_gives_the_turn_back() -> None:
    pool = Writers(1)

    for _ in range(3):
        with pytest.raises(OSError, match="no space"):
            await pool.run(_full)

    assert pool._turns.acquire(blocking=False)
    pool.close()


def _full() -> None:
    raise OSError("no space")


@LINUX
async def test_a_writer_is_nicer_than_who_started_it() -> None:
    pool = Writers()
    own = os.getpriority(os.PRIO_PROCESS, 0)

    nice = await pool.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    assert nice == min(own + 10, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
    pool.close()


@LINUX
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the number of the system call")
def test_a_thread_that_asks_for_short_slices_has_them_and_no_other() -> None:
    """As the kernel tells it (sched_getattr(2)); those before 6.12 say nothing of slices."""
    kernel = tuple(map(int, platform.release().split("-")[0].split(".")[:2]))
    found: list[tuple[int, ...]] = []

    def ask() -> None:
        assert writers._ask_for_short_slices()
        found.append(attributes())
        other = threading.Thread(target=lambda: found.append(attributes()))
        other.start()
        other.join()

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()

    (_, policy, _, nice, _, slice_ns, _, _), others = found
    assert (policy, nice) == (os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0))
    if kernel >= (6, 12):
        assert slice_ns == 100_000
        assert others[5] != 100_000


def attributes() -> tuple[int, ...]:
    """Those of this thread: see `_ATTRIBUTES`."""
    told = ctypes.create_string_buffer(writers._ATTRIBUTES.size)
    assert not ctypes.CDLL(None).syscall(315, 0, told, len(told), 0)
    return writers._ATTRIBUTES.unpack(told.raw)


@LINUX
async def test_all_threads_of_a_daemon_but_the_loops_step_back(tmp_path: Path) -> None:
    """Those of Polars too, which it makes when it first computes."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    daemon = Process("run", "--demo", cwd=tmp_path)
    pid = daemon.process.pid
    await until(lambda: any(tmp_path.rglob("main/quote/*.arrow")))

    nice = niceness(pid)

    assert nice.pop(pid)[1] == own
    threads = ("async-executor", "polars-0", "polars-1")
    computing = {name: each for name, each in nice.values() if name.startswith(threads)}
    assert len(computing) > 1
    assert set(computing.values()) == {min(own + 10, 19)}


def niceness(pid: int) -> dict[int, tuple[str, int]]:
    """By thread, its name and how nice it is."""
    found = {}
    for path in Path(f"/proc/{pid}/task").iterdir():
        name, _, rest = (path / "stat").read_text().partition(" (")[2].rpartition(") ")
        found[int(path.name)] = (name, int(rest.split()[16]))
    return found
