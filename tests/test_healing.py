"""Back-fill against a venue whose trades are numbered: the lake ends up with every one of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import polars as pl
import pytest

from edc.audit.record import ledger
from edc.events import Gap, to_frame
from edc.healing import Healer
from edc.plan import plan_feeds
from edc.settings import BackfillSettings, ServerSettings, Settings, SpoolSettings, StorageSettings
from edc.simulator.alpaca import AlpacaVenue
from edc.simulator.binance import BinanceVenue
from edc.simulator.massive import MassiveVenue
from edc.simulator.venue import Faults, Venue
from edc.supervisor import Supervisor
from tests.harness import FAST, read, running, until

FIRST_ID = 3_735_683_000


@asynccontextmanager
async def trading(
    faults: Faults | None = None, *, rate: float = 400.0
) -> AsyncIterator[BinanceVenue]:
    """A venue with trades only."""
    venue = BinanceVenue(rate=rate, faults=faults)
    await venue.start()
    try:
        yield venue
    finally:
        await venue.stop()


def daemon_of(venue: BinanceVenue, folder: Path, *, within: str = "1d") -> Supervisor:
    settings = Settings(
        storage=StorageSettings(path=folder / "lake"),
        spool=SpoolSettings(interval="50ms"),
        server=ServerSettings(listen=""),
        backfill=BackfillSettings(within=within),
        vendors={"binance": venue.options()},
        feeds={
            "trades": {
                "vendor": "binance",
                "channel": "spot",
                "streams": ["trade"],
                "symbols": {"crypto": ["btcusdt", "ethusdt"]},
            }
        },
    )
    return Supervisor(settings, plan_feeds(settings, folder / "config.toml"), times=FAST)


def numbers(folder: Path) -> dict[str, list[int]]:
    """The numbers of each symbol's trades in the lake, ascending, repetitions included."""
    trades = read(folder / "lake", "trade")
    return {
        symbol: sorted(trades.filter(symbol=symbol)["sequence"] - FIRST_ID)
        for symbol in ("btcusdt", "ethusdt")
    }


def assert_whole(folder: Path) -> None:
    """From the first trade on nothing is missing, and nothing is there twice."""
    for symbol, held in numbers(folder).items():
        assert held == list(range(held[0], held[-1] + 1)), symbol
        assert len(held) > 10


def holes(folder: Path) -> pl.DataFrame:
    return read(folder / "lake", "gap").filter(cause="sequence").sort("started_at", "created_at")


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """By state: how many rows, and how many trades they count."""
    rows = holes(folder).group_by("state").agg(pl.len(), pl.col("rows_lost").sum())
    return {state: (count, lost) for state, count, lost in rows.iter_rows()}


def healer(daemon: Supervisor) -> Healer:
    found = daemon.feeds[0].healer
    assert found is not None
    return found


async def healed(daemon: Supervisor, number: int = 1) -> None:
    """So many trades have been filled in, and nothing is left to fill."""
    await until(lambda: daemon.feeds[0].stats.filled >= number and not healer(daemon).pending)


async def traded(venue: BinanceVenue, more: int) -> None:
    made = venue.market.made
    await until(lambda: venue.market.made > made + more)


async def test_trades_that_a_connection_swallowed_are_fetched(tmp_path: Path) -> None:
    """Of ticks 100 to 119, those that are trades are sent to nobody."""
    async with trading(Faults(skip=range(100, 120))) as venue:
        daemon = daemon_of(venue, tmp_path)
        async with running(daemon):
            await until(lambda: venue.market.made > 200)
            await healed(daemon)
            await traded(venue, 100)
            missed = daemon.feeds[0].stats.filled

    assert_whole(tmp_path)
    found = states(tmp_path)
    assert found["open"] == found["filled"]
    assert found["filled"][1] == missed > 0
    filled = holes(tmp_path).filter(state="filled")
    assert filled["rows_filled"].to_list() == filled["rows_lost"].to_list()
    assert set(filled["symbol"]) <= {"btcusdt", "ethusdt"}


