"""`edc run --role`: what is refused and how, and both halves in one process over a real Redis."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from edc import config
from edc.bus.brokers import connect
from edc.bus.settings import BusSettings, address
from edc.errors import ConfigError
from edc.exposition import DaemonCollector
from edc.logs import redact
from edc.roles import BusEnd, Role
from edc.supervisor import Supervisor
from tests.brokers.servers import free_port, need
from tests.brokers.vendor import SYMBOLS, NumberedVendor, symbol_of
from tests.harness import FAST, Process, read, running, supervisor, until, write_config

SECRET = "canary-pass-77b1"


def bus(**values: object) -> BusSettings:
    return BusSettings.model_validate(values)


@pytest.mark.parametrize(
    ("url", "name", "path", "tls"),
    [
        ("redis://h", "redis://h:6379", "", False),
        ("rediss://h:1/3", "redis://h:1", "3", True),
        ("nats://a:1,b", "nats://a:1,b:4222", "", False),
        ("amqps://u:p%40w@h/v%2Fhost", "amqp://h:5671", "v/host", True),
        ("kafka://[::1]:9,h:8", "kafka://::1:9,h:8", "", False),
    ],
)
def test_a_url_says_where_the_broker_is(url: str, name: str, path: str, tls: bool) -> None:  # noqa: FBT001 - a row
    found = address(bus(url=url))
    assert (found.name, found.path, found.tls) == (name, path, tls)


@pytest.mark.parametrize("url", ["", "redis", "redis://", "http://h", "mqtt://h", "redis://h:x"])
def test_a_url_that_is_none_is_refused_with_examples(url: str) -> None:
    with pytest.raises(ConfigError, match=r'\[bus\] url: .*write one like "redis://127'):
        address(bus(url=url))


def test_the_password_comes_from_the_first_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bus_password").write_text("of the credential\n")
    (tmp_path / "file").write_text("of the file\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    file = str(tmp_path / "file")
    found = [
        address(bus(url="redis://u:of-the-url@h", password="of the key")).password,
        address(bus(url="redis://h", password="of the key", password_file=file)).password,
        address(bus(url="redis://h", password_file=file)).password,
        address(bus(url="redis://h")).password,
    ]
    assert found == ["of-the-url", "of the key", "of the file", "of the credential"]


def test_a_password_is_shown_nowhere() -> None:
    settings = bus(url=f"redis://edc:{SECRET}@h")
    assert SECRET not in f"{settings!r}{address(settings).name}"
    assert redact(f"refused: {SECRET}") == "refused: ***"


def test_a_password_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="gone cannot be read: No such file"):
        address(bus(url="redis://h", password_file="gone"))


def test_a_library_that_is_missing_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for scheme, module, ours in (
        ("redis", "redis.asyncio", "redis"),
        ("nats", "nats", "nats"),
        ("amqp", "aio_pika", "rabbitmq"),
        ("kafka", "aiokafka", "kafka"),
    ):
        monkeypatch.delitem(sys.modules, f"edc.bus.{ours}", raising=False)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=rf"pip install 'edc\[{scheme}\]'"):
            connect(bus(url=f"{scheme}://h"), "one")


def test_a_role_without_a_bus_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = write_config(tmp_path, "ws://127.0.0.1:1")
    for role in Role:
        process = Process("run", "--role", role, "--config", str(path), cwd=tmp_path)
        assert process.wait() == 2
        assert f"[bus]: --role {role} needs a broker and url names none; write url" in (
            " ".join(process.output.split())
        )


def test_an_option_that_the_client_does_not_have_is_refused() -> None:
    kafka = connect(bus(url=f"kafka://127.0.0.1:{free_port()}", options={"acs": 1}), "one")
    with pytest.raises(ConfigError, match="aiokafka has no option 'acs'"):
        asyncio.run(kafka.open())


def both(tmp_path: Path, url: str, vendor: str) -> tuple[Supervisor, Supervisor]:
    """A collector and a store, not yet running."""
    symbols = ", ".join(f'"{symbol_of("a", number)}"' for number in range(SYMBOLS))
    feeds = f"""
[feeds.crypto]
vendor = "tiingo"
channel = "crypto"
threshold_level = 5
symbols = {{ crypto = [{symbols}] }}
"""
    more = f'[batch]\nmax_age = "200ms"\n[bus]\nurl = "{url}"\npartitions = 1\n'
    daemons = []
    for role in Role:
        folder = tmp_path / role
        folder.mkdir()
        path = write_config(folder, f"{vendor}/a", feeds=feeds, more=more)
        if role is Role.COLLECT:
            daemons.append(supervisor(path, role=role))
        else:
            daemons.append(Supervisor(config.load(path), [], times=FAST, role=role))
    return daemons[0], daemons[1]


async def test_what_is_collected_is_stored_and_both_say_so(tmp_path: Path) -> None:
    vendor = NumberedVendor(2000, 20_000)
    await vendor.start()
    with need("redis")(tmp_path) as broker:
        collector, store = both(tmp_path, broker.url, vendor.url)
        async with running(store), running(collector):
            end, beginning = store.bus, collector.bus
            assert end is not None
            assert beginning is not None
            await until(lambda: end.stats.of("trade").rows == 2000)
            await until(lambda: end.stats.of("trade").lag == 0)
            said = store.status()["bus"]
            assert isinstance(said, dict)
            assert (said["bus"], said["role"], said["problem"]) == (broker.url, "store", "")
            assert said["topics"]["trade"]["consumed"] == beginning.stats.of("trade").published
            assert json.dumps(collector.status()["bus"])
            assert _metrics(store, end)["edc_bus_consumed_messages_total", "trade"] > 0
            assert _metrics(store, end)["edc_bus_lag_messages", "trade"] == 0
            assert _metrics(collector, beginning)["edc_bus_up", "collect"] == 1
        assert read(tmp_path / "store" / "lake", "trade").height == 2000
        assert not list((tmp_path / "collect" / "lake").rglob("*.parquet"))
    await vendor.stop()


def _metrics(daemon: Supervisor, end: BusEnd) -> dict[tuple[str, str], float]:
    collector = DaemonCollector(list, daemon.queues, {}, end.stats)
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


async def test_a_collector_without_its_broker_spools_and_a_later_one_publishes(
    tmp_path: Path,
) -> None:
    vendor = NumberedVendor(1000, 20_000)
    await vendor.start()
    broker = need("redis")(tmp_path)
    collector, _ = both(tmp_path, broker.url, vendor.url)
    async with running(collector):
        await until(lambda: collector.lanes["trade"].stats.rows_spooled == 1000)
        assert collector.bus is not None
        assert "127.0.0.1" in collector.bus.stats.problem
    assert collector.lanes["trade"].stats.rows_pending == 1000
    await vendor.stop()
    path = tmp_path / "collect" / "config.toml"
    flushing = Process("flush", "--config", str(path), cwd=tmp_path)
    assert await asyncio.to_thread(flushing.wait) == 2
    assert "these rows go to the bus, and no collector is running" in (
        " ".join(flushing.output.split())
    )
    with broker:
        later = supervisor(path, role=Role.COLLECT)
        async with running(later):
            await until(lambda: later.lanes["trade"].stats.rows_written == 1000)
        assert later.lanes["trade"].stats.rows_pending == 0
