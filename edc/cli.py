"""The command line: the only place that prints or exits.

Exit codes: 0 done; 1 failed while running; 2 the operator must edit something; 74 the disk failed
an fsync; 75 another daemon holds the instance.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.live import Live

from edc import __version__, adapters, control, demo, housekeeping, inspection, live, logs
from edc.audit import judge, open_lake
from edc.compaction import Compacted
from edc.config import Settings, load
from edc.errors import ConfigError, EdcError, NoDaemon
from edc.files import write_problem
from edc.lake import Lake
from edc.logs import redact
from edc.offstage import Problem
from edc.plan import Feed, key_variable, plan_feeds
from edc.retention import Removed
from edc.status import flush_status
from edc.supervisor import Outcome, Supervisor, recover
from edc.times import parse_duration

_REFRESH = 0.5
_KINDS = {Removed: "removed", Compacted: "compacted", Problem: "problems"}

app = typer.Typer(
    help="Record live market data into a Parquet lake: every event once, every gap known.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(markup=False, emoji=False)  # what it shows comes from vendors, files and paths
err = Console(stderr=True, markup=False, emoji=False)
log = logging.getLogger(__name__)


class LogFormat(StrEnum):
    """For people or for machines."""

    TEXT = "text"
    JSON = "json"


ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
DEFAULT_CONFIG = Path("config.toml")
_debug = False


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        out.print(f"edc {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    *,
    debug: Annotated[bool, typer.Option(help="Log more, and show tracebacks.")] = False,
    _show: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    global _debug  # noqa: PLW0603 - one process, one command line
    _debug = debug


@app.command()
def run(
    *,
    feeds: Annotated[
        str | None,
        typer.Option(help="Names of feeds, joined by commas; all of the file if left out."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    duration: Annotated[
        str | None, typer.Option(help='Stop, as SIGTERM would, after this long: "30s", "6h".')
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Poll each polling feed once, flush, and exit.")
    ] = False,
    demo_: Annotated[
        bool, typer.Option("--demo", help="Record an embedded simulator: no key, no network.")
    ] = False,
    log_format: Annotated[LogFormat, typer.Option(help="The form of log lines.")] = LogFormat.TEXT,
) -> None:
    """Record until stopped. SIGTERM and Ctrl-C drain and flush; a second one stops at once.

    Examples:  edc run --demo   |   edc run --feeds stocks,fx,crypto   |   edc run --duration 6h
    """
    with _errors():
        seconds = _seconds(duration)
        names = None if feeds is None else [name.strip() for name in feeds.split(",")]
        settings = load(None if demo_ and not config.exists() else config)
        place = Path("the demo") if demo_ else config
        code = asyncio.run(_record(settings, place, names, seconds, once, demo_, log_format))
    raise typer.Exit(code)


async def _record(
    settings: Settings,
    config: Path,
    names: list[str] | None,
    duration: float | None,
    once: bool,  # noqa: FBT001 - as given on the command line
    with_demo: bool,  # noqa: FBT001 - as given on the command line
    log_format: LogFormat,
) -> int:
    """Run the daemon, and the demo's vendor with it if asked to; the exit code."""
    vendor = demo.simulator() if with_demo else None
    if vendor is not None:
        await vendor.start()
        settings = demo.settings(settings, vendor)
    try:
        planned = plan_feeds(settings, config, names)
        if once:
            _refuse_websockets(config, planned)
        supervisor = Supervisor(settings, planned, once=once, duration=duration)
        signalled = _on_signals(supervisor.stop)
        with _live_view(supervisor, settings, log_format) as view:
            helper = asyncio.create_task(_refresh(view), name="live view")
            try:
                outcome = await supervisor.run()
            finally:
                helper.cancel()
        return _ended(settings, outcome, signalled=bool(signalled))
    finally:
        if vendor is not None:
            await vendor.stop()


def _ended(settings: Settings, outcome: Outcome, *, signalled: bool) -> int:
    """Say what was recorded; the exit code."""
    for kind, stats in outcome.written.items():
        if stats.rows_written or stats.duplicates:
            log.info(
                "%s: %d rows in %d files, %d duplicates dropped",
                kind,
                stats.rows_written,
                stats.files_written,
                stats.duplicates,
            )
    log.info("stopped; the lake is %s", settings.storage.path)
    return 0 if signalled and outcome.exit_code != ConfigError.exit_code else outcome.exit_code


