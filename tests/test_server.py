"""The HTTP server: metrics, health, and clients that do not behave."""

import asyncio
import contextlib
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from edc import server
from edc.errors import ConfigError
from edc.server import HttpServer
from edc.simulator.tiingo import Faults, TiingoSimulator
from edc.supervisor import Supervisor
from tests import harness

PLAIN = {  # name of the family: its labels
    "edc_alerts": {"event", "outcome"},
    "edc_build_info": {"version", "python", "polars"},
    "edc_feed_market_open": {"feed", "vendor"},
    "edc_feed_connected_timestamp_seconds": {"feed", "vendor"},
    "edc_feed_clock_skew_seconds": {"feed", "vendor"},
    "edc_feed_latency_seconds": {"feed", "vendor", "stage"},
    "edc_feed_repeated_events": {"feed", "vendor"},
    "edc_feed_gaps": {"feed", "vendor", "reason"},
    "edc_spool_write_seconds": {"event_type"},
    "edc_spool_written_bytes": {"event_type"},
    "edc_spool_recovered_rows": {"event_type"},
    "edc_disk_free_bytes": set(),
    "edc_compaction_last_timestamp_seconds": set(),
    "edc_compaction_failed": set(),
    "edc_webhook_requests": {"feed", "code"},
    "edc_webhook_request_seconds": {"feed"},
    "edc_event_loop_lag_seconds": set(),
    "edc_log_messages": {"level"},
    "edc_config_last_reload_successful": set(),
    "edc_config_last_reload_success_timestamp_seconds": set(),
    "edc_spool_pending_chunks": {"event_type"},
    "edc_recovery_duration_seconds": {"event_type"},
    "edc_feed_up": {"feed", "vendor"},
    "edc_feed_last_event_timestamp_seconds": {"feed", "vendor"},
    "edc_feed_frames": {"feed", "vendor"},
    "edc_feed_received_bytes": {"feed", "vendor"},
    "edc_feed_connects": {"feed", "vendor"},
    "edc_feed_filled_events": {"feed", "vendor"},
    "edc_feed_refused_symbols": {"feed", "vendor"},
    "edc_feed_path_first_events": {"feed", "vendor", "path"},
    "edc_feed_path_behind_seconds": {"feed", "vendor", "path"},
    "edc_feed_disconnects": {"feed", "vendor", "reason"},
    "edc_feed_events": {"feed", "vendor", "event_type"},
    "edc_feed_skipped_frames": {"feed", "vendor", "reason"},
    "edc_queue_events": {"event_type"},
    "edc_queue_capacity_events": {"event_type"},
    "edc_queue_dropped_events": {"event_type"},
    "edc_spool_chunks": {"event_type"},
    "edc_spool_rows": {"event_type"},
    "edc_spool_errors": {"event_type"},
    "edc_spool_pending_rows": {"event_type"},
    "edc_sink_rows": {"event_type"},
    "edc_sink_duplicate_rows": {"event_type"},
    "edc_sink_files": {"event_type"},
    "edc_sink_written_bytes": {"event_type"},
    "edc_sink_flush_seconds": {"event_type"},
    "edc_sink_errors": {"event_type"},
    "edc_sink_last_success_timestamp_seconds": {"event_type"},
    "edc_degraded": {"event_type", "stage"},
}


class One(Collector):
    """A collector with one metric."""

    def collect(self) -> Iterator[Metric]:
        """The metric."""
        yield GaugeMetricFamily("edc_one", "One.", 1.0)


@asynccontextmanager
async def serving(
    listen: str = "127.0.0.1:0", checks: dict[str, bool] | None = None
) -> AsyncIterator[HttpServer]:
    """A server alone while inside; `checks` is what it asks for readiness."""
    http = HttpServer(listen, One(), lambda: checks or {})
    await http.start()
    try:
        yield http
    finally:
        await http.stop()


