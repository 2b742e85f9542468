"""What a terminal shows of a daemon: that all is well, and what is not."""

import io
import re
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from edc import live
from edc.latency import FeedLatency, of_series

NOW = 1_771_006_162_668_051_234  # 2026-02-13 13:09:22.668 in New York


def answer(**changes: Any) -> dict[str, Any]:
    """A daemon with one feed and one table, up for a minute."""
    late = FeedLatency()
    late.stages["receive"].add(of_series(pl.Series([1_200_000, 61_250_000_000, -340_000])))
    feed = {
        "feed": "crypto",
        "vendor": "tiingo",
        "source": "tiingo_crypto",
        "state": "live",
        "problem": "",
        "refused": {},
        "rate": 12.0,
        "events": {"trade": 3, "quote": 4},
        "skipped": {"malformed": 2},
        "last_event": NOW,
        "lag_seconds": 0.025,
        "clock_skew_seconds": -0.00034,
        "latency_seconds": late.summary(),
    }
    table = {
        "queued": 5,
        "capacity": 1000,
        "dropped": 0,
        "spooled": 6,
        "written": 7,
        "duplicates": 8,
        "last_file": "/lake/trade/a.parquet",
        "problems": {},
    }
    common = {
        "instance": "main",
        "path": "/lake",
        "started": NOW - 60_000_000_000,
        "now": NOW,
        "feeds": [feed],
        "tables": {"trade": table | changes.pop("table", {})},
        "bus": None,
        "compaction": {"last": None, "problem": ""},
    }
    return common | changes


def shown(status: Mapping[str, Any]) -> str:
    """As text, without colours."""
    screen = io.StringIO()
    Console(file=screen, width=200, color_system=None).print(
        live.status(status, "America/New_York")
    )
    return screen.getvalue()


def test_a_healthy_daemon() -> None:
    text = shown(answer())

    for part in (
        "up 0:01:00",
        "crypto",
        "live",
        "25 ms",
        "13:09:22.668",
        "2 malformed",
        "a.parquet",
    ):
        assert part in text
    assert "compact" not in text


def test_a_disk_that_does_not_take_what_it_should_is_told_of_each_stage() -> None:
    problems = {"spool": "No space left on device", "lake": "\x1b[2Jread-only"}

    text = shown(answer(table={"problems": problems}))

    assert "spool: No space left on device; lake: \\x1b[2Jread-only" in text


def test_when_files_were_last_tended_and_what_went_wrong() -> None:
    text = shown(answer(compaction={"last": NOW, "problem": "the disk is full"}))

    assert "compacted 13:09:22.668" in text
    assert "compaction: the disk is full" in text


def test_how_late_the_last_minute_was_by_stage() -> None:
    (line,) = [each for each in shown(answer()).splitlines() if "61.2 s" in each]

    assert re.split(" {2,}", line.strip()) == [
        *("crypto", "1.19 ms", "61.2 s", "61.2 s", "-", "-", "-", "-340 µs")
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0 µs"),
        (0.00000123, "1.23 µs"),
        (0.0123, "12.3 ms"),
        (-2.0, "-2 s"),
        (4321.0, "4,320 s"),
    ],
)
def test_a_duration_has_three_digits_and_the_unit_that_suits(
    seconds: float | None, text: str
) -> None:
    assert live.duration(seconds) == text
