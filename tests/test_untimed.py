"""Values without number and time, of several connections: each is kept once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edc.events import Event, Quote, RefPx, Trade
from edc.untimed import Untimed

SECOND = 10**9
GRACE = 2 * SECOND


def price(value: float, received_ns: int = 0, **more: object) -> RefPx:
    facts = {"symbol": "btc", "asset_type": "crypto", "price_type": "mark", **more}
    return RefPx(event_time=received_ns, price=value, **facts)  # type: ignore[arg-type]


def kept(*told: tuple[int, float], rivals: tuple[int, ...] = (1, 2), every: int = 1) -> list[float]:
    """What is kept of values that connections bring in this order, so many nanoseconds apart."""
    untimed = Untimed(("ref_px",), GRACE)
    return [
        value
        for at, (epoch, value) in enumerate(told)
        if untimed.is_new(price(value, at * every), epoch, rivals, at * every)
    ]


A, B = 1, 2
WHOSE = {"symbol": "btc", "asset_type": "crypto", "event_time": 0}
QUOTE = msgspec.convert(WHOSE | {"bid": 5, "ask": 6, "mid": 5.5}, Quote)
TRADE = msgspec.convert(WHOSE | {"last_price": 5, "last_size": 1}, Trade)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([(A, 5), (B, 5), (A, 6), (B, 6), (A, 5), (B, 5)], [5, 6, 5]),
        ([(A, 5), (B, 5), (A, 6), (A, 5), (A, 7), (B, 6), (B, 5), (B, 7)], [5, 6, 5, 7]),
        # one has left out 5 and brings something new
        ([(A, 5), (B, 5), (A, 6), (A, 5), (A, 7), (B, 6), (B, 7), (B, 8)], [5, 6, 5, 7, 8]),
        (
            [(A, 5), (B, 5), (B, 6), (A, 6), (A, 7), (B, 7)],
            [5, 6, 7],
        ),  # now one leads, now the other
        ([(A, 5), (B, 5), (A, 6), (A, 6), (B, 6), (B, 6)], [5, 6, 6]),  # both say it twice
        ([(A, 5), (A, 6), (A, 5), (B, 5), (B, 6)], [5, 6, 5, 6]),  # a new one knows the last only
    ],
)
def test_what_another_connection_has_brought_is_dropped(
    told: list[tuple[int, float]], expected: list[float]
) -> None:
    assert kept(*told) == expected


def test_a_connection_that_lags_by_more_brings_a_value_twice() -> None:
    told = [(A, 5), (B, 5), (A, 6), (A, 7), (B, 6)]

    assert kept(*told, every=GRACE // 4) == [5, 6, 7]
    assert kept(*told, every=GRACE) == [5, 6, 7, 6]


def test_the_last_value_counts_however_old_it_is() -> None:
    assert kept((A, 5), (B, 5), every=3600 * SECOND) == [5]


def test_of_one_connection_everything_is_kept() -> None:
    assert kept((A, 5), (A, 5), (A, 6), rivals=(A,)) == [5, 5, 6]


def test_what_a_connection_that_is_long_gone_has_brought_counts_for_nothing() -> None:
    untimed = Untimed(("ref_px",), GRACE)

    assert untimed.is_new(price(5), A, (A,), 0)
    assert untimed.is_new(price(5, 9), B, (B,), 9)  # after a silence it is news that it still holds


@pytest.mark.parametrize(
    "event",
    [
        price(5, 7),  # its own time
        price(5, sequence=3),
        price(5, price_type="index"),
        price(5, symbol="eth"),
        price(6),
        QUOTE,
        TRADE,
    ],
)
def test_what_differs_or_is_marked_otherwise_is_no_repetition(event: Event) -> None:
    untimed = Untimed(("ref_px",), GRACE)
    untimed.is_new(price(5), A, (A, B), 0)

    assert untimed.is_new(event, B, (A, B), 0)


@given(st.lists(st.tuples(st.sampled_from((A, B)), st.integers(1, 3)), max_size=30))
def test_a_connection_that_goes_on_alone_loses_nothing(told: list[tuple[int, int]]) -> None:
    """Whatever was before: all that nobody else has brought from here on is kept."""
    untimed = Untimed(("ref_px",), GRACE)
    for epoch, value in told:
        untimed.is_new(price(value), epoch, (A, B), 0)
    later = 10 * GRACE

    news = [untimed.is_new(price(value, later), A, (A, B), later) for value in (7, 8, 7, 9)]

    assert news == [True] * 4


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=20),
    st.lists(st.booleans(), max_size=40),
)
def test_two_connections_that_bring_the_same_are_one(values: list[int], order: list[bool]) -> None:
    """In whatever order they come, from the same beginning on."""
    untimed = Untimed(("ref_px",), GRACE)
    waiting = {A: list(values), B: list(values)}
    turns = [A, B, *(A if first else B for first in order), *[A] * len(values), *[B] * len(values)]
    found = [
        value
        for epoch in turns
        if waiting[epoch]
        and untimed.is_new(price(value := waiting[epoch].pop(0)), epoch, (A, B), 0)
    ]

    assert found == values