@asynccontextmanager
async def daemon_and_client(
    folder: Path,
    simulator: TiingoSimulator,
    log: pytest.LogCaptureFixture,
    feeds: str = harness.CRYPTO,
) -> AsyncIterator[tuple[Supervisor, httpx.AsyncClient]]:
    """A running daemon with its HTTP server, and a client of it."""
    path = harness.write_config(folder, simulator.url, feeds=feeds)
    path.write_text(path.read_text().replace('listen = ""', 'listen = "127.0.0.1:0"'))
    daemon = harness.supervisor(path)
    said = re.compile(r"http://127\.0\.0\.1:\d+")
    with log.at_level(logging.INFO, "edc.server"):
        async with harness.running(daemon):
            await harness.until(lambda: said.search(log.text))
            found = said.search(log.text)
            assert found is not None
            async with httpx.AsyncClient(base_url=found[0]) as client:
                yield daemon, client


async def test_metrics_have_every_family_and_no_label_without_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        harness.serving(TiingoSimulator(key=harness.KEY, faults=Faults(cut_after=(5,)))) as sim,
        daemon_and_client(tmp_path, sim, caplog) as (daemon, client),
    ):
        await harness.until(lambda: harness.events_of(daemon) > 20)
        await daemon.flush()
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {name for name in families if name.startswith("edc_")} == set(PLAIN)
    for name, labels in PLAIN.items():
        assert families[name].documentation
        for sample in families[name].samples:
            assert set(sample.labels) - {"le"} == labels
    assert {"process_cpu_seconds", "process_resident_memory_bytes"} <= set(families)


async def test_metrics_count_what_the_daemon_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = TiingoSimulator(key=harness.KEY, events=40, rate=1000)
    async with (
        harness.serving(simulator),
        daemon_and_client(tmp_path, simulator, caplog) as (daemon, client),
    ):
        await harness.until(lambda: harness.events_of(daemon) == 40)
        await daemon.flush()
        answer = await client.get("/metrics")
    counted = {
        name: sum(
            sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == name
        )
        for name in ("edc_feed_events_total", "edc_spool_rows_total", "edc_sink_rows_total")
    }
    assert counted == dict.fromkeys(counted, 40.0)


async def test_ready_only_while_data_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mute = Faults(mute=True)
    async with (
        harness.serving(TiingoSimulator(key=harness.KEY, faults=mute)) as simulator,
        daemon_and_client(tmp_path, simulator, caplog) as (daemon, client),
    ):
        await harness.until(lambda: daemon.feeds[0].stats.frames)  # acknowledged, and no more
        before = await client.get("/readyz")
        assert before.status_code == 503
        assert before.json()["ready"] is False
        assert before.json()["checks"]["feed crypto"] is False
        mute.mute = False
        await harness.until(lambda: harness.events_of(daemon))
        after = await client.get("/readyz")
        assert after.status_code == 200
        assert after.json()["ready"] is True
        assert set(after.json()["checks"].values()) == {True}
        await simulator.stop()
        await harness.until(lambda: daemon.feeds[0].stats.state != "live")
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200


