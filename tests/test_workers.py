"""`edc run --workers N`: real processes, killed and stopped, against a simulator on loopback."""

import contextlib
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edc import control, watermarks
from edc.config import load
from edc.crew import Crew, Share
from edc.errors import ConfigError, NoDaemon
from edc.events import identity
from edc.family import dealt, member, members
from edc.plan import Feed, plan_feeds
from edc.watermarks import Watermark, Watermarks
from tests.harness import Process, SimulatorProcess, read, write_config

FEEDS = """
[feeds.one]
vendor = "tiingo"
channel = "crypto"
threshold_level = 2
symbols = { crypto = ["btcusd"] }

[feeds.two]
vendor = "tiingo"
channel = "crypto"
threshold_level = 2
symbols = { crypto = ["ethusd"] }

[feeds.three]
vendor = "tiingo"
channel = "fx"
threshold_level = 5
symbols = { fx = ["eurusd"] }
"""


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    made = SimulatorProcess(tmp_path, rate=200)
    yield made
    made.end()


@pytest.fixture
def config(tmp_path: Path, simulator: SimulatorProcess) -> Path:
    return write_config(tmp_path, simulator.url, simulator.rest_url, feeds=FEEDS)


class Daemon(Process):
    """`edc run --workers`, and what it answers."""

    def __init__(self, config: Path, *more: str, workers: int = 2) -> None:
        wanted = ("--workers", str(workers)) if workers else ()
        super().__init__("run", "--config", str(config), *wanted, *more, cwd=config.parent)
        self._socket = config.parent / "lake" / ".spool" / "main" / "control.sock"

    def ask(self, command: str) -> dict[str, Any]:
        return control.ask(self._socket, command)

    def until(
        self, true: Callable[[dict[str, Any]], object], within: float = 60.0
    ) -> dict[str, Any]:
        """Its status, once something holds for it."""
        end = time.monotonic() + within
        while True:
            with contextlib.suppress(NoDaemon):  # that of a killed one may still lie there
                status = self.ask("status")
                if true(status):
                    return status
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(self.output)
            time.sleep(0.05)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.wait(10)


def all_live(status: dict[str, Any]) -> bool:
    feeds = status["feeds"]
    return len(feeds) == 3 and all(feed["state"] == "live" for feed in feeds)


def events(status: dict[str, Any]) -> dict[str, int]:
    return {feed["feed"]: sum(feed["events"].values()) for feed in status["feeds"]}


def rows_of(lake: Path) -> dict[str, int]:
    """Rows by symbol; each of them there once."""
    tables = [read(lake, kind) for kind in ("trade", "quote")]
    for kind, table in zip(("trade", "quote"), tables, strict=True):
        if table.height:
            assert table.select(pl.struct(identity(kind)).is_duplicated().any()).item() is False
    counted = pl.concat([table.select("symbol") for table in tables if table.height])
    return dict(counted.group_by("symbol").len().rows())


def test_two_workers_are_one_daemon_to_whoever_asks(config: Path) -> None:
    config.write_text(config.read_text().replace('listen = ""', 'listen = "127.0.0.1:0"'))
    daemon = Daemon(config)
    try:
        status = daemon.until(all_live)
        assert [(worker["worker"], worker["state"]) for worker in status["workers"]] == [
            (1, "running"),
            (2, "running"),
        ]
        taken = [set(worker["feeds"]) for worker in status["workers"]]
        assert taken[0] | taken[1] == {"one", "two", "three"}
        assert not taken[0] & taken[1]
        pids = {worker["pid"] for worker in status["workers"]}
        assert len(pids | {daemon.process.pid}) == 3

        received = sum(events(status).values())
        flushed = daemon.ask("flush")
        assert sum(each["rows"] for each in flushed.values()) >= received * 0.9
        assert {Path(file).is_file() for each in flushed.values() for file in each["files"]} == {
            True
        }

        port = daemon.output.split("metrics and health on http://127.0.0.1:")[1].split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        for feed in ("one", "two", "three"):
            assert f'edc_feed_up{{feed="{feed}",vendor="tiingo"}} 1.0' in text
        assert text.count('edc_sink_rows_total{event_type="quote"}') == 1
        assert 'edc_worker_up{worker="2"} 1.0' in text
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
            checks = json.loads(answer.read())["checks"]
        assert checks["worker 1"]
        assert checks["feed three"]
    finally:
        code = daemon.stop()

    assert code == 0, daemon.output
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert set(rows_of(config.parent / "lake")) == {"btcusd", "ethusd", "eurusd"}
    names = {path.name for path in (config.parent / "lake" / ".spool").iterdir()}
    assert names == {"main", "main-w1", "main-w2"}
    assert not list((config.parent / "lake" / ".spool").rglob("*.arrow"))