async def test_a_cut_connection_costs_no_trade(tmp_path: Path) -> None:
    async with trading() as venue:
        daemon = daemon_of(venue, tmp_path)
        async with running(daemon):
            for _ in range(3):
                await traded(venue, 100)
                venue.faults.handshakes = [503, 503, 503]
                venue.cut()
                await until(lambda: not venue.faults.handshakes)
            await traded(venue, 200)
            await healed(daemon)

    assert_whole(tmp_path)
    assert states(tmp_path)["open"] == states(tmp_path)["filled"]


async def test_a_restart_costs_no_trade(tmp_path: Path) -> None:
    """Among what the second run misses are more trades than one page holds."""
    async with trading(rate=6000.0) as venue:
        async with running(daemon_of(venue, tmp_path)):
            await until(lambda: venue.market.made > 500)
        await traded(venue, 6000)
        daemon = daemon_of(venue, tmp_path)
        async with running(daemon):
            await healed(daemon, 2000)

    assert_whole(tmp_path)
    assert states(tmp_path)["filled"][1] > 2000


async def test_a_hole_that_was_left_open_is_taken_up_by_the_next_run(tmp_path: Path) -> None:
    faults = Faults(skip=range(100, 120), answers=[(500, "")] * 1000)
    async with trading(faults) as venue:
        async with running(daemon_of(venue, tmp_path)):
            await until(lambda: venue.market.made > 400)
        assert set(states(tmp_path)) == {"open"}
        missing = states(tmp_path)["open"][1]
        venue.faults.answers.clear()
        daemon = daemon_of(venue, tmp_path)
        async with running(daemon):
            await healed(daemon, missing)

    assert_whole(tmp_path)
    found = states(tmp_path)
    assert found["filled"] == found["open"]


async def test_what_the_vendor_no_longer_has_is_said_to_be_gone(tmp_path: Path) -> None:
    async with trading(Faults(skip=range(100, 140))) as venue:
        daemon = daemon_of(venue, tmp_path)
        async with running(daemon):
            await until(lambda: venue.market.made > 139)
            lost = [trade for trade in venue.market.history["BTCUSDT"] if trade not in venue.heard]
            for trade in venue.market.history.values():
                trade.clear()  # the venue forgets, and answers with empty pages
            assert lost
            await until(lambda: daemon.lanes["gap"].stats.rows_spooled > 0)
            await traded(venue, 100)
            await until(lambda: not healer(daemon).pending)

    gone = holes(tmp_path).filter(state="unfillable")
    assert gone.height > 0
    assert (gone["rows_filled"] < gone["rows_lost"]).all()


async def test_no_backfill_is_asked_for_where_the_config_says_never(tmp_path: Path) -> None:
    async with trading(Faults(skip=range(100, 120))) as venue:
        daemon = daemon_of(venue, tmp_path, within="never")
        async with running(daemon):
            await until(lambda: venue.market.made > 300)
        assert venue.requests == 0

    assert set(states(tmp_path)) == {"open"}


@pytest.mark.parametrize("state", ["filled", "unfillable"])
def test_a_second_row_takes_the_place_of_the_open_one_in_an_audit(
    state: str, tmp_path: Path
) -> None:
    first = Gap(
        feed="f",
        vendor="v",
        source="s",
        symbol="a",
        cause="sequence",
        started_at=5,
        ended_at=9,
        rows_lost=2,
        created_at=10,
    )
    second = msgspec.structs.replace(first, state=state, rows_filled=2, created_at=11)
    folder = tmp_path / "gap" / "date=1970-01-01"
    folder.mkdir(parents=True)
    to_frame("gap", [first, second], "UTC").write_parquet(folder / "a.parquet")

    (row,) = ledger([folder], "UTC", (0, 100)).iter_rows(named=True)

    assert row["state"] == state


VENUES: dict[str, tuple[type[Venue], list[str]]] = {
    "alpaca": (AlpacaVenue, ["stocks", "crypto", "packed"]),
    "massive": (MassiveVenue, ["stocks", "crypto"]),
}
BY_TIME = [(vendor, name) for vendor, (_, names) in VENUES.items() for name in names]


