"""What a terminal shows: the live view of `run`, `status`, `inspect` and `audit`, in rich tables.

Pure: from the dictionaries that the control socket sends, or a report, to things to print.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from edc.audit.coverage import Cause, Day
from edc.audit.verdict import Report as Audit
from edc.budget import Budget
from edc.inspection import Report, Table
from edc.logs import printable
from edc.online import Found as Asked
from edc.online import Report as Online
from edc.times import SECOND

_STYLES = {"live": "green", "failed": "bold red", "waiting": "yellow", "stopped": "dim"}
_CLOCKS_AGREE = 2000.0
"""Milliseconds; a date has whole seconds, and an answer is on its way for some time."""
_MOST_COUNTS = 12
_LONGEST = 40
_UNITS = ((1.0, 1.0, "s"), (1e-3, 1e3, "ms"))
_NUMBERS = ("events", "rate/s", "lag", "queued", "spooled", "written", "duplicates", "dropped")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+([+-]\d\d:\d\d|Z)")
_SAID_ABOVE = ("asset_type", "event_type", "vendor", "source", "created_at")


def status(answer: Mapping[str, Any], timezone: str) -> RenderableType:
    """Feeds and tables of a running daemon; `answer` is `Supervisor.status()`."""
    now, zone = int(answer["now"]), ZoneInfo(timezone)
    up = _span((now - int(answer["started"])) / SECOND)
    title = Text(f"edc  {answer['path']}  instance {answer['instance']}  up {up}", "bold")
    feeds = _table("feed", "source", "state", "events", "rate/s", "lag", "last event", "trouble")
    for feed in answer["feeds"]:
        lag = feed["lag_seconds"]
        refused = [f"{symbol}: {why}" for symbol, why in feed["refused"].items()]
        skipped = [f"{count} {reason}" for reason, count in {**feed["skipped"]}.items()]
        trouble = feed["problem"] or ", ".join(refused + skipped)
        feeds.add_row(
            feed["feed"],
            feed["source"],
            Text(feed["state"], _STYLES.get(feed["state"], "cyan")),
            f"{sum(feed['events'].values()):,}",
            f"{feed['rate']:,.0f}",
            "-" if lag is None else f"{lag * 1000:,.0f} ms",
            _moment(feed["last_event"], zone),
            Text(printable(trouble), "yellow", overflow="ellipsis"),
        )
    heads = (
        "table",
        "queued",
        "spooled",
        "written",
        "duplicates",
        "dropped",
        "last file",
        "trouble",
    )
    tables = _table(*heads)
    for kind, row in answer["tables"].items():
        tables.add_row(
            kind,
            f"{row['queued']:,} / {row['capacity']:,}",
            f"{row['spooled']:,}",
            f"{row['written']:,}",
            f"{row['duplicates']:,}",
            Text(f"{row['dropped']:,}", "red" if row["dropped"] else ""),
            (row["last_file"] or "-").rpartition("/")[2],
            Text(_troubles(row["problems"]), "red"),
        )
    late = _latencies(answer["feeds"])
    more = (*_workers(answer.get("workers", ())), *_bus(answer.get("bus")))
    return Group(title, feeds, late, tables, *more, *_compaction(answer["compaction"], zone))


def _workers(told: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """The processes of a daemon that has several."""
    if not told:
        return
    made = _table("worker", "instance", "pid", "state", "restarts", "feeds", "trouble")
    for each in told:
        made.add_row(
            *(str(each["worker"]), each["instance"], str(each["pid"] or "-")),
            Text(each["state"], "green" if each["state"] == "running" else "yellow"),
            *(str(each["restarts"]), str(len(each["feeds"]))),
            Text(printable(each["problem"]), "yellow", overflow="ellipsis"),
        )
    yield made


def _latencies(feeds: Sequence[Mapping[str, Any]]) -> RenderableType:
    """How late the events of the last minute were, by feed and stage."""
    stages = {
        "receive": "vendor to receipt",
        "queue": "receipt to queue",
        "spool": "receipt to disk",
        "lake": "disk to lake",
    }
    table = _table("p50, p99, max", *stages.values(), "clock skew")
    for feed in feeds:
        minutes = [feed["latency_seconds"][stage]["minute"] for stage in stages]
        spans = [
            "  ".join(duration(each[name]) for name in ("p50", "p99", "max"))
            if each["count"]
            else "-"
            for each in minutes
        ]
        table.add_row(feed["feed"], *spans, duration(feed["clock_skew_seconds"]))
    return table


def duration(seconds: float | None) -> str:
    """Three digits in the unit that suits: "1.2 ms", "-340 µs", "61.3 s"."""
    if seconds is None:
        return "-"
    size = abs(seconds)
    factor, unit = next(
        ((factor, unit) for least, factor, unit in _UNITS if size >= least), (1e6, "µs")
    )
    return f"{float(f'{seconds * factor:.3g}'):,g} {unit}"


def _troubles(problems: Mapping[str, str]) -> str:
    """What does not take what it should: the spool, the lake, or both."""
    return "; ".join(f"{stage}: {printable(problem)}" for stage, problem in problems.items())


def _bus(answer: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    """The bus of a daemon with a role, by topic."""
    if answer is None:
        return
    yield _line(f"{answer['role']} by {answer['bus']}", "bold")
    table = _table("topic", "lag", "published", "unconfirmed", "consumed", "redelivered", "dead")
    for kind, topic in answer["topics"].items():
        lag = "-" if topic["lag"] is None else f"{topic['lag']:,}"
        names = ("published", "unconfirmed", "consumed", "redelivered")
        counts = [f"{topic[name]:,}" for name in names]
        table.add_row(
            kind, lag, *counts, Text(f"{topic['dead']:,}", "red" if topic["dead"] else "")
        )
    yield table
    if answer["problem"]:
        yield _line(answer["problem"], "red")


def _compaction(answer: Mapping[str, Any], zone: ZoneInfo) -> Iterator[RenderableType]:
    """When files were last tended, and what went wrong; nothing before the first time."""
    if answer["last"]:
        yield Text(f"compacted {_moment(answer['last'], zone)}", "dim")
    if answer["problem"]:
        yield _line(f"compaction: {answer['problem']}", "red")


def written(answer: Mapping[str, Any]) -> RenderableType:
    """What a flush wrote."""
    rows = _table("table", "rows", "duplicates", "files")
    for kind, each in answer.items():
        files = "\n".join(map(printable, each["files"])) or "-"
        rows.add_row(kind, f"{each['rows']:,}", f"{each['duplicates']:,}", Text(files))
    return rows


def report(
    found: Report, more: Callable[[Table], Iterable[RenderableType]] = lambda _table: ()
) -> RenderableType:
    """What `edc inspect` found, and `more` of each table."""
    parts: list[RenderableType] = []
    for table in found.tables:
        parts += [*_described(table), *more(table), Text()]
    parts += [_line(f"unreadable  {path}: {why}", "red") for path, why in found.unreadable.items()]
    parts += [_line(f"not a table of edc  {path}", "yellow") for path in found.foreign]
    return Group(*parts)


def audited(found: Audit) -> RenderableType:
    """What `edc audit` found: the days, what is wrong, what lies about, and the verdict."""
    days = _table("day", "source", "rows", "from, to", "covered", "gaps")
    for day in found.days:
        days.add_row(*_of_day(day))
    parts: list[RenderableType] = [days] if found.days else []
    parts += [_line(f"{each.kind}  {each.where}: {each.problem}", "red") for each in found.findings]
    parts += [_line(line, "yellow") for line in _beside(found)]
    number = len(found.findings)
    verdict = "sound" if found.sound else f"{number} finding{'s' if number > 1 else ''}"
    read = f"{found.rows:,} rows in {found.files:,} files: {verdict}"
    return Group(*parts, Text(read, "green" if found.sound else "bold red"))


def asked(found: Online) -> RenderableType:
    """What `edc check --online` was told by the vendors."""
    rows = _table("feed", "vendor", "answer", "reached", "connected", "first data", "lag", "budget")
    notes: list[RenderableType] = []
    for each in found.feeds:
        rows.add_row(
            each.feed,
            f"{each.vendor}\n{printable(each.host)}",
            Text(_ANSWERS[each.state], _ANSWER_STYLES.get(each.state, "red")),
            *map(_millis, (each.reached_ms, each.connected_ms, each.first_data_ms, each.lag_ms)),
            _budget(each, found.connections.get(each.vendor, 0)),
        )
        if each.problem:
            notes.append(_line(f"{each.feed}: {each.problem}", "red"))
        notes += [
            _line(f"{each.feed}: {name}: {why}", "yellow") for name, why in each.refused.items()
        ]
        if each.lag_ms is not None and each.lag_ms < 0:
            notes.append(_line(f"{each.feed}: our clock is behind the vendor's", "yellow"))
        ahead = each.clock_ahead_ms
        if ahead is not None and abs(ahead) > _CLOCKS_AGREE:
            which = "ahead of" if ahead > 0 else "behind"
            said = f"{each.feed}: our clock is {abs(ahead) / 1000:,.0f} s {which} the vendor's"
            notes.append(_line(f"{said}, by the date of its answer", "yellow"))
    return Group(rows, *notes)


_ANSWERS = {
    "ok": "data",
    "partial": "data, but not of all symbols",
    "closed": "connected; its market is closed",
    "silent": "connected, but no data",
    "refused": "refused",
    "unreachable": "not reached",
    "posted": "waits for posts",
}
_ANSWER_STYLES = {"ok": "green", "closed": "green", "posted": "green", "partial": "yellow"}


def _millis(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms"


def _budget(found: Asked, taken: int) -> str:
    """What it takes of what the vendor allows, as far as that is known."""
    if found.requests_per_minute is not None:
        return f"{found.requests_per_minute:,.3g} requests a minute"
    limit = "" if found.symbols_limit is None else f" of {found.symbols_limit:,}"
    number = "" if taken < 2 else f", {taken} connections"  # noqa: PLR2004 - the plural
    return f"{found.symbols:,}{limit} symbols{number}"


def budgeted(found: Budget) -> RenderableType:
    """What `edc plan` found."""
    rows = _table("source", "feeds", "table", "rows a day", "bytes a day", "known by")
    for each in found.expected:
        rows.add_row(
            each.source,
            ", ".join(each.feeds),
            each.table,
            f"{each.rows:,.0f}",
            _size(each.bytes),
            Text(each.basis, "" if each.basis.startswith("the lake") else "yellow"),
        )
    lines = [
        f"{vendor}: {number} connection{'' if number == 1 else 's'}"
        for vendor, number in found.connections.items()
    ]
    lines += [
        f"{vendor}: {rate:,.3g} requests a minute"
        for vendor, rate in found.requests_per_minute.items()
    ]
    lines.append(f"{found.rows_a_day:,.0f} rows and {_size(found.bytes_a_day)} a day")
    needed = f"{found.days} days need {_size(found.needed)}"
    if found.free is not None:
        needed += f"; {_size(found.free)} are free, {_size(found.reserve)} of them kept free"
        lasts = "" if found.lasts_days is None else f"; enough for {found.lasts_days:,.0f} days"
        needed += lasts if found.fits else f"; too little{lasts}"
    style = "green" if found.fits else "bold red"
    return Group(rows, *(_line(line, "") for line in lines), Text(needed, style))


def _size(number: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:  # noqa: PLR2004 - the units' own step
            return f"{number:,.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} TB"


def _of_day(day: Day) -> Sequence[RenderableType]:
    missing = day.covered_percent is not None and day.covered_percent < 100  # noqa: PLR2004 - %
    longest = f"\nlongest {_span(day.longest_gap_seconds)}" if missing else ""
    covered = f"{_percent(day.covered_percent)}\nof {_span(day.open_seconds)}"
    return (
        day.day,
        Text(_shown(day.source)),
        "\n".join(f"{kind} {count:,}" for kind, count in day.rows.items()) or "none",
        f"{day.first[11:19]}\n{day.last[11:19]}" if day.first and day.last else "-",
        Text(covered if day.open_seconds else "closed", "yellow" if missing else ""),
        (_causes(day.gaps) or "none") + longest,
    )


def _percent(value: float | None) -> str:
    """Two digits, rounded down: 100 is said only of what is whole."""
    return "-" if value is None else f"{int(value * 100) / 100:.2f} %"


def _causes(causes: Mapping[str, Cause]) -> str:
    shown = []
    for name, cause in causes.items():
        lost = "" if cause.rows_lost is None else f" ({cause.rows_lost:,} rows)"
        shown.append(f"{cause.gaps:,} {name}{lost}")
    return "\n".join(shown)


def _beside(found: Audit) -> Iterator[str]:
    """What is no fault of the lake but should be known."""
    for folder, rows in found.shared_rows.items():
        yield f"two instances  {folder}: {rows:,} rows are in both; `edc compact` makes them one"
    for path in found.foreign:
        yield f"not a table of edc  {path}: ignored"
    if found.unplaced:
        causes = _causes(found.unplaced).replace("\n", ", ")
        yield f"gaps of no known source: {causes}"
    left = found.leftovers
    for name, reason in left.quarantined.items():
        yield f"quarantined  {name}: {reason}"
    for feed, frames in left.dead_letters.items():
        yield f"dead letters  {feed}: {frames:,} frames"
    for each in left.spooled:
        mend = "" if each.running else "; no daemon is running here: `edc flush` brings them in"
        yield f"spool  {each.instance}: {each.rows:,} rows are not in the lake yet{mend}"
    for folder in left.compactions:
        yield f"compaction  {folder}: at work or interrupted; `edc compact` finishes it"


def _described(table: Table) -> Sequence[RenderableType]:
    facts = _table()
    facts.show_header = False
    facts.add_row("rows", f"{table.rows:,} in {table.files:,} files, {table.size:,} bytes")
    facts.add_row("times", f"{table.first} … {table.last}")
    duplicates = Text(f"{table.duplicates:,}", "bold red" if table.duplicates else "green")
    facts.add_row("duplicates", duplicates)
    facts.add_row("symbols", _counts(table.symbols))
    facts.add_row("sources", _counts(table.sources))
    facts.add_row("nulls", _counts(table.nulls) if table.nulls else "none")
    if table.latency_ms:
        waits = "  ".join(f"{name} {value:,g}" for name, value in table.latency_ms.items())
        facts.add_row("latency ms", waits)
    columns = "  ".join(f"{name} {dtype}" for name, dtype in table.columns.items())
    facts.add_row("columns", columns)
    shown = [
        name
        for name in table.columns
        if name not in _SAID_ABOVE and any(row[name] is not None for row in table.head)
    ]
    head = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in shown:
        head.add_column(name, no_wrap=True, overflow="ellipsis")
    for row in table.head:
        head.add_row(*(Text() if row[name] is None else _cell(row[name]) for name in shown))
    return Text(table.event_type, "bold"), facts, head


def _cell(value: object) -> Text:
    """A value of the first rows; a time without its date, which stands above."""
    text = str(value)
    if _TIME.fullmatch(text):
        text = text[11:29]
    return Text(_shown(text))


def _counts(counts: Mapping[str, int]) -> Text:
    shown = [f"{_shown(name)} {count:,}" for name, count in list(counts.items())[:_MOST_COUNTS]]
    if len(counts) > _MOST_COUNTS:
        shown.append(f"and {len(counts) - _MOST_COUNTS:,} more")
    return Text("  ".join(shown))


def _shown(text: str) -> str:
    """What a vendor sent, harmless and not too long."""
    shown = printable(text[: _LONGEST + 1])
    return f"{shown[:_LONGEST]}…" if len(shown) > _LONGEST else shown or '""'


def _line(text: str, style: str) -> Text:
    return Text(printable(text), style)


def _table(*columns: str) -> RichTable:
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        made.add_column(column, overflow="fold", justify="right" if column in _NUMBERS else "left")
    return made


def _moment(ns: int | None, zone: ZoneInfo) -> str:
    if not ns:
        return "-"
    return f"{datetime.fromtimestamp(ns / SECOND, zone):%H:%M:%S.%f}"[:-3]


def _span(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
