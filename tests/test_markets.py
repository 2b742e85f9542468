"""When a market is open, in New York's own time, summer and winter, holidays and half days."""

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc import markets
from edc.markets import is_open, sessions
from edc.times import parse_iso

HOUR = 3_600_000_000_000


def utc_ns(text: str) -> int:
    """Nanoseconds at `YYYY-MM-DD HH:MM:SS` UTC, with a fraction or without."""
    return parse_iso(text + "Z")


HOLIDAYS_2026 = (
    *("2026-01-01", "2026-01-19", "2026-02-16", "2026-04-03", "2026-05-25", "2026-06-19"),
    *("2026-07-03", "2026-09-07", "2026-11-26", "2026-12-25"),
)
"""As the exchange announced them; Independence Day is a Saturday and kept on the Friday."""


@pytest.mark.parametrize("asset_type", ["stock", "etf"])
@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-02-13 14:29:59.999999999", False),  # Friday in winter: New York is five hours behind
        ("2026-02-13 14:30:00", True),
        ("2026-02-13 20:59:59.999999999", True),
        ("2026-02-13 21:00:00", False),
        ("2026-02-14 15:00:00", False),  # Saturday
        ("2026-02-15 15:00:00", False),  # Sunday
        ("2026-02-17 15:00:00", True),  # Tuesday
        ("2026-07-01 13:29:59.999999999", False),  # Wednesday in summer: four hours
        ("2026-07-01 13:30:00", True),
        ("2026-07-01 19:59:59.999999999", True),
        ("2026-07-01 20:00:00", False),
        ("2026-03-06 13:30:00", False),  # the Friday before the clocks change
        ("2026-03-09 13:30:00", True),  # the Monday after
        ("2026-10-30 13:30:00", True),  # the Friday before they change back
        ("2026-11-02 13:30:00", False),
        ("2026-11-02 14:30:00", True),
        ("2026-10-12 15:00:00", True),  # Columbus Day and Veterans Day are no holidays there
        ("2026-11-11 15:00:00", True),
        ("2026-07-02 19:00:00", True),  # the eve of a moved holiday is a whole day
        ("2027-12-31 20:59:59", True),  # nor is New Year's Day moved from a Saturday
    ],
)
def test_stocks_trade_from_half_past_nine_to_four_on_weekdays(
    asset_type: str, moment: str, *, expected: bool
) -> None:
    assert is_open(asset_type, utc_ns(moment)) is expected


@pytest.mark.parametrize("day", [*HOLIDAYS_2026, "2025-01-09", "2025-04-18", "2024-06-19"])
def test_stocks_do_not_trade_on_holidays_and_days_of_mourning(day: str) -> None:
    assert not any(is_open("stock", utc_ns(f"{day} {hour:02}:45:00")) for hour in range(24))


