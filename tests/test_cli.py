"""The command line as its users meet it: in a process of its own, exit codes and words."""

import asyncio
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edc import simulator as simulators
from edc.simulator.tiingo import Faults, TiingoSimulator
from tests import harness

POLLED = """
[feeds.stocks_poll]
vendor = "tiingo"
channel = "iex_rest"
symbols = { stock = ["aapl"], etf = ["spy"] }
"""

FX = """
[feeds.fx]
vendor = "tiingo"
channel = "fx"
threshold_level = 5
symbols = { fx = ["eurusd"] }
"""

REFUSED = """
[feeds.refused]
vendor = "tiingo"
channel = "crypto"
threshold_level = 6
symbols = { crypto = ["btcusd"] }
"""


def edc(*arguments: str, cwd: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    """A command that ends by itself, on no terminal, with lines that are not folded."""
    return subprocess.run(
        [sys.executable, "-m", "edc", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "400", "FORCE_COLOR": "", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def answer(*arguments: str, cwd: Path, **env: str) -> Any:
    """The JSON of a command that succeeds."""
    done = edc(*arguments, "--json", cwd=cwd, **env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.SimulatorProcess]:
    process = harness.SimulatorProcess(tmp_path_factory.mktemp("simulator"), rate=200)
    yield process
    process.end()


@pytest.fixture
def configured(simulator: harness.SimulatorProcess, tmp_path: Path) -> Path:
    """A folder with a config.toml for one crypto feed."""
    harness.write_config(tmp_path, simulator.url, simulator.rest_url)
    return tmp_path


@pytest.fixture
def daemon(configured: Path) -> Iterator[harness.Process]:
    """A daemon that receives data, recording into the lake of the folder `configured`."""
    process = harness.Process("run", cwd=configured)
    end = time.monotonic() + 30
    while not list((configured / "lake/.spool/main/trade").glob("*.arrow")):
        assert time.monotonic() < end, process.output
        assert process.process.poll() is None, process.output
        time.sleep(0.02)
    yield process
    if process.process.poll() is None:
        process.process.terminate()
        process.wait()


# What the operator must edit: exit 2, and one line.

WRONG = {
    "a misspelt key": (
        "[storage]\npth = 'x'\n",
        ("run",),
        "edc: config.toml: [storage]: unknown key 'pth'; did you mean 'path'?\n",
    ),
    "no TOML": (
        "[storage\n",
        ("flush",),
        (
            "edc: config.toml: is not valid TOML: Expected ']' at the end of a table declaration "
            '(at line 1, column 9); text is written in quotes, key = "text"\n'
        ),
    ),
    "no file": (
        None,
        ("status", "--config", "else.toml"),
        (
            "edc: else.toml: there is no such file; "
            "name one with --config, or try `edc run --demo`\n"
        ),
    ),
    "a duration without a unit": (
        "",
        ("run", "--duration", "30"),
        (
            "edc: --duration: '30' is no duration; write a duration as a number and a unit, "
            'for example "200ms", "60s" or "5m"\n'
        ),
    ),
    "no feed": (
        "",
        ("check",),
        'edc: config.toml: there is no [feeds.…] section; add one; README, "Configuration"\n',
    ),
    "no key": (
        harness.CRYPTO,
        ("run",),
        (
            "edc: config.toml: [vendors.tiingo]: Tiingo needs an API key and none was given; "
            "set TIINGO_API_KEY in the environment or in .env, or name a file with api_key_file\n"
        ),
    ),
    "an unknown feed": (
        f'[vendors.tiingo]\napi_key = "some-key"\n{harness.CRYPTO}',
        ("run", "--feeds", "crypto, cryto"),
        "edc: config.toml: there is no feed 'cryto'; did you mean 'crypto'?\n",
    ),
    "websockets polled once": (
        f'[vendors.tiingo]\napi_key = "some-key"\n{harness.CRYPTO}{POLLED}',
        ("run", "--once"),
        (
            "edc: config.toml: --once polls, but crypto is pushed; "
            "use --duration 30s for those, or name only polling feeds with --feeds\n"
        ),
    ),
    "a lake below a file": (
        (
            "[storage]\npath = 'config.toml/lake'\n"
            f'[vendors.tiingo]\napi_key = "some-key"\n{harness.CRYPTO}'
        ),
        ("run",),
        (
            "edc: [storage] path: config.toml/lake cannot be written: Not a directory; "
            "choose a folder that edc may write, make room, or mend its permissions\n"
        ),
    ),
    "a lake below a file, only checked": (
        (
            "[storage]\npath = 'config.toml/lake'\n"
            f'[vendors.tiingo]\napi_key = "some-key"\n{harness.CRYPTO}'
        ),
        ("check",),
        (
            "edc: config.toml: [storage] path: HERE/config.toml is not a folder; "
            "choose a folder edc may write\n"
        ),
    ),
    "nothing to inspect": (
        None,
        ("inspect", "lake"),
        "edc: lake: there is no such file; name a file, a folder or a glob\n",
    ),
    "an empty folder to inspect": (
        None,
        ("inspect", "."),
        "edc: .: no Parquet file in there; has anything been flushed yet?\n",
    ),
}


@pytest.mark.parametrize(("text", "arguments", "expected"), WRONG.values(), ids=WRONG.keys())
def test_what_the_operator_must_edit_is_one_line_and_exit_2(
    text: str | None, arguments: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "config.toml").write_text(text)
    done = edc(*arguments, cwd=tmp_path)
    assert done.stderr == expected.replace("HERE", str(tmp_path))
    assert done.stdout == ""
    assert done.returncode == 2


def test_debug_adds_the_traceback(tmp_path: Path) -> None:
    done = edc("--debug", "check", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback (most recent call last):" in done.stderr
    assert "check_toml" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("edc: config.toml: there is no such file")


def test_an_unknown_command_is_exit_2(tmp_path: Path) -> None:
    done = edc("recrod", cwd=tmp_path)
    assert done.returncode == 2
    assert "No such command 'recrod'" in done.stderr


def test_a_port_that_is_taken_is_the_operators_to_change(
    configured: Path, simulator: harness.SimulatorProcess
) -> None:
    listen = simulator.url.removeprefix("ws://")
    done = edc("run", cwd=configured, EDC_SERVER__LISTEN=listen)
    assert done.returncode == 2
    assert done.stderr.startswith(f"edc: [server] listen: {listen} cannot be bound: ")
    assert done.stderr.count("\n") == 1


# What is told without a daemon.


def test_version_is_the_packages_own(tmp_path: Path) -> None:
    done = edc("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"edc {version('edc')}\n")


def test_check_tells_the_feeds_and_makes_nothing(configured: Path) -> None:
    before = sorted(configured.rglob("*"))
    done = edc("check", cwd=configured)
    assert done.returncode == 0
    assert done.stdout == (
        "crypto: tiingo_crypto by websocket\n"
        f"config.toml is fine; the lake is {configured / 'lake'}\n"
    )
    assert answer("check", cwd=configured) == {
        "crypto": {
            "vendor": "tiingo",
            "source": "tiingo_crypto",
            "kind": "websocket",
            "asset_types": ["crypto"],
        }
    }
    assert sorted(configured.rglob("*")) == before


def test_vendors_are_a_list_of_objects_with_a_name(tmp_path: Path) -> None:
    found = answer("vendors", cwd=tmp_path)
    by_name = {vendor["name"]: vendor for vendor in found}
    assert by_name["tiingo"]["key_variable"] == "TIINGO_API_KEY"
    for vendor in found:
        assert vendor["title"]
        for channel in vendor["channels"]:
            assert channel["kind"] in {"websocket", "stream", "poll", "webhook"}
            assert channel["asset_types"]
            assert channel["event_types"] or channel["kind"] == "webhook"
    told = edc("vendors", cwd=tmp_path).stdout
    for vendor in found:
        assert vendor["name"] in told
        for channel in vendor["channels"]:
            assert re.search(rf"^  {channel['name']} +{channel['kind']} ", told, re.MULTILINE)


def test_status_without_a_daemon_is_exit_1(configured: Path) -> None:
    done = edc("status", cwd=configured)
    assert done.returncode == 1
    assert done.stderr == (
        f"edc: no daemon is running on {configured / 'lake/.spool/main'}; "
        "start one with `edc run`\n"
    )
    assert not (configured / "lake").exists()


# A running daemon.


def test_status_tells_feeds_and_tables(configured: Path, daemon: harness.Process) -> None:
    found = answer("status", cwd=configured)
    assert found["instance"] == "main"
    assert found["path"] == str(configured / "lake")
    [feed] = found["feeds"]
    assert (feed["feed"], feed["vendor"], feed["source"]) == ("crypto", "tiingo", "tiingo_crypto")
    assert (feed["state"], feed["problem"], feed["connects"]) == ("live", "", 1)
    assert feed["events"]["trade"] > 0
    assert set(found["tables"]) == {"trade", "quote", "ref_px", "gap"}
    assert found["tables"]["trade"]["capacity"] == 65_536
    told = edc("status", cwd=configured).stdout
    for word in ("crypto", "tiingo_crypto", "live", "queued", "/ 65,536", "spooled", "rate/s"):
        assert word in told


def test_flush_asks_the_daemon_and_the_rows_are_there(
    configured: Path, daemon: harness.Process
) -> None:
    found = answer("flush", cwd=configured)
    assert found["trade"]["rows"] > 0
    [file] = found["trade"]["files"]
    assert pl.read_parquet(file).height == found["trade"]["rows"]
    told = edc("flush", cwd=configured)
    assert told.returncode == 0
    assert re.search(r"trade +\d+ +0 +\S+\.parquet", told.stdout)
    assert answer("status", cwd=configured)["tables"]["trade"]["files"] >= 1


def test_flush_without_a_daemon_recovers_the_spool(
    configured: Path, daemon: harness.Process
) -> None:
    daemon.process.kill()
    daemon.wait()
    assert harness.read(configured / "lake", "trade").height == 0
    found = answer("flush", cwd=configured)
    assert found["trade"]["rows"] == harness.read(configured / "lake", "trade").height > 0
    assert not list((configured / "lake/.spool").rglob("*.arrow"))
    assert answer("flush", cwd=configured)["trade"] == {"rows": 0, "duplicates": 0, "files": []}


def test_a_second_daemon_on_the_same_instance_is_sent_away(
    configured: Path, daemon: harness.Process
) -> None:
    done = edc("run", cwd=configured)
    assert done.returncode == 75
    assert done.stderr == (
        f"edc: {configured / 'lake'}: instance 'main' is held by process {daemon.process.pid}; "
        "stop it, or give this one a storage.instance of its own\n"
    )
    assert answer("status", cwd=configured)["feeds"][0]["state"] == "live"  # and harmed nothing


def test_a_second_daemon_with_another_name_writes_beside_the_first(
    configured: Path, daemon: harness.Process, simulator: harness.SimulatorProcess
) -> None:
    lake, second = configured / "lake", configured / "second"
    second.mkdir()
    harness.write_config(second, simulator.url, simulator.rest_url, feeds=FX)
    done = edc(
        *("run", "--duration", "1s"),
        cwd=second,
        EDC_STORAGE__PATH=str(lake),
        EDC_STORAGE__INSTANCE="second",
    )
    assert done.returncode == 0, done.stderr
    assert set(harness.read(lake, "quote")["source"]) == {"tiingo_fx"}
    assert answer("flush", cwd=configured)["quote"]["rows"] > 0
    assert set(harness.read(lake, "quote")["source"]) == {"tiingo_fx", "tiingo_crypto"}


def test_inspect_takes_a_file_a_folder_a_glob_and_the_spool(
    configured: Path, daemon: harness.Process
) -> None:
    assert answer("inspect", "lake/.spool", cwd=configured)["tables"]
    daemon.process.terminate()
    assert daemon.wait() == 0
    lake = configured / "lake"
    rows = {kind: harness.read(lake, kind).height for kind in ("trade", "quote")}
    whole = answer("inspect", "lake", cwd=configured)
    assert whole["unreadable"] == {}
    assert {table["event_type"]: table["rows"] for table in whole["tables"]} == rows
    for table in whole["tables"]:
        assert set(table["symbols"]) == {"btcusd", "ethusd"}
        assert table["sources"] == {"tiingo_crypto": table["rows"]}
        assert table["duplicates"] == 0
        assert table["first"] <= table["last"]
        assert table["columns"]["event_time"] == "Datetime(ns, America/New_York)"
        assert set(table["latency_ms"]) == {"p50", "p90", "p99", "p99.9", "max"}
        assert len(table["head"]) == 5
    some = min(lake.rglob("trade/**/*.parquet"))
    [one] = answer("inspect", str(some), "--timezone", "UTC", cwd=configured)["tables"]
    assert one["rows"] == pl.read_parquet(some).height
    assert one["first"].endswith("+00:00")
    [matched] = answer("inspect", "lake/quote/*/*/*.parquet", cwd=configured)["tables"]
    assert matched["rows"] == rows["quote"]
    told = edc("inspect", "lake", cwd=configured)
    assert told.returncode == 0
    assert f"{rows['trade']:,} in " in told.stdout


def test_inspect_names_a_damaged_file_and_still_reads_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "lake/trade/date=2026-02-13"
    folder.mkdir(parents=True)
    (folder / "bad.parquet").write_bytes(b"PAR1 nonsense PAR1")
    pl.DataFrame({"other": [1]}).write_parquet(folder / "foreign.parquet")
    done = edc("inspect", "lake", "--json", cwd=tmp_path)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert list(found["unreadable"]) == ["lake/trade/date=2026-02-13/bad.parquet"]
    assert found["foreign"] == ["lake/trade/date=2026-02-13/foreign.parquet"]


# How a run ends.


def test_a_bad_key_is_exit_2_with_its_mend(configured: Path) -> None:
    done = edc("run", cwd=configured, TIINGO_API_KEY="not-the-key")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert (
        "feed crypto stopped: Tiingo refused (401): Invalid token.; "
        "check the API key (TIINGO_API_KEY) and the plan it belongs to"
    ) in done.stderr
    assert "not-the-key" not in done.stderr


def test_a_feed_that_is_refused_does_not_stop_another(
    simulator: harness.SimulatorProcess, tmp_path: Path
) -> None:
    feeds = harness.CRYPTO + REFUSED
    harness.write_config(tmp_path, simulator.url, simulator.rest_url, feeds=feeds)
    process = harness.Process("run", cwd=tmp_path)
    process.wait_for("set threshold_level to one that your plan includes")
    states = {feed["feed"]: feed["state"] for feed in answer("status", cwd=tmp_path)["feeds"]}
    assert states["refused"] == "failed"
    assert process.process.poll() is None
    while not answer("flush", cwd=tmp_path)["trade"]["rows"]:
        assert process.process.poll() is None
    process.process.terminate()
    assert process.wait() == 0
    assert "feed refused stopped: Tiingo refused (400): " in process.output


def test_once_polls_each_feed_once(configured: Path) -> None:
    path = configured / "config.toml"
    path.write_text(path.read_text() + POLLED)
    done = edc("run", "--once", "--feeds", "stocks_poll", cwd=configured)
    assert done.returncode == 0, done.stderr
    assert harness.read(configured / "lake", "trade").sort("symbol")["symbol"].to_list() == [
        "aapl",
        "spy",
    ]


async def test_once_tells_a_failed_poll_by_its_exit_code(tmp_path: Path) -> None:
    faults = Faults()
    faults.answers.append((503, "text/plain", "Service Unavailable"))
    async with harness.serving(TiingoSimulator(key=harness.KEY, faults=faults)) as vendor:
        harness.write_config(tmp_path, vendor.url, vendor.rest_url, feeds=POLLED)
        done = await asyncio.to_thread(edc, "run", "--once", cwd=tmp_path)
    assert done.returncode == 1
    assert "Tiingo answered 503: Service Unavailable" in done.stderr


# The demo and what a run prints.


def demo_rows(folder: Path) -> pl.DataFrame:
    """Vendor and source of every row that a demo left in its own lake."""
    return pl.concat(
        harness.read(folder / "data-demo", kind).select("vendor", "source")
        for kind in ("trade", "quote", "ref_px")
    )


def test_the_demo_needs_no_config_and_no_key(tmp_path: Path) -> None:
    done = edc("run", "--demo", "--duration", "2s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data-demo"}
    rows = demo_rows(tmp_path)
    assert rows["vendor"].unique().to_list() == ["tiingo_sim"]
    assert set(rows["source"]) == {"tiingo_sim_iex", "tiingo_sim_fx", "tiingo_sim_crypto"}


def test_the_demo_stays_out_of_the_real_lake_and_off_the_real_vendor(configured: Path) -> None:
    done = edc("run", "--demo", "--duration", "1s", cwd=configured, TIINGO_API_KEY="real-key")
    assert done.returncode == 0, done.stderr
    assert not (configured / "lake").exists()
    assert harness.read(configured / "lake-demo", "trade")["vendor"].unique().to_list() == [
        "tiingo_sim"
    ]


@pytest.mark.parametrize("vendor", simulators.names())
def test_the_demo_shows_any_vendor_that_has_a_simulator(vendor: str, tmp_path: Path) -> None:
    done = edc("run", "--demo", "--vendor", vendor, "--duration", "1s", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    rows = [
        harness.read(tmp_path / "data-demo", kind)["vendor"].unique().to_list()
        for kind in ("trade", "quote", "ref_px")
        if (tmp_path / "data-demo" / kind).exists()
    ]
    assert {name for names in rows for name in names} == {f"{vendor}_sim"}


def test_a_vendor_that_cannot_be_simulated_is_named(tmp_path: Path) -> None:
    unknown = edc("run", "--demo", "--vendor", "bloomberg", cwd=tmp_path)
    without = edc("run", "--vendor", "binance", cwd=tmp_path)

    assert unknown.returncode == without.returncode == 2
    assert "'bloomberg' cannot be simulated; vendors are alpaca, " in unknown.stderr
    assert without.stderr == "edc: --vendor: simulates a vendor; use it with --demo\n"


def test_the_demo_finds_a_place_beside_the_current_folder(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    done = edc("run", "--demo", "--duration", "500ms", cwd=folder, EDC_STORAGE__PATH=".")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"here", "here-demo"}


def test_every_line_of_the_json_log_is_an_object(configured: Path) -> None:
    feeds = (configured / "config.toml").read_text() + REFUSED
    (configured / "config.toml").write_text(feeds)
    done = edc("run", "--log-format", "json", "--duration", "1s", cwd=configured)
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"ts", "level", "event", "logger"} <= set.intersection(*(set(line) for line in lines))
    [refused] = [line for line in lines if line["level"] == "error"]
    assert (refused["feed"], refused["vendor"]) == ("refused", "tiingo")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}\+00:00", refused["ts"])


def test_the_text_log_is_one_line_a_record(configured: Path) -> None:
    done = edc("run", "--duration", "500ms", cwd=configured)
    assert done.returncode == 0
    for line in done.stderr.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING|ERROR) +\S", line)
    assert "\x1b" not in done.stderr + done.stdout


class Terminal:
    """A command on a terminal of 40 lines and 120 columns; `output` is all it wrote."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        unset = {"NO_COLOR", "FORCE_COLOR", "CI"}
        env = {name: value for name, value in os.environ.items() if name not in unset}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edc", *arguments],
            cwd=cwd,
            env={**env, "TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.output = ""

    def read_until(self, *texts: str, within: float = 30.0) -> None:
        """Read until all `texts` were written; without any, until the command has ended."""
        end = time.monotonic() + within
        while not texts or not all(text in self.output for text in texts):
            assert time.monotonic() < end, self.output
            if not select.select([self._ours], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._ours, 65_536)
            except OSError:  # what Linux says when the other side is closed
                data = b""
            if not data:
                assert not texts, self.output
                break
            self.output += data.decode(errors="replace")

    def wait(self) -> int:
        """Read to the end; the exit code."""
        self.read_until()
        os.close(self._ours)
        return self.process.wait(30)


HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def test_a_terminal_shows_the_live_view_and_gets_its_cursor_back(tmp_path: Path) -> None:
    terminal = Terminal("run", "--demo", cwd=tmp_path)
    try:
        terminal.read_until(
            "stocks", "crypto", "tiingo_sim_fx", "live", "queued", "/ 65,536", "instance main"
        )
        assert HIDE in terminal.output
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait() == 0
    finally:
        terminal.process.kill()
    assert "SIGINT received" in terminal.output
    assert "stopped; the lake is data-demo" in terminal.output
    assert "Traceback" not in terminal.output
    assert terminal.output.rfind(SHOW) > terminal.output.rfind(HIDE)
    assert demo_rows(tmp_path).height > 0


def test_json_logs_stay_json_on_a_terminal(tmp_path: Path) -> None:
    terminal = Terminal(
        "run", "--demo", "--log-format", "json", "--duration", "500ms", cwd=tmp_path
    )
    try:
        assert terminal.wait() == 0
    finally:
        terminal.process.kill()
    for line in terminal.output.splitlines():
        json.loads(line)


def test_a_config_error_on_a_terminal_leaves_the_cursor_alone(tmp_path: Path) -> None:
    terminal = Terminal("run", cwd=tmp_path)
    try:
        assert terminal.wait() == 2
    finally:
        terminal.process.kill()
    assert "edc: config.toml: there is no such file" in terminal.output
    assert HIDE not in terminal.output
