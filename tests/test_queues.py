"""The bounded queue: what each policy keeps, counted to the row."""

import asyncio
from collections import deque
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc.events import Origin, Row, Trade, Values
from edc.queues import PLENTY, Queue, WhenFull
from edc.wire import Batch, Usual, Wire

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)
DRAIN = "drain"


def row(number: int) -> Trade:
    """A trade that can be told apart by its time."""
    return Trade(symbol="a", asset_type="stock", event_time=number, last_price=1.0, last_size=None)


def numbers(rows: Sequence[Row | Batch]) -> list[int]:
    """The numbers of rows."""
    return [event.event_time for event in rows if isinstance(event, Trade)]


def filled(capacity: int, when_full: WhenFull, count: int) -> Queue:
    """A queue that was offered rows 0, 1, 2 and so on."""
    queue = Queue("trade", capacity, when_full)
    for number in range(count):
        queue.put(row(number))
    return queue


@pytest.mark.parametrize(
    ("when_full", "kept", "accepted", "dropped"),
    [
        (WhenFull.BLOCK, [0, 1, 2, 3, 4], 5, 0),
        (WhenFull.DROP_OLDEST, [2, 3, 4], 5, 2),
        (WhenFull.DROP_NEWEST, [0, 1, 2], 3, 2),
    ],
)
def test_a_full_queue_does_what_its_policy_says(
    when_full: WhenFull, kept: list[int], accepted: int, dropped: int
) -> None:
    queue = filled(3, when_full, 5)

    assert (queue.accepted, queue.dropped) == (accepted, dropped)
    assert numbers(queue.drain()) == kept
    assert len(queue) == 0


def test_the_row_that_was_dropped_is_handed_back() -> None:
    oldest, newest = filled(1, WhenFull.DROP_OLDEST, 1), filled(1, WhenFull.DROP_NEWEST, 1)
    blocking = filled(1, WhenFull.BLOCK, 1)

    assert oldest.put(row(9)) == row(0)
    assert newest.put(row(9)) == row(9)
    assert blocking.put(row(9)) is None


@pytest.mark.parametrize(
    ("when_full", "count", "must_wait"),
    [
        (WhenFull.BLOCK, 2, False),
        (WhenFull.BLOCK, 3, True),
        (WhenFull.BLOCK, 4, True),
        (WhenFull.DROP_OLDEST, 4, False),
        (WhenFull.DROP_NEWEST, 4, False),
    ],
)
def test_only_a_full_blocking_queue_stops_its_reader(
    when_full: WhenFull, count: int, *, must_wait: bool
) -> None:
    assert filled(3, when_full, count).must_wait is must_wait