def test_a_worker_that_is_killed_starts_again_and_says_what_it_missed(config: Path) -> None:
    daemon = Daemon(config)
    try:
        status = daemon.until(all_live)
        first, other = status["workers"]
        os.kill(first["pid"], signal.SIGKILL)
        daemon.until(lambda now: now["workers"][0]["restarts"] == 1)
        again = daemon.until(all_live)
        assert again["workers"][0]["pid"] not in (None, first["pid"])
        assert again["workers"][1]["pid"] == other["pid"]
        assert "worker 1 was ended by SIGKILL and is started again" in daemon.output
    finally:
        assert daemon.stop() == 0, daemon.output

    gaps = read(config.parent / "lake", "gap").filter(cause="killed")
    assert set(gaps["feed"]) == set(first["feeds"])
    rows_of(config.parent / "lake")


def test_workers_end_with_their_parent_and_nothing_they_had_is_lost(config: Path) -> None:
    daemon = Daemon(config)
    status = daemon.until(lambda now: all_live(now) and min(events(now).values()) > 5)
    received = events(status)
    pids = [worker["pid"] for worker in status["workers"]]
    daemon.kill()

    alone = Daemon(config, workers=0)  # waits for them, and takes what is left
    try:
        alone.until(all_live)
        end = time.monotonic() + 10  # they have let go of their spools, and are on their way out
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        assert alone.stop() == 0, alone.output
    rows = rows_of(config.parent / "lake")
    assert rows["btcusd"] >= received["one"]
    assert rows["ethusd"] >= received["two"]
    assert rows["eurusd"] >= received["three"]
    # a worker that ended in order leaves `stopped`, and whoever records its feeds now tells it
    gaps = read(config.parent / "lake", "gap").filter(cause="stopped")
    assert set(gaps["feed"]) == {"one", "two", "three"}, (gaps, alone.output)


