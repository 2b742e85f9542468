"""What `edc inspect` found as one page of HTML, to be kept and passed on.

The plots are drawn by Vega-Lite while the file is written and lie in it as SVG: there is no script
in it, and nothing is fetched to read it, which its content security policy says too. `vl_convert`
is the extra `edc[report]`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

import vl_convert

from edc.distribution import Late
from edc.inspection import Report, Table
from edc.live import duration
from edc.logs import printable

_WIDTH = 860
_MOST_ROWS = 200
_TWO_DAYS = 172_800
_SHOWN = ("least", "p50", "p90", "p99", "p99.9", "max")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; width: 100%; }
td, th { border-bottom: 1px solid #d5dae0; padding: 0.2rem 0.6rem 0.2rem 0; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.source td { font-weight: 600; } .bad { color: #b3261e; }
svg { max-width: 100%; height: auto; }
"""
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>edc inspect</title><style>{style}</style></head><body>
<h1>edc inspect</h1><p>{what}</p>
"""


def html(found: Report, what: str) -> str:
    """The page; `what` says of what. All that came from vendors or files is escaped."""
    parts = [_HEAD.format(style=_STYLE, what=_text(what))]
    for table in found.tables:
        parts += _of(table)
    for path, why in found.unreadable.items():
        parts.append(f'<p class="bad">unreadable: {_text(path)}: {_text(why)}</p>\n')
    parts += [f"<p>not a table of edc: {_text(path)}</p>\n" for path in found.foreign]
    return "".join([*parts, "</body></html>\n"])


def _of(table: Table) -> Iterator[str]:
    """The section of one table."""
    duplicates = ' class="bad"' if table.duplicates else ""
    yield f"<h2>{_text(table.event_type)}</h2>\n<table>"
    for name, value in (
        ("rows", f"{table.rows:,} in {table.files:,} files, {table.size:,} bytes"),
        ("times", f"{table.first} … {table.last}"),
        ("symbols", f"{len(table.symbols):,}"),
        ("sources", _counts(table.sources)),
        ("nulls", _counts(table.nulls) or "none"),
    ):
        yield f"<tr><th>{name}</th><td>{_text(value)}</td></tr>"
    yield f"<tr><th>duplicates</th><td{duplicates}>{table.duplicates:,}</td></tr></table>\n"
    if table.rate:
        yield "<h3>Events over time</h3>\n" + _rates(table)
    if table.latency_parts:
        yield "<h3>Latency, from the vendor's time to receipt</h3>\n" + _delays(table)
        yield from _latencies(table.latency, table.beyond)


def _latencies(late: Sequence[Late], beyond: int) -> Iterator[str]:
    heads = "".join(f'<th class="n">{name}</th>' for name in ("rows", *_SHOWN))
    yield f"<table><tr><th>source, symbol</th>{heads}</tr>\n"
    for each in late[:_MOST_ROWS]:
        values = [f"{each.latency_seconds['count']:,}"]
        values += [duration(each.latency_seconds[name]) for name in _SHOWN]
        cells = "".join(f'<td class="n">{value}</td>' for value in values)
        of = ' class="source"' if each.symbol is None else ""
        name = each.source if each.symbol is None else each.symbol
        yield f"<tr{of}><td>{_text(name)}</td>{cells}</tr>\n"
    yield "</table>\n"
    if left := max(len(late) - _MOST_ROWS, 0) + beyond:
        yield f"<p>and {left:,} more, of which edc inspect --json tells</p>\n"


def _rates(table: Table) -> str:
    """Bars over the time of day that a clock in the files' zone shows."""
    assert table.rate is not None
    rate = table.rate
    begin = datetime.fromisoformat(rate.start).replace(tzinfo=None)
    first = (begin - datetime(1970, 1, 1)).total_seconds()  # noqa: DTZ001 - on the wall
    values = [
        {
            "from": (first + place * rate.step_seconds) * 1000,
            "to": (first + (place + 1) * rate.step_seconds) * 1000,
            "rate": number / rate.step_seconds,
        }
        for place, number in enumerate(rate.counts)
    ]
    days = len(rate.counts) * rate.step_seconds > _TWO_DAYS
    across = {
        "field": "from",
        "type": "temporal",
        "scale": {"type": "utc"},
        "axis": {"format": "%d %b %H:%M" if days else "%H:%M:%S", "title": rate.start[:10]},
    }
    up = _amount("rate", "events/s")
    return _drawn(values, {"x": across, "x2": {"field": "to"}, "y": up, "y2": {"datum": 0}})


def _delays(table: Table) -> str:
    """Bars over parts of a logarithmic scale, each named by its lower end."""
    values = [
        {"place": place, "label": duration(lower), "rows": number}
        for place, (lower, _, number) in enumerate(table.latency_parts)
    ]
    axis = {"labelExpr": _labels([str(each["label"]) for each in values]), "labelOverlap": True}
    return _drawn(
        values,
        {
            "x": {"field": "place", "type": "ordinal", "title": None, "axis": axis},
            "y": _amount("rows", "rows"),
        },
    )


def _labels(names: Sequence[str]) -> str:
    """An expression of Vega: the name of a place. They are numbers with units, of ours."""
    return "[" + ", ".join(f"'{name}'" for name in names) + "][datum.value]"


def _amount(field: str, title: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title}


def _drawn(values: Sequence[Mapping[str, Any]], encoding: Mapping[str, Any]) -> str:
    """A bar chart as SVG; nothing is fetched for it."""
    chart = {
        "width": _WIDTH - 60,
        "height": 200,
        "data": {"values": list(values)},
        "mark": {"type": "bar", "color": "#2f6fb3"},
        "encoding": dict(encoding),
    }
    return vl_convert.vegalite_to_svg(chart, allowed_base_urls=[]) + "\n"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items())


def _text(text: str) -> str:
    """Text that a page may show, whatever a vendor sent."""
    return escape(printable(text))
