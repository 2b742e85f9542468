"""Another config for a daemon that runs: what changed changes, what did not is not touched."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import polars as pl
import pytest

from edc.adapters import Resubscribes, bitfinex
from edc.errors import ConfigError
from edc.plan import plan_feeds
from edc.settings import Settings
from edc.simulator.alpaca import AlpacaVenue
from edc.simulator.binance import BinanceVenue
from edc.simulator.bitfinex import BitfinexVenue
from edc.simulator.kraken import KrakenVenue
from edc.simulator.tiingo import TiingoSimulator
from edc.simulator.tradermade import TraderMadeVenue
from edc.simulator.venue import Faults, Venue
from edc.supervisor import Supervisor
from tests.harness import (
    CRYPTO,
    FAST,
    KEY,
    Process,
    SimulatorProcess,
    read,
    running,
    serving,
    until,
    write_config,
)
from tests.test_conformance import CASES, Case, assert_recorded, recording, stats


@pytest.fixture(autouse=True)
def _open_markets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edc.markets.is_open", lambda _kind, _now: True)


class Rig:
    """A daemon whose config a test rewrites: sections as plain values."""

    def __init__(self, folder: Path, vendors: Mapping[str, Any], feeds: dict[str, Any]) -> None:
        self.lake = folder / "lake"
        self.vendors = dict(vendors)
        self.feeds = feeds
        self.more: dict[str, Any] = {}
        self.daemon = Supervisor(*self.read(), times=FAST, reread=self.read)

    def read(self) -> Any:
        settings = Settings(
            **{
                "storage": {"path": self.lake},
                "spool": {"interval": "50ms"},
                "server": {"listen": ""},
                "vendors": self.vendors,
                "feeds": self.feeds,
                **self.more,
            }
        )
        return settings, plan_feeds(settings, Path("config.toml"))

    async def reload(self) -> dict[str, Any]:
        return dict(await self.daemon.reload())

    def stats(self, feed: str) -> Any:
        (runner,) = [each for each in self.daemon.feeds if each.feed.name == feed]
        return runner.stats


@asynccontextmanager
async def venues(*open_: Venue) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for venue in open_:
            await venue.start()
            stack.push_async_callback(venue.stop)
        yield


def crypto(vendor: str, *symbols: str, **options: Any) -> dict[str, Any]:
    listed = {"crypto": list(symbols)}
    return {"vendor": vendor, "channel": "spot", "symbols": listed} | options


def numbers(lake: Path, symbol: str) -> list[int]:
    """The numbers of a symbol's trades, which the venue counts up by one."""
    return sorted(read(lake, "trade").filter(symbol=symbol)["sequence"])


def assert_unbroken(lake: Path, symbol: str, least: int = 1) -> None:
    found = numbers(lake, symbol)
    assert len(found) >= least
    assert found == list(range(found[0], found[-1] + 1))


def has_heard(venue: Venue, name: str, more: int = 10) -> Callable[[], bool]:
    """True once the venue has told so many more events of a name."""

    def count() -> int:
        return sum(tick.name == name for tick in venue.heard)

    wanted = count() + more
    return lambda: count() >= wanted


def _resubscribes(case: Case) -> bool:
    return isinstance(case.adapter(), Resubscribes) and len(_names(case)) > 1


def _names(case: Case) -> list[tuple[str, str]]:
    listed = case.section["symbols"].items()
    return [
        (kind, name) for kind, names in listed for name in names if name not in case.venue.refuses
    ]


