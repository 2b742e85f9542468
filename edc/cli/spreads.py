"""What `edc inspect` shows of how rows are spread: latency by source and symbol, histograms."""

from collections.abc import Callable, Iterator
from itertools import groupby

from rich import box
from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from edc.cli.terminal import out
from edc.distribution import Late, Rate
from edc.inspection import Table
from edc.live import duration
from edc.logs import printable
from edc.plots import histogram, merged

_MOST_SYMBOLS = 5
"""Of each source; --json has all."""
_WIDEST = 120
_LONGEST = 40
_SHOWN = ("least", "p50", "p90", "p99", "p99.9", "max")


def more(*, drawn: bool) -> Callable[[Table], Iterator[RenderableType]]:
    """What is shown of a table beside its facts: latencies, and histograms if they are wanted."""

    def of(table: Table) -> Iterator[RenderableType]:
        if table.latency:
            yield late(table)
        if drawn and table.rate:
            yield Text("events over time", "bold")
            yield _lines(_rates(table.rate, min(out.width, _WIDEST)))
        if drawn and table.latency_parts:
            yield Text("latency, on a logarithmic scale", "bold")
            yield _lines(_delays(table, min(out.width, _WIDEST)))

    return of


def late(table: Table) -> RenderableType:
    """The latencies of each source and of its fullest symbols."""
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column("latency", overflow="fold")
    for name in ("rows", *_SHOWN):
        made.add_column(name, justify="right")
    left = table.beyond
    for source, some in groupby(table.latency, lambda each: each.source):
        whole, *symbols = some
        made.add_row(_named(source), *_cells(whole), style="bold")
        for each in symbols[:_MOST_SYMBOLS]:
            made.add_row(Text("  ") + _named(each.symbol or ""), *_cells(each))
        left += len(symbols[_MOST_SYMBOLS:])
    if left:
        made.caption = Text(f"and {left:,} more symbols: --json has them", "dim")
        made.caption_justify = "left"
    return made


def _named(text: str) -> Text:
    shown = printable(text)
    return Text(f"{shown[:_LONGEST]}…" if len(shown) > _LONGEST else shown or '""')


def _cells(each: Late) -> Iterator[str]:
    yield f"{each.latency_seconds['count']:,}"
    for name in _SHOWN:
        yield duration(each.latency_seconds[name])


def _rates(rate: Rate, width: int) -> list[str]:
    """The histogram of a rate; its highest bar in events a second."""
    widest = len(f"{rate.highest:,.3g}/s") + 2
    each = merged(rate.counts, max(width - widest, 1))
    sums = [sum(rate.counts[begin : begin + each]) for begin in range(0, len(rate.counts), each)]
    return histogram(
        sums,
        width,
        top=_rate(max(sums) / rate.step_seconds / each),
        ends=(f"{rate.start[:19].replace('T', ' ')}", f"+{_span(rate)}"),
        ascii_only=out.options.ascii_only,
    )


def _rate(number: float) -> str:
    return f"{number:,.0f}/s" if number >= 100 else f"{number:.3g}/s"  # noqa: PLR2004 - 3 digits


def _span(rate: Rate) -> str:
    """How long the whole axis is."""
    seconds = len(rate.counts) * rate.step_seconds
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:.3g} s"


def _delays(table: Table, width: int) -> list[str]:
    parts = table.latency_parts
    lines = histogram(
        [number for _, _, number in parts],
        width,
        top=f"{max(number for _, _, number in parts):,}",
        ends=(duration(parts[0][0]), duration(parts[-1][1])),
        ascii_only=out.options.ascii_only,
    )
    return [line.replace("µs", "us") for line in lines] if out.options.ascii_only else lines


def _lines(lines: list[str]) -> Text:
    return Text("\n".join(lines), no_wrap=True)
