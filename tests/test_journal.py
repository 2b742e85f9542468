"""The log of real processes: to the journal, to a terminal, to a pipe."""

import contextlib
import json
import logging
import os
import pty
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from edc.simulator.tiingo import Faults, TiingoSimulator
from tests import harness

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "

SPEAKS = """
import logging, sys
from edc import logs
logs.configure(
    sys.argv[1],
    lambda line: print(line, file=sys.stderr, flush=True),
    level="debug",
    journal=logs.is_journal(sys.stderr),
)
log = logging.getLogger("edc.feeds")
for number in range(25):
    log.warning("feed lost: %d", number, extra={"feed": "fx"})
for level in ("debug", "info", "error", "critical"):
    getattr(log, level)("this is %s", level)
try:
    raise ValueError("one\\ntwo")
except ValueError:
    log.exception("crashed")
"""
"""A process that says one thing 25 times, one of each level, and one with a traceback."""


def run(*command: str, stderr: int, cwd: Path, **env: str) -> None:
    """A Python process that succeeds, its log at `stderr`."""
    inherited = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**inherited, "FORCE_COLOR": "", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        timeout=60,
        check=True,
    )


def name_of(descriptor: int) -> str:
    """A file or socket, as JOURNAL_STREAM names it."""
    file = os.fstat(descriptor)
    return f"{file.st_dev}:{file.st_ino}"


def to_journal(folder: Path, *command: str) -> list[str]:
    """What a process sends to a socket that it must take for the journal's."""
    ours, its = socket.socketpair()
    with ours, its:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        its.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        run(*command, stderr=its.fileno(), cwd=folder, JOURNAL_STREAM=name_of(its.fileno()))
        its.close()
        return b"".join(iter(lambda: ours.recv(1 << 16), b"")).decode().splitlines()


def test_every_line_for_the_journal_begins_with_its_priority(tmp_path: Path) -> None:
    lines = to_journal(tmp_path, "-c", SPEAKS, "text")

    assert all(re.match(r"<[23467]>", line) for line in lines)
    assert lines[10:14] == [
        "<7>DEBUG   this is debug",
        "<6>INFO    this is info",
        "<3>ERROR   this is error",
        "<2>CRITICAL this is critical",
    ]
    crash = lines.index("<3>ERROR   crashed")
    assert lines[crash + 1] == "<3>    Traceback (most recent call last):"
    assert lines[-3:-1] == ["<3>    ValueError: one", "<3>    two"]
    assert not [line for line in lines if re.search(TIME, line)]


def test_a_count_that_is_held_back_is_told_at_the_end_of_the_process(tmp_path: Path) -> None:
    lines = to_journal(tmp_path, "-c", SPEAKS, "text")

    assert lines[:10] == [f"<4>WARNING feed lost: {number}  feed=fx" for number in range(10)]
    assert re.fullmatch(
        r"<4>WARNING feed lost: 24 … and 15 more like it in the last \d+ s  feed=fx", lines[-1]
    )
    assert sum("feed lost" in line for line in lines) == 11


def test_json_for_the_journal_has_a_priority_too(tmp_path: Path) -> None:
    lines = to_journal(tmp_path, "-c", SPEAKS, "json")

    assert lines
    levels = {"2": "critical", "3": "error", "4": "warning", "6": "info", "7": "debug"}
    for line in lines:
        mark, entry = re.fullmatch(r"<(\d)>(.*)", line).groups()  # type: ignore[union-attr]
        assert json.loads(entry)["level"] == levels[mark]


def test_the_daemon_writes_for_a_journal_that_is_a_file(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("wb") as file:
        run(
            *("-m", "edc", "run", "--demo", "--duration", "500ms"),
            stderr=file.fileno(),
            cwd=tmp_path,
            JOURNAL_STREAM=name_of(file.fileno()),
        )

    lines = (tmp_path / "journal").read_text().splitlines()
    assert any(line.startswith("<6>INFO    status page") for line in lines)
    assert all(re.match(r"<[346]>(INFO|WARNING|ERROR) +\S", line) for line in lines)


def test_a_terminal_is_not_the_journal_that_the_environment_names(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    try:
        with (tmp_path / "journal").open("wb") as journal:
            run(
                *("-m", "edc", "run", "--demo", "--duration", "500ms"),
                stderr=its,
                cwd=tmp_path,
                JOURNAL_STREAM=name_of(journal.fileno()),
            )
    finally:
        os.close(its)
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(ours, 1 << 16):
            said += part
    os.close(ours)

    lines = said.decode().splitlines()
    assert any("status page" in line for line in lines)
    assert all(re.match(TIME + r"(INFO|WARNING|ERROR) +\S", line) for line in lines)


@pytest.mark.parametrize("named", ["", "0:0", "nonsense"])
def test_a_pipe_has_lines_of_json_alone(named: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        run("-c", SPEAKS, "json", stderr=file.fileno(), cwd=tmp_path, JOURNAL_STREAM=named)

    entries = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    levels = Counter(entry["level"] for entry in entries)
    assert levels == {"warning": 11, "debug": 1, "info": 1, "error": 2, "critical": 1}
    assert entries[-1]["feed"] == "fx"
    assert "and 15 more like it" in entries[-1]["event"]


async def test_what_is_said_of_two_connections_has_two_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def lost() -> list[logging.LogRecord]:
        return [told for told in caplog.records if "next try in" in told.getMessage()]

    faults = Faults(cut_after=(5, 10))
    async with harness.serving(TiingoSimulator(key=harness.KEY, faults=faults)) as simulator:
        path = harness.write_config(tmp_path, simulator.url, simulator.rest_url)
        async with harness.running(harness.supervisor(path)):
            await harness.until(lambda: len(lost()) >= 2)

    one, two = (vars(told) for told in lost()[:2])
    assert (one["feed"], one["vendor"]) == (two["feed"], two["vendor"]) == ("crypto", "tiingo")
    assert 0 < one["epoch"] < two["epoch"]