def _listing(names: list[tuple[str, str]]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for kind, name in names:
        lists.setdefault(kind, []).append(name)
    return lists


@pytest.mark.parametrize(
    "case",
    [each for each in CASES if _resubscribes(each)],
    ids=lambda case: f"{case.vendor}-{case.feed}",
)
async def test_symbols_come_and_go_on_the_connection_that_stands(
    case: Case, tmp_path: Path
) -> None:
    """One is added beside the first, then the first is removed: one connection, nothing lost."""
    first, second = _names(case)[:2]

    def only(*names: tuple[str, str]) -> Case:
        narrowed = Case(case.vendor, case.feed)
        section = {**case.venue.feeds[case.feed], "symbols": _listing(list(names))}
        return _Narrowed(*narrowed, section)

    async with recording(only(first), tmp_path, rate=150) as (venue, daemon):

        async def become(*names: tuple[str, str]) -> str:
            settings = daemon.settings.model_copy(
                update={"feeds": {case.feed: only(*names).section}}
            )
            daemon._reread = lambda: (settings, plan_feeds(settings, Path("config.toml")))
            answer: Any = await daemon.reload()
            return str(answer["changed"][case.feed])

        await until(lambda: len(venue.heard) > 20)
        (one,) = {tick.name for tick in venue.heard}

        assert await become(first, second) == "on its connection: 1 symbols added, 0 removed"
        await until(lambda: len({tick.name for tick in venue.heard}) == 2)
        (other,) = {tick.name for tick in venue.heard} - {one}
        await until(has_heard(venue, other, 20))

        assert await become(second) == "on its connection: 0 symbols added, 1 removed"
        (line,) = venue.lines
        await until(lambda: {topic.name for topic in line.topics} == {other})
        told = len(venue.heard)
        await until(has_heard(venue, other, 20))
        assert {tick.name for tick in venue.heard[told:]} == {other}

    assert venue.connections == 1
    assert_recorded(venue, tmp_path)
    assert stats(daemon).skipped == {}
    assert stats(daemon).refused == {}
    gaps = read(tmp_path / "lake", "gap")  # some venues leave out numbers while they greet
    assert gaps.is_empty() or set(gaps["cause"]) == {"sequence"}


class _Narrowed(Case):
    """A case with fewer symbols."""

    def __new__(cls, vendor: str, feed: str, section: dict[str, Any]) -> Self:
        made = super().__new__(cls, vendor, feed)
        made._section = section  # type: ignore[attr-defined]
        return made

    @property
    def section(self) -> dict[str, Any]:
        return {"vendor": self.vendor, **self._section}  # type: ignore[attr-defined]


async def test_tiingos_tickers_come_and_go_by_the_number_of_the_subscription(
    tmp_path: Path,
) -> None:
    feed = {"vendor": "tiingo", "channel": "crypto", "threshold_level": 2}
    simulator = TiingoSimulator(key=KEY, rate=500)
    async with serving(simulator):
        vendors = {"tiingo": {"url": simulator.url, "api_key": KEY}}
        rig = Rig(tmp_path, vendors, {"crypto": {**feed, "symbols": {"crypto": ["btcusd"]}}})
        async with running(rig.daemon):
            await until(lambda: rig.stats("crypto").event_count > 20)
            rig.feeds = {"crypto": {**feed, "symbols": {"crypto": ["ethusd"]}}}
            answer = await rig.reload()
            since = rig.stats("crypto").event_count
            await until(lambda: rig.stats("crypto").event_count > since + 100)

    assert answer["changed"] == {"crypto": "on its connection: 1 symbols added, 1 removed"}
    assert simulator.connections == 1
    rows = pl.concat(
        [read(rig.lake, kind).select("symbol", "created_at") for kind in ("trade", "quote")]
    ).sort("created_at")
    assert set(rows["symbol"]) == {"btcusd", "ethusd"}
    assert set(rows["symbol"].tail(50)) == {"ethusd"}
    assert rig.stats("crypto").skipped == {}


async def test_feeds_come_and_go_while_another_is_not_touched(tmp_path: Path) -> None:
    """Its trades are numbered: not one is missing, and it has one connection.

    A feed that comes back has missed what came in the meantime, because it was stopped.
    """
    steady, other = BinanceVenue(rate=400), KrakenVenue(rate=200)
    async with venues(steady, other):
        vendors = {"binance": steady.options(), "kraken": other.options()}
        rig = Rig(tmp_path, vendors, {"steady": crypto("binance", "btcusdt")})
        rig.more = {"backfill": {"within": "never"}}
        rig.daemon = Supervisor(*rig.read(), times=FAST, reread=rig.read)
        async with running(rig.daemon):
            await until(lambda: len(steady.heard) > 20)

            rig.feeds["other"] = crypto("kraken", "BTC/USD")
            added = await rig.reload()
            await until(lambda: len(other.heard) > 20)

            del rig.feeds["other"]
            removed = await rig.reload()
            assert not other.lines
            assert [runner.feed.name for runner in rig.daemon.feeds] == ["steady"]
            before = len(steady.heard)
            await until(lambda: len(steady.heard) > before + 20)

            rig.feeds["other"] = crypto("kraken", "BTC/USD")
            again = await rig.reload()
            await until(has_heard(other, "BTC/USD", 20))
            unchanged = await rig.reload()

    assert added["added"] == ["other"]
    assert removed["removed"] == ["other"]
    assert again["added"] == ["other"]
    assert unchanged == {
        "added": [],
        "removed": [],
        "changed": {},
        "settings": [],
        "at_the_next_start": [],
    }
    assert steady.connections == 1
    assert_unbroken(rig.lake, "btcusdt", 40)
    (gap,) = read(rig.lake, "gap").filter(pl.col("symbol").is_null()).to_dicts()
    assert (gap["feed"], gap["cause"]) == ("other", "stopped")
    heard = {tick.number for tick in other.heard if tick.kind == "trade"}
    trades = [tick for tick in other.market.history["BTC/USD"] if tick.number < max(heard)]
    missed = [tick.us for tick in trades if tick.number not in heard]
    assert missed
    span = [int(gap[end].timestamp() * 1e6) for end in ("started_at", "ended_at")]
    assert span[0] - 1 <= min(missed) < max(missed) <= span[1] + 1


async def test_other_options_are_taken_up_on_a_new_connection_before_the_old_one_ends(
    tmp_path: Path,
) -> None:
    venue = BinanceVenue(rate=400)
    async with venues(venue):
        feeds = {"spot": crypto("binance", "btcusdt", streams=["trade"])}
        rig = Rig(tmp_path, {"binance": venue.options()}, feeds)
        async with running(rig.daemon):
            await until(lambda: len(venue.heard) > 20)
            rig.feeds = {"spot": crypto("binance", "btcusdt", streams=["trade", "bookTicker"])}
            answer = await rig.reload()
            await until(lambda: any(tick.kind == "quote" for tick in venue.heard))
            await until(lambda: len(venue.lines) == 1)
            await until(has_heard(venue, "BTCUSDT", 30))

    assert answer["changed"] == {"spot": "on a new connection"}
    assert venue.connections == 2
    assert_unbroken(rig.lake, "btcusdt", 20)
    assert read(rig.lake, "quote").height > 5
    assert read(rig.lake, "gap").is_empty()


async def test_a_vendor_that_cannot_change_a_subscription_gets_another_connection(
    tmp_path: Path,
) -> None:
    venue = TraderMadeVenue(key=KEY, rate=200)
    async with venues(venue):
        feed = {"vendor": "tradermade", "channel": "fx"}
        vendors = {"tradermade": {**venue.options(), "api_key": KEY}}
        rig = Rig(tmp_path, vendors, {"fx": {**feed, "symbols": {"fx": ["EURUSD"]}}})
        async with running(rig.daemon):
            await until(lambda: len(venue.heard) > 20)
            rig.feeds = {"fx": {**feed, "symbols": {"fx": ["EURUSD", "GBPUSD"]}}}
            answer = await rig.reload()
            await until(lambda: len({tick.name for tick in venue.heard}) == 2)
            await until(lambda: len(venue.lines) == 1)
            started = len(venue.heard)
            await until(lambda: len(venue.heard) > started + 20)

    assert answer["changed"] == {"fx": "on a new connection"}
    assert venue.connections == 2
    assert read(rig.lake, "gap").is_empty()
    columns = ("symbol", *venue.columns["quote"])
    sent = {(venue.ours(tick.name), *venue.rows(tick)["quote"]) for tick in venue.heard[:-5]}
    assert sent <= set(read(rig.lake, "quote").select(columns).rows())


async def test_a_shared_connection_outlives_one_of_its_feeds(tmp_path: Path) -> None:
    """Alpaca allows one connection: its feeds share it, and the one that is left keeps it."""
    venue = AlpacaVenue(key=KEY, secret="s3cret-of-alpaca", rate=200)
    async with venues(venue):
        keys = {"api_key": KEY, "api_secret": "s3cret-of-alpaca"}
        feed = {"vendor": "alpaca", "channel": "sip", "backfill": []}
        one = {**feed, "symbols": {"stock": ["AAPL"]}}
        other = {**feed, "symbols": {"etf": ["SPY"]}}
        vendors = {"alpaca": {**venue.options(), **keys}}
        rig = Rig(tmp_path, vendors, {"one": one, "other": other})
        async with running(rig.daemon):
            await until(lambda: {tick.name for tick in venue.heard} == {"AAPL", "SPY"})
            rig.feeds = {"one": one}
            answer = await rig.reload()
            (line,) = venue.lines
            await until(lambda: {topic.name for topic in line.topics} == {"AAPL"})
            before = rig.stats("one").event_count
            await until(lambda: rig.stats("one").event_count > before + 20)
            rig.feeds = {"one": {**one, "encoding": "msgpack"}}
            anew = await rig.reload()
            await until(lambda: venue.connections == 2)
            await until(lambda: rig.stats("one").state == "live")

    assert answer["changed"] == {"one": "on its connection: 0 symbols added, 1 removed"}
    assert anew["changed"] == {"one": "on a new connection"}
    (gap,) = read(rig.lake, "gap").to_dicts()
    assert (gap["feed"], gap["cause"]) == ("one", "stopped")
    marks = json.loads((rig.lake / ".spool/main/watermarks.json").read_bytes())["feeds"]
    assert marks["one+other"]["cause"] == marks["one"]["cause"] == "stopped"


async def test_a_feed_that_needs_more_connections_keeps_its_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bitfinex, "VENDOR", replace(bitfinex.VENDOR, instruments=None))
    venue = BitfinexVenue(rate=400)
    names = [f"C{number}/USD" for number in range(20)]
    async with venues(venue):
        rig = Rig(tmp_path, {"bitfinex": venue.options()}, {"c": crypto("bitfinex", *names[:10])})
        async with running(rig.daemon):
            await until(lambda: len(venue.heard) > 40)
            rig.feeds = {"c": crypto("bitfinex", *names)}
            answer = await rig.reload()
            await until(lambda: len({tick.name for tick in venue.heard}) == 20)
            assert [runner.feed.name for runner in rig.daemon.feeds] == ["c.1", "c.2"]

    assert answer["added"] == ["c.2"]
    assert answer["changed"] == {"c.1": "on its connection: 2 symbols added, 0 removed"}
    assert venue.connections == 2
    assert read(rig.lake, "gap").is_empty()


