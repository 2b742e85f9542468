"""Repeats: the first are told, the rest are counted, and no count is ever lost."""

import logging

import pytest

from edc.repeats import Repeats


class Clock:
    """Seconds, as the test has them."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def repeats(clock: Clock) -> Repeats:
    """Three in ten seconds are told."""
    return Repeats(3, 10.0, clock)


def record(
    *args: object,
    template: str = "feed lost: %s",
    level: int = logging.WARNING,
    logger: str = "edc.feeds",
    **fields: object,
) -> logging.LogRecord:
    """A record of a logger, with its fields."""
    made = logging.LogRecord(logger, level, "feeds.py", 1, template, args or ("why",), None)
    vars(made).update(fields)
    return made


def admitted(repeats: Repeats, *records: logging.LogRecord) -> list[bool]:
    """Which of them are told."""
    return [repeats.admits(each) for each in records]


def test_the_first_are_told_and_the_rest_as_one_line_once_the_window_is_over(
    repeats: Repeats, clock: Clock
) -> None:
    many = [record(f"reason {number}", feed="fx", epoch=number) for number in range(7)]
    assert admitted(repeats, *many) == [True, True, True, False, False, False, False]

    clock.seconds += 9.9
    assert repeats.due() == []
    assert repeats.next_due() == pytest.approx(0.1)
    clock.seconds += 0.2
    [told] = repeats.due()

    assert told.getMessage() == "feed lost: reason 6 … and 4 more like it in the last 10 s"
    assert (told.name, told.levelname) == ("edc.feeds", "WARNING")
    assert (vars(told)["feed"], vars(told)["epoch"]) == ("fx", 6)
    assert repeats.due(every=True) == []
    assert repeats.next_due() is None


def test_after_its_window_a_message_is_new(repeats: Repeats, clock: Clock) -> None:
    assert admitted(repeats, *[record() for _ in range(4)]) == [True, True, True, False]
    clock.seconds += 10.0
    assert len(repeats.due()) == 1

    assert admitted(repeats, *[record() for _ in range(4)]) == [True, True, True, False]


def test_what_was_told_in_full_is_not_told_again(repeats: Repeats, clock: Clock) -> None:
    assert admitted(repeats, *[record() for _ in range(3)]) == [True, True, True]
    assert repeats.next_due() is None
    clock.seconds += 11.0

    assert repeats.due() == []


@pytest.mark.parametrize(
    "other",
    [
        record(feed="crypto"),
        record(feed="fx", worker=2),
        record(feed="fx", event_type="trade"),
        record(feed="fx", level=logging.ERROR),
        record(feed="fx", logger="edc.relay"),
        record(feed="fx", template="feed %s"),
    ],
    ids=["feed", "worker", "table", "level", "logger", "message"],
)
def test_one_never_hides_another(repeats: Repeats, other: logging.LogRecord) -> None:
    admitted(repeats, *[record(feed="fx") for _ in range(9)])

    assert repeats.admits(other)
    [told] = repeats.due(every=True)
    assert "and 6 more" in told.getMessage()


def test_what_is_filled_in_and_the_connection_do_not_make_it_another(repeats: Repeats) -> None:
    many = [record(f"reason {number}", feed="fx", epoch=number) for number in range(4)]

    assert admitted(repeats, *many)[-1] is False


def test_a_message_that_is_its_argument_is_told_apart_by_that(repeats: Repeats) -> None:
    assert all(admitted(repeats, *[record(f"said {n}", template="%s") for n in range(9)]))
    assert not all(admitted(repeats, *[record("said", template="%s") for _ in range(4)]))


def test_every_debug_line_is_told(repeats: Repeats) -> None:
    assert all(admitted(repeats, *[record(level=logging.DEBUG) for _ in range(9)]))


def test_at_the_end_every_count_is_told(repeats: Repeats, clock: Clock) -> None:
    admitted(repeats, *[record(feed="fx") for _ in range(5)])
    clock.seconds += 4.0
    admitted(repeats, *[record(feed="crypto") for _ in range(4)])

    said = [told.getMessage() for told in repeats.due(every=True)]

    assert said == [
        "feed lost: why … and 2 more like it in the last 4 s",
        "feed lost: why … and 1 more like it in the last 1 s",
    ]


def test_of_messages_that_never_repeat_nothing_is_kept(repeats: Repeats, clock: Clock) -> None:
    for number in range(1000):
        clock.seconds += 1.0
        repeats.due()
        assert repeats.admits(record(template=f"unique {number}"))

    assert len(repeats._windows) <= 11  # ten seconds of them
