"""Spool, lake and compaction against a model, killed at any of their steps on the disk.

A kill is played by every operation on the disk failing from the n-th on, and by the objects that
held the state being thrown away: what is left is what a real one leaves. (tests/torture kills real
processes, and cuts the power.)
"""

import asyncio
import contextlib
import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edc.deliver import Deliver
from edc.events import Origin, Row, Trade
from edc.files import Damage
from edc.lake import Lake
from edc.queues import Queue, WhenFull
from edc.sinks.parquet import ParquetSink
from edc.spool import Spool
from edc.upkeep import swap
from edc.upkeep.compaction import Compacted, Compactor

NEW_YORK = "America/New_York"
SECOND = 1_000_000_000
HOUR = 3600 * SECOND
START = 1_771_005_600 * SECOND  # 2026-02-13 13:00:00 in New York
LATER = START + 1000 * HOUR
EVENTS = 24
"""As many different events there are, in four hours; each may be sent again and again."""

STEPS = ("open", "write", "fsync", "link", "unlink", "rename", "replace", "rmdir", "mkdir")
TAKING_ROOM = ("open", "write", "link", "rename", "replace", "mkdir")
ALL_BUT_FSYNC = tuple(name for name in STEPS if name != "fsync")
RECEIVED = st.lists(st.integers(0, EVENTS - 1), min_size=1, max_size=8)
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # fsync costs nothing there
SYMBOLS = ("btcusd", "brk-b", "../../x", "\u05d0", "")


class Killed(BaseException):
    """Nothing may catch it."""


