"""`edc query`: SQL over the lake and what is on its way to it."""

import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Self, cast

import polars as pl
import typer
from rich.console import Console

from edc.audit.verdict import open_lake
from edc.backends import on_disk
from edc.cli import results
from edc.cli.results import Format
from edc.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors,
    out,
    print_json,
)
from edc.config import load
from edc.errors import ConfigError
from edc.events import EVENT_TYPES
from edc.lake import Lake
from edc.query.holdings import Held, held
from edc.query.statement import answer, explained

_MOST_SHOWN = 100
_BROKEN_PIPE = 141
_UNBOUNDED = 1 << 20
"""Cells of a line that nothing bounds."""


def query(
    sql: Annotated[
        str | None, typer.Argument(help='The statement; "-" reads it from standard input.')
    ] = None,
    *,
    form: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="A table, or a form for programs; by --output's name."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file for the rows.")
    ] = None,
    most: Annotated[
        int, typer.Option("--rows", min=0, help="The most rows that a table shows; 0 for all.")
    ] = _MOST_SHOWN,
    tables: Annotated[
        bool, typer.Option("--tables", help="List the tables and what they hold.")
    ] = False,
    path: Annotated[
        Path | None, typer.Option(help="A lake's folder, instead of the configured one.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Ask lake and spool in SQL, as one set of tables: trade, quote, ref_px and gap.

    What was received a moment ago is there as soon as it is in the spool (spool.interval), and each
    row once, beside a running daemon, its flushes and compactions, which are neither asked nor
    held up. Nothing is written. The SQL is that of Polars. Times are compared with text, in the
    lake's time zone, and now() is the present; a condition on event_time (of gap: started_at) or
    symbol reads only what it has to. Exits with 2 if the statement is wrong, 141 if its output is
    closed.

    Example:  edc query "select symbol, count(*) n from trade group by symbol order by n desc"
    """
    with errors(), _Output().may_end() as stdout:
        lake = _lake(path, config)
        _open_many()
        if tables:
            if as_json:
                print_json(held(lake))
            else:
                _print(_facts(held(lake)))
            return
        form = _form(form, output, as_json=as_json)
        rows = answer(lake, _statement(sql), time.time_ns)
        with explained():
            if form is Format.TABLE:
                _show_table(rows, most, lake.timezone)
            elif output is not None:
                with _new_file(output) as file:
                    results.write(rows, form, file)
            else:
                results.write(rows, form, cast("BinaryIO", stdout))


def _lake(path: Path | None, config: Path) -> Lake:
    """The lake to be asked. Raises ConfigError for one that is not plain files on a disk."""
    if path is not None:
        lake = open_lake(path)
    else:
        storage = load(config).storage
        folder = on_disk(storage, "edc query")
        lake = open_lake(folder, storage.timezone, storage.partition)
    if any((lake.path / kind / "_delta_log").exists() for kind in EVENT_TYPES):
        mend = "ask it with Polars' scan_delta or DuckDB's delta_scan"
        raise ConfigError(str(lake.path), "is a Delta lake, whose files are not all valid", mend)
    return lake


def _statement(sql: str | None) -> str:
    if sql is None:
        raise ConfigError(
            "query", "there is no statement", 'write one, like "select * from trade", or --tables'
        )
    return sys.stdin.read() if sql == "-" else sql


def _form(form: Format | None, output: Path | None, *, as_json: bool) -> Format:
    """What is to be written: as said, else as the file is named, else a table."""
    if as_json and form not in (None, Format.JSON):
        raise ConfigError("--json", f"is not {form}", "say one of them")
    if form is None and output is not None and not as_json:
        try:
            form = Format(output.suffix.removeprefix("."))
        except ValueError:
            raise ConfigError(
                "--output", f"{output.name} does not say its form", "name one with --format"
            ) from None
    form = form or (Format.JSON if as_json else Format.TABLE)
    if form is Format.TABLE and output is not None:
        raise ConfigError("--output", "a table is for people", "choose another --format")
    if form in (Format.PARQUET, Format.ARROW) and output is None and sys.stdout.isatty():
        raise ConfigError("--format", f"{form} is not for a terminal", "name a file with --output")
    return form


def _show_table(rows: pl.LazyFrame, most: int, timezone: str) -> None:
    """The first rows as a table, with a line that says how many there are."""
    found = rows.head(most + 1).collect(engine="streaming") if most else rows.collect()
    cut = most and found.height > most
    found = found.head(most) if cut else found
    _print(found)
    number = f"{found.height:,} row{'' if found.height == 1 else 's'}"
    if cut:
        number = f"the first {number}; --rows 0 shows all, --output FILE writes them"
    zoned = any(isinstance(dtype, pl.Datetime) and dtype.time_zone for dtype in found.dtypes)
    out.print(number + (f"; times in {timezone}" if zoned else ""), style="dim", highlight=False)


def _print(rows: pl.DataFrame) -> None:
    """Rows as wide as the terminal; elsewhere as wide as they are."""
    if out.is_terminal:
        out.print(results.table(rows, out.width))
    else:
        Console(file=sys.stdout, width=_UNBOUNDED).print(results.table(rows, None))


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that was not there; what fails half way leaves none."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with hidden.open("xb") as file:
            yield file
        os.link(hidden, path)
    except FileExistsError:
        raise ConfigError(str(path), "exists already", "name another with --output") from None
    finally:
        hidden.unlink(missing_ok=True)


class _Output:
    """Standard output, whose reader may leave: `edc query … | head`."""

    deserted = False

    def write(self, data: bytes) -> int:
        """Write bytes; remembers whether anybody was there to take them."""
        left = memoryview(data)
        try:
            while left:  # unbuffered, a pipe takes what it has room for
                left = left[sys.stdout.buffer.write(left) :]
        except BrokenPipeError:
            self.deserted = True
            raise
        return len(data)

    def writelines(self, some: Iterable[bytes]) -> None:
        """Write pieces one after another."""
        for data in some:
            self.write(data)

    def flush(self) -> None:
        """Bring what was written on its way."""
        sys.stdout.flush()

    @contextmanager
    def may_end(self) -> Iterator[Self]:
        """End in silence, as other programs do, where nobody reads any more."""
        try:
            yield self
            self.flush()
        except Exception as error:
            if not (self.deserted or isinstance(error, BrokenPipeError)):
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(_BROKEN_PIPE) from None


def _open_many() -> None:
    """Raise the limit of open files to what the system allows: a partition's are held at once."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _facts(found: list[Held]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "table": [each.table for each in found],
            "files": [each.files for each in found],
            "bytes": [each.bytes for each in found],
            "first": [each.first for each in found],
            "last": [each.last for each in found],
            "spooled rows": [each.spooled_rows for each in found],
            "columns": [", ".join(each.columns) for each in found],
        }
    )