async def test_a_feed_that_is_not_required_does_not_keep_the_daemon_from_being_ready(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mute = Faults(mute=True)
    feeds = harness.CRYPTO.replace("symbols =", "required = false\nsymbols =")
    path = harness.write_config(tmp_path, "ws://127.0.0.1:1", feeds=feeds)
    assert not harness.supervisor(path).feeds[0].feed.required
    async with (
        harness.serving(TiingoSimulator(key=harness.KEY, faults=mute)) as simulator,
        daemon_and_client(tmp_path, simulator, caplog, feeds) as (daemon, client),
    ):
        await harness.until(lambda: daemon.feeds[0].stats.frames)
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert "feed crypto" not in answer.json()["checks"]


async def test_alive_is_an_event_loop_that_turns() -> None:
    async with serving() as http, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{http.port}/livez"
        alive = await client.get(url)
        assert (alive.status_code, alive.json()) == (200, {"alive": True})
        assert http._beating is not None
        http._beating.cancel()
        http._beat_at -= 60
        dead = await client.get(url)
        assert (dead.status_code, dead.json()) == (503, {"alive": False})


async def test_a_check_that_fails_is_named() -> None:
    async with (
        serving(checks={"feed a": True, "queue trade": False}) as http,
        httpx.AsyncClient() as client,
    ):
        answer = await client.get(f"http://127.0.0.1:{http.port}/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "checks": {"feed a": True, "queue trade": False}}


async def test_a_taken_port_is_the_operators_to_change() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError) as caught:
            async with serving(listen):
                pass
    assert str(caught.value).startswith(f"[server] listen: {listen} cannot be bound: ")
    assert str(caught.value).endswith('; choose another port, or "" for no server')


async def test_a_daemon_whose_port_is_taken_lets_the_instance_go(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = harness.write_config(tmp_path, "ws://127.0.0.1:1")
        listen = f'listen = "127.0.0.1:{taken.getsockname()[1]}"'
        path.write_text(path.read_text().replace('listen = ""', listen))
        daemon = harness.supervisor(path)
        with pytest.raises(ConfigError, match="cannot be bound"):
            await daemon.run()
    assert not (daemon.spool.folder / "control.sock").exists()
    daemon.spool.open()
    daemon.spool.close()


async def test_an_address_that_is_not_ours_is_the_operators_to_change() -> None:
    with pytest.raises(
        ConfigError, match=r"^\[server\] listen: nowhere\.invalid:0 cannot be bound"
    ):
        async with serving("nowhere.invalid:0"):
            pass


async def test_an_empty_address_serves_nothing() -> None:
    async with serving("") as http:
        assert http.port == 0


async def test_loopback_is_not_reached_from_another_address() -> None:
    async with serving() as http:
        _, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.close()
        with pytest.raises(ConnectionRefusedError):  # loopback too, but not what was bound
            await asyncio.open_connection("127.0.0.2", http.port)


async def test_an_ipv6_address_is_bound_in_brackets() -> None:
    try:
        with socket.socket(socket.AF_INET6) as some:
            some.bind(("::1", 0))
    except OSError:
        pytest.skip("there is no IPv6 loopback here")
    async with serving("[::1]:0") as http, httpx.AsyncClient() as client:
        assert (await client.get(f"http://[::1]:{http.port}/livez")).status_code == 200


async def trickle(port: int, line: bytes) -> bool:
    """Send `line` byte by byte, ten a second; True once the server has closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    closed = asyncio.create_task(reader.read())
    try:
        for number in range(len(line)):
            writer.write(line[number : number + 1])
            done, _ = await asyncio.wait([closed], timeout=0.1)
            if done:
                return True
    except ConnectionError:
        return True
    else:
        return False
    finally:
        closed.cancel()
        await asyncio.gather(closed, return_exceptions=True)
        writer.close()


@pytest.mark.parametrize(
    "line",
    [b"GET /metrics HTTP/1.1\r\nHost: " + b"x" * 1000, b"GET /" + b"x" * 1000, b"\r\n" * 500],
    ids=["headers", "request line", "empty lines"],
)
async def test_a_client_that_dribbles_is_cut_off(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_HEADERS_WITHIN", 0.4)
    async with serving() as http, asyncio.timeout(20):
        assert await trickle(http.port, line)


async def test_a_client_that_says_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEADERS_WITHIN", 0.2)
    async with serving() as http, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        assert await reader.read() == b""
        writer.close()


async def test_the_server_stops_while_a_client_holds_a_connection() -> None:
    async with asyncio.timeout(10):
        async with serving() as http:
            _, writer = await asyncio.open_connection("127.0.0.1", http.port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: ")
            await writer.drain()
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", 404),
        (b"POST /metrics HTTP/1.1", 405),
        (b"GET /../../etc/passwd HTTP/1.1", 404),
        (b"GET /metrics" + b"x" * 100_000 + b" HTTP/1.1", 400),
        (b"nonsense", 400),
    ],
    ids=["no page", "no such method", "a path upwards", "an endless line", "nonsense"],
)
async def test_an_odd_request_is_refused_and_the_next_is_served(
    request_line: bytes, status: int
) -> None:
    async with serving() as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            first = await reader.readline()
            assert int(first.split()[1]) == status
        writer.close()
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{http.port}/livez")
        assert json.loads(answer.text) == {"alive": True}
