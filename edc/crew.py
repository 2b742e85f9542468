"""Workers: processes of the same daemon, each an instance of its own with a part of the feeds.

A worker is `edc run` with what its share says (`Share`, a file beside its spool), with JSON lines
for its log, without HTTP server and housekeeping. It ends, as on SIGTERM, when its parent does. One
that dies is started again after a while, longer each time; what it missed is in the ledger, by its
watermarks.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edc import control, files, logs
from edc.errors import ConfigError, DiskFailed, EdcError, NoDaemon
from edc.family import member
from edc.retry import Backoff, pause

_HEALTHY = 60.0
"""Seconds of a run after which the next failure is a new one."""
_REPORT_EVERY = 1.0
_ANSWERS_WITHIN = 5.0
_FLUSHES_WITHIN = 600.0
_ENDS_WITHIN = 120.0
"""Seconds for the last flush of a worker; edc itself bounds the rest."""
_LONGEST_LINE = 1 << 20
_PR_SET_PDEATHSIG = 1
_LASTING = (0, ConfigError.exit_code, DiskFailed.exit_code)
"""Exit codes after which another try would end as the last one did."""

log = logging.getLogger(__name__)


class Share(msgspec.Struct, frozen=True):
    """What a worker is to record, and whose it is: it ends when that process does."""

    parent: int
    feeds: tuple[str, ...]

    @staticmethod
    def read(path: Path) -> "Share":
        """Raises ConfigError where there is none."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=Share)
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(str(path), f"is no worker's share: {error}", "leave it out") from None


@dataclass(slots=True)
class Worker:
    """One of them; `state` is starting, running, waiting, ended or failed."""

    number: int
    instance: str
    folder: Path
    state: str = "starting"
    problem: str = ""
    restarts: int = 0
    code: int | None = None
    feeds: tuple[str, ...] = ()
    process: asyncio.subprocess.Process | None = None
    report: dict[str, Any] = field(default_factory=dict)
    """What it last said when asked for its `report`, see Supervisor; nothing until then."""

    @property
    def socket(self) -> Path:
        """Where it answers."""
        return self.folder / "control.sock"

    def status(self) -> dict[str, object]:
        """For people."""
        return {
            "worker": self.number,
            "instance": self.instance,
            "pid": self.process.pid if self.process and self.code is None else None,
            "state": self.state,
            "restarts": self.restarts,
            "problem": self.problem,
            "feeds": list(self.feeds),
        }