async def test_a_reload_while_the_vendor_is_away_holds_from_the_next_connection_on(
    tmp_path: Path,
) -> None:
    venue = BinanceVenue(rate=400)
    async with venues(venue):
        rig = Rig(tmp_path, {"binance": venue.options()}, {"spot": crypto("binance", "btcusdt")})
        async with running(rig.daemon):
            await until(lambda: len(venue.heard) > 20)
            venue.faults = Faults(handshakes=[503] * 5)
            venue.cut()
            await until(lambda: rig.stats("spot").state == "waiting")
            rig.feeds = {"spot": crypto("binance", "btcusdt", "ethusdt")}
            await rig.reload()
            await until(has_heard(venue, "ETHUSDT", 20))
            await until(lambda: read(rig.lake, "gap") is not None)

    assert {"btcusdt", "ethusdt"} == set(read(rig.lake, "trade")["symbol"])
    assert_unbroken(rig.lake, "btcusdt")  # what the cut has missed was filled in


async def test_ten_reloads_in_a_row_under_load_lose_nothing(tmp_path: Path) -> None:
    venue, coming = BinanceVenue(rate=1_000), KrakenVenue(rate=200)
    async with venues(venue, coming):
        vendors = {"binance": venue.options(), "kraken": coming.options()}
        rig = Rig(tmp_path, vendors, {"spot": crypto("binance", "btcusdt", "ethusdt")})
        async with running(rig.daemon):
            await until(lambda: len(venue.heard) > 500)
            for turn in range(10):
                symbols = ["btcusdt", "ethusdt", *(["solusdt"] if turn % 2 else ["bnbusdt"])]
                rig.feeds = {"spot": crypto("binance", *symbols)}
                if turn % 3 == 1:
                    rig.feeds["other"] = crypto("kraken", "BTC/USD")
                rig.more = {"batch": {"max_age": f"{turn + 1}s"}}
                await rig.reload()
            await until(has_heard(venue, "BTCUSDT", 500))

    assert venue.connections == 1
    for symbol in ("btcusdt", "ethusdt"):
        assert_unbroken(rig.lake, symbol, 200)
    gaps = read(rig.lake, "gap")  # of the symbols that came and went numbers are left out
    told = [] if gaps.is_empty() else gaps.filter(feed="spot")["symbol"].to_list()
    assert set(told) <= {"solusdt", "bnbusdt"}


