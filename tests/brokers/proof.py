"""Numbered events from collectors by a broker to stores, while everything in between is harmed.

Real processes: a vendor, two `edc run --role collect`, two `edc run --role store`, the broker.
Each collector speaks to the broker by a proxy of its own, which can go dead. What the lake holds in
the end is held to what was sent: every event once, and of one symbol never a later event in an
earlier file.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from edc import control
from edc.errors import NoDaemon
from tests.brokers.servers import Broker
from tests.brokers.vendor import SYMBOLS, symbol_of
from tests.harness import KEY, Process
from tests.torture.proxy import Proxy

_ROOT = Path(__file__).parents[2]

STORES = ("north", "south")
COLLECTORS = ("a", "b")


@dataclass(slots=True)
class Harm:
    """What is done meanwhile."""

    store_kills: int = 0
    broker_restarts: int = 0
    cut_seconds: float = 0.0
    under_way: int = 0
    """How many of the kills and restarts came while the vendor still sent."""


@dataclass(slots=True)
class Result:
    """What became of it. All but `sent` and `rows` should be 0."""

    broker: str
    sent: int
    rows: int = 0
    lost: int = 0
    twice: int = 0
    strange: int = 0
    out_of_order: int = 0
    lag: int = 0
    seconds: float = 0.0
    harm: Harm = field(default_factory=Harm)

    @property
    def true(self) -> bool:
        """Every event once, in order, and nothing left on the bus."""
        wrong = self.lost + self.twice + self.strange + self.out_of_order + self.lag
        return wrong == 0 and self.rows == self.sent


class Stage:
    """The processes of one proof, in `folder`; `options` are more lines for `[bus]`."""

    def __init__(
        self, folder: Path, broker: Broker, events: int, rate: int, options: str = ""
    ) -> None:
        self.folder, self.broker = folder, broker
        self._events, self._rate, self._options = events, rate, options
        self.lake = folder / "lake"
        self._vendor: Process | None = None
        self._running: dict[str, Process] = {}

    def begin(self) -> None:
        """Start the vendor."""
        arguments = ("--events", str(self._events), "--rate", str(self._rate))
        found = {"PYTHONPATH": str(_ROOT)}  # the tests are no part of what is installed
        self._vendor = Process(
            *arguments, cwd=self.folder, env=found, module="tests.brokers.vendor"
        )
        self._vendor.wait_for("\n")

    def collect(self, who: str, port: int) -> None:
        """Start a collector whose broker is at `port`."""
        assert self._vendor is not None
        url = json.loads(self._vendor.output.splitlines()[0])["url"] + f"/{who}"
        symbols = ", ".join(f'"{symbol_of(who, number)}"' for number in range(SYMBOLS))
        feed = f"""
[vendors.tiingo]
url = "{url}"
rest_url = "{url.replace("ws://", "http://")}"
api_key = "{KEY}"
[feeds.crypto]
vendor = "tiingo"
channel = "crypto"
threshold_level = 5
symbols = {{ crypto = [{symbols}] }}
"""
        storage = self.folder / f"collector-{who}"
        self._run("collect", who, self._config(who, storage, self.broker.url_at(port), feed))

    def store(self, who: str) -> None:
        """Start a store."""
        config = self._config(who, self.lake, self.broker.url, "")
        self._run("store", who, config)

    def _config(self, who: str, lake: Path, url: str, more: str) -> Path:
        path = self.folder / f"{who}.toml"
        path.write_text(
            f"""
