"""`edc init` as a new user meets it: flags, questions, keys, and files that are there already."""

import os
import pty
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edc import adapters, demo
from edc.cli import beginning
from tests.test_cli import edc


def init(*arguments: str, cwd: Path, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "edc", "init", *arguments],
        input=given,
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        env={**os.environ, "COLUMNS": "400"},
    )


def test_flags_make_a_file_that_check_accepts(tmp_path: Path) -> None:
    done = init(
        *("--vendor", "binance", "--channel", "spot", "--symbols", "crypto=BTC-USDT,ethusdt"),
        *("--path", "lake", "--timezone", "UTC"),
        cwd=tmp_path,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "config.toml is written: it records binance spot into lake",
        "next:  edc check --online",
        "       edc run",
    ]
    written = tomllib.loads((tmp_path / "config.toml").read_text())
    assert written["storage"] == {"path": "lake", "timezone": "UTC"}
    assert written["feeds"]["binance_spot"]["symbols"] == {"crypto": ["BTC-USDT", "ethusdt"]}
    checked = edc("check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("vendor", demo.vendors())
def test_every_vendor_that_can_be_shown_can_be_begun_with(vendor: str) -> None:
    offered = adapters.load(vendor)
    for sample in demo.samples(vendor).values():
        listed = [f"{kind}={','.join(some)}" for kind, some in sample["symbols"].items()]
        section = beginning._section(vendor, offered, sample["channel"], listed)
        text = beginning._text("data", "UTC", vendor, section)
        beginning._check(text, beginning._variables(vendor, offered))
        (feed,) = tomllib.loads(text)["feeds"].values()
        assert feed["symbols"] == {kind: list(some) for kind, some in sample["symbols"].items()}


def test_a_key_goes_to_a_file_of_its_owner_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OTHER=1\n")
    (tmp_path / ".env").chmod(0o644)
    flags = ("--vendor", "alpaca", "--channel", "iex", "--symbols", "stock=aapl", "--with-key")

    done = init(*flags, cwd=tmp_path, given="canary-key\ncanary-secret\n")

    assert done.returncode == 0, done.stderr
    env = tmp_path / ".env"
    assert env.read_text() == (
        "OTHER=1\nALPACA_API_KEY='canary-key'\nALPACA_API_SECRET='canary-secret'\n"
    )
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert "canary" not in done.stdout + done.stderr + (tmp_path / "config.toml").read_text()
    assert edc("check", cwd=tmp_path).returncode == 0


def test_without_a_key_it_says_where_to_put_it(tmp_path: Path) -> None:
    done = init("--vendor", "tiingo", "--channel", "fx", "--symbols", "fx=eurusd", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "TIINGO_API_KEY=…" in done.stdout
    assert "chmod 600" in done.stdout
    assert not (tmp_path / ".env").exists()


def test_nothing_is_written_over_unless_it_is_forced(tmp_path: Path) -> None:
    flags = ("--vendor", "tiingo", "--channel", "fx", "--symbols", "fx=eurusd")
    (tmp_path / "config.toml").write_text("mine")
    done = init(*flags, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "edc: config.toml: exists already; --force writes over it\n"
    assert (tmp_path / "config.toml").read_text() == "mine"

    (tmp_path / "config.toml").unlink()
    (tmp_path / ".env").write_text("TIINGO_API_KEY=mine\n")
    done = init(*flags, "--with-key", cwd=tmp_path, given="new\n")
    assert done.returncode == 2
    assert "has TIINGO_API_KEY already" in done.stderr
    assert not (tmp_path / "config.toml").exists()

    assert init(*flags, "--with-key", "--force", cwd=tmp_path, given="new\n").returncode == 0
    assert (tmp_path / ".env").read_text() == "TIINGO_API_KEY='new'\n"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--vendor: is missing; name it, or run edc init on a terminal"),
        (["--vendor", "binanse"], "there is no vendor 'binanse'; did you mean 'binance'?"),
        (["--vendor", "binance", "--channel", "spt"], "no channel 'spt'; did you mean 'spot'?"),
        (
            ["--vendor", "tiingo", "--channel", "iex", "--symbols", "aapl"],
            "--symbols: 'aapl' does not say of what; write \"stock=aapl\"",
        ),
        (
            ["--vendor", "binance", "--channel", "spot", "--symbols", "stock=aapl"],
            "[feeds.binance_spot] symbols: 'stock' is not an asset type of this channel",
        ),
        (
            [
                *("--vendor", "binance", "--channel", "spot", "--symbols", "crypto=btcusdt"),
                *("--timezone", "Mars"),
            ],
            "--timezone: 'Mars' is no time zone",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(
    flags: list[str], said: str, tmp_path: Path
) -> None:
    done = init(*flags, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "config.toml").exists()


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edc", "init"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=tmp_path,
    )
    os.close(follower)
    shown = b""
    answers = iter(["kraken", "", "crypto=btcusd", "lake", ""])
    for question in (b"vendor", b"channel", b"symbols", b"folder of the lake", b"time zone"):
        while question not in shown.rpartition(b"\n")[2]:
            shown += os.read(leader, 4096)
        os.write(leader, f"{next(answers)}\n".encode())
    while True:
        try:
            data = os.read(leader, 4096)
        except OSError:  # how a pseudo-terminal says that nobody writes to it any more
            break
        shown += data
    os.close(leader)
    assert process.wait(30) == 0, shown
    written = tomllib.loads((tmp_path / "config.toml").read_text())
    assert written["storage"]["path"] == "lake"
    assert written["feeds"]["kraken_spot"]["symbols"] == {"crypto": ["btcusd"]}
