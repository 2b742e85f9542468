"""From rows to the bytes of a file of the lake: in order, as Parquet, with a seal.

Texts that repeat are handed to Polars as numbers (`pl.Enum`): to let it find out that they repeat
is five times the work. The pages are those that it makes of such texts, byte for byte, and so are
their statistics. The footer differs in one entry, `ARROW:schema`, which tells readers of Arrow that
these columns are numbers; here they are told that they are texts. Whether the installed Polars
writes as it is taken to is tried once, before the first file; where it does not, it gets texts.
"""

import functools
import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from edc import __version__, seal
from edc.events import SCHEMA_VERSION, span, time_column

_ROW_GROUP = 122_880
_LEVEL = 1
"""Of compression: half the work of the default for a quarter more bytes, until they are merged."""
_SCHEMA = "ARROW:schema"
_MORE = 0x80
"""Set in each byte of a varint but the last."""
_THRIFT_TEXT = b"\x18"
"""Before the length of a text, a varint, in the field that follows on the last one: see Thrift's
compact protocol, https://github.com/apache/thrift/blob/master/doc/specs/."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Serialised:
    """The bytes of a sealed Parquet file, and the times of its first and last row, ns."""

    data: bytes
    low: int
    high: int


def serialised(
    event_type: str,
    rows: pl.DataFrame,
    instance: str,
    chunks: str,
    shaped: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows,
) -> Serialised:
    """Rows of a table as a file, in the columns that `shaped` gives them."""
    column = time_column(event_type)
    rows = in_order(numbered(rows.rechunk()), column)
    low, high = span(event_type, rows)
    metadata = {
        "edc.schema_version": str(SCHEMA_VERSION),
        "edc.version": __version__,
        "edc.instance": instance,
        "edc.event_type": event_type,
        "edc.chunks": chunks,
        "edc.time_range": f"{low} {high}",
    }
    return Serialised(seal.sealed(*parquet(shaped(rows), metadata)), low, high)


def parquet(rows: pl.DataFrame, metadata: Mapping[str, str]) -> tuple[memoryview, bytes]:
    """Rows as Parquet, the pages and the footer; columns of Enum are as if they were texts."""
    if not _writes_as_texts():
        rows = rows.cast({pl.Enum: pl.String})
    pages, footer = seal.parted(_written(rows, metadata))
    if any(isinstance(dtype, pl.Enum) for dtype in rows.dtypes):
        texts = rows.clear().cast({pl.Enum: pl.String})
        footer = _with_schema(footer, _schema_of(tuple(texts.schema.items())))
    return pages, footer


def _written(rows: pl.DataFrame, metadata: Mapping[str, str]) -> memoryview:
    buffer = io.BytesIO()
    rows.write_parquet(
        buffer,
        compression="zstd",
        compression_level=_LEVEL,
        statistics=True,
        row_group_size=_ROW_GROUP,
        metadata={**metadata},
    )
    return buffer.getbuffer()


@functools.cache
def _writes_as_texts() -> bool:
    """Whether Polars makes of numbered texts the pages that it makes of texts."""
    texts = pl.DataFrame({"a": ["x", "x", None, "y"] * 8, "b": ["z"] * 32})
    pages, footer = seal.parted(_written(texts, {}))
    as_numbers = texts.cast({"a": pl.Enum(["x", "y"]), "b": pl.Enum(["z"])})
    other_pages, other_footer = seal.parted(_written(as_numbers, {}))
    try:
        same = other_pages == pages and _with_schema(other_footer, _schema_in(footer)) == footer
    except ValueError:
        same = False
    if not same:
        log.info("this Polars writes numbered texts in another way: they are written as texts")
    return same


@functools.lru_cache
def _schema_of(columns: tuple[tuple[str, pl.DataType], ...]) -> bytes:
    """What a file of these columns says to readers of Arrow."""
    return _schema_in(seal.parted(_written(pl.DataFrame(schema=dict(columns)), {}))[1])


def _schema_in(footer: bytes) -> bytes:
    """The entry for readers of Arrow. Raises ValueError where there is none."""
    _, at, end = _entry(footer)
    return footer[at:end]


def _with_schema(footer: bytes, schema: bytes) -> bytes:
    """A footer with another entry for readers of Arrow. Raises ValueError where it has none."""
    start, _, end = _entry(footer)
    return seal.with_length(footer[:start] + _varint(len(schema)) + schema + footer[end:])


def _entry(footer: bytes) -> tuple[int, int, int]:
    """Where the length of the entry for readers of Arrow begins, the entry itself, and its end.

    It is the last that looks like it: only what edc says of the file comes after it.
    """
    key = _THRIFT_TEXT + _varint(len(_SCHEMA)) + _SCHEMA.encode() + _THRIFT_TEXT
    at = start = footer.rindex(key) + len(key)
    size = shift = 0
    while footer[at] & _MORE:
        size |= (footer[at] ^ _MORE) << shift
        at, shift = at + 1, shift + 7
    size |= footer[at] << shift
    return start, at + 1, at + 1 + size


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    found = bytearray()
    while number >= _MORE:
        found.append(number % _MORE | _MORE)
        number //= _MORE
    return bytes([*found, number])


def numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with numbers for the texts of `symbol`, in their order, and for those that never change.

    Of other texts it is as much work to number them as to write them.
    """
    symbols = rows["symbol"]
    columns = [symbols.cast(pl.Enum(symbols.drop_nulls().unique().sort()))]
    for column in rows.select(pl.selectors.string().exclude("symbol")):
        text = column[0]
        if text is not None and text == column[-1] and column.eq_missing(text).all():
            constant = pl.Series(column.name, [text], dtype=pl.Enum([text]))
            columns.append(constant.new_from_index(0, rows.height))
    return rows.with_columns(columns)


def in_order(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Rows by symbol, then by the time in `column`, then by `created_at`; nulls come last.

    Of rows whose symbols are `numbered`. Where those of each symbol have come in the order of their
    times, which is most often, that of symbols is all. They should be in one piece: to take them
    from here and there costs five times as much.
    """
    keys = rows.select("symbol", column, "created_at").select(pl.all().to_physical())
    order = _order(keys, "symbol")
    if not _is_ordered(keys[order], column):
        order = _order(keys, *keys.columns)
    return rows[order]


def _order(keys: pl.DataFrame, *names: str) -> pl.Series:
    by = pl.arg_sort_by(names, nulls_last=True, maintain_order=True)
    return keys.select(by).to_series()


def _is_ordered(keys: pl.DataFrame, column: str) -> bool:
    """True where rows that are sorted by symbol are so by their times as well; False with nulls."""
    if any(keys.null_count().row(0)):
        return False
    step = keys.select(pl.all().cast(pl.Int64).diff().slice(1))
    same, later = pl.col("symbol") == 0, pl.col(column) > 0
    together = (pl.col(column) == 0) & (pl.col("created_at") >= 0)
    return bool(step.select((~same | later | together).all()).item())
