"""Housekeeping: retention and compaction, from the command line and by the daemon's timer.

The timer runs `python -m edc.upkeep.housekeeping` as a process of its own, at a low priority: the
daemon's loop, threads and memory are not touched, and it can be ended at any moment, because what
it does is safe from a kill. It reads one Order as a line of JSON, logs in JSON, and ends with 1
where anything was not as it should be. It ends with the daemon, however that ends.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edc import logs
from edc.errors import EdcError
from edc.retry import first_of
from edc.settings import Settings
from edc.upkeep import offstage
from edc.upkeep.compaction import Compacted, Compactor
from edc.upkeep.offstage import Problem
from edc.upkeep.retention import Removed, Retention

_FIRST_WITHIN = 60.0
"""Seconds after the start of the daemon, and a random part of them."""

_ENDS_WITHIN = 1.0
_LONGEST_LINE = 1 << 20
_PR_SET_PDEATHSIG = 1
_NICER = 10

log = logging.getLogger("edc.upkeep.housekeeping")  # `__main__` in the process of the timer


class Order(msgspec.Struct, frozen=True):
    """What is to be done, where: seconds, days by event type, and bytes to be left free."""

    path: str
    timezone: str
    instance: str
    closed_after: float
    keep_days: dict[str, int]
    reserve: int = 0
    delta: str = ""
    """Where the tables of a Delta Lake are; `path` is then the folder of its lock."""
    options: dict[str, str] = {}


class Busy(msgspec.Struct, frozen=True):
    """Another process is at work on this lake, and does it."""


Done = Removed | Compacted | Problem | Busy


def order(settings: Settings) -> Order:
    """What the settings ask for."""
    storage = settings.storage
    return Order(
        str(storage.home),
        storage.timezone,
        storage.instance,
        settings.compact.closed_after,
        {str(event_type): days for event_type, days in storage.keep_days.items()},
        int(storage.reserve),
        str(storage.path) if storage.format == "delta" else "",
        storage.secrets,
    )


def work(
    wanted: Order, *, now_ns: Callable[[], int] = time.time_ns, dry_run: bool = False
) -> Iterator[Done]:
    """Remove what is too old, compact what is closed; each as it is done, or as it would be.

    Raises OSError or DiskFailed where the lake as a whole cannot be worked on.
    """
    path = Path(wanted.path)
    if wanted.delta:
        yield from _delta(wanted, now_ns, dry_run=dry_run)
        return
    retention = Retention(path, wanted.timezone, wanted.keep_days, now_ns=now_ns)
    compactor = Compactor(
        path,
        wanted.timezone,
        now_ns=now_ns,
        instance=wanted.instance,
        closed_after=wanted.closed_after,
        reserve=wanted.reserve,
    )
    if not path.exists():
        return
    if dry_run:
        going = set()
        for found in retention.wanted():
            if isinstance(found, Removed):
                going.add(found.folder)
            yield found
        for each in compactor.wanted():
            if not going & {each.folder, each.folder.parent}:
                yield each
        return
    with offstage.alone(path) as mine:
        if not mine:
            yield Busy()
            return
        offstage.sweep(path)
        yield from retention.run()
        yield from compactor.run()


def _delta(wanted: Order, now_ns: Callable[[], int], *, dry_run: bool) -> Iterator[Done]:
    """The same for a Delta Lake, whose library does the work."""
    from edc.upkeep.delta import DeltaUpkeep  # noqa: PLC0415 - its library is an extra

    upkeep = DeltaUpkeep(
        wanted.delta,
        wanted.options,
        wanted.timezone,
        closed_after=wanted.closed_after,
        keep_days=wanted.keep_days,
        now_ns=now_ns,
    )
    Path(wanted.path).mkdir(parents=True, exist_ok=True)
    with offstage.alone(Path(wanted.path)) as mine:
        if mine:
            yield from upkeep.run(dry_run=dry_run)
        else:
            yield Busy()


def said(done: Done, *, dry_run: bool = False) -> str:
    """A sentence for people."""
    match done:
        case Busy():
            return "another process is at work on this lake"
        case Problem():
            return f"{done.folder}: {done.problem}"
        case Removed():
            does = "would be removed" if dry_run else "removed"
            return f"{done.folder}: {does}, {done.files} files, {done.size:,} bytes"
    would = f"{done.folder}: {done.files_before} files, {done.rows_before:,} rows"
    if done.files_after is None:
        return f"{would}, would be compacted"
    return f"{would} ─► {done.files_after} files, {done.rows_after:,} rows"


class Housekeeper:
    """The daemon's timer: shortly after the start, then every `every` seconds; None is never.

    `last_ns` is when it last ended, 0 for not yet; `problem` what was wrong then, or empty.
    """

    def __init__(self, wanted: Order, every: float | None) -> None:
        self._order = wanted
        self._every = every
        self._reason = ""
        self._changed = asyncio.Event()
        self.last_ns = 0
        self.problem = ""

    def change(self, wanted: Order, every: float | None) -> None:
        """Do this from the next time on; the waiting begins anew."""
        self._order, self._every = wanted, every
        self._changed.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until stopped."""
        first = random.uniform(0.1, 1.0)  # noqa: S311 - no secret
        wait = None if self._every is None else min(self._every, _FIRST_WITHIN) * first
        while not stopping.is_set():
            self._changed.clear()
            await first_of(stopping, self._changed, wait)
            if not (stopping.is_set() or self._changed.is_set()):
                await self._once(stopping)
            wait = self._every

    async def _once(self, stopping: asyncio.Event) -> None:
        """One run. Its failure is told, and the next one tries again."""
        self._reason = ""
        try:
            code = await self._process(stopping)
        except (OSError, ValueError) as error:  # it cannot be started, or says what is no line
            code, self._reason = 1, str(error)
        if stopping.is_set():
            return
        self.last_ns = time.time_ns()
        self.problem = (self._reason or f"it ended with {code}") if code else ""
        if code:
            log.warning("housekeeping failed, and is tried again: %s", self.problem)

    async def _process(self, stopping: asyncio.Event) -> int:
        """Run it in a process of its own, ended when the daemon stops; its exit code."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "edc.upkeep.housekeeping", str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LONGEST_LINE,
            env={"POLARS_MAX_THREADS": "2", **os.environ},
        )
        talk = asyncio.create_task(self._talk(child), name="housekeeping")
        stop = asyncio.create_task(stopping.wait(), name="housekeeping's end")
        try:
            await asyncio.wait((talk, stop), return_when=asyncio.FIRST_COMPLETED)
            if talk.done():
                talk.result()
        finally:
            stop.cancel()
            await _end(child, talk)
        if not talk.cancelled() and (error := talk.exception()):
            self._reason = repr(error)
            return 1
        return child.returncode or 0

    async def _talk(self, child: asyncio.subprocess.Process) -> None:
        """Give it its order, and its lines to our log."""
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            child.stdin.write(msgspec.json.encode(self._order) + b"\n")
            await child.stdin.drain()
            child.stdin.close()
        async for line in child.stdout:
            self._hear(line)
        await child.wait()

    def _hear(self, line: bytes) -> None:
        """One line of its log; what is none (an interpreter's last words) is a reason to fail."""
        try:
            entry: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
            name, level, event = entry.pop("logger"), entry.pop("level"), entry.pop("event")
        except (msgspec.DecodeError, KeyError):
            self._reason = line.decode(errors="replace").strip() or self._reason
            return
        fields = {key: value for key, value in entry.items() if key not in ("ts", "traceback")}
        number = logging.getLevelNamesMapping()[level.upper()]
        if number >= logging.WARNING:
            self._reason = event
        logging.getLogger(name).log(number, "%s", event, extra=fields)


async def _end(child: asyncio.subprocess.Process, talk: asyncio.Task[None]) -> None:
    """See that it ends, whatever became of the talk: there is never a second one beside it."""
    ending = asyncio.create_task(child.wait(), name="housekeeping's process")
    if talk.done():
        await asyncio.wait((ending,), timeout=_ENDS_WITHIN)
    for tell in (child.terminate, child.kill):
        if not ending.done():
            with contextlib.suppress(ProcessLookupError):
                tell()
            await asyncio.wait((ending,), timeout=_ENDS_WITHIN)
    for task in (talk, ending):
        task.cancel()
    await asyncio.gather(talk, ending, return_exceptions=True)


def main() -> int:
    """The process that the timer starts; the daemon's process id is its only argument."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):  # it has ended before this was asked for
        return 1
    os.nice(_NICER)
    logs.configure("json", _write)
    failed = False
    try:
        for done in work(msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)):
            failed |= isinstance(done, Problem)
            level = logging.ERROR if isinstance(done, Problem) else logging.INFO
            log.log(level, "%s", said(done))
    except (EdcError, OSError) as error:
        log.error("%s", error)
        return 1
    return int(failed)


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
