"""When a market is open, in New York's own time, summer and winter."""

from datetime import UTC, datetime

import pytest

from edc.markets import is_open


def utc_ns(text: str) -> int:
    """Nanoseconds at `YYYY-MM-DD HH:MM:SS` UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


@pytest.mark.parametrize("asset_type", ["stock", "etf"])
@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-02-13 14:29:59", False),  # Friday in winter: New York is five hours behind
        ("2026-02-13 14:30:00", True),
        ("2026-02-13 20:59:59", True),
        ("2026-02-13 21:00:00", False),
        ("2026-02-14 15:00:00", False),  # Saturday
        ("2026-02-15 15:00:00", False),  # Sunday
        ("2026-02-16 15:00:00", True),  # Monday
        ("2026-07-01 13:29:59", False),  # Wednesday in summer: four hours
        ("2026-07-01 13:30:00", True),
        ("2026-07-01 19:59:59", True),
        ("2026-07-01 20:00:00", False),
        ("2026-03-06 13:30:00", False),  # the Friday before the clocks change
        ("2026-03-09 13:30:00", True),  # the Monday after
    ],
)
def test_stocks_trade_from_half_past_nine_to_four_on_weekdays(
    asset_type: str, moment: str, *, expected: bool
) -> None:
    assert is_open(asset_type, utc_ns(moment)) is expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-02-13 21:59:59", True),  # Friday before 17:00 in New York
        ("2026-02-13 22:00:00", False),
        ("2026-02-14 12:00:00", False),  # Saturday
        ("2026-02-15 21:59:59", False),  # Sunday before 17:00
        ("2026-02-15 22:00:00", True),
        ("2026-02-16 05:00:00", True),  # the night to Monday
        ("2026-02-18 22:30:00", True),  # Wednesday across 17:00
        ("2026-07-03 20:59:59", True),  # in summer an hour earlier
        ("2026-07-03 21:00:00", False),
        ("2026-07-05 20:59:59", False),
        ("2026-07-05 21:00:00", True),
        ("2026-03-08 20:59:59", False),  # the Sunday on which the clocks change
        ("2026-03-08 21:00:00", True),
    ],
)
def test_fx_trades_from_sunday_to_friday_at_five(moment: str, *, expected: bool) -> None:
    assert is_open("fx", utc_ns(moment)) is expected


@pytest.mark.parametrize("moment", ["2026-02-14 03:00:00", "2026-12-25 00:00:00"])
def test_crypto_always_trades(moment: str) -> None:
    assert is_open("crypto", utc_ns(moment)) is True
