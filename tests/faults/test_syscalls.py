"""The order of system calls, which alone decides what a power loss can cost. Needs strace.

One call comes before another where it has returned before that is entered, whatever the threads.
"""

import asyncio
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from edc import files
from edc.events import Origin, Quote, to_frame
from edc.simulator.tiingo import TiingoSimulator
from edc.times import SECOND
from tests.harness import KEY, serving, write_config

NEW_YORK = "America/New_York"
OLD = 1_770_996_600 * SECOND
"""2026-02-13T10:30:00 in New York."""
TRACED = (
    "openat,write,writev,pwrite64,fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlink,"
    "unlinkat,mkdir,mkdirat"
)
WRITES = ("write", "writev", "pwrite64")
SYNCS = ("fsync", "fdatasync")
NAMINGS = ("link", "linkat", "rename", "renameat", "renameat2")
FOLDERS = ("mkdir", "mkdirat")
REMOVALS = ("unlink", "unlinkat")

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that succeeded: the files it names, and the lines of its entry and return."""

    name: str
    paths: tuple[str, ...]
    began: int
    ended: int
    flags: str = ""

    def before(self, other: "Call") -> bool:
        """True where this had returned when the other was entered."""
        return self.ended < other.began


def calls(trace: Path) -> list[Call]:
    """What succeeded, from the output of `strace -f -y`."""
    begun: dict[str, tuple[int, str]] = {}
    found = []
    for number, line in enumerate(trace.read_text(errors="replace").splitlines()):
        pid, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[pid] = (number, text.removesuffix("<unfinished ...>"))
            continue
        start = number
        if resumed := re.match(r"<\.\.\. \w+ resumed>", text):
            start, head = begun.pop(pid)
            text = head + text[resumed.end() :]
        whole = re.fullmatch(r"(\w+)\((.*)\)\s+= (\d+).*", text)
        if whole:
            name, arguments, _ = whole.groups()
            found.append(Call(name, _paths(name, arguments), start, number, arguments[-60:]))
    return found


def _paths(name: str, arguments: str) -> tuple[str, ...]:
    """The files that a call names: that of its descriptor, or those of its path arguments."""
    if name in (*WRITES, *SYNCS):
        return tuple(re.findall(r"^\d+<([^>]*)>", arguments))
    named = re.findall(r'(?:(?:\d+|AT_FDCWD)<([^>]*)>, )?"([^"]*)"', arguments)
    return tuple(str(Path(folder or "/", path)) for folder, path in named)


def of(trace: Sequence[Call], names: Sequence[str], path: str) -> list[Call]:
    """Calls of these names whose last file is `path`."""
    return [call for call in trace if call.name in names and call.paths[-1:] == (path,)]


def published(trace: Sequence[Call], suffix: str) -> Iterator[Call]:
    """Each call that gave a file its name, for names that end so."""
    for call in trace:
        if call.name in NAMINGS and call.paths[-1].endswith(suffix):
            yield call


def unsafe(trace: Sequence[Call], naming: Call) -> list[str]:
    """What is wrong with the way that a file came to its name."""
    hidden, name = naming.paths
    again = [call for call in of(trace, ["openat"], hidden) if naming.before(call)]
    end = min((call.began for call in again), default=sys.maxsize)
    begin = max(
        (call.began for call in of(trace, ["openat"], hidden) if call.before(naming)), default=0
    )
    written = [call for call in of(trace, WRITES, hidden) if begin < call.began < end]
    synced = [
        sync
        for sync in of(trace, SYNCS, hidden)
        if sync.before(naming) and all(write.before(sync) for write in written)
    ]
    problems = []
    if not written or not synced:
        problems.append(f"{name} got its name before an fsync of all that was written")
    if durable(trace, naming, str(Path(name).parent)) is None:
        problems.append(f"no fsync of its folder after {name} got its name")
    return problems


def durable(trace: Sequence[Call], change: Call, folder: str) -> Call | None:
    """The first fsync of a folder that was entered after a change of it had returned."""
    syncs = [sync for sync in of(trace, SYNCS, folder) if change.before(sync)]
    return min(syncs, key=lambda sync: sync.ended, default=None)


def premature(trace: Sequence[Call], chunks: dict[str, str]) -> list[str]:
    """Chunks that were removed before the files that hold their rows were durable.

    `chunks` gives the Parquet file of each `<run>-<number>` of an event type's chunk.
    """
    problems = []
    for removal in trace:
        if removal.name not in REMOVALS or not removal.paths[-1].endswith(".arrow"):
            continue
        path = Path(removal.paths[-1])
        key = f"{path.parent.name} " + "-".join(path.name.split("-")[:2])
        if key not in chunks:
            problems.append(f"{path.name} was removed, but no file holds its rows")
            continue
        namings = [call for call in published(trace, ".parquet") if call.paths[-1] == chunks[key]]
        changes = [(call, str(Path(chunks[key]).parent)) for call in namings]
        changes += [
            (call, str(Path(call.paths[-1]).parent))
            for call in trace
            if call.name in FOLDERS and chunks[key].startswith(call.paths[-1] + "/")
        ]
        syncs = [durable(trace, change, folder) for change, folder in changes]
        if not namings or not all(sync is not None and sync.before(removal) for sync in syncs):
            problems.append(f"{path.name} was removed before {chunks[key]} was durable")
    return problems


def chunks_of(lake: Path) -> dict[str, str]:
    """By event type, run and number of a chunk: the Parquet file whose footer names it."""
    found = {}
    for kind in ("trade", "quote", "gap"):
        for path in (lake / kind).rglob("[!.]*.parquet"):
            for span in pl.read_parquet_metadata(path)["edc.chunks"].split():
                run, first, last = re.split("[:-]", span)
                for number in range(int(first), int(last) + 1):
                    found[f"{kind} {int(run):019d}-{number:08d}"] = str(path)
    return found


async def traced(folder: Path, *command: str) -> list[Call]:
    """The system calls of an edc command that ends well."""
    trace = folder / "trace"
    strace = ("strace", "-f", "-y", "--seccomp-bpf", "-e", f"trace={TRACED}", "-o", str(trace))
    process = await asyncio.create_subprocess_exec(
        *(*strace, sys.executable, "-m", "edc", *command),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return calls(trace)


@needs_strace
async def test_nothing_gets_its_name_or_goes_before_it_is_safe(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, rate=2000, events=3000)
    async with serving(simulator):
        config = write_config(
            tmp_path, simulator.url, more='[batch]\nmax_rows = 500\nmax_age = "200ms"\n'
        )
        trace = await traced(tmp_path, "run", "--config", str(config), "--duration", "2s")
    lake = tmp_path / "lake"
    chunks = chunks_of(lake)

    tables = list(published(trace, ".parquet"))
    spooled = list(published(trace, ".arrow"))
    removed = [call for call in trace if call.name in REMOVALS and call.paths[-1].endswith("arrow")]
    assert len(tables) == len(list(lake.glob("[tqg]*/**/*.parquet"))) >= 2
    assert len(spooled) == len(removed) >= 4
    named = [*tables, *spooled, *published(trace, ".json")]
    assert [problem for naming in named for problem in unsafe(trace, naming)] == []
    assert premature(trace, chunks) == []
    for made in (call for call in trace if call.name in FOLDERS):
        if made.paths[-1].startswith(str(lake)):
            assert durable(trace, made, str(Path(made.paths[-1]).parent)) is not None, made
    _the_check_can_fail(trace, tables[0], chunks)


def _the_check_can_fail(trace: list[Call], naming: Call, chunks: dict[str, str]) -> None:
    """The same trace, less the calls that make it safe, is refused."""
    hidden, name = naming.paths
    folder = str(Path(name).parent)

    def without(unwanted: Callable[[Call], bool]) -> list[Call]:
        return [call for call in trace if not unwanted(call)]

    no_sync = without(lambda call: call.name in SYNCS and call.paths == (hidden,))
    assert unsafe(no_sync, naming) == [
        f"{name} got its name before an fsync of all that was written"
    ]
    no_folder = without(lambda call: call.name in SYNCS and call.paths == (folder,))
    assert unsafe(no_folder, naming) == [f"no fsync of its folder after {name} got its name"]
    assert premature(no_folder, chunks) != []
    sync = durable(trace, naming, folder)
    assert sync is not None
    late = [
        Call(call.name, call.paths, 0, 0) if call.name in REMOVALS else call for call in trace
    ]  # removed first of all
    assert premature(late, chunks) != []


@needs_strace
async def test_a_compaction_removes_its_sources_last(tmp_path: Path) -> None:
    """Written, fsynced, put in place in one step, both folders fsynced; only then removed."""
    folder = tmp_path / "lake" / "quote" / "date=2026-02-13" / "hour=10"
    files.make_folder(folder)
    sources = [folder / f"source_{number}.parquet" for number in range(4)]
    for number, source in enumerate(sources):
        to_frame("quote", [_quote(OLD + number)], NEW_YORK).write_parquet(source)
    config = write_config(tmp_path, "ws://127.0.0.1:9")

    trace = await traced(tmp_path, "compact", "--config", str(config))

    (result,) = folder.glob("[!.]*.parquet")
    beside = tmp_path / "lake" / ".compacting" / folder.relative_to(tmp_path / "lake")
    (exchange,) = (call for call in trace if "RENAME_EXCHANGE" in call.flags)
    assert set(exchange.paths) == {str(beside), str(folder)}
    written = [
        call for call in trace if call.name in WRITES and Path(call.paths[0]).name == result.name
    ]
    (synced,) = (
        call for call in trace if call.name in SYNCS and Path(call.paths[0]).name == result.name
    )
    assert written
    assert all(write.before(synced) for write in written)
    assert synced.before(exchange)
    assert any(
        synced.before(sync) and sync.before(exchange) for sync in of(trace, SYNCS, str(beside))
    )
    removed = [
        call
        for call in trace
        if call.name in REMOVALS and Path(call.paths[-1]).name in {path.name for path in sources}
    ]
    assert len(removed) == len(sources)
    for changed in (folder.parent, beside.parent):
        sync = durable(trace, exchange, str(changed))
        assert sync is not None, changed
        assert all(sync.before(removal) for removal in removed)
    for naming in published(trace, ".json"):
        if ".compacting" in naming.paths[-1]:
            assert unsafe(trace, naming) == []


def _quote(at: int) -> Quote:
    return Quote(
        symbol="aapl",
        asset_type="stock",
        event_time=at,
        bid=1.0,
        ask=2.0,
        mid=1.5,
        created_at=at,
        origin=Origin("f", "v", "s", 1),
    )
