"""Times as integers: nanoseconds since the epoch, UTC. Durations as seconds.

Imports nothing of edc. Vendors write times as ISO 8601 with 0 to 9 fraction digits; the standard
library keeps six of them, so the fraction is read here, to the digit.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

import polars as pl

SECOND = 1_000_000_000
"""Nanoseconds in a second."""

_SCALE: tuple[int, ...] = tuple(10 ** (9 - digits) for digits in range(10))
_ISO_SECOND = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", re.ASCII)
_ISO_ZONE = re.compile(r"Z|[+-]\d\d:\d\d", re.ASCII)
_MICROSECONDS = len("2026-02-13T13:09:22.668051+00:00")
_KNOWN: dict[str, int] = {}
"""By the second and the zone of a time with a fraction, its nanoseconds without it."""
_MOST_KNOWN = 4096
_FIRST_YEAR, _LAST_YEAR = 1678, 2261
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@lru_cache(maxsize=4096)
def _whole_seconds(text: str, zone: str) -> int:
    """Nanoseconds at `YYYY-MM-DDTHH:MM:SS` in `zone` (`Z` or `±hh:mm`).

    Cached: a feed writes the same second, in the same zone, thousands of times.
    """
    if not (_ISO_SECOND.fullmatch(text) and _ISO_ZONE.fullmatch(zone)):
        raise ValueError(f"not an ISO time with a zone: {text + zone!r}")
    moment = datetime.fromisoformat(text + zone)
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"{text + zone!r} is beyond what 64 bits of nanoseconds hold")
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * SECOND


def parse_iso(text: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 time with 0 to 9 fraction digits and a zone.

    Raises ValueError for anything else, a missing zone included: a time is never guessed.
    """
    if len(text) == _MICROSECONDS:  # what most feeds write, the short way
        whole = _KNOWN.get(text[:20] + text[26:])
        fraction = text[20:26]
        if whole is not None and fraction.isdigit() and fraction.isascii():
            return whole + int(fraction) * 1000
    zone_at = len(text) - (1 if text.endswith("Z") else 6)
    if text[19:20] != ".":
        if zone_at != len("2026-02-13T13:09:22"):
            raise ValueError(f"not an ISO time: {text!r}")
        return _whole_seconds(text[:19], text[19:])
    fraction = text[20:zone_at]
    if not (fraction.isascii() and fraction.isdigit() and len(fraction) < len(_SCALE)):
        raise ValueError(f"not an ISO time: {text!r}")
    whole = _whole_seconds(text[:19], text[zone_at:])
    if len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.clear()
    _KNOWN[text[:20] + text[zone_at:]] = whole
    return whole + int(fraction) * _SCALE[len(fraction)]


def iso_times(texts: pl.Series) -> pl.Series:
    """As `parse_iso`, for many that have six digits of fraction: a column of Int64.

    Raises ValueError where one is no time.
    """
    if texts.is_empty():
        return pl.Series(dtype=pl.Int64)
    second, zone = texts[0][:20], texts[0][26:]
    try:
        micros = texts.str.slice(20, 6).cast(pl.Int64) * 1000
        if texts.str.starts_with(second).all() and texts.str.ends_with(zone).all():
            return micros + parse_iso(f"{second}000000{zone}")
        whole = texts.str.head(20) + "000000" + texts.str.slice(26)
        starts = {each: parse_iso(each) for each in whole.unique()}
        return micros + whole.replace_strict(starts, return_dtype=pl.Int64)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"not an ISO time among {len(texts)}: {error}") from None


def utc_times(texts: pl.Series) -> pl.Series:
    """As `parse_iso`, for many in UTC (`Z`) with up to nine digits of fraction, or none: Int64.

    Raises ValueError where one is no time.
    """
    if texts.is_empty():
        return pl.Series(dtype=pl.Int64)
    try:
        fraction = texts.str.slice(20).str.head(-1).str.pad_end(9, "0").cast(pl.Int64)
        second = texts[0][:19]
        if texts.str.starts_with(second).all():
            return fraction + parse_iso(f"{second}Z")
        whole = texts.str.head(19)
        starts = {each: parse_iso(f"{each}Z") for each in whole.unique()}
        return fraction + whole.replace_strict(starts, return_dtype=pl.Int64)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"not a time in UTC among {len(texts)}: {error}") from None


def format_iso(ns: int) -> str:
    """`ns` as ISO 8601 in UTC with nine fraction digits: the inverse of `parse_iso`."""
    seconds, fraction = divmod(ns, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}+00:00"


MILLISECOND, MICROSECOND = 1_000_000, 1_000
"""Nanoseconds in each."""
_EARLIEST, _LATEST = -9_214_560_000 * SECOND, 9_214_646_400 * SECOND


def instant(number: int, unit: int) -> int:
    """Nanoseconds since the epoch of a time that a vendor counts in `unit` nanoseconds.

    Raises ValueError beyond the years 1678 to 2261, which is what 64 bits hold.
    """
    ns = number * unit
    if not _EARLIEST <= ns < _LATEST:
        raise ValueError(f"{number} is beyond what 64 bits of nanoseconds hold")
    return ns


def exact_instant(number: Decimal, unit: int) -> int:
    """As `instant`, for a number with a fraction, of which every digit counts.

    The bounds are looked at first: `1e999999999` is few letters, and would be many digits.
    """
    if not _EARLIEST <= number <= _LATEST:
        raise ValueError(f"{number:.3e} is beyond what 64 bits of nanoseconds hold")
    return instant(int(number * unit), 1)


def parse_duration(value: object) -> float:
    """Seconds in `"200ms"`, `"60s"`, `"5m"`, `"2h"` or `"1d"`. Raises ValueError."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _UNITS[match[2]]
    raise ValueError('write a duration as a number and a unit, for example "200ms", "60s" or "5m"')