async def test_a_feed_that_was_given_up_begins_anew_with_the_key_that_was_mended(
    tmp_path: Path,
) -> None:
    simulator = TiingoSimulator(key=KEY, rate=500)
    feed = {"vendor": "tiingo", "channel": "crypto", "symbols": {"crypto": ["btcusd"]}}
    steady = BinanceVenue(rate=100)
    async with serving(simulator), venues(steady):
        vendors = {
            "tiingo": {"url": simulator.url, "api_key": "a-wrong-key"},
            "binance": steady.options(),
        }
        rig = Rig(tmp_path, vendors, {"crypto": feed, "spot": crypto("binance", "btcusdt")})
        async with running(rig.daemon):
            await until(lambda: rig.stats("crypto").state == "failed")
            rig.vendors["tiingo"] = {"url": simulator.url, "api_key": KEY}
            answer = await rig.reload()
            await until(lambda: rig.stats("crypto").event_count > 20)

    assert answer["changed"] == {"crypto": "begun anew"}
    assert steady.connections == 1


async def test_settings_take_effect_or_are_said_to_wait(tmp_path: Path) -> None:
    venue = BinanceVenue(rate=400)
    async with venues(venue):
        rig = Rig(tmp_path, {"binance": venue.options()}, {"spot": crypto("binance", "btcusdt")})
        async with running(rig.daemon):
            await until(lambda: len(venue.heard) > 20)
            assert not list(rig.lake.rglob("*.parquet"))
            rig.more = {
                "batch": {"max_age": "100ms", "max_rows": 10},
                "spool": {"interval": "20ms"},
                "queue": {"capacity": 100},
                "storage": {"path": tmp_path / "elsewhere", "keep_days": 3},
                "backfill": {"within": "1h"},
                "compact": {"every": "never"},
            }
            answer = await rig.reload()
            await until(lambda: list(rig.lake.rglob("*.parquet")))
            again = await rig.reload()

    assert answer["settings"] == [
        *("backfill.within", "batch.max_age", "batch.max_rows", "compact.every"),
        *("spool.interval", "storage.keep_days"),
    ]
    assert answer["at_the_next_start"] == ["queue.capacity", "storage.path"]
    assert again["settings"] == []
    assert again["at_the_next_start"] == ["queue.capacity", "storage.path"]
    assert venue.connections == 1
    assert not (tmp_path / "elsewhere").exists()
    assert rig.daemon.settings.storage.path == rig.lake


