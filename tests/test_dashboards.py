"""The dashboard and the alerts: held to the metrics, to promtool, and to a real Prometheus."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from edc import dashboards
from edc.cli import app
from edc.dashboards import Kind
from edc.simulator.tiingo import TiingoSimulator
from tests import harness
from tests.test_server import PLAIN

FOLDER = Path(dashboards.__file__).parent
UNIT_TESTS = Path(__file__).parent / "alerts_test.yml"
GRAFANA: dict[str, Any] = json.loads(dashboards.text(Kind.GRAFANA))
EXPRESSIONS = [
    (f"{panel['title']} {target['refId']}", str(target["expr"]))
    for panel in GRAFANA["panels"]
    for target in panel["targets"]
]
RARE = ("Webhooks", "Connections ended", "Gap rows", "Dead letters")
"""Panels that show nothing while all is well."""

PROMTOOL = shutil.which("promtool")
if PROMTOOL is None and os.environ.get("EDC_REQUIRE_PROMETHEUS"):
    pytest.fail("EDC_REQUIRE_PROMETHEUS is set, and there is no promtool")
by_prometheus = pytest.mark.skipif(PROMTOOL is None, reason="prometheus is not installed")


def filled(expression: str) -> str:
    """An expression of the dashboard, as Grafana sends it."""
    for variable, value in {"$__rate_interval": "1m", "$instance": ".*", "$feed": ".*"}.items():
        expression = expression.replace(variable, value)
    return expression


def promtool(*arguments: str, cwd: Path) -> str:
    """What promtool says of something that it must accept."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names_in(text: str) -> set[str]:
    """The metrics that an expression or a file of them names."""
    return set(re.findall(r"\bedc_[a-z_]+\b", text))


@pytest.mark.parametrize("kind", [Kind.GRAFANA, Kind.ALERTS])
def test_only_metrics_that_there_are_are_asked_for(kind: Kind) -> None:
    ends = ("", "_total", "_bucket", "_count", "_sum")
    there = {f"{name}{end}" for name in PLAIN for end in ends}

    asked = names_in(dashboards.text(kind))

    assert asked - there == set()
    assert len(asked) > 10


@pytest.mark.parametrize("kind", Kind)
def test_the_command_prints_the_file(kind: Kind) -> None:
    answer = CliRunner().invoke(app, ["dashboard", kind])

    assert answer.exit_code == 0
    assert answer.stdout == dashboards.text(kind)


def test_panels_are_whole_and_lie_beside_one_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in GRAFANA["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
    numbers = [panel["id"] for panel in GRAFANA["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert [each["name"] for each in GRAFANA["templating"]["list"]] == [
        *("datasource", "instance", "feed"),
    ]


@by_prometheus
def test_promtool_accepts_the_alerts_and_each_does_what_it_is_for(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    shutil.copy(UNIT_TESTS, tmp_path)

    promtool("check", "rules", "alerts.yml", cwd=tmp_path)
    promtool("test", "rules", UNIT_TESTS.name, cwd=tmp_path)

    alerts = set(re.findall(r"- alert: (\w+)", dashboards.text(Kind.ALERTS)))
    assert alerts == set(re.findall(r"\bEdc\w+", UNIT_TESTS.read_text()))


@by_prometheus
def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"edc:panel_{number}", "expr": filled(expression)}
        for number, (_, expression) in enumerate(EXPRESSIONS)
    ]
    groups = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "panels.yml").write_text(json.dumps(groups))  # JSON is YAML

    said = promtool("check", "rules", "panels.yml", cwd=tmp_path)

    assert f"{len(EXPRESSIONS)} rules found" in said


class Prometheus:
    """A Prometheus of its own, configured by what `edc dashboard prometheus` prints."""

    def __init__(self, folder: Path, target: int, token: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        shutil.copy(FOLDER / "alerts.yml", folder / "edc.yml")
        (folder / "token").write_text(token)
        text = dashboards.text(Kind.PROMETHEUS)
        for old, new in {
            "/etc/prometheus/rules/edc.yml": str(folder / "edc.yml"),
            "/etc/prometheus/edc.token": str(folder / "token"),
            "127.0.0.1:8480": f"127.0.0.1:{target}",
            "15s": "1s",
            "# authorization": "authorization",
            "#   credentials_file": "  credentials_file",
        }.items():
            assert old in text
            text = text.replace(old, new)
        (folder / "prometheus.yml").write_text(text)
        promtool("check", "config", "prometheus.yml", cwd=folder)
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                *("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb"),
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            cwd=folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


async def asked(client: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    """What a query gives now."""
    answer = await client.get("/api/v1/query", params={"query": query})
    body = answer.json()
    assert body["status"] == "success", (query, body)
    found: list[dict[str, Any]] = body["data"]["result"]
    return found


@by_prometheus
async def test_a_real_prometheus_scrapes_a_daemon_and_every_panel_has_something_to_show(
    tmp_path: Path,
) -> None:
    token = "a-token-of-24-characters"
    async with harness.serving(TiingoSimulator(key=harness.KEY, rate=100)) as simulator:
        path = harness.write_config(tmp_path, simulator.url)
        server = f'listen = "127.0.0.1:0"\ntoken = "{token}"'
        path.write_text(path.read_text().replace('listen = ""', server))
        daemon = harness.supervisor(path)
        async with harness.running(daemon):
            await harness.until(lambda: daemon.http is not None and daemon.http.port)
            assert daemon.http is not None
            prometheus = Prometheus(tmp_path, daemon.http.port, token)
            try:
                async with httpx.AsyncClient(base_url=prometheus.url) as client:
                    await _until_scraped(client)
                    await daemon.flush()
                    empty = await _empty_panels(client)
                    alerts = (await client.get("/api/v1/rules")).json()["data"]["groups"]
            finally:
                prometheus.end()
    assert [name for name in empty if not name.startswith(RARE)] == []
    rules = [rule for group in alerts for rule in group["rules"]]
    assert len(rules) == len(re.findall("- alert:", dashboards.text(Kind.ALERTS)))
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}  # not yet evaluated, or well


async def _until_scraped(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(40):
        while True:
            try:
                ready = await client.get("/-/ready")  # it listens before it answers queries
                if ready.is_success and await asked(
                    client, "edc_feed_up == 1 and on (instance) up{job='edc'} == 1"
                ):
                    return
            except httpx.TransportError:
                pass  # it has not begun to listen
            await asyncio.sleep(0.3)


async def _empty_panels(client: httpx.AsyncClient) -> list[str]:
    """Those that show nothing, once each had the time to show something."""
    waiting = EXPRESSIONS
    for _ in range(40):
        waiting = [each for each in waiting if not await asked(client, filled(each[1]))]
        if all(name.startswith(RARE) for name, _ in waiting):
            break
        await asyncio.sleep(0.5)
    return [name for name, _ in waiting]
