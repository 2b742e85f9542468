"""The rows of a query: as a table for a terminal, or streamed in a form for programs."""

from collections.abc import Iterator
from enum import StrEnum
from io import BytesIO
from typing import BinaryIO

import msgspec
import polars as pl
from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edc.footers import name_of
from edc.logs import printable

_GAP, _EDGES = 2, 1
"""Cells after a column, and beside a table."""
_LONGEST = 60
_AT_ONCE = 65_536


class Format(StrEnum):
    """What a query's rows are written as."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    ARROW = "arrow"


def write(rows: pl.LazyFrame, form: Format, to: BinaryIO) -> None:
    """All rows, a batch at a time. Times in text are ISO 8601 with nine digits and their offset."""
    match form:
        case Format.PARQUET:
            rows.sink_parquet(to, compression="zstd")
        case Format.ARROW:
            rows.sink_ipc(to, compression="zstd")
        case Format.CSV:
            _csv(rows, to)
        case Format.JSON:
            _json(rows, to)
        case _:
            to.writelines(b"\n".join(some) + b"\n" for some in _documents(rows))


def _csv(rows: pl.LazyFrame, to: BinaryIO) -> None:
    for number, batch in enumerate(_batches(rows)):
        buffer = BytesIO()
        batch.write_csv(buffer, include_header=not number)
        to.write(buffer.getbuffer())


def _json(rows: pl.LazyFrame, to: BinaryIO) -> None:
    """One document: `{"columns": {name: type}, "rows": [{…}, …]}`."""
    columns = {name: name_of(dtype) for name, dtype in rows.collect_schema().items()}
    to.write(b'{"columns":' + msgspec.json.encode(columns) + b',"rows":[')
    for number, some in enumerate(_documents(rows)):
        to.writelines((b"," if number else b"", b",".join(some)))
    to.write(b"]}\n")


def _documents(rows: pl.LazyFrame) -> Iterator[list[bytes]]:
    """The rows as JSON objects, some at a time."""
    encoder = msgspec.json.Encoder()
    for batch in _batches(rows):
        if batch.height:
            yield [encoder.encode(row) for row in batch.iter_rows(named=True)]


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """At least one batch, with times as text."""
    shown = rows.with_columns(pl.col(pl.Datetime).dt.to_string("iso:strict"))
    empty = True
    for batch in shown.collect_batches(chunk_size=_AT_ONCE, maintain_order=True):
        if batch.height:
            empty = False
            yield batch
    if empty:
        yield pl.DataFrame(schema=shown.collect_schema())


def table(rows: pl.DataFrame, width: int | None) -> RenderableType:
    """Rows for people: nulls are named, and where `width` is short some columns are left out.

    Those that differ from row to row come first, those that are empty last; what is left out is
    named below. Without a width a table is as wide as it takes.
    """
    cells = {name: _cells(rows[name]) for name in rows.columns}
    widths = {
        name: max([cell_len(printable(name)), *(cell_len(cell.plain) for cell in column)])
        for name, column in cells.items()
    }
    fitting = set(cells) if width is None else _fitting(rows, widths, width)
    shown = [name for name in cells if name in fitting]
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in shown:
        right = rows.schema[name].is_numeric()
        made.add_column(
            Text(printable(name)),
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if right else "left",
        )
    for row in zip(*(cells[name] for name in shown), strict=True):
        made.add_row(*row)
    left = [printable(name) for name in cells if name not in fitting]
    return Group(made, Text(f"no room for: {', '.join(left)}", "dim")) if left else made


def _fitting(rows: pl.DataFrame, widths: dict[str, int], width: int) -> set[str]:
    """The columns that a table of some width has room for; at least one."""
    empty = [name for name in rows.columns if rows[name].null_count() == rows.height]
    single = [name for name in rows.columns if rows.height > 1 and _is_one(rows[name])]
    telling = [name for name in rows.columns if name not in empty + single]
    left, shown = width - _EDGES, set[str]()
    for name in dict.fromkeys([*telling, *single, *empty]):
        if widths[name] + _GAP <= left or not shown:
            shown.add(name)
            left -= widths[name] + _GAP
    return shown


def _is_one(values: pl.Series) -> bool:
    """True where all values are equal, and it matters little which."""
    return values.name != "symbol" and not values.dtype.is_nested() and values.n_unique() == 1


def _cells(values: pl.Series) -> list[Text]:
    """The values of a column as they are shown."""
    if isinstance(values.dtype, pl.Datetime):
        values = values.dt.to_string("%Y-%m-%d %H:%M:%S%.9f" if _finest(values) else "%F %T%.6f")
    return [_cell(value) for value in values]


def _finest(values: pl.Series) -> bool:
    return isinstance(values.dtype, pl.Datetime) and values.dtype.time_unit == "ns"


def _cell(value: object) -> Text:
    if value is None:
        return Text("null", "dim")
    text = printable(str(value))
    return Text(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