class Crew:
    """All workers of a daemon. `command` is how one is started, without its share."""

    def __init__(self, home: Path, instance: str, number: int, command: Sequence[str]) -> None:
        self.workers = [
            Worker(each, name, home / ".spool" / name)
            for each in range(1, number + 1)
            for name in [member(instance, each)]
        ]
        self._command = command
        self._closing = asyncio.Event()

    def deal(self, takers: Mapping[str, int]) -> None:
        """Write down what each is to record: it reads it when it starts, and when it reloads."""
        for worker in self.workers:
            worker.feeds = tuple(name for name, number in takers.items() if number == worker.number)
            files.make_folder(worker.folder)
            worker.folder.chmod(0o700)
            share = Share(os.getpid(), worker.feeds)
            files.replace(worker.folder / "share.json", msgspec.json.encode(share))

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep them running until told to stop, or all have ended by themselves.

        Raises DiskFailed where one of them has met a disk that fails an fsync.
        """
        self._closing = asyncio.Event()
        watch = asyncio.create_task(self._watch(), name="workers' reports")
        follow = asyncio.create_task(self._close_with(stopping), name="workers' end")
        try:
            async with asyncio.TaskGroup() as tasks:
                for worker in self.workers:
                    tasks.create_task(self._keep(worker), name=worker.instance)
        except* DiskFailed as group:
            raise group.exceptions[0] from None
        finally:
            for task in (watch, follow):
                task.cancel()
            await asyncio.gather(watch, follow, return_exceptions=True)

    async def _close_with(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._closing.set()

    async def _keep(self, worker: Worker) -> None:
        """Start it as often as need be."""
        backoff = Backoff()
        while not self._closing.is_set():
            began = time.monotonic()
            worker.code = await self._once(worker)
            if self._closing.is_set() or worker.code in _LASTING:
                break
            if time.monotonic() - began > _HEALTHY:
                backoff.reset()
            worker.restarts += 1
            worker.state, worker.report, delay = "waiting", {}, backoff.next_delay()
            worker.problem = f"it {_ended(worker.code)}"
            log.error(
                "worker %d %s and is started again in %.1f s; what it misses is in the ledger",
                worker.number,
                _ended(worker.code),
                delay,
                extra={"worker": worker.number},
            )
            await pause(self._closing, delay)
        worker.state = "failed" if worker.code else "ended"
        if worker.code == DiskFailed.exit_code:
            raise DiskFailed(str(worker.folder), f"worker {worker.number} says so, see its log")

    async def _once(self, worker: Worker) -> int:
        """One run of it; its exit code, negative for a signal."""
        worker.state, worker.report = "starting", {}
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "edc", *self._command),
                *("--share", str(worker.folder / "share.json")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
                start_new_session=True,  # Ctrl-C is for the parent, which tells them
                env={**os.environ, **_environment(worker)},
            )
        except OSError as error:
            log.error("worker %d cannot be started: %s", worker.number, error)
            return 1
        worker.process, worker.code = process, None
        hear = asyncio.create_task(self._hear(worker, process), name=f"{worker.instance}'s log")
        ending = asyncio.create_task(process.wait())
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait((ending, closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
            await _end(process, ending)
            await asyncio.wait((hear,), timeout=1.0)
            hear.cancel()
        return process.returncode if process.returncode is not None else -signal.SIGKILL

    async def _hear(self, worker: Worker, process: asyncio.subprocess.Process) -> None:
        """Its log is ours; what is no line of it (an interpreter's last words) too."""
        assert process.stderr is not None
        async for line in process.stderr:
            if not logs.repeat(line, worker=worker.number):
                said = line.decode(errors="replace").strip()
                if said:
                    log.error("%s", said, extra={"worker": worker.number})

    async def _watch(self) -> None:
        """Ask them how it goes, again and again."""
        while True:
            for worker, answer in await self.ask("report", _ANSWERS_WITHIN):
                if isinstance(answer, EdcError):
                    if worker.state == "running":
                        worker.problem = str(answer)
                elif worker.code is None:
                    worker.state, worker.problem, worker.report = "running", "", answer
            await asyncio.sleep(_REPORT_EVERY)

    async def flush(self) -> list[dict[str, Any]]:
        """What each has flushed. Raises EdcError where one does not answer; all are asked."""
        answers = await self.ask("flush", _FLUSHES_WITHIN)
        return [_good(worker, answer) for worker, answer in answers]

    async def ask(
        self, command: str, within: float
    ) -> list[tuple[Worker, dict[str, Any] | EdcError]]:
        """What those that have not ended answer, or why they do not."""
        asked = [worker for worker in self.workers if worker.state not in ("ended", "failed")]

        def one(worker: Worker) -> dict[str, Any] | EdcError:
            try:
                return control.ask(worker.socket, command, within)
            except EdcError as error:
                return error

        answers = await asyncio.gather(*(asyncio.to_thread(one, each) for each in asked))
        return list(zip(asked, answers, strict=True))

    @property
    def exit_code(self) -> int:
        """Of all together: 0 if all ended well, 2 if the operator can mend each, else 1."""
        codes = {worker.code or 0 for worker in self.workers}
        if codes == {0}:
            return 0
        return ConfigError.exit_code if codes == {ConfigError.exit_code} else 1


def _environment(worker: Worker) -> Mapping[str, str]:
    """What makes a worker of the daemon that its config describes."""
    return {
        "EDC_STORAGE__INSTANCE": worker.instance,
        "EDC_SERVER__LISTEN": "",
        "EDC_COMPACT__EVERY": "never",
        "EDC_WORKERS__COUNT": "1",
        "NOTIFY_SOCKET": "",  # the service manager listens to the parent
        "WATCHDOG_USEC": "",
    }


def _good(worker: Worker, answer: dict[str, Any] | EdcError) -> dict[str, Any]:
    if isinstance(answer, NoDaemon):
        raise EdcError(f"worker {worker.number} does not run: {worker.problem or worker.state}")
    if isinstance(answer, EdcError):
        raise EdcError(f"worker {worker.number}: {answer}")
    return answer


def _ended(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with {code}"


async def _end(process: asyncio.subprocess.Process, ending: asyncio.Task[int]) -> None:
    """See that it ends: in order, or else at once."""
    for tell, within in ((process.terminate, _ENDS_WITHIN), (process.kill, 5.0)):
        if not ending.done():
            with contextlib.suppress(ProcessLookupError):
                tell()
            await asyncio.wait((ending,), timeout=within)
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)


def end_with(parent: int) -> bool:
    """Let this process be told to end (SIGTERM) with its parent; False if that has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent
