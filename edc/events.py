"""The nouns: Trade, Quote, RefPx and Gap, their columns, types and meaning.

Names and order of the columns are fixed (README, "The tables"). Times are integers here, ns since
the epoch, UTC; in a frame they are `Datetime("ns")` in the storage time zone. Unknown is None:
never 0, never NaN, never an empty string. Imports nothing of edc.
"""

from collections.abc import Collection, Mapping
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

import msgspec
import polars as pl

SCHEMA_VERSION = 1
"""Written to every footer; a reader refuses a newer one, and reads every older one."""

ASSET_TYPES = ("stock", "etf", "fx", "crypto")


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where an event came in. `epoch` rises with each connection and is unique in a process."""

    feed: str
    vendor: str
    source: str
    epoch: int


class Event(msgspec.Struct, kw_only=True, gc=False):
    """What the tables share. The adapter gives the first three, the ingest loop the rest.

    Not tracked by the garbage collector: nothing here refers back to an event.
    """

    event_type: ClassVar[str]

    symbol: str
    asset_type: str
    event_time: int
    created_at: int = 0
    origin: Origin | None = None


class Trade(Event, kw_only=True, gc=False):
    """A trade, or its cancellation or correction (`action`). Sizes in shares or base currency."""

    event_type = "trade"

    last_price: float
    last_size: float | None
    exchange: str | None = None
    trade_id: str | None = None
    side: str | None = None
    conditions: str | None = None
    action: str = "new"
    sequence: int | None = None


class Quote(Event, kw_only=True, gc=False):
    """The top of a book. A crossed quote is data, not an error."""

    event_type = "quote"

    bid: float | None
    ask: float | None
    mid: float | None
    bid_size: float | None = None
    ask_size: float | None = None
    exchange: str | None = None
    bid_exchange: str | None = None
    ask_exchange: str | None = None
    conditions: str | None = None
    sequence: int | None = None


class RefPx(Event, kw_only=True, gc=False):
    """A price that is neither a trade nor a quote; `price_type` says what it is instead."""

    event_type = "ref_px"

    price: float
    price_type: str
    exchange: str | None = None
    sequence: int | None = None


class Gap(msgspec.Struct, kw_only=True, gc=False):
    """A row of the ledger: between `started_at` and `ended_at`, `cause` may have lost events.

    `rows_lost` is None where the number cannot be known; feed, vendor and source are None where a
    damaged file no longer says whose rows it held. `state` is `open` until a back-fill closes it.
    """

    event_type: ClassVar[str] = "gap"

    feed: str | None
    vendor: str | None
    source: str | None
    started_at: int
    ended_at: int
    cause: str
    symbol: str | None = None
    rows_lost: int | None = None
    state: str = "open"
    rows_filled: int | None = None
    created_at: int


Row = Event | Gap

Values = pl.Series | str | int | None
"""A column: its values, or the one value that all rows have."""

EVENT_TYPES = ("trade", "quote", "ref_px", "gap")

_TEXT, _REAL, _INT, _TIME = pl.String(), pl.Float64(), pl.Int64(), pl.Datetime("ns", "UTC")

_COLUMNS: dict[str, dict[str, pl.DataType]] = {
    "trade": {
        "asset_type": _TEXT,
        "event_type": _TEXT,
        "symbol": _TEXT,
        "last_size": _REAL,
        "last_price": _REAL,
        "event_time": _TIME,
        "vendor": _TEXT,
        "source": _TEXT,
        "exchange": _TEXT,
        "trade_id": _TEXT,
        "side": _TEXT,
        "conditions": _TEXT,
        "action": _TEXT,
        "sequence": _INT,
        "ordinal": _INT,
        "created_at": _TIME,
    },
    "quote": {
        "asset_type": _TEXT,
        "event_type": _TEXT,
        "symbol": _TEXT,
        "bid_size": _REAL,
        "ask_size": _REAL,
        "bid": _REAL,
        "ask": _REAL,
        "mid": _REAL,
        "event_time": _TIME,
        "vendor": _TEXT,
        "source": _TEXT,
        "exchange": _TEXT,
        "bid_exchange": _TEXT,
        "ask_exchange": _TEXT,
        "conditions": _TEXT,
        "sequence": _INT,
        "created_at": _TIME,
    },
    "ref_px": {
        "asset_type": _TEXT,
        "event_type": _TEXT,
        "symbol": _TEXT,
        "price": _REAL,
        "price_type": _TEXT,
        "vendor": _TEXT,
        "source": _TEXT,
        "exchange": _TEXT,
        "event_time": _TIME,
        "sequence": _INT,
        "created_at": _TIME,
    },
    "gap": {
        "feed": _TEXT,
        "vendor": _TEXT,
        "source": _TEXT,
        "symbol": _TEXT,
        "started_at": _TIME,
        "ended_at": _TIME,
        "cause": _TEXT,
        "rows_lost": _INT,
        "state": _TEXT,
        "rows_filled": _INT,
        "created_at": _TIME,
    },
}

COLUMN_TYPES = {name: dtype for table in _COLUMNS.values() for name, dtype in table.items()}
"""By name, what a column holds, which is the same in all tables. Times are those of UTC."""

SINCE: dict[str, dict[str, int]] = {}
"""By table, the columns that came after version 1, each with the version that brought it.