def test_fewer_workers_take_over_the_spools_of_more(config: Path) -> None:
    config.write_text(config.read_text().replace("[spool]", '[batch]\nmax_age = "1h"\n[spool]'))
    daemon = Daemon(config, workers=3)
    status = daemon.until(lambda now: all_live(now) and min(events(now).values()) > 5)
    received = events(status)
    for worker in status["workers"]:
        os.kill(worker["pid"], signal.SIGSTOP)  # so that none ends in order
    daemon.kill()
    for worker in status["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
    spool = config.parent / "lake" / ".spool"
    assert list((spool / "main-w3").rglob("*.arrow"))

    fewer = Daemon(config, workers=2)
    try:
        fewer.until(all_live)
        assert "recovering the spool of main-w3, which runs no more" in fewer.output
    finally:
        assert fewer.stop() == 0, fewer.output

    assert not list(spool.rglob("*.arrow"))
    rows = rows_of(config.parent / "lake")
    assert rows["btcusd"] >= received["one"] * 0.5  # but for the last interval
    gaps = read(config.parent / "lake", "gap").filter(cause="killed")
    assert set(gaps["feed"]) == {"one", "two", "three"}


def test_a_flush_without_a_daemon_recovers_the_spools_of_workers(config: Path) -> None:
    daemon = Daemon(config)
    status = daemon.until(lambda now: all_live(now) and min(events(now).values()) > 5)
    for worker in status["workers"]:
        os.kill(worker["pid"], signal.SIGSTOP)
    daemon.kill()
    for worker in status["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)

    flush = Process("flush", "--config", str(config), "--json", cwd=config.parent)

    assert flush.wait(60) == 0, flush.output
    assert json.loads(flush.output)["quote"]["rows"] > 0
    assert not list((config.parent / "lake" / ".spool").rglob("*.arrow"))


def test_a_worker_whose_feeds_are_all_refused_is_not_tried_again(tmp_path: Path) -> None:
    simulator = SimulatorProcess(tmp_path, rate=50)
    config = write_config(tmp_path, simulator.url, simulator.rest_url, feeds=FEEDS)
    config.write_text(config.read_text().replace("canary-key-5f2a", "another-key-1111"))
    daemon = Daemon(config)

    assert daemon.wait(60) == ConfigError.exit_code, daemon.output
    assert "started again" not in daemon.output
    simulator.end()


def test_a_second_daemon_of_the_instance_is_refused(config: Path) -> None:
    daemon = Daemon(config)
    try:
        daemon.until(all_live)
        second = Process("run", "--config", str(config), "--workers", "2", cwd=config.parent)
        assert second.wait(20) == 75  # and waits for no worker
        assert all_live(daemon.ask("status"))
    finally:
        assert daemon.stop() == 0


def test_feeds_are_dealt_by_their_symbols_and_stay_where_they_are(tmp_path: Path) -> None:
    config = write_config(tmp_path, "ws://127.0.0.1:1", feeds=FEEDS)
    some = plan_feeds(load(config), config)[0]

    def feed(name: str, weight: int) -> Feed:
        return replace(some, name=name, weight=weight)

    feeds = [feed("a", 10), feed("b", 6), feed("c", 5), feed("d", 1)]

    takers = dealt(feeds, 2)

    assert takers == {"a": 1, "b": 2, "c": 2, "d": 1}
    assert dealt([*feeds[1:], feed("e", 9)], 2, takers) == {"b": 2, "c": 2, "d": 1, "e": 1}
    assert dealt(feeds, 1) == dict.fromkeys("abcd", 1)


def test_names_of_members_are_those_of_workers_only(tmp_path: Path) -> None:
    for name in ("main", "main-w1", "main-w10", "main-w2", "main-west", "main-w01", "other-w1"):
        (tmp_path / ".spool" / name).mkdir(parents=True)

    assert members(tmp_path, "main") == {1: "main-w1", 2: "main-w2", 10: "main-w10"}
    assert member("main", 2) == "main-w2"


def test_watermarks_follow_their_feed_to_another_instance(tmp_path: Path) -> None:
    folders = [tmp_path / ".spool" / name for name in ("main", "main-w1")]
    for folder in folders:
        folder.mkdir(parents=True)
    main, worker = (Watermarks(tmp_path, folder) for folder in folders)
    old, late = Watermark("v", "s", 5), Watermark("v", "s", 9, "stopped")
    main.begin({"a": old, "b": late})
    worker.begin({"a": late, "b": old, "c": late})

    watermarks.adopt(folders[0], [folders[1]], {"a", "b"})

    main, worker = (Watermarks(tmp_path, folder) for folder in folders)  # of the next run
    fresh = Watermark("v", "s", 100)
    assert main.begin({"a": fresh, "b": fresh}) == {"a": late, "b": late}
    assert worker.begin({"a": fresh, "c": fresh}) == {"a": fresh, "c": late}


def test_a_share_is_written_for_its_worker(tmp_path: Path) -> None:
    crew = Crew(tmp_path, "main", 2, [])
    crew.deal({"a": 1, "b": 2, "c": 1})

    share = Share.read(tmp_path / ".spool" / "main-w1" / "share.json")
    assert (share.parent, share.feeds) == (os.getpid(), ("a", "c"))
    with pytest.raises(ConfigError, match="is no worker's share"):
        Share.read(tmp_path / "nothing")


@pytest.mark.parametrize("more", [["--demo"], ["--role", "collect"]])
def test_what_has_no_workers_says_so(tmp_path: Path, more: list[str]) -> None:
    config = write_config(tmp_path, "ws://127.0.0.1:1", feeds=FEEDS)
    daemon = Daemon(config, *more)

    assert daemon.wait(90) == ConfigError.exit_code
    assert "is one process" in daemon.output


def test_the_number_of_workers_may_stand_in_the_config(config: Path) -> None:
    config.write_text(config.read_text() + "\n[workers]\ncount = 2\n")
    settings = load(config)
    assert settings.workers.count == 2
    assert [each.weight for each in plan_feeds(settings, config)] == [1, 1, 1]
    daemon = Daemon(config, workers=0)
    try:
        assert len(daemon.until(all_live)["workers"]) == 2
    finally:
        assert daemon.stop() == 0