def by_time(venue: Venue, vendor: str, name: str, folder: Path) -> Supervisor:
    """A daemon that takes the trades of one of a venue's feeds, which are not numbered."""
    options = {"history_every": "0s"} if vendor == "massive" else {}
    keys = {"api_key": venue.key} | ({"api_secret": venue.secret} if vendor == "alpaca" else {})
    settings = Settings(
        storage=StorageSettings(path=folder / "lake"),
        spool=SpoolSettings(interval="50ms"),
        server=ServerSettings(listen=""),
        vendors={vendor: {**venue.options(), **keys}},
        feeds={"it": {"vendor": vendor, "take": ["trades"], **options, **venue.feeds[name]}},
    )
    return Supervisor(settings, plan_feeds(settings, folder / "config.toml"), times=FAST)


def assert_every_trade_once(folder: Path) -> None:
    """By its id; two of Massive's have one id, and every third number is one's."""
    trades = read(folder / "lake", "trade")
    for symbol in trades["symbol"].unique():
        rows = trades.filter(symbol=symbol)
        numbered = rows["sequence"].null_count() == 0
        ids = sorted(rows["sequence"] // 3 if numbered else map(int, rows["trade_id"]))
        assert ids == list(range(ids[0], ids[-1] + 1)), symbol
        assert len(ids) > 20


@pytest.mark.parametrize(("vendor", "name"), BY_TIME)
async def test_a_silence_is_filled_by_time(tmp_path: Path, vendor: str, name: str) -> None:
    """Of the cut's trades some were received before it: they are not there twice."""
    venue = VENUES[vendor][0](rate=600.0)
    await venue.start()
    try:
        daemon = by_time(venue, vendor, name, tmp_path)
        async with running(daemon):
            await until(lambda: venue.market.made > 300)
            venue.faults.handshakes = [503, 503, 503]
            venue.cut()
            await until(lambda: not venue.faults.handshakes)
            await healed(daemon)
            made = venue.market.made
            await until(lambda: venue.market.made > made + 100)
            filled = daemon.feeds[0].stats.filled
    finally:
        await venue.stop()

    assert_every_trade_once(tmp_path)
    gaps = read(tmp_path / "lake", "gap").filter(pl.col("cause").is_in(["disconnected", "refused"]))
    told = gaps.filter(state="filled")
    assert told["rows_filled"].sum() == filled > 0
    assert told.height == gaps.filter(state="open").height


async def test_a_silence_over_a_restart_is_filled_and_what_the_vendor_refuses_is_told(
    tmp_path: Path,
) -> None:
    venue = AlpacaVenue(rate=600.0)
    await venue.start()
    try:
        async with running(by_time(venue, "alpaca", "crypto", tmp_path)):
            await until(lambda: venue.market.made > 300)
        made = venue.market.made
        await until(lambda: venue.market.made > made + 300)
        venue.faults.answers = [(403, '{"message": "subscription does not permit this"}')]
        daemon = by_time(venue, "alpaca", "crypto", tmp_path)
        async with running(daemon):
            await until(lambda: not venue.faults.answers and not healer(daemon).pending)
        gaps = read(tmp_path / "lake", "gap").filter(cause="stopped")
        assert sorted(gaps["state"]) == ["open", "unfillable"]
        assert gaps.filter(state="unfillable")["rows_filled"].to_list() == [0]

        made = venue.market.made
        await until(lambda: venue.market.made > made + 300)
        daemon = by_time(venue, "alpaca", "crypto", tmp_path)
        async with running(daemon):
            await healed(daemon)
    finally:
        await venue.stop()

    assert read(tmp_path / "lake", "gap").filter(state="filled")["rows_filled"].sum() > 100
    trades = read(tmp_path / "lake", "trade")
    assert not trades.select("symbol", "trade_id").is_duplicated().any()


async def test_a_symbol_that_history_does_not_know_does_not_cost_the_others(
    tmp_path: Path,
) -> None:
    venue = MassiveVenue(rate=600.0)
    await venue.start()
    try:
        daemon = by_time(venue, "massive", "stocks", tmp_path)
        async with running(daemon):
            await until(lambda: venue.market.made > 300)
            venue.faults.answers = [(404, '{"status":"NOT_FOUND","message":"Data not found."}')]
            venue.faults.handshakes = [503, 503]
            venue.cut()
            await until(lambda: not venue.faults.answers and not healer(daemon).pending)
            filled = daemon.feeds[0].stats.filled
    finally:
        await venue.stop()

    gaps = read(tmp_path / "lake", "gap").filter(state="unfillable")
    assert gaps["rows_filled"].to_list() == [filled]
    assert filled > 0
