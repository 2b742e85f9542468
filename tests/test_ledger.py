"""The ledger: every loss becomes a row, a flood of losses one."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc.events import Gap, Origin
from edc.ledger import Ledger
from edc.queues import Queue, WhenFull

PROPERTY = settings(max_examples=50, deadline=None, derandomize=True)
ORIGIN = Origin(feed="stocks", vendor="tiingo", source="tiingo_iex", epoch=1)
OTHER = Origin(feed="fx", vendor="tiingo", source="tiingo_fx", epoch=2)


class Fixture:
    """A ledger whose clock stands at 1000, and the queue it writes to."""

    def __init__(self) -> None:
        self.queue = Queue("gap", 100, WhenFull.BLOCK)
        self.ledger = Ledger(self.queue, now_ns=lambda: 1000)

    def rows(self) -> list[Gap]:
        """The rows so far."""
        return [row for row in self.queue.drain() if isinstance(row, Gap)]


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


def gap(started_at: int, ended_at: int, cause: str, rows_lost: int | None) -> Gap:
    """The row that is expected of `ORIGIN`."""
    return Gap(
        feed="stocks",
        vendor="tiingo",
        source="tiingo_iex",
        symbol=None,
        started_at=started_at,
        ended_at=ended_at,
        cause=cause,
        rows_lost=rows_lost,
        state="open",
        rows_filled=None,
        created_at=1000,
    )


def test_a_silence_is_a_row_at_once(fixture: Fixture) -> None:
    fixture.ledger.silent(ORIGIN, "disconnected", 10, 20)

    assert fixture.rows() == [gap(10, 20, "disconnected", None)]


def test_a_silence_never_ends_before_it_began(fixture: Fixture) -> None:
    fixture.ledger.silent(ORIGIN, "stale", 20, 10)

    assert fixture.rows() == [gap(20, 20, "stale", None)]


def test_losses_wait_until_they_are_settled(fixture: Fixture) -> None:
    fixture.ledger.lost(ORIGIN, "queue_full", 10, 10)
    assert fixture.rows() == []

    fixture.ledger.settle()

    assert fixture.rows() == [gap(10, 10, "queue_full", 1)]


def test_losses_of_one_cause_are_one_row_that_spans_them(fixture: Fixture) -> None:
    for at_ns, rows in ((30, 1), (10, 5), (20, 1)):
        fixture.ledger.lost(ORIGIN, "queue_full", at_ns, at_ns, rows)

    fixture.ledger.settle()

    assert fixture.rows() == [gap(10, 30, "queue_full", 7)]


@pytest.mark.parametrize("counts", [(None, 1), (1, None), (1, None, 1)])
def test_one_loss_that_cannot_be_counted_makes_the_sum_unknown(
    fixture: Fixture, counts: Iterable[int | None]
) -> None:
    for rows in counts:
        fixture.ledger.lost(ORIGIN, "undecodable", 10, 10, rows)

    fixture.ledger.settle()

    assert fixture.rows() == [gap(10, 10, "undecodable", None)]


def test_causes_and_origins_are_kept_apart(fixture: Fixture) -> None:
    fixture.ledger.lost(ORIGIN, "queue_full", 10, 10)
    fixture.ledger.lost(ORIGIN, "undecodable", 11, 11)
    fixture.ledger.lost(OTHER, "queue_full", 12, 12)

    fixture.ledger.settle()

    assert [(row.feed, row.cause, row.started_at) for row in fixture.rows()] == [
        ("stocks", "queue_full", 10),
        ("stocks", "undecodable", 11),
        ("fx", "queue_full", 12),
    ]


def test_what_was_settled_is_not_told_again(fixture: Fixture) -> None:
    fixture.ledger.lost(ORIGIN, "queue_full", 10, 10)
    fixture.ledger.settle()
    fixture.rows()

    fixture.ledger.settle()
    assert fixture.rows() == []

    fixture.ledger.lost(ORIGIN, "queue_full", 40, 40)
    fixture.ledger.settle()
    assert fixture.rows() == [gap(40, 40, "queue_full", 1)]


@PROPERTY
@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 9), st.booleans()), max_size=30),
)
def test_every_loss_is_counted_once_however_often_it_is_settled(
    losses: list[tuple[int, int, bool]],
) -> None:
    fixture = Fixture()
    for at_ns, rows, settle in losses:
        fixture.ledger.lost(ORIGIN, "queue_full", at_ns, at_ns, rows)
        if settle:
            fixture.ledger.settle()
    fixture.ledger.settle()

    told = fixture.rows()

    assert sum(row.rows_lost or 0 for row in told) == sum(rows for _, rows, _ in losses)
    if losses:
        assert min(row.started_at for row in told) == min(at_ns for at_ns, _, _ in losses)
        assert max(row.ended_at for row in told) >= max(at_ns for at_ns, _, _ in losses)
    # equal rows would become one in the lake, and a loss would be forgotten
    spans = [(row.started_at, row.ended_at, row.rows_lost) for row in told]
    assert all(one != next_ for one, next_ in pairwise(spans))