async def test_a_config_that_is_wrong_changes_nothing(tmp_path: Path) -> None:
    venue = BinanceVenue(rate=400)
    async with venues(venue):
        rig = Rig(tmp_path, {"binance": venue.options()}, {"spot": crypto("binance", "btcusdt")})
        async with running(rig.daemon):
            await until(lambda: len(venue.heard) > 20)
            rig.feeds = {"spot": crypto("binance", "ethusdt"), "bad": {"vendor": "binanse"}}
            begun = rig.daemon.stats.reloaded_ns
            with pytest.raises(ConfigError, match="there is no vendor 'binanse'"):
                await rig.reload()
            assert rig.daemon.stats.reload_failed
            assert rig.daemon.stats.reloaded_ns == begun
            await until(has_heard(venue, "BTCUSDT", 20))
            rig.feeds = {"spot": crypto("binance", "btcusdt")}
            await rig.reload()
            assert not rig.daemon.stats.reload_failed
            assert rig.daemon.stats.reloaded_ns > begun

    assert venue.connections == 1
    assert set(read(rig.lake, "trade")["symbol"]) == {"btcusdt"}
    assert_unbroken(rig.lake, "btcusdt")


async def test_a_daemon_that_is_told_to_stop_in_the_middle_of_a_reload_stops(
    tmp_path: Path,
) -> None:
    venue = BinanceVenue(rate=400)
    async with venues(venue):
        rig = Rig(tmp_path, {"binance": venue.options()}, {"spot": crypto("binance", "btcusdt")})
        async with running(rig.daemon) as task:
            await until(lambda: len(venue.heard) > 20)
            rig.feeds = {"other": crypto("binance", "ethusdt")}
            reloading = asyncio.create_task(rig.reload())
            await asyncio.sleep(0)
            rig.daemon.stop()
            async with asyncio.timeout(15):
                await task
            reloading.cancel()
            await asyncio.gather(reloading, return_exceptions=True)

    assert not venue.lines
    assert_unbroken(rig.lake, "btcusdt")