Files of versions before that lack the column, and it is null in their rows; so a new column must be
one that may be null. Any other change of a table is no new version but a new table.
"""

_ORIGIN = ("vendor", "source")
_GIVEN_LATER = ("event_type", "ordinal")


def schema(event_type: str, timezone: str) -> dict[str, pl.DataType]:
    """The columns of a table, in order, with times in `timezone`."""
    zoned = pl.Datetime("ns", timezone)
    return {
        name: zoned if dtype == _TIME else dtype for name, dtype in _COLUMNS[event_type].items()
    }


def time_column(event_type: str) -> str:
    """The column that places a row in the lake."""
    return "started_at" if event_type == "gap" else "event_time"


def identity(event_type: str) -> list[str]:
    """The columns that make two rows the same event: all but `created_at`."""
    return [name for name in _COLUMNS[event_type] if name != "created_at"]


def to_frame(event_type: str, rows: Collection[Row], timezone: str) -> pl.DataFrame:
    """Rows of one type as a frame in the table's columns. `ordinal` is 0: the spool counts it.

    `timezone` names the zone of the time columns; the instants stay the same.
    """
    columns: dict[str, Values] = {}
    origins = [] if event_type == "gap" else list(map(_ORIGIN_OF, rows))
    for name, dtype in schema(event_type, timezone).items():
        if name in _GIVEN_LATER:
            columns[name] = event_type if name == "event_type" else 0
        elif origins and name in _ORIGIN:
            columns[name] = _of_origin(name, origins, dtype)
        else:
            columns[name] = _values(list(map(attrgetter(name), rows)), dtype)
    return table(event_type, timezone, columns)


def table(event_type: str, timezone: str, columns: Mapping[str, Values]) -> pl.DataFrame:
    """The frame of some columns of a table, of which one at least is a series; others are null.

    One value that all rows have is kept once, however many they are, until a file needs them all.
    """
    dtypes = schema(event_type, timezone)
    whole = {name: each for name, each in columns.items() if isinstance(each, pl.Series)}
    frame = pl.DataFrame([each.alias(name).cast(dtypes[name]) for name, each in whole.items()])
    return frame.select(
        pl.col(name) if name in whole else pl.lit(columns.get(name), dtype).alias(name)
        for name, dtype in dtypes.items()
    )


def epochs(rows: Collection[Row]) -> pl.Series:
    """The connection epoch of each row, in the order of `to_frame`."""
    found = _of_origin("epoch", list(map(_ORIGIN_OF, rows)), pl.Int64())
    if isinstance(found, pl.Series):
        return found.alias("epoch")
    return pl.Series("epoch", [found], dtype=pl.Int64).new_from_index(0, len(rows))


_ORIGIN_OF = attrgetter("origin")


def _of_origin(name: str, origins: list[Origin], dtype: pl.DataType) -> Values:
    """A column that the connection gives; most chunks come from one."""
    get = attrgetter(name)
    if _all_equal(origins):
        value: str | int | None = get(origins[0])
        return value
    return _values(list(map(get, origins)), dtype)


def _values(values: list[Any], dtype: pl.DataType) -> Values:
    """A column, or the one value that all rows have. Raises TypeError for what fits it not."""
    if isinstance(dtype, pl.Datetime):
        return pl.Series(values, dtype=pl.Int64).cast(dtype)
    if isinstance(dtype, pl.String | pl.Int64) and _all_equal(values):
        value: str | int | None = pl.Series(values[:1], dtype=dtype).item()  # raises for no such
        return value
    return pl.Series(values, dtype=dtype)


def _all_equal(values: list[Any]) -> bool:
    """True where making a column of one value is cheaper than looking at each."""
    return bool(values) and values[0] is values[-1] and values.count(values[0]) == len(values)


def distinct(event_type: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Of rows that are the same event the first, in their order.

    Most rows differ from all others in their time and symbol, a few more in a hash of all columns;
    only what is left is compared in full.
    """
    marks = pl.col(time_column(event_type)).hash(0) ^ pl.col("symbol").hash(1)
    doubtful = rows.select(marks.is_duplicated()).to_series()
    if not doubtful.any():
        return rows
    keys = identity(event_type)
    numbered = rows.select(keys).with_row_index("row").filter(doubtful)
    numbered = numbered.filter(numbered.drop("row").hash_rows().is_duplicated())
    if numbered.is_empty():
        return rows
    first = numbered.unique(keys, keep="first", maintain_order=True)["row"]
    again = numbered["row"].filter(~numbered["row"].is_in(first.implode()))
    return without(rows, again)


