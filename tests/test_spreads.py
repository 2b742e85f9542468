"""How rows are spread over time and delays: what is counted, and what a terminal shows of it."""

import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from edc import distribution
from edc.cli import app, spreads
from edc.cli import lake as lake_commands
from edc.cli import terminal as terminal_commands
from edc.distribution import Delays, Rate, Rates
from edc.events import Origin
from edc.plots import histogram
from tests.test_inspection import MS, TIME, frame, trade, write

SECOND = 1_000_000_000
FX = Origin(feed="fx", vendor="tiingo", source="tiingo_fx", epoch=1)


def rated(*times_s: Sequence[float]) -> Rate:
    """The rate of events at some seconds after the epoch, added in several parts."""
    rates = Rates()
    for part in times_s:
        rates.add(pl.Series([round(each * SECOND) for each in part], dtype=pl.Int64))
    rate = rates.rate("America/New_York")
    assert rate is not None
    return rate


def test_events_are_counted_in_bins_of_milliseconds_where_there_are_few_seconds() -> None:
    assert rated([0.0, 0.0, 0.003]) == Rate("1969-12-31T19:00:00.000-05:00", 0.001, [2, 0, 0, 1])


def test_bins_grow_with_the_time_and_lose_no_event() -> None:
    rate = rated([3600.0, 3600.5], [7200.0, 3601.0], [7199.9, 0.0])

    assert rate.step_seconds == 60.0
    assert len(rate.counts) == 121
    assert {place: n for place, n in enumerate(rate.counts) if n} == {0: 1, 60: 3, 119: 1, 120: 1}
    assert rate.highest == 3 / 60


def test_there_are_never_more_than_240_bins_over_five_centuries() -> None:
    rate = rated([-9e9], [9e9])

    assert sum(rate.counts) == 2
    assert len(rate.counts) <= 240


def test_nothing_has_no_rate() -> None:
    rates = Rates()
    rates.add(pl.Series([], dtype=pl.Int64))

    assert rates.rate("UTC") is None


def test_latencies_are_those_of_each_source_and_symbol() -> None:
    delays = Delays()
    delays.add(frame(trade(), trade(symbol="spy", created_at=TIME - 2 * MS)))
    delays.add(frame(trade(origin=FX, created_at=TIME + 500 * MS), trade(event_time=TIME + 1)))

    rows = [
        (each.source, each.symbol, each.latency_seconds["count"], each.latency_seconds["least"])
        for each in delays.late()
    ]
    assert rows == [
        ("tiingo_iex", None, 3, -0.002),
        ("tiingo_iex", "aapl", 2, 0.003),
        ("tiingo_iex", "spy", 1, -0.002),
        ("tiingo_fx", None, 1, 0.5),
        ("tiingo_fx", "aapl", 1, 0.5),
    ]
    assert sum(number for _, _, number in delays.parts()) == 4
    assert delays.beyond == 0


def test_symbols_beyond_the_bound_count_in_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "_MOST_SYMBOLS", 2)
    delays = Delays()
    for _ in range(2):
        delays.add(frame(*(trade(symbol=f"s{number}") for number in range(5))))

    whole, *symbols = delays.late()
    assert whole.latency_seconds["count"] == 10
    assert [each.latency_seconds["count"] for each in symbols] == [2, 2]
    assert delays.beyond == 3


def test_a_histogram_is_drawn_with_eighths_of_blocks() -> None:
    lines = histogram([48, 24, 1, 0], 8, top="48", ends=("a", "z"), ascii_only=False)

    assert lines == [
        "48 ┤█",
        "   ┤█",
        "   ┤█",
        "   ┤██",
        "   ┤██",
        "   ┤██▁",
        " 0 ┼────",
        "    a  z",
    ]


def test_a_histogram_in_ascii_is_ascii() -> None:
    lines = histogram([9, 1, 0], 40, top="9", ends=("0", "1"), ascii_only=True)

    assert all(line.isascii() and len(line) <= 40 for line in lines)
    assert lines[0] == "9 |############"
    assert lines[5] == "0 |".replace("0", " ") + "#" * 12 + ":" * 12


