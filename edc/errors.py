"""Errors, named for what happens next.

EdcError
├── ConfigError     the operator must edit something; before start; exit 2
├── Fatal           this feed cannot go on, others do       (key refused, not entitled)
├── Retriable       wait and try again, perhaps `.after` seconds     (connection lost, stale)
├── Skippable       this one message: count it, keep the raw bytes as a dead letter, go on
│   ├── Refused     the vendor will not deliver some symbols; the others go on
│   └── Unsound     a symbol's book was not the vendor's; it is asked for anew
├── BusDown         the broker does not take or give now; an OSError too; tried again
├── Unwritten       at the end, the disk would not take everything; exit 1
├── DiskFailed      an fsync failed; never retried, the kernel may have dropped the pages; exit 74
├── NotVerified     a compaction's result lacks rows of its sources, which stay; exit 1
├── Declined        the daemon says that the operator must edit something; exit 2
├── NoDaemon        nobody listens on the control socket; exit 1
└── InstanceHeld    another daemon holds this instance of the storage path; exit 75

Each carries its facts as attributes and forms its sentence from them. Imports nothing of edc.
"""

from collections.abc import Sequence
from typing import ClassVar


class EdcError(Exception):
    """The root of all errors that edc raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(EdcError):
    """The operator must edit something: `place` says where, `mend` what to write instead."""

    exit_code = 2

    def __init__(self, place: str, problem: str, mend: str = "") -> None:
        super().__init__(place, problem, mend)
        self.place, self.problem, self.mend = place, problem, mend

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}" + (f"; {self.mend}" if self.mend else "")


class Declined(EdcError):
    """The daemon will not do what it was asked to until the operator edits something."""

    exit_code = 2


class Fatal(EdcError):
    """One feed cannot go on until the operator mends something; the others do.

    Some vendors refuse now and then what they accept a minute later: `tries` is how many times in
    a row it is tried again before such a word is believed.
    """

    exit_code = 2

    def __init__(self, problem: str, mend: str, tries: int = 0) -> None:
        super().__init__(problem, mend)
        self.problem, self.mend, self.tries = problem, mend, tries

    def __str__(self) -> str:
        return f"{self.problem}; {self.mend}"


class Retriable(EdcError):
    """Wait and try again: `after` seconds if the vendor said so, else as the back-off says.

    `reason` is one of a few words, for metrics: disconnected, refused, stale, half_open, timeout,
    rate_limited, server_error, crashed, unconfirmed (nothing that was asked for was accepted).
    """

    def __init__(self, reason: str, problem: str, after: float | None = None) -> None:
        super().__init__(reason, problem, after)
        self.reason, self.problem, self.after = reason, problem, after

    def __str__(self) -> str:
        return self.problem


class Skippable(EdcError):
    """One message (or part of one) cannot be used. `events` are those of it that can.

    `reason` is `malformed` (it should have been readable), `unknown` (a form that the dossier does
    not list), `notice` (the vendor says that it has dropped something), `sequence` (the numbers of
    a connection's messages jump; the frame itself is sound) or `book` (see Unsound). `rows_lost` is
    None where it cannot be counted.
    """

    def __init__(
        self,
        reason: str,
        problem: str,
        events: Sequence[object] = (),
        rows_lost: int | None = None,
    ) -> None:
        super().__init__(reason, problem)
        self.reason, self.problem, self.events = reason, problem, events
        self.rows_lost = rows_lost

    def __str__(self) -> str:
        return f"{self.reason}: {self.problem}"


class Refused(Skippable):
    """The vendor will not deliver these symbols, in the lake's spelling, by a polled answer.

    The adapter leaves them out for a while. `events` are those of the others in the same answer.
    """

    def __init__(self, symbols: Sequence[str], problem: str, events: Sequence[object] = ()) -> None:
        super().__init__("refused", problem, events)
        self.symbols = symbols

    def __str__(self) -> str:
        return f"{', '.join(self.symbols)}: {self.problem}"


class Unsound(Skippable):
    """The quotes of a symbol, in the lake's spelling, cannot be trusted to be all, or right.

    From `since_ns` (the last time its book was known to be the vendor's) until the frame that says
    so, which is sound itself. `events` are those of it.
    """

    def __init__(
        self, symbol: str, since_ns: int, problem: str, events: Sequence[object] = ()
    ) -> None:
        super().__init__("book", problem, events)
        self.symbol, self.since_ns = symbol, since_ns

    def __str__(self) -> str:
        return f"{self.symbol}: {self.problem}"


class Unwritten(EdcError):
    """The daemon has stopped, but the disk would not take all that it held."""

    def __init__(self, error: OSError, lost: int) -> None:
        super().__init__(error, lost)
        self.error, self.lost = error, lost

    def __str__(self) -> str:
        return (
            f"the last flush failed: {self.error}; {self.lost} events were lost, the others are in "
            "the spool: make room on the disk, then `edc flush` brings them in"
        )


class BusDown(EdcError, OSError):
    """The broker at `name` cannot be reached, or has no room. What was to be sent is kept."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")  # of two, OSError takes the first for an errno
        self.name, self.problem = name, problem

    def __str__(self) -> str:
        return f"the bus {self.name}: {self.problem}"


class DiskFailed(EdcError):
    """An fsync failed: what was written may be gone. The daemon stops; a restart recovers."""

    exit_code = 74

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return (
            f"fsync of {self.path} failed: {self.problem}; "
            "check the disk (dmesg, SMART), then start edc again: it recovers from the spool"
        )


class NotVerified(EdcError):
    """What compaction made of `folder` is not what lay there. The sources stay as they were."""

    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(folder, problem)
        self.folder, self.problem = folder, problem

    def __str__(self) -> str:
        return f"{self.folder} was not compacted, its files stay as they were: {self.problem}"


class NoDaemon(EdcError):
    """Nobody listens on the control socket of this instance."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return f"no daemon is running on {self.folder}; start one with `edc run`"


class InstanceHeld(EdcError):
    """Another daemon, with process id `pid`, writes this instance of the storage path."""

    exit_code = 75

    def __init__(self, path: str, instance: str, pid: int | None) -> None:
        super().__init__(path, instance, pid)
        self.path, self.instance, self.pid = path, instance, pid

    def __str__(self) -> str:
        holder = f"process {self.pid}" if self.pid else "another process"
        return (
            f"{self.path}: instance {self.instance!r} is held by {holder}; "
            "stop it, or give this one a storage.instance of its own"
        )
