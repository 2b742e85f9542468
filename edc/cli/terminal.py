"""What the commands share: the terminal, answers as tables or JSON, errors as one line."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console

from edc.errors import ConfigError, EdcError
from edc.logs import redact
from edc.times import parse_duration

out = Console(markup=False, emoji=False)  # what it shows comes from vendors, files and paths
err = Console(stderr=True, markup=False, emoji=False)
ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DEFAULT_CONFIG = Path("config.toml")
debugging = False
"""True once `edc --debug` was asked for."""


def seconds_of(duration: str | None) -> float | None:
    """What `--duration` says. Raises ConfigError."""
    if duration is None:
        return None
    try:
        return parse_duration(duration)
    except ValueError as error:
        raise ConfigError("--duration", f"{duration!r} is no duration", str(error)) from None


def show(answer: Any, *, as_json: bool, table: Callable[[Any], Any]) -> None:
    """An answer, as JSON or as what `table` makes of it."""
    if as_json:
        print_json(answer)
    else:
        out.print(table(answer))


def print_json(answer: Any) -> None:
    """One document on one line, without secrets."""
    sys.stdout.write(redact(msgspec.json.encode(answer).decode()) + "\n")


@contextmanager
def errors() -> Iterator[None]:
    """Errors as one line and an exit code; a traceback only where it was asked for."""
    try:
        yield
    except EdcError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _fail(message: str, code: int) -> NoReturn:
    if debugging:
        trace = redact(traceback.format_exc())
        err.print(trace, markup=False, highlight=False, soft_wrap=True)
    err.print(f"edc: {redact(message)}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
