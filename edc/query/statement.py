"""One SQL statement over the tables of a lake: what it may be, and how its errors are told."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

import polars as pl

from edc.errors import ConfigError
from edc.events import EVENT_TYPES, schema
from edc.explain import nearest
from edc.footers import name_of
from edc.lake import Lake
from edc.query.tables import Tables
from edc.times import SECOND

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_READS = ("select", "with", "explain", "show", "describe", "desc", "from", "values", "(")
_DESCRIBE = re.compile(r"\s*desc(?:ribe)?\s+(?:table\s+)?\"?(\w+)\"?\s*;?\s*", re.IGNORECASE)
_PRESENT = re.compile(r"('(?:[^']|'')*')|\bnow\s*\(\s*\)|\bcurrent_timestamp\b", re.IGNORECASE)
_NO_COLUMN = re.compile(
    r"unable to find column \"(?P<one>.*?)\"(?:; valid columns: \[(?P<known>.*?)\])?"
    r"|no column named '(?P<other>.*?)' found"
)
_NO_TABLE = re.compile(r"relation '(.*?)' was not found")
_NO_FUNCTION = re.compile(r"unsupported function '(.*?)'")
_TIME_MEND = "times are compared with text, like event_time >= '2026-02-13 09:30'"
_LONGEST = 300


def answer(lake: Lake, sql: str, now_ns: Callable[[], int]) -> pl.LazyFrame:
    """The rows that a statement asks for, read when they are collected.

    `now()` is the present on the lake's wall clock. Raises ConfigError; so may collecting, and
    what `Tables.frame` says.
    """
    with explained():
        described = _DESCRIBE.fullmatch(_COMMENT.sub(" ", sql))
        if described:
            return _columns(described[1].lower(), lake.timezone).lazy()
        _refuse_changes(sql)
        tables = Tables(lake)
        context = pl.SQLContext({kind: tables.frame(kind) for kind in EVENT_TYPES}, eager=False)
        return context.execute(_at(sql, now_ns(), ZoneInfo(lake.timezone)))


@contextmanager
def explained() -> Iterator[None]:
    """What Polars finds wrong with a statement as a ConfigError, with the mend if it is known."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _explained(str(error)) from error


def _columns(table: str, timezone: str) -> pl.DataFrame:
    """The columns of a table, for `describe`."""
    if table not in EVENT_TYPES:
        raise ConfigError(
            "query", f"there is no table {table!r}", nearest(table, EVENT_TYPES, "tables")
        )
    columns = schema(table, timezone)
    return pl.DataFrame(
        {"column": list(columns), "type": [name_of(each) for each in columns.values()]}
    )


def _refuse_changes(sql: str) -> None:
    words = _COMMENT.sub(" ", sql).split()
    if not words:
        raise ConfigError("query", "there is no statement", 'write one, like "select * from trade"')
    if not words[0].lower().startswith(_READS):
        mend = nearest(words[0], ("select", "explain", "describe"), "statements")
        raise ConfigError("query", f"{words[0][:20]!r} is not done here: a lake is only read", mend)


def _at(sql: str, now_ns: int, zone: ZoneInfo) -> str:
    """The statement with `now()` as a time of the wall clock; Polars would take that of UTC."""
    shown = datetime.fromtimestamp(now_ns // SECOND, zone)
    now = f"timestamp '{shown:%Y-%m-%d %H:%M:%S}.{now_ns % SECOND // 1000:06d}'"
    return _PRESENT.sub(lambda found: found[1] or now, sql)


def _explained(said: str) -> ConfigError:
    """Polars' words, without the plan that it prints after them."""
    if found := _NO_COLUMN.search(said):
        name = found["one"] or found["other"]
        known = re.findall(r'"(.*?)"', found["known"] or "") or _all_columns()
        return ConfigError("query", f"there is no column {name!r}", nearest(name, known, "columns"))
    if found := _NO_TABLE.search(said):
        mend = nearest(found[1], EVENT_TYPES, "tables")
        return ConfigError("query", f"there is no table {found[1]!r}", mend)
    if found := _NO_FUNCTION.search(said):
        mend = "Polars' SQL has those of its documentation"
        return ConfigError("query", f"there is no function {found[1]!r}", mend)
    first = said.strip().split("\n\n")[0].replace("\n", " ")
    problem = first.removeprefix("sql parser error: ")[:_LONGEST]
    mend = _TIME_MEND if "date/datetime/time" in first or "datetime[" in first else ""
    return ConfigError("query", problem or "it failed", mend)


def _all_columns() -> list[str]:
    return sorted({name for kind in EVENT_TYPES for name in schema(kind, "UTC")})
