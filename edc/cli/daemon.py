"""`edc run`, and what asks a running daemon: `edc flush`, `edc status`."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from edc import control, demo, live, logs
from edc.cli import completion, terminal
from edc.cli.progress import progress
from edc.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    err,
    errors,
    out,
    print_json,
    seconds_of,
    show,
)
from edc.config import load
from edc.crew import Crew, Share, end_with
from edc.errors import ConfigError, NoDaemon
from edc.family import recover_all, take_over
from edc.foreman import Foreman
from edc.notify import Notifier
from edc.plan import Feed, plan_feeds
from edc.reload import said
from edc.roles import COLLECTS, Role
from edc.settings import Settings
from edc.supervisor import Outcome, Supervisor
from edc.transport.libraries import library
from edc.writers import receive_first

_REFRESH = 0.5
log = logging.getLogger(__name__)


class LogFormat(StrEnum):
    """For people or for machines."""

    TEXT = "text"
    JSON = "json"


def run(
    *,
    feeds: Annotated[
        str | None,
        typer.Option(
            help="Names of feeds, joined by commas; all of the file if left out.",
            autocompletion=completion.more_feeds,
        ),
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
    role: Annotated[
        Role | None,
        typer.Option(help="With [bus]: collect into the broker, or store from it into the lake."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that share the feeds; [workers] count."),
    ] = None,
    share: Annotated[Path | None, typer.Option(hidden=True)] = None,
    vendor: Annotated[
        str | None,
        typer.Option(
            help="With --demo: the vendor to simulate; tiingo if left out.",
            autocompletion=completion.vendors,
        ),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="The form of log lines.")] = LogFormat.TEXT,
) -> None:
    """Record until stopped. SIGTERM and Ctrl-C drain and flush; a second one stops at once.

    Shows a live view on a terminal, and log lines elsewhere. Exits with 0 once all is flushed, 1 if
    a feed was given up, 2 if something must be edited or every feed was refused, 74 if the disk
    failed an fsync, 75 if another daemon holds the instance.

    Examples:  edc run --demo   |   edc run --feeds stocks,fx,crypto   |   edc run --duration 6h
    """
    with errors():
        seconds = seconds_of(duration)
        names = None if feeds is None else [name.strip() for name in feeds.split(",")]
        if vendor and not demo_:
            raise ConfigError("--vendor", "simulates a vendor", "use it with --demo")
        settings = load(None if demo_ and not config.exists() else config)
        place = Path("the demo") if demo_ else config
        simulated = demo.Demo(vendor or demo.DEFAULT) if demo_ else None
        order = Order(place, names, seconds, once, simulated, log_format, role)
        if share is not None:
            order.share = Share.read(share)
            if not end_with(order.share.parent):
                raise typer.Exit(0)
        else:
            order.workers = _workers(workers or settings.workers.count, order)
        receive_first()
        code = asyncio.run(_record(settings, order))
    raise typer.Exit(code)


@dataclass(slots=True)
class Order:
    """What the command line asks for."""

    config: Path
    names: list[str] | None
    duration: float | None
    once: bool
    simulated: demo.Demo | None
    log_format: LogFormat
    role: Role | None
    workers: int = 1
    share: Share | None = None
    """Where this process is a worker: what is its part."""


def _workers(count: int, order: Order) -> int:
    """How many there are to be. Raises ConfigError for what has none."""
    if count > 1 and (order.simulated is not None or order.role is not None):
        what = "--demo" if order.simulated is not None else f"--role {order.role}"
        mend = "leave one out; several collectors or stores are daemons of their own instances"
        raise ConfigError("--workers", f"{what} is one process", mend)
    return count


async def _record(settings: Settings, order: Order) -> int:
    """Run the daemon, and the demo's vendor with it if asked to; the exit code."""
    simulated, role = order.simulated, order.role
    if simulated is not None:
        await simulated.vendor.start()
        settings = simulated.settings(settings)
    try:
        planned = [] if role is Role.STORE else plan_feeds(settings, order.config, order.names)
        if role is None and settings.bus.url.get_secret_value():
            log.info("without --role the bus is not used: from the vendors to the lake")
        if order.once:
            _refuse_websockets(order.config, planned)
        supervisor = _supervisor(settings, order, planned)
        signalled = _on_signals(
            supervisor.stop, supervisor.reload_soon, patient=order.share is not None
        )
        with _live_view(supervisor, settings, order.log_format) as view:
            helper = asyncio.create_task(_refresh(view), name="live view")
            try:
                if order.share is None and not isinstance(supervisor, Foreman):
                    await take_over(settings, {feed.name: 0 for feed in planned})
                outcome = await supervisor.run()
            finally:
                helper.cancel()
        return _ended(settings, outcome, role, signalled=bool(signalled))
    finally:
        if simulated is not None:
            await simulated.vendor.stop()


def _reread(order: Order) -> tuple[Settings, list[Feed]]:
    """The config as it is now, checked as `edc check` does. Raises ConfigError."""
    config, simulated = order.config, order.simulated
    settings = load(config if config.exists() or simulated is None else None)
    if simulated is not None:
        settings = simulated.settings(settings)
    planned = [] if order.role is Role.STORE else plan_feeds(settings, config, order.names)
    library(settings.transport.websocket)
    if not terminal.debugging:
        logs.set_level(settings.log.level)
    return settings, planned