@contextmanager
def disk(failing: Callable[[], None], steps: Sequence[str] = STEPS) -> Iterator[None]:
    """Ask `failing` before each of these steps on the disk."""

    def guarded(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            failing()
            return step(*arguments, **named)

        return call

    with (
        mock.patch.object(swap, "exchange", guarded(swap.exchange)),
        contextlib.ExitStack() as patches,
    ):
        for name in steps:
            patches.enter_context(mock.patch.object(os, name, guarded(getattr(os, name))))
        yield


def from_step(step: int, error: Callable[[], BaseException]) -> Callable[[], None]:
    """Every step from the given one on fails: also those of who cleans up."""
    left = step

    def failing() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise error()

    return failing


def refused(code: int) -> Callable[[], OSError]:
    """What a disk says that will not."""
    return lambda: OSError(code, os.strerror(code))


class Process:
    """What a daemon holds in memory, for one table."""

    def __init__(self, path: Path, told: list[Damage]) -> None:
        self.queue = Queue("trade", 1000, WhenFull.BLOCK)
        self.spool = Spool(path, "main")
        self.spool.open()
        clock = itertools.count(LATER, 1_000_000)

        async def tell(damage: Damage) -> None:
            told.append(damage)

        self.lane = Deliver(
            self.queue,
            self.spool,
            ParquetSink(Lake(path, NEW_YORK, "hour", "main", lambda: next(clock))),
            timezone=NEW_YORK,
            interval=1.0,
            max_rows=5,
            max_age=60.0,
            on_refused=_never,
            on_damaged=tell,
            reach=dict,
        )
        self.lane.recover()


def _never(row: Row) -> None:
    raise AssertionError(row)


def _trade(event: int, receipt: int) -> Trade:
    """The event of a number; all that it holds follows from that, but when it was received."""
    return Trade(
        symbol=SYMBOLS[event % len(SYMBOLS)],
        asset_type="crypto",
        event_time=START + event * HOUR // 6,
        last_price=event * 0.1,
        last_size=None,
        trade_id=str(event),
        created_at=START + receipt,
        origin=Origin("crypto", "tiingo", "tiingo_crypto", 1),
    )


class Model(RuleBasedStateMachine):
    """What the lake must hold, whatever happens.

    `receipts` has for each event its receipts, in the order of their chunks. One is sure once its
    chunk is written; it is not where the write was interrupted, or the chunk damaged afterwards.
    """

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(prefix="edc-model-", dir=FAST))
        self.loop = asyncio.new_event_loop()
        self.told: list[Damage] = []
        self.process = Process(self.path, self.told)
        self.moment = 0
        self.queued: list[tuple[int, int]] = []
        self.receipts: dict[int, list[int]] = {}
        self.sure: set[int] = set()
        self.chunks: dict[str, list[int]] = {}
        self.torn: dict[str, int] = {}

    def teardown(self) -> None:
        """At last all is brought in and merged, and is what the model says."""
        try:
            self.killed()
            self.flush()
            self.compact()
            self.is_complete()
        finally:
            self.process.spool.close()
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.path)

    # what happens

    @rule(events=RECEIVED)
    def receive(self, events: list[int]) -> None:
        """Events come from the vendor, perhaps not for the first time."""
        for event in events:
            self.moment += 1
            self.process.queue.put(_trade(event, self.moment))
            self.queued.append((event, self.moment))

    @rule()
    def append(self) -> None:
        """The interval is over: a chunk."""
        self._run(self.process.lane.write_chunk)

    @rule()
    def flush(self) -> None:
        """A batch is due: several, as five rows are one."""
        self._run(self.process.lane.flush)

        assert self.process.spool.pending("trade") == []

    @rule()
    def killed(self) -> None:
        """The queue is lost; the next process takes over what is on disk."""
        self.process.spool.close()
        self.process = Process(self.path, self.told)
        self.queued.clear()

    @rule(events=RECEIVED, step=st.integers(0, 8) | st.integers(0, 60))
    def killed_in_a_flush(self, events: list[int], step: int) -> None:
        """At any step: of the chunk, of a batch, between two of its files, before a removal."""
        self.receive(events)
        with contextlib.suppress(Killed), disk(from_step(step, Killed)):
            self._run(self.process.lane.flush)
        self.killed()

    @rule(
        events=RECEIVED,
        step=st.integers(0, 5) | st.integers(0, 40),
        refusal=st.sampled_from([(errno.ENOSPC, TAKING_ROOM), (errno.EROFS, ALL_BUT_FSYNC)]),
    )
    def flush_to_a_disk_that_will_not(
        self, events: list[int], step: int, refusal: tuple[int, tuple[str, ...]]
    ) -> None:
        """Full, or read-only: nothing is lost, and once it will again all comes in."""
        self.receive(events)
        code, steps = refusal
        with contextlib.suppress(OSError), disk(from_step(step, refused(code)), steps):
            self._run(self.process.lane.flush)
        self.flush()

    @rule(at=st.integers(0, 10), byte=st.integers(0, 10**6))
    def a_chunk_is_damaged(self, at: int, byte: int) -> None:
        """One bit of one of those that wait."""
        pending = self.process.spool.pending("trade")
        if at < len(pending) and pending[at].path.name not in self.torn:
            path = pending[at].path
            data = bytearray(path.read_bytes())
            data[byte % len(data)] ^= 1 << byte % 8
            path.write_bytes(data)
            self.torn[path.name] = pending[at].rows
            self.sure -= set(self.chunks[path.name])

    @rule()
    def compact(self) -> None:
        """Every partition is over."""
        assert [each for each in self._compact() if not isinstance(each, Compacted)] == []

    @rule(step=st.integers(0, 15) | st.integers(0, 80))
    def killed_in_a_compaction(self, step: int) -> None:
        """At any step, the recovery of the one before included."""
        with contextlib.suppress(Killed), disk(from_step(step, Killed)):
            self._compact()

    # what must be so

    @invariant()
    def no_row_is_there_twice_and_none_was_made_up(self) -> None:
        """Whenever a reader looks, with the glob of the README."""
        self._found()

    def is_complete(self) -> None:
        """All that was sure is there, as it was first received, and what was torn was told."""
        found = self._found()
        for event, receipts in self.receipts.items():
            possible = []
            for moment in receipts:
                possible.append(START + moment)
                if moment in self.sure:
                    assert event in found
                    break
            assert found.get(event, possible[0]) in possible
        told = {each.path.name: each for each in self.told}
        assert {name: each.rows for name, each in told.items()} == self.torn
        aside = self.path / ".quarantine"
        assert {path.name for path in aside.glob("*.arrow")} == set(self.torn)
        assert list((self.path / ".spool").rglob("*.tmp")) == []

    def _found(self) -> dict[int, int]:
        """When each event in the lake was received."""
        files = list((self.path / "trade").glob("**/*.parquet"))
        if not files:
            return {}
        rows = pl.read_parquet(files, hive_partitioning=False)
        found: dict[int, int] = {}
        for row in rows.with_columns(pl.col(pl.Datetime).to_physical()).iter_rows(named=True):
            event = int(row["trade_id"])
            expected = _trade(event, 0)
            assert event not in found
            assert row["symbol"] == expected.symbol
            assert (row["event_time"], row["last_price"]) == (
                expected.event_time,
                expected.last_price,
            )
            found[event] = row["created_at"]
        assert set(found) <= set(self.receipts)
        return found

    def _run(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run a step of the process, and note which receipts are on disk after it."""
        spool, written = self.process.spool, self.process.lane.stats.chunks_written
        before = {chunk.path.name for chunk in spool.pending("trade")}
        lane = self.process.lane
        try:
            self.loop.run_until_complete(work())
        except Exception:
            if lane.stats.chunks_written > written:
                self._note(before, sure=True)
            raise  # else what was queued is tried again
        except Killed:
            self._note(before, sure=lane.stats.chunks_written > written)
            raise
        self._note(before, sure=True)

    def _note(self, before: set[str], *, sure: bool) -> None:
        """What was queued is, or may be, in the chunk that is new."""
        moments = [moment for _, moment in self.queued]
        for event, moment in self.queued:
            self.receipts.setdefault(event, []).append(moment)
        if sure:
            self.sure |= set(moments)
        for chunk in self.process.spool.pending("trade"):
            if chunk.path.name not in before:
                self.chunks[chunk.path.name] = moments
        self.queued.clear()

    def _compact(self) -> list[object]:
        """All that a compaction says."""
        clock = itertools.count(LATER, 1_000_000)
        return list(Compactor(self.path, NEW_YORK, now_ns=lambda: next(clock), group_rows=4).run())


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=[Phase.generate],  # what fails is told at once: to shrink it takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
