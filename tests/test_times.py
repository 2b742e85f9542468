"""Times: every digit of a vendor's time is kept, and nothing is guessed."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc.times import SECOND, format_iso, parse_duration, parse_iso

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)
YEAR_2200_NS = 7_258_118_400 * 1_000_000_000


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-02-13T18:09:22Z", 1_771_006_162_000_000_000),
        ("2026-02-13T18:09:22.6Z", 1_771_006_162_600_000_000),
        ("2026-02-13T18:09:22.66Z", 1_771_006_162_660_000_000),
        ("2026-02-13T18:09:22.668Z", 1_771_006_162_668_000_000),
        ("2026-02-13T18:09:22.6680Z", 1_771_006_162_668_000_000),
        ("2026-02-13T18:09:22.66805Z", 1_771_006_162_668_050_000),
        ("2026-02-13T18:09:22.668051Z", 1_771_006_162_668_051_000),
        ("2026-02-13T18:09:22.6680512Z", 1_771_006_162_668_051_200),
        ("2026-02-13T18:09:22.66805123Z", 1_771_006_162_668_051_230),
        ("2026-02-13T18:09:22.668051234Z", 1_771_006_162_668_051_234),
        ("2026-02-13T18:09:22.668051234+00:00", 1_771_006_162_668_051_234),
        ("2026-02-13T13:09:22.668051234-05:00", 1_771_006_162_668_051_234),
        ("2026-02-13T23:54:22-00:00", 1_771_026_862_000_000_000),
        ("2026-02-13T23:54:22+05:45", 1_771_006_162_000_000_000),
        ("1969-12-31T23:59:59.999999999Z", -1),
    ],
)
def test_a_time_is_read_to_the_nanosecond_in_its_own_zone(text: str, ns: int) -> None:
    assert parse_iso(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "now",
        "2026-02-13",
        "2026-02-13T18:09:22",
        "2026-02-13T18:09:22.668051",
        "2026-02-13T18:09:22.668051234",
        "2026-02-13T18:09:22.Z",
        "2026-02-13T18:09:22.6680512345Z",
        "2026-02-13T18:09:22.66 051Z",
        "2026-02-13T18:09:22.-68051Z",
        "2026-02-13T18:09:22.6_8Z",
        "2026-02-13T18:09:22.٣Z",
        "2026-02-13T18:09:22,5Z",
        "2026-02-13T18:09:22.5.12345",
        "2026-02-13T18:09:22.5z",
        "2026-02-13T18:09:22+0500",
        "2026-02-13T18:09:22+25:00",
        "2026-02-13T18:09:22UTC",
        "2026-02-13T18:09:60Z",
        "2026-02-13T24:00:00Z",
        "2026-02-30T18:09:22Z",
        "0001-01-01T00:00:00Z",
        "1677-09-21T00:00:00Z",
        "2262-04-12T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "1771006162668",
        "2026-02-13x18:09:22Z",
        "2026-W07-5T18:09:22Z",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the type is the promise
        parse_iso(text)


@PROPERTY
@given(st.text(max_size=40) | st.text("0123456789-+:.TZ ", max_size=36))
def test_garbage_raises_only_value_error(text: str) -> None:
    try:
        ns = parse_iso(text)
    except ValueError:
        return

    assert -(2**63) <= ns < 2**63


@PROPERTY
@given(st.integers(0, YEAR_2200_NS - 1))
def test_formatting_and_parsing_are_inverse(ns: int) -> None:
    text = format_iso(ns)

    assert len(text) == len("2026-02-13T18:09:22.668051234+00:00")
    assert parse_iso(text) == ns


@PROPERTY
@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30)),  # noqa: DTZ001 - the zone comes next
    st.integers(-14 * 60, 14 * 60),
    st.text("0123456789", max_size=9),
)
def test_a_time_equals_its_parts_added_up(moment: datetime, offset: int, fraction: str) -> None:
    whole = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset)))
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    text = f"{moment:%Y-%m-%dT%H:%M:%S}" + (f".{fraction}" if fraction else "")
    text += f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    since = whole - datetime(1970, 1, 1, tzinfo=UTC)

    ns = (since.days * 86_400 + since.seconds) * 10**9 + int(fraction.ljust(9, "0"))

    assert parse_iso(text) == ns


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000+00:00"),
        (1, "1970-01-01T00:00:00.000000001+00:00"),
        (1_771_006_162_668_051_234, "2026-02-13T18:09:22.668051234+00:00"),
        (-1, "1969-12-31T23:59:59.999999999+00:00"),
    ],
)
def test_a_time_is_written_in_utc_with_nine_digits(ns: int, text: str) -> None:
    assert format_iso(ns) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("60s", 60.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("2h", 7_200.0),
        ("1d", 86_400.0),
        ("0s", 0.0),
        (" 10 s ", 10.0),
    ],
)
def test_a_duration_has_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "60", "s", "-1s", "1 week", "1.s", "1e3s", "1s2m", 60, None])
def test_a_duration_without_a_unit_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(ValueError, match='for example "200ms"'):
        parse_duration(value)


def test_a_second_has_a_thousand_million_nanoseconds() -> None:
    assert SECOND == 1_000_000_000
