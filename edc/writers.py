"""The threads that write, and who goes first where they and the loop want one processor.

A frame that waits for the loop is late; a row that waits for its chunk is not. So writers, and the
threads of Polars, are nicer than the loop, and the loop asks the kernel for short slices, which are
granted at once where longer ones have to wait. No more writers compute at a time than there are
processors: more would take turns anyway, some of them with the interpreter's lock in hand.

On a processor that is busy the whole time all of that takes the 99th of a hundred events from
4 ms to less than one (`python -m tests.bench`). It is Linux's way; elsewhere threads are alike.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import platform
import struct
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import polars as pl

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")

_NICER = 10
_NICEST = 19
_MOST = 16
"""Two for each table, and some to spare."""
_PATIENCE = 0.25
"""Seconds that a writer waits for its turn: a batch may take long, and a chunk has to be safe."""
_SLICE_NS = 100_000
_SYSCALLS = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""Size, policy, flags, nice, priority, runtime, deadline, period: sched_setattr(2)."""
_RESET_ON_FORK = 1
_M_ARENA_MAX = -8
"""Of mallopt(3)."""


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


class Writers:
    """Runs what writes in threads, so that the loop never waits for a disk."""

    def __init__(self, at_once: int | None = None) -> None:
        self._threads = ThreadPoolExecutor(_MOST, "writer", initializer=_step_back)
        self._turns = threading.Semaphore(at_once or processors())

    async def run(self, work: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
        """What `work` returns or raises; it computes, or waits for a disk of this machine."""
        return await self.apart(lambda: self._in_turn(work, *args, **named))

    async def apart(self, work: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
        """As `run`, for what may wait for another machine: it keeps nobody from their turn."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **named))

    def _in_turn(self, work: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
        in_turn = self._turns.acquire(timeout=_PATIENCE)
        try:
            return work(*args, **named)
        finally:
            if in_turn:
                self._turns.release()

    def close(self) -> None:
        """No more work comes; what runs is not waited for."""
        self._threads.shutdown(wait=False)


def receive_first() -> None:
    """Let this thread, which receives, go before the writers. Call it before Polars computes."""
    _share_one_heap()
    pools = threading.Thread(target=_make_pools, name="pools")
    pools.start()
    pools.join()
    if not _ask_for_short_slices():
        log.debug("the kernel grants no slices")


def _share_one_heap() -> None:
    """Let glibc keep one heap for all threads: each of its own would keep the most it ever held.

    They hold the interpreter's lock when they ask for memory, and do not wait for each other.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _make_pools() -> None:
    """Polars makes its threads when it first computes, and they are as nice as who makes them."""
    _step_back()
    rows = pl.LazyFrame({"a": [2, 1]})
    rows.sort("a").collect(engine="in-memory")
    rows.group_by("a").len().collect(engine="streaming")


def _step_back() -> None:
    """Let other threads go before this one."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        nice = min(os.getpriority(os.PRIO_PROCESS, own) + _NICER, _NICEST)
        os.setpriority(os.PRIO_PROCESS, own, nice)


def _ask_for_short_slices() -> bool:
    """Ask for slices of a tenth of a millisecond for this thread alone; Linux has them since 6.12.

    False where that cannot be asked for. Left alone where somebody has chosen another policy.
    """
    number = _SYSCALLS.get(platform.machine())
    if sys.platform != "linux" or number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    size, policy = _ATTRIBUTES.size, os.SCHED_OTHER
    asked = _ATTRIBUTES.pack(size, policy, _RESET_ON_FORK, nice, 0, _SLICE_NS, 0, 0)
    failed: int = ctypes.CDLL(None).syscall(number, 0, asked, 0)
    return not failed
