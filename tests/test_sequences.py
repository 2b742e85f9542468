"""Sequence numbers: a jump is a loss, a repetition and a new count are not."""

import pytest

from edc.events import Event, Quote, RefPx, Trade
from edc.sequences import Sequences


def trade(symbol: str, sequence: int | None) -> Trade:
    """A trade with that number."""
    return Trade(
        symbol=symbol,
        asset_type="crypto",
        event_time=1,
        last_price=1.0,
        last_size=1.0,
        sequence=sequence,
    )


def quote(symbol: str, sequence: int) -> Quote:
    """A quote with that number."""
    return Quote(
        symbol=symbol,
        asset_type="crypto",
        event_time=1,
        bid=1.0,
        ask=1.0,
        mid=1.0,
        sequence=sequence,
    )


def missing(sequences: Sequences, *events: Event, epoch: int = 1) -> list[int]:
    """What is missing before each of the events."""
    return [max(0, sequences.missing(event, epoch)) for event in events]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((7, 8, 9), [0, 0, 0]),
        ((7, 9), [0, 1]),
        ((7, 17, 18), [0, 9, 0]),
        ((7, 7, 8), [0, 0, 0]),  # sent again
        ((7, 9, 8, 10), [0, 1, 0, 0]),  # one that came late was told as lost
        ((7, None, 9), [0, 0, 1]),
    ],
)
def test_a_jump_is_the_count_of_the_numbers_left_out(
    numbers: tuple[int | None, ...], expected: list[int]
) -> None:
    sequences = Sequences(("trade", "quote", "ref_px"))

    assert missing(sequences, *(trade("a", number) for number in numbers)) == expected


def test_each_symbol_and_event_type_counts_by_itself() -> None:
    sequences = Sequences(("trade", "quote", "ref_px"))
    events = (trade("a", 1), trade("b", 50), quote("a", 900), trade("a", 2), quote("a", 902))

    assert missing(sequences, *events) == [0, 0, 0, 0, 1]


def test_what_is_not_numbered_without_gaps_is_never_missing() -> None:
    sequences = Sequences(("trade",))

    assert missing(sequences, quote("a", 1), quote("a", 9), trade("a", 1), trade("a", 3)) == [
        *(0, 0, 0, 1)
    ]


def test_a_jump_over_a_reconnect_tells_what_the_silence_cost() -> None:
    sequences = Sequences(("trade", "quote", "ref_px"))
    missing(sequences, trade("a", 10), epoch=1)

    assert missing(sequences, trade("a", 15), epoch=2) == [4]


def test_a_vendor_may_count_anew_on_a_new_connection() -> None:
    sequences = Sequences(("trade", "quote", "ref_px"))
    missing(sequences, trade("a", 1000), epoch=1)

    assert missing(sequences, trade("a", 1), trade("a", 3), epoch=2) == [0, 1]


def test_what_has_no_sequence_is_never_missing() -> None:
    price = RefPx(symbol="a", asset_type="stock", event_time=1, price=1.0, price_type="last")

    assert missing(Sequences(("trade", "quote", "ref_px")), price, price) == [0, 0]