@pytest.mark.parametrize(
    ("day", "utc_hour"),
    [
        ("2024-07-03", 17),
        ("2025-07-03", 17),
        ("2024-11-29", 18),
        ("2025-12-24", 18),
        ("2026-11-27", 18),
        ("2026-12-24", 18),
    ],
)
def test_half_days_end_at_one(day: str, utc_hour: int) -> None:
    one = utc_ns(f"{day} {utc_hour}:00:00")

    assert is_open("etf", one - 7 * HOUR // 2)
    assert not is_open("etf", one - 7 * HOUR // 2 - 1)
    assert is_open("etf", one - 1)
    assert not is_open("etf", one)
    assert not is_open("etf", one + 2 * HOUR)


@pytest.mark.parametrize(
    ("day", "utc"),
    [
        ("1981-03-30", "20:17:00"),  # the president was shot: 15:17, still in winter time
        ("1990-12-24", "19:00:00"),  # 14:00
    ],
)
def test_a_half_day_ends_when_its_name_says(day: str, utc: str) -> None:
    end = utc_ns(f"{day} {utc}")

    assert is_open("stock", end - 1)
    assert not is_open("stock", end)


def test_a_half_day_whose_name_says_no_time_ends_at_one() -> None:
    assert markets._closing("Eve of something") == time(13)
    assert markets._closing("Noon (markets close at 12:30pm)") == time(12, 30)


def test_half_days_are_understood_in_any_language_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The package has the names in Gujarati too, and takes the language from the environment."""
    monkeypatch.setenv("LANGUAGE", "gu")
    closings = markets._closings.__wrapped__(1990)

    assert closings[date(1990, 12, 24)] == time(14)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-02-13 21:59:59.999999999", True),  # Friday before 17:00 in New York
        ("2026-02-13 22:00:00", False),
        ("2026-02-14 12:00:00", False),  # Saturday
        ("2026-02-15 21:59:59.999999999", False),  # Sunday before 17:00
        ("2026-02-15 22:00:00", True),
        ("2026-02-16 05:00:00", True),  # the night to Monday
        ("2026-02-18 22:30:00", True),  # Wednesday across 17:00
        ("2026-07-03 20:59:59", True),  # in summer an hour earlier
        ("2026-07-03 21:00:00", False),
        ("2026-07-05 20:59:59", False),
        ("2026-07-05 21:00:00", True),
        ("2026-03-06 21:59:59.999999999", True),  # the Friday before the clocks change
        ("2026-03-06 22:00:00", False),
        ("2026-03-08 20:59:59.999999999", False),  # the Sunday on which they do
        ("2026-03-08 21:00:00", True),
        ("2026-10-30 20:59:59.999999999", True),  # the Friday before they change back
        ("2026-10-30 21:00:00", False),
        ("2026-11-01 21:59:59.999999999", False),  # the Sunday on which they do
        ("2026-11-01 22:00:00", True),
    ],
)
def test_fx_trades_from_sunday_to_friday_at_five(moment: str, *, expected: bool) -> None:
    assert is_open("fx", utc_ns(moment)) is expected


@pytest.mark.parametrize("moment", ["2026-02-14 03:00:00", "2026-12-25 00:00:00"])
def test_crypto_always_trades(moment: str) -> None:
    assert is_open("crypto", utc_ns(moment)) is True


def test_the_sessions_of_thanksgiving_week() -> None:
    start, end = utc_ns("2026-11-24 16:00:00"), utc_ns("2026-11-30 15:00:00")

    assert sessions("stock", start, end) == [
        (start, utc_ns("2026-11-24 21:00:00")),  # Tuesday, from where the question begins
        (utc_ns("2026-11-25 14:30:00"), utc_ns("2026-11-25 21:00:00")),
        (utc_ns("2026-11-27 14:30:00"), utc_ns("2026-11-27 18:00:00")),  # half of Friday
        (utc_ns("2026-11-30 14:30:00"), end),
    ]


def test_the_weeks_of_fx_around_both_changes_of_the_clocks() -> None:
    assert sessions("fx", utc_ns("2026-02-28 00:00:00"), utc_ns("2026-03-14 00:00:00")) == [
        (utc_ns("2026-03-01 22:00:00"), utc_ns("2026-03-06 22:00:00")),
        (utc_ns("2026-03-08 21:00:00"), utc_ns("2026-03-13 21:00:00")),
    ]
    assert sessions("fx", utc_ns("2026-10-28 00:00:00"), utc_ns("2026-11-02 00:00:00")) == [
        (utc_ns("2026-10-28 00:00:00"), utc_ns("2026-10-30 21:00:00")),
        (utc_ns("2026-11-01 22:00:00"), utc_ns("2026-11-02 00:00:00")),
    ]


def test_crypto_is_one_session_and_an_empty_question_has_none() -> None:
    assert sessions("crypto", 5, 9) == [(5, 9)]
    noon = utc_ns("2026-02-13 17:00:00")
    for asset_type in ("crypto", "fx", "stock"):
        assert sessions(asset_type, noon, noon) == []
        assert sessions(asset_type, noon, noon - 1) == []
    assert sessions("stock", noon, noon + 1) == [(noon, noon + 1)]


def test_a_year_of_stocks_has_251_days_two_of_them_half() -> None:
    year = sessions("etf", utc_ns("2026-01-01 00:00:00"), utc_ns("2027-01-01 00:00:00"))

    lengths = [2 * (end - start) // HOUR for start, end in year]  # half hours
    assert (len(year), lengths.count(13), lengths.count(7)) == (251, 249, 2)
    days = [datetime.fromtimestamp(start // 10**9, UTC).date() for start, _ in year]
    assert not {day.isoformat() for day in days} & set(HOLIDAYS_2026)
    assert sorted(days) == days


MOMENTS = st.integers(utc_ns("1995-01-01 00:00:00"), utc_ns("2035-01-01 00:00:00"))
KINDS = st.sampled_from(["stock", "etf", "fx", "crypto"])


@given(KINDS, MOMENTS, st.integers(1, 8 * 24 * HOUR), st.integers(1, 8 * 24 * HOUR))
@settings(deadline=None)
def test_sessions_and_is_open_say_the_same(kind: str, now: int, before: int, after: int) -> None:
    """At a moment, at every edge, and wherever a span is cut in two."""
    start, end = now - before, now + after
    whole = sessions(kind, start, end)
    left, right = sessions(kind, start, now), sessions(kind, now, end)

    assert is_open(kind, now) is any(a <= now < b for a, b in whole)
    for a, b in whole:
        assert start <= a < b <= end
        assert is_open(kind, a)
        assert is_open(kind, b - 1)
        assert a == start or not is_open(kind, a - 1)
        assert b == end or not is_open(kind, b)
    if left and right and left[-1][1] == right[0][0]:
        left, right = [*left[:-1], (left[-1][0], right[0][1])], right[1:]
    assert left + right == whole


@given(MOMENTS)
@settings(deadline=None)
def test_every_week_of_fx_has_120_hours(now: int) -> None:
    """No change of the clocks falls into one: they change at two on a Sunday."""
    week = 7 * 24 * HOUR
    whole = [(a, b) for a, b in sessions("fx", now - 2 * week, now + 2 * week)][1:-1]

    assert len(whole) >= 2
    assert {b - a for a, b in whole} == {120 * HOUR}


def test_the_calendar_is_read_only_for_those_who_need_it() -> None:
    """It takes longer to import than all of edc's own modules."""
    code = (
        "import sys; from edc import markets;"
        "markets.is_open('crypto', 0); markets.is_open('fx', 0); print('holidays' in sys.modules);"
        "markets.is_open('stock', 0); print('holidays' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert done.stdout.split() == ["False", "True"]


def test_a_day_is_looked_up_once() -> None:
    markets._hours.cache_clear()
    noon = utc_ns("2026-02-13 17:00:00")
    for second in range(3600):
        assert is_open("stock", noon + second * 10**9)

    assert markets._hours.cache_info().misses == 1
    assert timedelta(seconds=markets._hours.cache_info().hits) == timedelta(seconds=3599)
