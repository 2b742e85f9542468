"""A kept book is what sorting all of its levels says."""

from hypothesis import given
from hypothesis import strategies as st

from edc.book import Book

PRICES = st.integers(1, 12).map(float)
SIZES = st.integers(0, 3).map(float)
CHANGES = st.lists(st.tuples(st.booleans(), PRICES, SIZES))
LEVELS = st.dictionaries(PRICES, SIZES, max_size=6)


def top_of(bids: dict[float, float], asks: dict[float, float]) -> tuple[float | None, ...]:
    best = sorted(((p, s) for p, s in bids.items() if s), reverse=True)[:1]
    offer = sorted((p, s) for p, s in asks.items() if s)[:1]
    return (*(best[0] if best else (None, None)), *(offer[0] if offer else (None, None)))


@given(LEVELS, LEVELS, CHANGES)
def test_the_top_of_a_book_is_that_of_all_its_levels(
    bids: dict[float, float],
    asks: dict[float, float],
    changes: list[tuple[bool, float, float]],
) -> None:
    book = Book()
    assert book.top() == (None, None, None, None)
    book.snapshot(bids.items(), asks.items())
    assert book.top() == top_of(bids, asks)
    for is_bid, price, size in changes:
        (book.bid if is_bid else book.ask)(price, size)
        (bids if is_bid else asks)[price] = size
        assert book.top() == top_of(bids, asks)