[storage]
path = "{lake}"
instance = "{who}"
[batch]
max_age = "1s"
[compact]
every = "never"
[server]
listen = ""
[bus]
url = "{url}"
timeout = "3s"
{self._options}
{more}"""
        )
        return path

    def _run(self, role: str, who: str, config: Path) -> None:
        arguments = ("run", "--role", role, "--config", str(config), "--log-format", "json")
        self._running[who] = Process(*arguments, cwd=self.folder)

    def kill(self, who: str) -> None:
        """The store dies at once, and another of its name begins."""
        self._running[who].process.kill()
        self._running[who].wait()
        self.store(who)

    def check(self, who: str) -> None:
        """Raises AssertionError where a daemon has ended by itself."""
        running = self._running[who]
        assert running.process.poll() is None, running.output

    def delivered(self) -> bool:
        """True once the vendor has sent everything to everybody."""
        assert self._vendor is not None
        return self._vendor.output.count('"done"') >= len(COLLECTORS)

    def status(self, who: str) -> dict[str, object]:
        """What a daemon says of itself; nothing while it does not run."""
        lake = self.lake if who in STORES else self.folder / f"collector-{who}"
        try:
            return dict(control.ask(lake / ".spool" / who / "control.sock", "status", timeout=5))
        except (NoDaemon, OSError, TimeoutError, ValueError):
            return {}

    def topics(self, who: str, key: str) -> int:
        """The sum of a counter over the topics of a daemon; -1 where it is not known."""
        bus = self.status(who).get("bus")
        if not isinstance(bus, dict):
            return -1
        values = [topic[key] for topic in bus["topics"].values()]
        return -1 if not values or None in values else sum(values)

    def spooled(self, who: str) -> int:
        """Rows of a collector that the broker has not confirmed; -1 where it is not known."""
        tables = self.status(who).get("tables")
        if not isinstance(tables, dict):
            return -1
        return sum(each["spooled"] + each["queued"] for each in tables.values())

    def end(self) -> None:
        """Stop everything in order, the collectors first."""
        for who in (*COLLECTORS, *STORES):
            if who in self._running:
                self._running[who].process.terminate()
                code = self._running.pop(who).wait(60)
                assert code == 0, (who, code)

    def abandon(self) -> None:
        """Nothing that was started goes on, whatever has happened."""
        for each in (*self._running.values(), *([self._vendor] if self._vendor else [])):
            if each.process.poll() is None:
                each.process.kill()
                each.wait()


def found(lake: Path, events: int, result: Result) -> None:
    """Hold the lake to what was sent."""
    files = sorted((lake / "trade").rglob("*.parquet"), key=lambda path: path.name)
    parts = [
        pl.read_parquet(
            path, columns=["symbol", "last_price"], hive_partitioning=False
        ).with_columns(pl.lit(number).alias("file"))
        for number, path in enumerate(files)
    ]
    rows = (
        pl.concat(parts)
        if parts
        else pl.DataFrame(schema={"symbol": pl.String, "last_price": pl.Float64, "file": pl.Int32})
    )
    numbers = pl.Series("number", range(events), dtype=pl.Int64)
    sent = pl.concat(
        pl.DataFrame(
            {
                "symbol": [symbol_of(who, number) for number in range(events)],
                "last_price": (numbers + 1).cast(pl.Float64),
            }
        )
        for who in COLLECTORS
    )
    keys = ["symbol", "last_price"]
    distinct = rows.select(keys).unique()
    result.rows = rows.height
    result.twice = rows.height - distinct.height
    result.lost = sent.join(distinct, on=keys, how="anti").height
    result.strange = distinct.join(sent, on=keys, how="anti").height
    spans = rows.group_by("symbol", "file").agg(
        pl.col("last_price").min().alias("low"), pl.col("last_price").max().alias("high")
    )
    before = pl.col("high").cum_max().shift(1).over("symbol", order_by="file")
    result.out_of_order = spans.filter(pl.col("low") < before).height


async def prove(
    stage: Stage,
    events: int,
    harm: Harm,
    *,
    seed: int = 1,
    within: float = 900.0,
    say: Callable[[str], None] = lambda _line: None,
) -> Result:
    """Let `events` go from each collector to the lake, do the harm meanwhile, and look."""
    result = Result(stage.broker.name, events * len(COLLECTORS), harm=harm)
    started = time.monotonic()
    async with stage.broker.proxy() as one, stage.broker.proxy() as other:
        stage.begin()
        for who in STORES:
            stage.store(who)
        for who, proxy in zip(COLLECTORS, (one, other), strict=True):
            stage.collect(who, proxy.port)
        await _harmed(stage, harm, one, random.Random(seed), say)
        result.lag = await settled(stage, within)
        await asyncio.to_thread(stage.end)
    result.seconds = time.monotonic() - started
    await asyncio.to_thread(found, stage.lake, events, result)
    return result


async def settled(stage: Stage, within: float) -> int:
    """Return once nothing is on its way any more, 0, or after `within` seconds how much is."""
    end = time.monotonic() + within
    while True:
        left = await asyncio.to_thread(_behind, stage)
        if left == 0 or time.monotonic() > end:
            return left
        await asyncio.sleep(0.5)


def _behind(stage: Stage) -> int:
    """Rows and messages that are still on their way, as far as anybody knows; 1 at least if not."""
    if not stage.delivered():
        return 1
    spooled = [stage.spooled(who) for who in COLLECTORS]
    lags = [stage.topics(who, "lag") for who in STORES]
    return 1 if min(*spooled, *lags) < 0 else sum(spooled) + max(lags)


async def _harmed(
    stage: Stage, harm: Harm, proxy: Proxy, rng: random.Random, say: Callable[[str], None]
) -> None:
    """Kill the stores in turn, restart the broker, cut a collector off; at random moments."""
    for who in (*STORES, *COLLECTORS):
        await _up(stage, who)
    deeds = ["store"] * harm.store_kills + ["broker"] * harm.broker_restarts
    rng.shuffle(deeds)
    cut = asyncio.create_task(_cut(proxy, harm.cut_seconds, say), name="cut")
    turns = itertools.cycle(STORES)
    for deed in deeds:
        await asyncio.sleep(rng.uniform(1.0, 3.0))
        harm.under_way += not stage.delivered()
        if deed == "store":
            who = next(turns)
            say(f"kill -9 of store {who}")
            await asyncio.to_thread(stage.kill, who)
            await _up(stage, who)  # else the next kill would hit nobody
        else:
            say("the broker is restarted")
            await asyncio.to_thread(stage.broker.stop if stage.broker.lossy else stage.broker.kill)
            await asyncio.sleep(1)
            await asyncio.to_thread(stage.broker.start)
    await cut


async def _up(stage: Stage, who: str) -> None:
    """Return once a daemon answers."""
    while not await asyncio.to_thread(stage.status, who):
        stage.check(who)
        await asyncio.sleep(0.1)


async def _cut(proxy: Proxy, seconds: float, say: Callable[[str], None]) -> None:
    """The collector's connections go dead, and so do those that it makes meanwhile."""
    if not seconds:
        return
    say(f"a collector is cut off for {seconds:g} s")
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        proxy.freeze()
        await asyncio.sleep(0.1)
    proxy.bury()
