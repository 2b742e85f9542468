"""The README is held to the code."""

import json
import logging
import re
import tomllib
from collections import Counter
from pathlib import Path

import polars as pl

from edc import adapters, dashboards
from edc.adapters import WebhookOptions
from edc.bus import BusStats
from edc.cli import app
from edc.events import EVENT_TYPES, schema
from edc.exposition import DaemonCollector
from edc.latency import of_series
from edc.logs import JsonFormatter, about
from edc.metrics import DaemonStats, FeedStats, LaneStats, PathStats
from edc.queues import Queue, WhenFull
from edc.repeats import Repeats

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def _section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def _table(title: str) -> list[list[str]]:
    rows = [line for line in _section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows[2:]]


def test_the_columns_of_every_table_are_those_of_the_schema() -> None:
    documented = {row[0]: row[1].split(", ") for row in _table("The tables")}

    assert documented == {kind: list(schema(kind, "UTC")) for kind in EVENT_TYPES}


async def test_the_metrics_table_lists_exactly_what_is_served() -> None:
    stats = FeedStats("f", "v", "s", events={"trade": 1})
    stats.skipped["unknown"] += 1
    stats.disconnects["stale"] += 1
    stats.paths[0] = PathStats()
    queue = Queue("trade", 1, WhenFull.BLOCK)
    bus = BusStats("redis://127.0.0.1:6379", "store")
    bus.of("trade").lag = 0
    bus.errors["read"] += 1
    lanes = {"trade": LaneStats("trade")}
    stats.latency.stages["receive"].add(of_series(pl.Series([1])))
    daemon = DaemonStats(
        gaps=Counter({("f", "v", "stale"): 1}),
        logged={"info": 1},
        hooked=Counter({("f", 200): 1}),
        alerts=Counter({("stale", "delivered"): 1}),
        hook_seconds={"f": of_series(pl.Series([1]))},
    )
    collector = DaemonCollector(lambda: [stats], {"trade": queue}, lanes, bus, daemon)
    served = {
        (family.name, ", ".join(name for name in sample.labels if name != "le"))
        if family.type == "histogram"
        else (sample.name, ", ".join(sample.labels))
        for family in collector.collect()
        for sample in family.samples
    }

    assert {(row[0].strip("`"), row[1]) for row in _table("Metrics")} == served


def test_every_dependency_has_a_reason_and_every_reason_a_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    declared = {re.split(r"[<>=\[ ]", line)[0] for line in lines}

    assert {row[0] for row in _table("Dependencies, and why")} == declared


def test_every_command_is_in_the_readme() -> None:
    names = {command.callback.__name__ for command in app.registered_commands if command.callback}
    documented = re.findall(r"^\| `edc (\w+)", _section("Three commands"), re.MULTILINE)

    assert set(documented) == names


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", README))

    assert named <= targets
    assert {"demo", "test", "help"} <= named


def test_every_option_of_a_vendors_feeds_is_explained() -> None:
    shared = set(WebhookOptions.model_fields) | {"interval"}
    explained = dict(re.findall(r"^\| `(\w+)` \| (.*`\w+.*) \|$", _options(), re.MULTILINE))
    for name in adapters.names():
        own = set(adapters.load(name).feed_options.model_fields) - shared
        told = explained.get(name, "`streams`")
        assert {option for option in own if f"`{option}" not in told} == set(), name


def _options() -> str:
    """The table of what a feed may say."""
    return README.partition("| vendor | options of `[feeds.NAME]`")[2].partition("\n\n")[0]


def test_the_alerts_are_counted() -> None:
    number = dashboards.text(dashboards.Kind.ALERTS).count("- alert: ")

    assert f"# {number} alerts; promtool" in _section("Watch it")


def test_what_is_said_of_the_log_is_so() -> None:
    said = " ".join(_section("Logs").split())
    made = {"msg": "so", "levelname": "INFO", "name": "edc"}
    entry = json.loads(JsonFormatter().format(logging.makeLogRecord(made)))
    fields = about(FeedStats("f", "v", "s"))

    assert f"({', '.join(f'`{name}`' for name in entry)}, then the fields)" in said
    assert "about a feed has {}, {} and {},".format(*(f"`{name}`" for name in fields)) in said
    assert fields["epoch"] == 0
    repeats = Repeats()
    warning = logging.makeLogRecord(made | {"levelno": logging.WARNING})
    assert [repeats.admits(warning) for _ in range(11)].index(False) == 10
    within = repeats.next_due()
    assert within is not None
    assert 59 < within <= 60
    [told] = repeats.due(every=True)
    assert told.getMessage().startswith("so … and 1 more like it in the last ")
    assert "ten are told in a minute and the rest as one, `… and 212 more like it in" in said
    for number, level in ((3, "error"), (4, "warning"), (6, "info"), (7, "debug")):
        assert f"`<{number}>` {level}" in said
