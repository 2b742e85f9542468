"""Under systemd: what the daemon tells it, and units that its own tools accept."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edc.service import Service
from tests.harness import Process, SimulatorProcess, write_config

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """What a service manager listens on: an abstract socket."""
    name = f"@edc-test-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(f"\0{name[1:]}")
        line.settimeout(40)
        yield line, name


def hear(line: socket.socket, wanted: str) -> list[str]:
    """What is said, up to a line that begins so."""
    said: list[str] = []
    end = time.monotonic() + 60  # signs of life come all the time
    while not any(each.startswith(wanted) for each in said):
        assert time.monotonic() < end, f"{wanted} is not in {said}"
        said += line.recv(4096).decode().splitlines()
    return said


def drain(line: socket.socket) -> None:
    """Take what was said before."""
    line.settimeout(0.1)
    with contextlib.suppress(TimeoutError):
        while True:
            line.recv(4096)


def test_what_the_daemon_tells_its_manager(
    tmp_path: Path, manager: tuple[socket.socket, str]
) -> None:
    """Ready when it records; alive while its loop turns, and no longer; reloading, then ready."""
    line, name = manager
    simulator = SimulatorProcess(tmp_path, rate=200)
    config = write_config(tmp_path, simulator.url, simulator.rest_url)
    told = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "400000"}
    daemon = Process("run", cwd=tmp_path, env=told)
    try:
        said = hear(line, "READY=1")
        assert said == ["READY=1"]
        assert (tmp_path / "lake/.spool/main/control.sock").exists()
        hear(line, "WATCHDOG=1")

        config.write_text(config.read_text() + '\n[batch]\nmax_age = "5s"\n')
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        daemon.process.send_signal(signal.SIGHUP)
        said = hear(line, "RELOADING=1")
        (moment,) = [each for each in said if each.startswith("MONOTONIC_USEC=")]
        assert before <= int(moment.partition("=")[2]) <= before + 30_000_000
        hear(line, "READY=1")

        daemon.process.send_signal(signal.SIGSTOP)  # a loop that does not turn
        time.sleep(0.3)
        drain(line)
        line.settimeout(1)
        with pytest.raises(TimeoutError):
            line.recv(4096)
        line.settimeout(40)
        daemon.process.send_signal(signal.SIGCONT)
        hear(line, "WATCHDOG=1")

        daemon.process.send_signal(signal.SIGTERM)
        hear(line, "STOPPING=1")
        assert daemon.wait() == 0
    finally:
        daemon.process.kill()
        simulator.end()


def test_its_status_is_a_sentence(tmp_path: Path, manager: tuple[socket.socket, str]) -> None:
    line, name = manager
    simulator = SimulatorProcess(tmp_path, rate=200)
    write_config(tmp_path, simulator.url, simulator.rest_url)
    daemon = Process("run", "--duration", "1s", cwd=tmp_path, env={"NOTIFY_SOCKET": name})
    try:
        (status,) = [each for each in hear(line, "STATUS=") if each.startswith("STATUS=")]
        assert re.fullmatch(
            r"STATUS=[01] of 1 feeds deliver, [\d,]+ events/s, [\d,]+ rows in the spool", status
        )
        hear(line, "STOPPING=1")
        assert daemon.wait() == 0
    finally:
        daemon.process.kill()
        simulator.end()


def units(folder: Path) -> dict[str, Path]:
    service = Service(
        Path("/usr/bin/env"), Path("/etc/edc/config.toml"), "daemon", ["tiingo_api_key"]
    )
    made = {}
    for name, text in service.units().items():
        made[name] = folder / name
        made[name].write_text(text)
    return made


@needs_systemd
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    paths = units(tmp_path)
    answer = subprocess.run(
        ["systemd-analyze", "verify", *map(str, paths.values())],
        capture_output=True,
        text=True,
        check=False,
    )

    ours = [line for line in answer.stderr.splitlines() if "edc" in line]
    assert ours == []
    assert answer.returncode == 0


@needs_systemd
@pytest.mark.parametrize("name", ["edc.service", "edc-audit.service"])
def test_it_is_exposed_no_more_than_it_has_to_be(name: str, tmp_path: Path) -> None:
    answer = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", str(units(tmp_path)[name])],
        capture_output=True,
        text=True,
        check=False,
    )

    found = re.search(r"Overall exposure level for .*: ([\d.]+)", answer.stdout)
    assert found, answer.stdout + answer.stderr
    assert float(found[1]) <= 1.5


def test_edc_service_writes_the_units_of_a_config(tmp_path: Path) -> None:
    config = write_config(tmp_path, "ws://127.0.0.1:9")
    text = config.read_text()
    config.write_text(re.sub(r'api_key = ".*"\n', "", text))
    command = [sys.executable, "-m", "edc", "service", "--config", str(config), "--user", "rec"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    subprocess.run([*command, "--into", str(tmp_path)], capture_output=True, check=True)
    daemon = (tmp_path / "edc.service").read_text()
    cron = subprocess.run([*command, "--cron"], capture_output=True, text=True, check=True)

    assert daemon in answer.stdout
    assert f"ExecStart={Path(sys.executable).parent}/edc run --config {config}\n" in daemon
    assert f"ExecReload={Path(sys.executable).parent}/edc reload --config {config}\n" in daemon
    assert "LoadCredential=tiingo_api_key:/etc/edc/tiingo_api_key\n" in daemon
    assert "User=rec\n" in daemon
    assert f"ReadWritePaths={tmp_path / 'lake'}\n" in daemon
    assert "edc run --config" in cron.stdout
    assert "edc flush --config" in cron.stdout
