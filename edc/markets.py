"""When a market is open: a silent feed is a fault only while it is.

Stocks and ETFs keep the regular hours of the NYSE, 9:30 to 16:00 in New York, with its holidays and
early closes. FX trades from Sunday 17:00 to Friday 17:00 in New York, crypto always. A closing that
was announced after the installed `holidays` package was made counts as open.
"""

import re
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from edc.times import SECOND

_NEW_YORK = ZoneInfo("America/New_York")
_WEEKDAYS = 5
_OPENS, _CLOSES = time(9, 30), time(16)
_FX_TURNS = time(17)
_EARLY = time(13)
"""When a half day ends whose name does not say it: every planned one since 1993."""
_CLOSING = re.compile(r"close at (\d{1,2}):(\d\d)pm")


def is_open(asset_type: str, now_ns: int) -> bool:
    """True while `asset_type` trades at `now_ns` (ns since the epoch, UTC).

    About a microsecond, but for the first question about a year, which reads the calendar.
    """
    if asset_type == "crypto":
        return True
    hours = _hours(asset_type, _begun_on(asset_type, now_ns))
    return hours is not None and hours[0] <= now_ns < hours[1]


def sessions(asset_type: str, start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """The spans in which `asset_type` trades, clipped to [start, end), ascending.

    Each is half open, in ns since the epoch; two FX weeks are two, crypto is one.
    """
    if start_ns >= end_ns:
        return []
    if asset_type == "crypto":
        return [(start_ns, end_ns)]
    step = timedelta(days=7 if asset_type == "fx" else 1)
    day, last = _begun_on(asset_type, start_ns), _begun_on(asset_type, end_ns)
    found = []
    while day <= last:
        if (hours := _hours(asset_type, day)) is not None:
            begin, end = max(hours[0], start_ns), min(hours[1], end_ns)
            if begin < end:
                found.append((begin, end))
        day += step
    return found


def _begun_on(asset_type: str, now_ns: int) -> date:
    """The day in New York on which a session that holds `now_ns` would have begun."""
    day = datetime.fromtimestamp(now_ns // SECOND, _NEW_YORK).date()
    if asset_type == "fx":
        return day - timedelta(days=day.isoweekday() % 7)  # the Sunday
    return day


@lru_cache(maxsize=4096)
def _hours(asset_type: str, day: date) -> tuple[int, int] | None:
    """The session that begins on a day in New York (for FX a Sunday), or None."""
    if asset_type == "fx":
        return _at(day, _FX_TURNS), _at(day + timedelta(days=_WEEKDAYS), _FX_TURNS)
    if day.weekday() >= _WEEKDAYS:
        return None
    closes = _closings(day.year).get(day, _CLOSES)
    return None if closes is None else (_at(day, _OPENS), _at(day, closes))


def _at(day: date, wall: time) -> int:
    """Nanoseconds at a time on New York's clocks; none of ours is skipped or repeated by DST."""
    return int(datetime.combine(day, wall, _NEW_YORK).timestamp()) * SECOND


@lru_cache(maxsize=64)
def _closings(year: int) -> dict[date, time | None]:
    """When the NYSE closes on the days of a year that are special: early, or None, all day.

    The package speaks the language of the environment unless told which.
    """
    import holidays  # noqa: PLC0415 - takes 0.1 s, which a feed of crypto need not spend

    early = holidays.financial_holidays(
        "NYSE", years=year, categories=("half_day",), language="en_US"
    )
    closed = holidays.financial_holidays("NYSE", years=year, language="en_US")
    return {day: _closing(name) for day, name in early.items()} | dict.fromkeys(closed)


def _closing(name: str) -> time:
    """When a half day ends: `Christmas Eve (markets close at 1:00pm)`."""
    said = _CLOSING.search(name)
    return time(int(said[1]) % 12 + 12, int(said[2])) if said else _EARLY
