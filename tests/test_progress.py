"""Long work as it goes on: a bar for a terminal, lines elsewhere, nothing into an answer."""

import contextlib
import io
import json
import os
import pty
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from edc.cli import app
from edc.cli import progress as progress_module
from edc.cli.progress import progress
from edc.lake import Lake
from edc.sinks.parquet import ParquetSink
from tests.test_inspection import NEW_YORK, TIME, frame, trade

HOUR = 3_600_000_000_000


class Lines(io.StringIO):
    """A file that tells when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.said = threading.Event()

    def write(self, text: str) -> int:
        """As any file, and tell."""
        number = super().write(text)
        self.said.set()
        return number


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard error as a real pseudo-terminal; its other end, to read."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as file:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(progress_module, "err", Console(file=file, width=100, markup=False))
        yield master
    os.close(master)


def everything(terminal: int) -> str:
    """All that was written to it: a terminal gives a few kilobytes at a time."""
    os.set_blocking(terminal, False)
    shown = b""
    with contextlib.suppress(BlockingIOError):
        while some := os.read(terminal, 65_536):
            shown += some
    return shown.decode()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Standard error as a file, told of every few milliseconds."""
    file = Lines()
    monkeypatch.setattr(progress_module, "err", Console(file=file, width=100, markup=False))
    monkeypatch.setattr(progress_module, "EVERY", 0.005)
    return file


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake of three hours, each a partition."""
    sink = ParquetSink(Lake(tmp_path, NEW_YORK, "hour", "main", lambda: TIME))
    lake = Lake(tmp_path, NEW_YORK, "hour", "main", lambda: TIME)
    lake.claim()
    sink.write("trade", frame(*(trade(event_time=TIME + n * HOUR) for n in range(3))), "")
    return tmp_path


def test_a_terminal_gets_a_bar_that_vanishes(terminal: int) -> None:
    with progress("working") as told:
        told("[red]trade\x1b[2J", 2, 3)

    shown = everything(terminal)
    assert "working" in shown
    assert "2/3" in shown
    assert "[red]trade" in shown
    assert "\x1b[2J" not in shown
    assert shown.endswith(("\x1b[2K", "\x1b[?25h"))


def test_an_audit_draws_its_partitions_on_a_terminal(terminal: int, lake: Path) -> None:
    done = CliRunner().invoke(app, ["audit", "--path", str(lake)])

    assert done.exit_code == 0, done.output
    shown = os.read(terminal, 65_536).decode()
    assert "auditing" in shown
    assert "3/3" in shown
    assert "sound" in done.stdout
    assert "auditing" not in done.stdout


def test_an_answer_in_json_has_no_progress_beside_it(terminal: int, lake: Path) -> None:
    done = CliRunner().invoke(app, ["audit", "--path", str(lake), "--json"])

    os.set_blocking(terminal, False)
    with pytest.raises(BlockingIOError):
        os.read(terminal, 1)
    assert json.loads(done.stdout)["sound"]
    assert done.stderr == ""


def test_elsewhere_a_line_says_now_and_then_how_far_it_is(lines: Lines) -> None:
    with progress("auditing") as told:
        told("trade/date=2026-02-13", 1, 3)
        assert lines.said.wait(10)

    assert "edc: auditing: 1 of 3: trade/date=2026-02-13 (0 s)\n" in lines.getvalue()
    assert not [each for each in threading.enumerate() if each.name == "progress"]


def test_what_is_done_soon_says_nothing(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "EVERY", 600.0)
    with progress("auditing") as told:
        told("trade", 1, 3)

    assert lines.getvalue() == ""
