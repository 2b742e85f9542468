"""What a terminal shows: the live view of `run`, `status` and `inspect`, as rich tables.

Pure: from the dictionaries that the control socket sends, or a Report, to things to print.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from edc.audit import Report, Table
from edc.times import SECOND

_STYLES = {"live": "green", "failed": "bold red", "waiting": "yellow", "stopped": "dim"}
_MOST_COUNTS = 12
_NUMBERS = ("events", "rate/s", "lag", "queued", "spooled", "written", "duplicates", "dropped")
_SAID_ABOVE = ("asset_type", "event_type", "vendor", "source", "created_at")


def status(answer: Mapping[str, Any], timezone: str) -> RenderableType:
    """Feeds and tables of a running daemon; `answer` is `Supervisor.status()`."""
    now, zone = int(answer["now"]), ZoneInfo(timezone)
    up = _span((now - int(answer["started"])) / SECOND)
    title = Text(f"edc  {answer['path']}  instance {answer['instance']}  up {up}", "bold")
    feeds = _table("feed", "source", "state", "events", "rate/s", "lag", "last event", "trouble")
    for feed in answer["feeds"]:
        lag = feed["lag_seconds"]
        trouble = feed["problem"] or ", ".join(
            f"{count} {reason}" for reason, count in {**feed["skipped"]}.items()
        )
        feeds.add_row(
            feed["feed"],
            feed["source"],
            Text(feed["state"], _STYLES.get(feed["state"], "cyan")),
            f"{sum(feed['events'].values()):,}",
            f"{feed['rate']:,.0f}",
            "-" if lag is None else f"{lag * 1000:,.0f} ms",
            _moment(feed["last_event"], zone),
            Text(trouble, "yellow", overflow="ellipsis"),
        )
    tables = _table("table", "queued", "spooled", "written", "duplicates", "dropped", "last file")
    for kind, row in answer["tables"].items():
        tables.add_row(
            kind,
            f"{row['queued']:,} / {row['capacity']:,}",
            f"{row['spooled']:,}",
            f"{row['written']:,}",
            f"{row['duplicates']:,}",
            Text(f"{row['dropped']:,}", "red" if row["dropped"] else ""),
            (row["last_file"] or "-").rpartition("/")[2],
        )
    return Group(title, feeds, tables)


def written(answer: Mapping[str, Any]) -> RenderableType:
    """What a flush wrote."""
    rows = _table("table", "rows", "duplicates", "files")
    for kind, each in answer.items():
        files = "\n".join(each["files"]) or "-"
        rows.add_row(kind, f"{each['rows']:,}", f"{each['duplicates']:,}", files)
    return rows


def report(found: Report) -> RenderableType:
    """What `edc inspect` found."""
    parts: list[RenderableType] = []
    for table in found.tables:
        parts += [*_described(table), Text()]
    parts += [Text(f"unreadable  {path}: {why}", "red") for path, why in found.unreadable.items()]
    parts += [Text(f"not a table of edc  {path}", "yellow") for path in found.foreign]
    return Group(*parts)


def _described(table: Table) -> Sequence[RenderableType]:
    facts = _table()
    facts.show_header = False
    facts.add_row("rows", f"{table.rows:,} in {table.files:,} files, {table.size:,} bytes")
    facts.add_row("times", f"{table.first} … {table.last}")
    duplicates = Text(f"{table.duplicates:,}", "bold red" if table.duplicates else "green")
    facts.add_row("duplicates", duplicates)
    facts.add_row("symbols", _counts(table.symbols))
    facts.add_row("sources", _counts(table.sources))
    facts.add_row("nulls", _counts(table.nulls) or "none")
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
        head.add_row(*("" if row[name] is None else _cell(row[name]) for name in shown))
    return Text(table.event_type, "bold"), facts, head


def _cell(value: object) -> str:
    """A value of the first rows; a time without its date, which stands above."""
    text = str(value)
    return text[11:29] if text[10:11] == "T" else text


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:_MOST_COUNTS]]
    if len(counts) > _MOST_COUNTS:
        shown.append(f"and {len(counts) - _MOST_COUNTS:,} more")
    return "  ".join(shown)


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
