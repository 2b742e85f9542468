"""`python -m tests.torture.fsync run …`: the edc command line with an altered fsync.

The environment says how. `TORTURE_FSYNC`:

    none        does nothing and reports success, as a disk does that lies
    slow:2.0    takes two seconds more
    fail:7      the seventh says EIO; the moment (ns since 1970) and the file are left in
                `fsync-failed.txt`, in the working directory
    fail:2:RE   the same for the second of a file whose path has a match of this expression
    (unset)     is what it always was

`acknowledged.txt`, in the working directory, gets the event times of each chunk, once the spool
has said that it survives a power loss.

With `TORTURE_WAIT` the command begins when a line comes on standard input, so that the seconds of
importing are not waited for.
"""

import errno
import itertools
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from edc import cli
from edc.spool import Chunk, Spool
from tests.harness import Process

_ROOT = Path(__file__).parents[2]
_ACKNOWLEDGED = "acknowledged.txt"
_FAILED = "fsync-failed.txt"


class Altered(Process):
    """An edc command in a process of its own, its fsync altered as `fsync` says."""

    def __init__(self, *arguments: str, cwd: Path, fsync: str = "", waiting: bool = False) -> None:
        env = {"PYTHONPATH": str(_ROOT), "TORTURE_FSYNC": fsync}
        if waiting:
            env["TORTURE_WAIT"] = "1"
        super().__init__(*arguments, cwd=cwd, env=env, module="tests.torture.fsync")

    def go(self) -> None:
        """Let one that is `waiting` begin."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """End it by SIGKILL, and see it gone."""
        self.process.kill()
        self.wait()


def failure(folder: Path) -> tuple[int, str]:
    """When the fsync of a process that ran in `folder` has failed, in ns, and of which file."""
    moment, _, path = (folder / _FAILED).read_text().strip().partition(" ")
    return int(moment), path


def take_acknowledged(folder: Path) -> set[int]:
    """The times of all events that processes in `folder` took to be safe since the last call."""
    path = folder / _ACKNOWLEDGED
    if not path.exists():
        return set()
    lines = path.read_text().splitlines()
    path.unlink()
    return {int(time) for line in lines if line.endswith(" .") for time in line.split()[:-1]}


def _tell_of_chunks() -> None:
    honest = Spool.append

    def append(self: Spool, event_type: str, frame: pl.DataFrame) -> Chunk:
        chunk = honest(self, event_type, frame)
        if event_type != "gap":
            times = " ".join(map(str, frame["event_time"].to_physical()))
            with Path(_ACKNOWLEDGED).open("a") as file:
                file.write(f"\n{times} .\n")  # whole only with its full stop
        return chunk

    Spool.append = append  # type: ignore[method-assign]


def _altered(how: str) -> Callable[[Any], None]:
    kind, _, argument = how.partition(":")
    honest = os.fsync
    calls = itertools.count(1)

    def none(_descriptor: Any) -> None:
        """As a disk does that lies."""

    def slow(descriptor: Any) -> None:
        time.sleep(float(argument))
        honest(descriptor)

    def fail(descriptor: Any) -> None:
        number, _, pattern = argument.partition(":")
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if re.search(pattern, path) and next(calls) == int(number):
            Path(_FAILED).write_text(f"{time.time_ns()} {path}\n")
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        honest(descriptor)

    return {"none": none, "slow": slow, "fail": fail}[kind]


def main() -> None:
    """Run the command line of edc."""
    if how := os.environ.get("TORTURE_FSYNC"):
        os.fsync = _altered(how)  # type: ignore[assignment]
    _tell_of_chunks()
    if "TORTURE_WAIT" in os.environ:
        sys.stdin.readline()
    cli.main()


if __name__ == "__main__":
    main()
