"""The command line: the only place that prints or exits.

Exit codes: 0 done; 1 failed while running; 2 the operator must edit something; 74 the disk failed
an fsync; 75 another daemon holds the instance.
"""

import gc
import io
import sys
from typing import Annotated

import typer

from edc import __version__
from edc.cli import (
    beginning,
    daemon,
    dashboards,
    frames,
    lake,
    planning,
    query,
    service,
    setup,
    terminal,
)

_HELP = """Record live market data into a Parquet lake: every event once, every gap known.

Begin with `edc run --demo`, which needs neither key nor network, or with `edc init`.

Environment: any value of config.toml as EDC_SECTION__KEY (EDC_STORAGE__PATH=/srv/lake,
EDC_FEEDS__CRYPTO__THRESHOLD_LEVEL=5); keys as VENDOR_API_KEY and VENDOR_API_SECRET. Both may stand
in .env beside the file.

Exit codes: 0 done; 1 failed while running; 2 something must be edited (config, key, path); 74 the
disk failed an fsync; 75 another daemon holds the instance.
"""
app = typer.Typer(
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PANELS = {
    "Set up": (beginning.init, setup.check, planning.plan, setup.vendors),
    "The daemon": (
        daemon.run,
        daemon.status,
        daemon.flush,
        daemon.reload,
        dashboards.dashboard,
        service.service,
    ),
    "The lake": (query.query, lake.inspect, lake.audit, lake.compact),
    "Frames": (frames.record, frames.replay),
}
for panel, commands in _PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        terminal.out.print(f"edc {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    *,
    debug: Annotated[bool, typer.Option(help="Log more, and show tracebacks.")] = False,
    _show: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    terminal.debugging = debug


def main() -> None:
    """Run the command line."""
    gc.freeze()  # what was imported lives as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has no "…" is no failure
            stream.reconfigure(errors="replace")
    app()
