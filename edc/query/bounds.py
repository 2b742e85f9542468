"""What a condition says of the time of a row: a span outside of which it holds for none.

Polars hands the part of a `where` that concerns a table to its source as an expression, which is
read here in its JSON form. What is not understood limits nothing, so a form that a later Polars
changes costs time and never a row.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from edc.times import SECOND

_FIRST, _LAST = -(2**63), 2**63 - 1
_UNITS = {"Nanoseconds": 1, "Microseconds": 1_000, "Milliseconds": 1_000_000}
_FLIPPED = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq", "Eq": "Eq"}
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - on the wall clock, of whatever zone

Span = tuple[int, int]
"""The first and the last moment, ns since the epoch, both included."""

EVER: Span = (_FIRST, _LAST)


@dataclass(frozen=True, slots=True)
class Condition:
    """A `where` of one table (None: every row), and the span of time in which alone it can hold."""

    where: pl.Expr | None = None
    span: Span = EVER

    def applied(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows for which it holds."""
        return rows if self.where is None else rows.filter(self.where)

    @property
    def on_receipt(self) -> bool:
        """True where it asks for `created_at`, in which equal rows differ."""
        return self.where is not None and "created_at" in self.where.meta.root_names()


def condition(where: pl.Expr | None, column: str, timezone: str) -> Condition:
    """`where` made ready for a table whose rows are placed by `column`, in `timezone`.

    A time without a zone (`timestamp '2026-02-13 09:30'`) is one of the table's own wall clock.
    """
    if where is None:
        return Condition()
    zone = ZoneInfo(timezone)
    tree = json.loads(where.meta.serialize(format="json"))
    zoned = _zoned(tree, zone)
    if zoned != tree:
        where = pl.Expr.deserialize(StringIO(json.dumps(zoned)), format="json")
    return Condition(where, _span(zoned, column, zone))


def _zoned(tree: Any, zone: ZoneInfo) -> Any:
    """The same tree, with times of the wall clock as moments of the zone."""
    match tree:
        case {"Datetime": [int(number), str(unit), None]} if unit in _UNITS:
            return {"Datetime": [_moment(number * _UNITS[unit], zone), "Nanoseconds", _named(zone)]}
        case dict():
            return {name: _zoned(each, zone) for name, each in tree.items()}
        case list():
            return [_zoned(each, zone) for each in tree]
    return tree


def _named(zone: ZoneInfo) -> dict[str, str]:
    return {"inner": zone.key}


def _span(tree: object, column: str, zone: ZoneInfo) -> Span:
    match tree:
        case {"BinaryExpr": {"left": left, "op": "And", "right": right}}:
            one, other = _span(left, column, zone), _span(right, column, zone)
            return max(one[0], other[0]), min(one[1], other[1])
        case {"BinaryExpr": {"left": left, "op": "Or", "right": right}}:
            one, other = _span(left, column, zone), _span(right, column, zone)
            return min(one[0], other[0]), max(one[1], other[1])
        case {"BinaryExpr": {"left": left, "op": str(op), "right": right}} if op in _FLIPPED:
            compared = _compared(left, right, column, zone)
            if compared:
                return _limited(op, compared)
            compared = _compared(right, left, column, zone)
            return _limited(_FLIPPED[op], compared) if compared else EVER
    return EVER


def _compared(asked: object, value: object, column: str, zone: ZoneInfo) -> Span | None:
    """The moment, or the day, with which the column is compared; None where it is not."""
    match asked, value:
        case (
            {"Column": name},
            {"Literal": {"Scalar": {"Datetime": [int(number), str(unit), _]}}},
        ) if name == column and unit in _UNITS:
            return number * _UNITS[unit], number * _UNITS[unit]
        case (
            {"Cast": {"expr": {"Column": name}, "dtype": {"Literal": "Date"}}},
            {"Literal": {"Scalar": {"Date": int(day)}}},
        ) if name == column:
            midnights = (each * 86_400 * SECOND for each in (day, day + 1))
            first, after = (_moment(each, zone) for each in midnights)
            return first, after
    return None


def _limited(op: str, span: Span) -> Span:
    """What is left of all time by a comparison with a span: a moment, or a day."""
    first, last = span
    match op:
        case "Lt":
            return _FIRST, first
        case "LtEq":
            return _FIRST, last
        case "Gt":
            return last, _LAST
        case "GtEq":
            return first, _LAST
    return span


def _moment(wall: int, zone: ZoneInfo) -> int:
    """The moment at which a clock of the zone shows `wall`, ns since 1970 as it shows them."""
    seconds, fraction = divmod(wall, SECOND)
    shown = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=zone)
    return int(shown.timestamp()) * SECOND + fraction
