"""A daemon under test, in this process or in one of its own, against a simulator on loopback."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl
from aiohttp import web

from edc import config
from edc.feeds import Times
from edc.plan import plan_feeds
from edc.simulator.tiingo import TiingoSimulator
from edc.supervisor import Outcome, Supervisor
from edc.transport.sockets import Timing

KEY = "canary-key-5f2a"
"""The API key of every test; it must come out nowhere."""

FAST = Times(
    socket=Timing(ping_after=0.3, ping_timeout=10.0, tick=0.05, close_timeout=0.5),
    first_delay=0.02,
    longest_delay=0.1,
    ledger=0.05,
    history=0.1,
)
"""A daemon in a hurry, but for answers to its pings: on a busy machine they take their time."""

CRYPTO = """
[feeds.crypto]
vendor = "tiingo"
channel = "crypto"
threshold_level = 2
symbols = { crypto = ["btcusd", "ethusd"] }
"""

ALL_CHANNELS = (
    CRYPTO
    + """
[feeds.stocks]
vendor = "tiingo"
channel = "iex"
threshold_level = 0
symbols = { stock = ["aapl"], etf = ["spy"] }

[feeds.reference]
vendor = "tiingo"
channel = "iex"
threshold_level = 6
symbols = { stock = ["msft"] }

[feeds.fx]
vendor = "tiingo"
channel = "fx"
threshold_level = 5
symbols = { fx = ["eurusd", "gbpaud"] }
"""
)


def write_config(
    folder: Path, url: str, rest_url: str = "", *, feeds: str = CRYPTO, more: str = ""
) -> Path:
    """A config.toml in `folder`, its lake in `folder/lake`, with the test's key.

    The daemon compacts where `more` says so: otherwise it would begin at a moment that is drawn by
    lot, beside whatever a test does to the lake.
    """
    path = folder / "config.toml"
    if "[compact]" not in more:
        more += '\n[compact]\nevery = "never"\n'
    path.write_text(
        f"""
[storage]
path = "{folder / "lake"}"

[spool]
interval = "50ms"

[server]
listen = ""
{more}
[vendors.tiingo]
url = "{url}"
rest_url = "{rest_url or url.replace("ws://", "http://")}"
api_key = "{KEY}"
{feeds}
"""
    )
    return path


def supervisor(path: Path, *, times: Times = FAST, **options: Any) -> Supervisor:
    """The daemon of a config file, not yet running."""
    settings = config.load(path)
    return Supervisor(settings, plan_feeds(settings, path), times=times, **options)


@asynccontextmanager
async def running(daemon: Supervisor) -> AsyncIterator[asyncio.Task[Outcome]]:
    """The daemon running while inside, stopped in order on the way out."""
    task = asyncio.create_task(daemon.run())
    try:
        yield task
    finally:
        daemon.stop()
        await task


@asynccontextmanager
async def serving(simulator: TiingoSimulator) -> AsyncIterator[TiingoSimulator]:
    """The simulator listening while inside."""
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.stop()


async def until(condition: Callable[[], object], within: float = 60.0) -> None:
    """Wait for something that has no event to await."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for is another's state
            await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], object], within: float = 60.0) -> None:
    """Wait for what another process does, and tells nobody."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def events_of(daemon: Supervisor) -> int:
    """Events that the daemon has received."""
    return sum(runner.stats.event_count for runner in daemon.feeds)


async def until_events(daemon: Supervisor, number: int) -> None:
    """Wait until the daemon has received so many events."""
    await until(lambda: events_of(daemon) == number)


def read(folder: Path, event_type: str) -> pl.DataFrame:
    """All rows of a table, as any user of Polars would read them; empty if there is no file."""
    files = sorted((folder / event_type).rglob("*.parquet"))
    if not files:
        return pl.DataFrame()
    return pl.read_parquet(files, hive_partitioning=False)


class Script:
    """A websocket server that says exactly what a test wrote: one list of frames a connection.

    After its last frame a connection is dropped, or, for the last list, kept open. Each
    subscription it received is in `subscriptions`.
    """

    def __init__(self, *connections: Sequence[bytes]) -> None:
        self.connections = connections
        self.subscriptions: list[dict[str, Any]] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.get("/{channel:.*}", self._talk)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        self.subscriptions.append(json.loads((await socket.receive()).data))
        number = len(self.subscriptions)
        for frame in self.connections[min(number, len(self.connections)) - 1]:
            await socket.send_frame(frame, 1)  # type: ignore[arg-type]
        if number < len(self.connections):
            assert request.transport is not None
            request.transport.close()
        else:
            async for _ in socket:
                pass
        return socket


class Process:
    """A command in a process of its own; `output` is all it printed, both streams."""

    started: ClassVar[list["Process"]] = []
    """All that no test has ended with."""

    def __init__(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, module: str = "edc"
    ) -> None:
        self._log = (cwd / f"{module}-{time.monotonic_ns()}.log").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.started.append(self)

    @classmethod
    def end_since(cls, number: int) -> None:
        """Kill those that were started after so many: they would slow down what comes next."""
        for each in cls.started[number:]:
            each.process.kill()
            each.wait()
        del cls.started[number:]

    @property
    def output(self) -> str:
        """What was printed so far."""
        return Path(self._log.name).read_text()

    def wait(self, within: float = 60.0) -> int:
        """The exit code."""
        code = self.process.wait(within)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._log.close()
        return code

    def wait_for(self, text: str, within: float = 60.0, times: int = 1) -> None:
        """Return once `text` was printed that often."""
        end = time.monotonic() + within
        while self.output.count(text) < times:
            if time.monotonic() > end or self.process.poll() is not None:
                raise AssertionError(f"{text!r} is not in:\n{self.output}")
            time.sleep(0.02)


class SimulatorProcess(Process):
    """A simulator in a process of its own; `sent` is known once it has ended."""

    def __init__(self, cwd: Path, *, rate: float, events: int | None = None) -> None:
        limit = [] if events is None else ["--events", str(events)]
        super().__init__("--rate", str(rate), "--key", KEY, *limit, cwd=cwd, module="edc.simulator")
        self.wait_for("\n")
        urls = json.loads(self.output.splitlines()[0])
        self.url: str = urls["url"]
        self.rest_url: str = urls["rest_url"]

    def end(self) -> dict[str, int]:
        """Stop it; the events it sent, by service."""
        self.process.terminate()
        self.process.wait(30)
        sent: dict[str, int] = json.loads(self.output.splitlines()[-1])["sent"]
        self.wait()
        return sent