def span(event_type: str, rows: pl.DataFrame) -> tuple[int, int]:
    """The first and the last time of rows, of which there is one at least, ns."""
    time = pl.col(time_column(event_type)).to_physical()
    first, last = rows.select(time.min().alias("first"), time.max().alias("last")).row(0)
    return first, last


def without(rows: pl.DataFrame, numbers: pl.Series) -> pl.DataFrame:
    """All rows but those of these numbers, counted from 0."""
    return rows.with_row_index("row").filter(~pl.col("row").is_in(numbers.implode())).drop("row")


def version_of(footer: Mapping[str, str]) -> int:
    """The schema version of a Parquet file, by its footer; 1 where another tool has rewritten it.

    Raises ValueError for one that is no version.
    """
    said = footer.get("edc.schema_version", "1")
    if not (said.isascii() and said.isdigit() and int(said) > 0):
        raise ValueError(f"{said!r} is no schema version")
    return int(said)


def columns_of(event_type: str, version: int) -> list[str]:
    """The columns that a table had in a schema version."""
    since = SINCE.get(event_type, {})
    return [name for name in _COLUMNS[event_type] if since.get(name, 1) <= version]


_Frame = TypeVar("_Frame", pl.DataFrame, pl.LazyFrame)


def conform(frame: _Frame, event_type: str, timezone: str, version: int | None = None) -> _Frame:
    """`frame` in the present columns and time zone, whatever zone it was written in.

    `version` is the schema version it was written in, None the present one: columns that came later
    are null. Raises a PolarsError where any other column is missing.
    """
    had = columns_of(event_type, SCHEMA_VERSION if version is None else version)
    present = frame.collect_schema()
    columns: list[pl.Expr] = []
    for name, dtype in schema(event_type, timezone).items():
        if name not in present and name not in had:
            columns.append(pl.lit(None, dtype).alias(name))
        elif isinstance(dtype, pl.Datetime):
            columns.append(pl.col(name).dt.cast_time_unit("ns").dt.convert_time_zone(timezone))
        else:
            columns.append(pl.col(name).cast(dtype))
    return frame.select(columns)


def spell(symbol: str, asset_type: str) -> str:
    """One spelling for all vendors: `BRK.B` is `brk-b`, `EUR/USD` is `eurusd`.

    Pairs (fx, crypto) are joined; a stock's share class comes after a dash.
    """
    text = symbol.strip().lower()
    joint = "" if asset_type in ("fx", "crypto") else "-"
    for mark in "./_- ":
        text = text.replace(mark, joint)
    return text


def side_of(price: float | None, size: float | None) -> tuple[float | None, float | None]:
    """A side of a book; one without a price (null or 0) is not there, and neither is its size."""
    return (price, size) if price else (None, None)


def mid_of(bid: float | None, ask: float | None, sent: float | None = None) -> float | None:
    """The vendor's mid if it sent one, else the mean; None where a side is missing."""
    if bid is None or ask is None:
        return None
    return (bid + ask) / 2 if sent is None else sent