def _supervisor(settings: Settings, order: Order, planned: list[Feed]) -> Supervisor:
    """The daemon: alone, or with workers, or a worker."""
    duration, once = order.duration, order.once
    if order.share is not None:
        planned = [feed for feed in planned if feed.name in order.share.feeds]
    shared = [feed for feed in planned if feed.channel.kind != "webhook"]
    number = min(order.workers, len(shared))
    if number <= 1:
        return Supervisor(
            *(settings, planned),
            once=once,
            duration=duration,
            role=order.role,
            reread=None if order.share else lambda: _reread(order),
            notifier=Notifier.of(os.environ),
        )
    crew = Crew(
        settings.storage.home,
        settings.storage.instance,
        number,
        [
            *(["--debug"] if terminal.debugging else []),
            *("run", "--config", str(order.config), "--log-format", "json"),
            *("--feeds", ",".join(_sections(settings, shared))),
            *(["--once"] if once else []),
        ],
    )
    notifier = Notifier.of(os.environ)
    return Foreman(settings, planned, crew, once=once, duration=duration, notifier=notifier)


def _sections(settings: Settings, feeds: list[Feed]) -> list[str]:
    """The `[feeds.NAME]` of feeds: `NAME.2` is of NAME, `NAME+OTHER` of both."""
    parts = [part for feed in feeds for part in feed.name.split("+")]
    names = [part if part in settings.feeds else part.rpartition(".")[0] for part in parts]
    return list(dict.fromkeys(names))


def _ended(settings: Settings, outcome: Outcome, role: Role | None, *, signalled: bool) -> int:
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
    if role is not Role.COLLECT:
        log.info("stopped; the lake is %s", settings.storage.path)
    return 0 if signalled and outcome.exit_code != ConfigError.exit_code else outcome.exit_code


def _refuse_websockets(config: Path, planned: list[Feed]) -> None:
    pushed = [feed.name for feed in planned if feed.channel.kind != "poll"]
    if pushed:
        raise ConfigError(
            str(config),
            f"--once polls, but {', '.join(pushed)} {'are' if len(pushed) > 1 else 'is'} pushed",
            "use --duration 30s for those, or name only polling feeds with --feeds",
        )


def _on_signals(
    stop: Callable[[], None], reload: Callable[[], None], *, patient: bool
) -> list[int]:
    """First signal: `stop`. Second: the end. The list fills with those; SIGHUP is `reload`.

    A worker is `patient`: the kernel sends its SIGTERM once for each thread of a parent that dies.
    """
    came: list[int] = []

    def on_signal(number: int) -> None:
        came.append(number)
        if len(came) > 1 and patient:
            return
        if len(came) > 1:
            err.show_cursor()
            err.print("edc: stopped at once; `edc flush` recovers what is in the spool")
            logs.close()
            os._exit(1)
        log.info("%s received", signal.Signals(number).name)
        stop()

    loop = asyncio.get_running_loop()
    at_terminal = sys.stderr.isatty()

    def on_hangup() -> None:
        if at_terminal and not sys.stderr.isatty():  # the terminal has gone
            on_signal(signal.SIGHUP)
        else:
            reload()

    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return came


@contextmanager
def _live_view(
    supervisor: Supervisor, settings: Settings, log_format: LogFormat
) -> Iterator[Live | None]:
    """On a terminal a live table with the log above it, elsewhere only the log."""
    level = "debug" if terminal.debugging else settings.log.level
    if not (out.is_terminal and log_format is LogFormat.TEXT):
        journal = logs.is_journal(sys.stderr)
        logs.configure(log_format, _write_line, level=level, journal=journal)
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
    with suppress(BrokenPipeError):  # whoever read the log is gone: recording goes on
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _print_line(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def flush(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Write everything received so far into the lake, and wait for it.

    Asks the running daemon; with none running, recovers what the spool holds. Exits with 1 if it
    cannot be written (what is in the spool stays there), 75 if a daemon holds the instance but does
    not answer.

    Example:  edc flush --json
    """
    with errors():
        settings = load(config)
        try:
            answer = control.ask(_socket(settings), "flush", timeout=600.0)
        except NoDaemon:
            if (_socket(settings).parent / COLLECTS).exists():
                raise ConfigError(
                    str(_socket(settings).parent),
                    "these rows go to the bus, and no collector is running",
                    "start `edc run --role collect`, or `edc run` to bring them into a lake here",
                ) from None
            with progress("recovering the spool", quiet=as_json):
                answer = asyncio.run(recover_all(settings))
        show(answer, as_json=as_json, table=live.written)


def reload(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Let the running daemon go on by the config as it is now, without a gap; see what changed.

    A config that is wrong is refused, with what `edc check` says, and the old one goes on. SIGHUP
    does the same. Exits with 1 if no daemon runs, 2 if the config is refused.

    Example:  edc reload
    """
    with errors():
        answer = control.ask(_socket(load(config)), "reload", timeout=120.0)
        if as_json:
            print_json(answer)
        else:
            out.print(said(answer), highlight=False)


def status(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show feeds, rates, queues and files of the running daemon.

    Latencies and the clock skew are of the last minute. Exits with 1 if no daemon runs.

    Examples:  edc status --watch   |   edc status --json
    """
    with errors():
        settings = load(config)

        def table(answer: dict[str, Any]) -> Any:
            return live.status(answer, settings.storage.timezone)

        if not watch:
            show(control.ask(_socket(settings), "status"), as_json=as_json, table=table)
            return
        with Live(console=out, auto_refresh=False) as view:
            while True:
                view.update(table(control.ask(_socket(settings), "status")), refresh=True)
                time.sleep(_REFRESH)


def _socket(settings: Settings) -> Path:
    return settings.storage.home / ".spool" / settings.storage.instance / "control.sock"