def _refuse_websockets(config: Path, planned: list[Feed]) -> None:
    pushed = [feed.name for feed in planned if feed.channel.kind == "websocket"]
    if pushed:
        raise ConfigError(
            str(config),
            f"--once polls, but {', '.join(pushed)} {'are' if len(pushed) > 1 else 'is'} pushed",
            "use --duration 30s for those, or name only polling feeds with --feeds",
        )


def _on_signals(stop: Callable[[], None]) -> list[int]:
    """First signal: `stop`. Second: the end. The list fills with the signals that came."""
    came: list[int] = []

    def on_signal(number: int) -> None:
        came.append(number)
        if len(came) > 1:
            err.show_cursor()
            err.print("edc: stopped at once; `edc flush` recovers what is in the spool")
            os._exit(1)
        log.info("%s received", signal.Signals(number).name)
        stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return came


@contextmanager
def _live_view(
    supervisor: Supervisor, settings: Settings, log_format: LogFormat
) -> Iterator[Live | None]:
    """On a terminal a live table with the log above it, elsewhere only the log."""
    level = logging.DEBUG if _debug else logging.INFO
    if not (out.is_terminal and log_format is LogFormat.TEXT):
        logs.configure(log_format, _write_line, level=level)
        yield None
        return
    with Live(
        get_renderable=lambda: live.status(supervisor.status(), settings.storage.timezone),
        console=out,
        auto_refresh=False,
    ) as view:
        logs.configure(log_format, _print_line, level=level)
        try:
            yield view
        finally:
            view.refresh()


async def _refresh(view: Live | None) -> None:
    while view is not None:
        view.refresh()
        await asyncio.sleep(_REFRESH)


