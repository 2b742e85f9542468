"""The back-off doubles to its cap, is jittered, and begins anew only when told."""

import asyncio
import contextlib

import pytest

from edc.retry import Backoff, heed, pause


def lowest(low: float, high: float) -> float:
    return low


def highest(low: float, high: float) -> float:
    return high


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(first=1.0, cap=10.0, uniform=highest)

    assert [backoff.next_delay() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_delay_is_never_under_a_tenth_of_its_ceiling() -> None:
    backoff = Backoff(first=1.0, cap=10.0, uniform=lowest)

    delays = [backoff.next_delay() for _ in range(6)]

    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_only_a_reset_begins_anew() -> None:
    backoff = Backoff(first=0.5, cap=60.0, uniform=highest)
    assert [backoff.next_delay(), backoff.next_delay()] == [0.5, 1.0]

    backoff.reset()

    assert backoff.next_delay() == 0.5


def test_ten_thousand_tries_are_still_capped() -> None:
    backoff = Backoff(first=1.0, cap=60.0, uniform=highest)

    assert [backoff.next_delay() for _ in range(10_000)][-1] == 60.0


def test_the_jitter_is_random_within_its_bounds() -> None:
    delays = [Backoff(first=1.0).next_delay() for _ in range(200)]

    assert all(0.1 <= delay <= 1.0 for delay in delays)
    assert len(set(delays)) > 100


async def test_a_pause_ends_when_asked_to_stop() -> None:
    stopping = asyncio.Event()
    pausing = [asyncio.create_task(pause(stopping, seconds)) for seconds in (3600.0, None)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in pausing)

    stopping.set()

    async with asyncio.timeout(5):
        await asyncio.gather(*pausing)


async def test_a_pause_ends_after_its_time() -> None:
    stopping = asyncio.Event()

    async with asyncio.timeout(5):
        await pause(stopping, 0.001)

    assert not stopping.is_set()


async def test_a_pause_can_be_cancelled() -> None:
    pausing = asyncio.create_task(pause(asyncio.Event(), None))
    await asyncio.sleep(0)

    pausing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await pausing


async def test_a_cancellation_that_was_lost_is_heeded() -> None:
    """As `asyncio.wait_for` of Python 3.11 loses one, where what it waits for is done just then."""

    async def deaf() -> None:
        heed()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        heed()
        raise AssertionError

    task = asyncio.create_task(deaf(), name="deaf")
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
