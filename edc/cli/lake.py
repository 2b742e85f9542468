"""What reads or tends the files: `edc inspect`, `edc compact`, `edc audit`."""

import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from edc import inspection, live
from edc.audit.soundness import Finding
from edc.audit.verdict import judge, open_lake
from edc.backends import check_storage, on_disk
from edc.backends import open_lake as lake_of
from edc.cli.progress import progress
from edc.cli.spreads import more
from edc.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    err,
    errors,
    out,
    print_json,
    show,
)
from edc.config import load
from edc.errors import ConfigError, EdcError
from edc.files import replace
from edc.settings import Settings
from edc.upkeep import housekeeping, offstage, quarantine
from edc.upkeep.compaction import Compacted
from edc.upkeep.offstage import Problem
from edc.upkeep.retention import Removed

_KINDS = {Removed: "removed", Compacted: "compacted", Problem: "problems"}


def inspect(
    paths: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    *,
    timezone: Annotated[
        str | None, typer.Option(help="Show times in this zone; the files' own if left out.")
    ] = None,
    plots: Annotated[
        bool | None,
        typer.Option(
            "--plots/--no-plots",
            help="Draw rates and latencies; left out, only on a terminal.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a report with plots into this file, instead of showing it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is in Parquet files and spool chunks: rows, times, symbols, duplicates, latency.

    Latency is from the vendor's time to receipt, to four per cent, by source and by the symbols
    that have most rows (--json: all). On a terminal the rate of events over time and the latencies
    are drawn; --html writes them into one page that needs neither network nor script to be read.
    Exits with 1 if a file cannot be read.

    Examples:  edc inspect data   |   edc inspect data/.spool --timezone UTC --json
    """
    with errors():
        report = inspection.inspect(inspection.find(paths), timezone)
        drawn = out.is_terminal if plots is None else plots
        if html is not None:
            replace(html, _page(report, ", ".join(paths)).encode())
            err.print(f"{html} is written", highlight=False, soft_wrap=True)
        if html is None or as_json:
            show(report, as_json=as_json, table=lambda it: live.report(it, more(drawn=drawn)))
    if report.unreadable:
        raise typer.Exit(1)


def _page(report: inspection.Report, what: str) -> str:
    try:
        from edc.report import html  # noqa: PLC0415 - its library is an extra
    except ModuleNotFoundError:
        raise ConfigError("--html", "needs vl-convert", "pip install 'edc[report]'") from None
    return html(report, what)


def _check_lake(settings: Settings) -> None:
    """Refuse a lake that is newer than this edc, or was begun in another time zone."""
    if settings.storage.format == "delta":
        check_storage(settings.storage)
    elif (on_disk(settings.storage, "edc compact") / ".lake.json").exists():
        lake_of(settings.storage, time.time_ns).claim()


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

    Example:  edc compact --dry-run
    """
    with errors():
        answer: dict[str, Any] = {"dry_run": dry_run, "busy": False}
        answer |= {"removed": [], "compacted": [], "problems": []}
        done = 0
        settings = load(config)
        _check_lake(settings)
        with progress("compacting", quiet=as_json) as told:
            for each in housekeeping.work(housekeeping.order(settings), dry_run=dry_run):
                done += 1
                _note(each, answer, housekeeping.said(each, dry_run=dry_run), as_json=as_json)
                told(str(getattr(each, "folder", "")), done, None)
        if as_json:
            print_json(answer)
        elif not done:
            out.print("nothing to compact", highlight=False)
    if answer["problems"]:
        raise typer.Exit(1)


def _note(each: housekeeping.Done, answer: dict[str, Any], line: str, *, as_json: bool) -> None:
    """Put what was done into the answer, and tell it."""
    if isinstance(each, housekeeping.Busy):
        answer["busy"] = True
    else:
        answer[_KINDS[type(each)]].append({**asdict(each), "folder": str(each.folder)})
    if isinstance(each, Problem):
        err.print(f"edc: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    elif not as_json:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


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
    set_aside: Annotated[
        bool,
        typer.Option(
            "--set-aside",
            help="Move damaged files to .quarantine/, and what they held to the gap table.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether a lake is true: read every row, and set what is there against the gap ledger.

    Exits with 1 if a row is there twice or in the wrong place, a file is damaged, or its columns
    are not those of its table. Gaps are known losses and fail only --fail-under. Changes nothing
    but what --set-aside does, and is safe beside a running daemon and a compaction.

    Example:  edc audit --from 2026-02-13 --to 2026-02-13 --fail-under 99.5
    """
    with errors():
        days = [_day("--from", first), _day("--to", last)]
        settings = None if path else load(config)
        if settings:
            storage = settings.storage
            lake = open_lake(on_disk(storage, "edc audit"), storage.timezone, storage.partition)
        elif path and not set_aside:
            lake = open_lake(path)
        else:
            mend = "name its config with --config instead"
            raise ConfigError("--path", "--set-aside is for the configured lake alone", mend)
        with progress("auditing", quiet=as_json) as told:
            report = judge(
                lake,
                first=days[0],
                last=days[1],
                fail_under=fail_under,
                progress=told,
            )
        show(report, as_json=as_json, table=live.audited)
        if set_aside and settings:
            _set_aside(settings, [each for each in report.findings if each.kind == "damaged"])
    if not report.sound:
        raise typer.Exit(1)


def _set_aside(settings: Settings, findings: list[Finding]) -> None:
    """Move damaged files out of the lake, each once the gap table has its loss."""
    with offstage.alone(on_disk(settings.storage, "edc audit")) as mine:
        if not mine:
            raise EdcError("another process is at work on this lake: try again when it is done")
        lake = lake_of(settings.storage, time.time_ns)
        for each in findings:
            if not Path(each.where).exists():
                continue
            aside = quarantine.set_aside(lake, Path(each.where), each.problem, time.time_ns())
            err.print(f"set aside: {aside}", highlight=False, soft_wrap=True)


def _day(option: str, text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise ConfigError(option, f"{text!r} is no date", "write it as 2026-02-13") from None