@pytest.mark.parametrize("width", [1, 3, 10, 37, 80])
def test_a_histogram_is_no_wider_than_it_may_be(width: int) -> None:
    lines = histogram(range(1000), width, top="999/s", ends=("from", "to"), ascii_only=False)

    assert all(len(line) <= width for line in lines)
    assert bool(lines) == (width >= 10)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Eight symbols, one of them hostile, over some seconds."""
    names = [*(f"s{number}" for number in range(7)), "[red]\x1b[2J"]
    rows = [
        trade(symbol=name, event_time=TIME + n * SECOND, created_at=TIME + n * SECOND + n * MS)
        for n in range(1, 9)
        for name in names[:n]
    ]
    return write(tmp_path, "a.parquet", frame(*rows))


def test_all_symbols_are_in_the_json_and_the_fullest_on_the_terminal(lake: Path) -> None:
    [table] = json.loads(CliRunner().invoke(app, ["inspect", str(lake), "--json"]).stdout)["tables"]
    told = CliRunner().invoke(app, ["inspect", str(lake)])

    assert len(table["latency"]) == 9
    assert table["latency"][0]["latency_seconds"]["max"] == 0.008
    assert set(table["latency"][1]["latency_seconds"]) >= {"p50", "p90", "p99", "p99.9", "max"}
    assert sum(table["rate"]["counts"]) == sum(number for *_, number in table["latency_parts"])
    assert told.exit_code == 0
    assert "and 3 more symbols" in told.stdout
    assert "\x1b" not in told.stdout


@pytest.mark.parametrize(("option", "drawn"), [((), False), (("--plots",), True)])
def test_plots_are_drawn_into_a_pipe_only_where_they_are_asked_for(
    lake: Path, option: tuple[str, ...], *, drawn: bool
) -> None:
    told = CliRunner().invoke(app, ["inspect", str(lake), *option])

    assert told.exit_code == 0
    assert ("events over time" in told.stdout) is drawn
    assert ("█" in told.stdout) is drawn


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "█"), ("ascii", "#")])
def test_a_terminal_gets_the_characters_that_it_has(
    lake: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, mark: str
) -> None:
    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding, errors="replace")
    terminal = Console(file=file, force_terminal=True, width=60, markup=False)
    for module in (spreads, lake_commands, terminal_commands):
        monkeypatch.setattr(module, "out", terminal)

    told = CliRunner().invoke(app, ["inspect", str(lake)])

    file.flush()
    shown = buffer.getvalue().decode(encoding)
    assert told.exit_code == 0, told.exception
    assert mark in shown


def test_a_report_is_one_page_without_script_or_network(tmp_path: Path) -> None:
    """Hostile symbols and file names are text in it, and its plots are there."""
    hostile = "</td><script>alert(1)</script>&\x1b"
    rows = frame(*(trade(symbol=hostile, event_time=TIME + n * SECOND) for n in range(3)))
    write(tmp_path, "a.parquet", rows)
    (tmp_path / "<b>.parquet").write_bytes(b"")
    page = tmp_path / "out.html"

    done = CliRunner().invoke(app, ["inspect", str(tmp_path), "--html", str(page)])

    assert done.exit_code == 1  # one file cannot be read
    assert done.stdout == ""
    text = page.read_text()
    assert text.count("<svg") == 2
    assert "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in text
    assert "&lt;b&gt;.parquet" in text
    assert "\x1b" not in text
    assert re.findall(r"<(script|b|link|img|iframe|foreignObject)\b", text) == []
    assert re.findall(r"""(?:src|href)\s*=|url\(\s*['"]?h|@import""", text) == []
    assert "default-src 'none'" in text
    assert len(text) < 100_000


def test_a_report_replaces_the_last_one_and_json_may_be_asked_for_too(
    lake: Path, tmp_path: Path
) -> None:
    page = tmp_path / "out.html"
    page.write_text("old")

    done = CliRunner().invoke(app, ["inspect", str(lake), "--html", str(page), "--json"])

    assert json.loads(done.stdout)["tables"][0]["rows"] == 36
    assert page.read_text().startswith("<!doctype html>")


def test_a_report_without_its_library_says_what_to_install(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "edc.report", raising=False)
    monkeypatch.setitem(sys.modules, "vl_convert", None)

    done = CliRunner().invoke(app, ["inspect", str(lake), "--html", str(tmp_path / "out.html")])

    assert done.exit_code == 2
    assert "pip install 'edc[report]'" in done.stderr