def _write_line(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _print_line(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def flush(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Write everything received so far into the lake, and wait for it.

    Asks the running daemon; with none running, recovers what the spool holds.
    """
    with _errors():
        settings = load(config)
        try:
            answer = control.ask(_socket(settings), "flush", timeout=600.0)
        except NoDaemon:
            with nullcontext() if as_json else err.status("recovering the spool"):
                answer = flush_status(recover(settings))
        _show(answer, as_json=as_json, table=live.written)


@app.command()
def status(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show feeds, rates, queues and files of the running daemon."""
    with _errors():
        settings = load(config)

        def table(answer: dict[str, Any]) -> Any:
            return live.status(answer, settings.storage.timezone)

        if not watch:
            _show(control.ask(_socket(settings), "status"), as_json=as_json, table=table)
            return
        with Live(console=out, auto_refresh=False) as view:
            while True:
                view.update(table(control.ask(_socket(settings), "status")), refresh=True)
                time.sleep(_REFRESH)


@app.command()
def inspect(
    paths: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    *,
    timezone: Annotated[
        str | None, typer.Option(help="Show times in this zone; the files' own if left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is in Parquet files and spool chunks: rows, times, symbols, duplicates, latency."""
    with _errors():
        report = inspection.inspect(inspection.find(paths), timezone)
        _show(report, as_json=as_json, table=live.report)
    if report.unreadable:
        raise typer.Exit(1)


def _check_lake(settings: Settings) -> None:
    """Refuse a lake that is newer than this edc, or was begun in another time zone."""
    storage = settings.storage
    if (storage.path / ".lake.json").exists():
        Lake(
            storage.path, storage.timezone, storage.partition, storage.instance, time.time_ns
        ).claim()


@app.command()
def compact(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Merge the many files of each closed partition: sorted, and no row twice.

    Removes days that are older than storage.keep_days first. Safe beside a running daemon and
    readers, and when killed half way. The daemon does the same every compact.every; this is for
    cron where that is "never". Exits with 1 if something was not as it should be.
    """
    with _errors():
        answer: dict[str, Any] = {"dry_run": dry_run, "busy": False}
        answer |= {"removed": [], "compacted": [], "problems": []}
        done = 0
        settings = load(config)
        _check_lake(settings)
        for each in housekeeping.work(housekeeping.order(settings), dry_run=dry_run):
            done += 1
            line = housekeeping.said(each, dry_run=dry_run)
            if isinstance(each, housekeeping.Busy):
                answer["busy"] = True
            else:
                answer[_KINDS[type(each)]].append({**asdict(each), "folder": str(each.folder)})
            if isinstance(each, Problem):
                err.print(
                    f"edc: {line}", style="red", markup=False, highlight=False, soft_wrap=True
                )
            elif not as_json:
                out.print(line, markup=False, highlight=False, soft_wrap=True)
        if as_json:
            _print_json(answer)
        elif not done:
            out.print("nothing to compact", highlight=False)
    if answer["problems"]:
        raise typer.Exit(1)


@app.command()
def audit(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    path: Annotated[
        Path | None, typer.Option(help="A lake's folder, instead of the configured one.")
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="The first day: 2026-02-13.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DATE", help="The last day.")] = None,
    fail_under: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            min=0.0,
            max=100.0,
            help="A day of a source that is covered less than this is a finding too.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a lake is true: read every row, and set what is there against the gap ledger.

    Exits with 1 if a row is there twice or in the wrong place, a file is damaged, or its columns
    are not those of its table. Gaps are known losses and fail only --fail-under. Changes nothing,
    and is safe beside a running daemon and a compaction.

    From cron:  edc audit --from 2026-02-13 --to 2026-02-13 --fail-under 99.5
    """
    with _errors():
        days = [_day("--from", first), _day("--to", last)]
        if path is None:
            storage = load(config).storage
            lake = open_lake(storage.path, storage.timezone, storage.partition)
        else:
            lake = open_lake(path)
        with err.status("auditing") if err.is_terminal else nullcontext() as shown:
            report = judge(
                lake,
                first=days[0],
                last=days[1],
                fail_under=fail_under,
                progress=lambda text: shown.update(f"auditing {text}") if shown else None,
            )
        _show(report, as_json=as_json, table=live.audited)
    if not report.sound:
        raise typer.Exit(1)


@app.command()
def check(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Check the configuration, without network and without changing anything."""
    with _errors():
        settings = load(config)
        planned = plan_feeds(settings, config)
        problem = write_problem(settings.storage.path)
        if problem:
            raise ConfigError(f"{config}: [storage] path", problem, "choose a folder edc may write")
        answer = {
            feed.name: {
                "vendor": feed.vendor,
                "source": feed.source,
                "kind": feed.channel.kind,
                "asset_types": list(feed.asset_types),
            }
            for feed in planned
        }
        if as_json:
            _print_json(answer)
            return
        for name, facts in answer.items():
            out.print(f"{name}: {facts['source']} by {facts['kind']}", highlight=False)
        out.print(f"{config} is fine; the lake is {settings.storage.path}", highlight=False)


@app.command()
def vendors(*, as_json: JsonOption = False) -> None:
    """List what can be connected."""
    with _errors():
        answer = [_vendor(name) for name in adapters.names()]
        if as_json:
            _print_json(answer)
            return
        for vendor in answer:
            key = vendor["key_variable"] or "no key"
            out.print(f"{vendor['name']}  {vendor['title']}  ({key})", style="bold")
            for channel in vendor["channels"]:
                kinds = ", ".join(channel["asset_types"])
                line = f"  {channel['name']:<12} {channel['kind']:<10} {kinds:<11} "
                out.print(line + channel["text"], highlight=False)


def _vendor(name: str) -> dict[str, Any]:
    vendor = adapters.load(name)
    return {
        "name": name,
        "title": vendor.title,
        "key_variable": key_variable(name) if vendor.needs_key else None,
        "channels": [
            {
                "name": channel_name,
                "kind": channel.kind,
                "asset_types": list(channel.asset_types),
                "event_types": list(channel.event_types),
                "text": channel.text,
            }
            for channel_name, channel in vendor.channels.items()
        ],
    }


def _socket(settings: Settings) -> Path:
    return settings.storage.path / ".spool" / settings.storage.instance / "control.sock"


def _seconds(duration: str | None) -> float | None:
    if duration is None:
        return None
    try:
        return parse_duration(duration)
    except ValueError as error:
        raise ConfigError("--duration", f"{duration!r} is no duration", str(error)) from None


def _day(option: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise ConfigError(option, f"{text!r} is no date", "write it as 2026-02-13") from None


def _show(answer: Any, *, as_json: bool, table: Callable[[Any], Any]) -> None:
    if as_json:
        _print_json(answer)
    else:
        out.print(table(answer))


def _print_json(answer: Any) -> None:
    sys.stdout.write(redact(msgspec.json.encode(answer).decode()) + "\n")


@contextmanager
def _errors() -> Iterator[None]:
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
    if _debug:
        trace = redact(traceback.format_exc())
        err.print(trace, markup=False, highlight=False, soft_wrap=True)
    err.print(f"edc: {redact(message)}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def main() -> None:
    """Run the command line."""
    gc.freeze()  # what was imported lives as long as the process
    app()