async def test_readers_wait_for_room_until_the_queue_is_drained() -> None:
    queue = filled(2, WhenFull.BLOCK, 2)
    readers = [asyncio.create_task(queue.room()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(reader.done() for reader in readers)

    queue.drain()

    async with asyncio.timeout(5):
        await asyncio.gather(*readers)


async def test_a_reader_that_finds_the_room_taken_again_goes_on_waiting() -> None:
    queue = filled(1, WhenFull.BLOCK, 1)
    reader = asyncio.create_task(queue.room())
    await asyncio.sleep(0)
    queue.drain()
    queue.put(row(1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not reader.done()

    queue.drain()

    async with asyncio.timeout(5):
        await reader


async def test_there_is_room_at_once_where_nobody_must_wait() -> None:
    async with asyncio.timeout(5):
        await filled(2, WhenFull.BLOCK, 1).room()
        await filled(2, WhenFull.DROP_OLDEST, 3).room()


@PROPERTY
@given(
    st.sampled_from(WhenFull),
    st.integers(1, 6),
    st.lists(st.just(DRAIN) | st.integers(1, 5), max_size=30),
)
def test_a_queue_behaves_as_a_plain_deque_with_its_policy(
    when_full: WhenFull, capacity: int, steps: list[str | int]
) -> None:
    queue = Queue("trade", capacity, when_full)
    model: deque[int] = deque()
    accepted = refused = overrun = drained = 0
    offered = 0
    for step in steps:
        if isinstance(step, str):
            assert numbers(queue.drain()) == list(model)
            drained += len(model)
            model.clear()
        for _ in range(step if isinstance(step, int) else 0):
            dropped = queue.put(row(offered))
            full = len(model) >= capacity
            if full and when_full is WhenFull.DROP_NEWEST:
                assert dropped == row(offered)
                refused += 1
            else:
                model.append(offered)
                accepted += 1
                if full and when_full is WhenFull.DROP_OLDEST:
                    assert dropped == row(model.popleft())
                    overrun += 1
                else:
                    assert dropped is None
            offered += 1
        assert len(queue) == len(model)
        assert (queue.accepted, queue.dropped) == (accepted, refused + overrun)
        assert queue.must_wait is (when_full is WhenFull.BLOCK and len(model) >= capacity)
        if when_full is not WhenFull.BLOCK:
            assert len(queue) <= capacity

    assert queue.accepted == drained + len(queue) + overrun
    assert offered == queue.accepted + refused


class NoNames:
    """A vendor that names nothing."""

    usual = Usual()

    def all_of(self, names: pl.Series) -> dict[str, Values]:
        raise AssertionError(names)

    as_usual = all_of


NUMBERS = Wire("trade", [], "", NoNames(), "numbers")


def batch(first: int, length: int) -> Batch:
    """Frames first, first + 1 and so on."""
    text = "\n".join(map(str, range(first, first + length))).encode()
    return Batch(NUMBERS, Origin("f", "v", "s", 1), 0, 0, text, length, lambda _: None)


def flat(queued: Sequence[Row | Batch]) -> list[int]:
    """The numbers of rows and of frames."""
    return [
        number
        for each in queued
        for number in (map(int, each.frames) if isinstance(each, Batch) else numbers([each]))
    ]


@PROPERTY
@given(st.lists(st.none() | st.integers(1, 9) | st.tuples(st.integers(1, 25)), max_size=40))
def test_rows_and_batches_leave_in_the_order_in_which_they_came(
    steps: list[int | tuple[int] | None],
) -> None:
    """None puts a row, a number a batch of as many, a tuple drains as many."""
    queue = Queue("trade", 12, WhenFull.BLOCK)
    put, left = 0, []
    for step in steps:
        if step is None:
            queue.put(row(put))
            put += 1
        elif isinstance(step, int):
            queue.put_batch(batch(put, step))
            put += step
        else:
            waiting = len(queue)
            taken = flat(queue.drain(step[0]))
            assert min(step[0], waiting) <= len(taken) < step[0] + 9
            left += taken
        assert len(queue) == put - len(left)
        assert (queue.accepted, queue.taken) == (put, len(left))
        assert queue.must_wait == (len(queue) >= 12)
        assert queue.plenty.is_set() == (len(queue) >= 12)
    assert left + flat(queue.drain()) == list(range(put))


async def test_plenty_is_told_before_the_queue_is_full() -> None:
    queue = Queue("trade", 10 * PLENTY, WhenFull.BLOCK)

    queue.put_batch(batch(0, PLENTY - 1))
    assert not queue.plenty.is_set()
    queue.put(row(0))
    await queue.plenty.wait()
    assert not queue.must_wait
    queue.drain(1)
    assert not queue.plenty.is_set()


def texts(length: int) -> Batch:
    """Two messages with so many bytes of text."""
    return Batch(NUMBERS, Origin("f", "v", "s", 1), 0, 0, b"x" * length, 2, lambda _: None)


async def test_much_text_fills_a_queue_as_many_rows_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edc.queues.MOST_TEXT", 100)
    queue = Queue("trade", 1000, WhenFull.BLOCK)

    queue.put_batch(texts(60))
    assert not queue.must_wait
    assert not queue.plenty.is_set()
    queue.put_batch(texts(40))
    assert queue.must_wait
    assert queue.is_full
    assert queue.plenty.is_set()
    queue.put(row(1))
    assert queue.must_wait
    reader = asyncio.create_task(queue.room())
    await asyncio.sleep(0)
    assert not reader.done()

    assert sum(each.size for each in queue.drain(2) if isinstance(each, Batch)) == 2
    async with asyncio.timeout(5):
        await reader
    assert not queue.plenty.is_set()
    queue.put_batch(texts(59))
    assert not queue.must_wait
    queue.put_batch(texts(1))
    assert queue.must_wait

    assert len(queue.drain()) == 4
    queue.put_batch(texts(99))
    assert not queue.must_wait