def _edc(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edc", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_edc_reload_and_sighup_from_outside(tmp_path: Path) -> None:
    """A bad config is refused in the words of `edc check`, with its exit code."""
    simulator = SimulatorProcess(tmp_path, rate=200)
    good = write_config(tmp_path, simulator.url, simulator.rest_url)
    daemon = Process("run", cwd=tmp_path)
    try:
        socket = tmp_path / "lake/.spool/main/control.sock"
        end = 200
        while not socket.exists() and end:
            end -= 1
            daemon.process.poll()
            os.sched_yield()
            subprocess.run(["sleep", "0.1"], check=True)
        assert json.loads(_edc("reload", "--json", cwd=tmp_path).stdout)["changed"] == {}

        text = good.read_text()
        good.write_text(text.replace("threshold_level = 2", "threshold_level = 3"))
        refused, checked = (_edc(each, cwd=tmp_path) for each in ("reload", "check"))
        assert refused.returncode == checked.returncode == 2
        assert refused.stderr == checked.stderr
        assert "threshold_level 3" in refused.stderr
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("not reloaded, the old config goes on", times=2)

        good.write_text(text.replace('"ethusd"]', '"ethusd", "solusd"]'))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("reloaded: crypto on its connection: 1 symbols added, 0 removed")
        good.write_text(text + CRYPTO.replace("[feeds.crypto]", "[feeds.more]"))
        said = _edc("reload", cwd=tmp_path)
        assert said.returncode == 0
        assert "added more; crypto on its connection: 0 symbols added, 1 removed" in said.stdout
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
    finally:
        simulator.end()
        daemon.process.kill()
    assert KEY not in daemon.output


def test_edc_reload_without_a_daemon_says_so(tmp_path: Path) -> None:
    write_config(tmp_path, "ws://127.0.0.1:9")
    answer = _edc("reload", cwd=tmp_path)

    assert answer.returncode == 1
    assert "no daemon is running" in answer.stderr
