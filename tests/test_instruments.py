"""The lists of what venues trade: read, kept, refreshed, and what becomes of symbols by them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edc import adapters
from edc.adapters import FeedPlan, Instrument
from edc.errors import EdcError
from edc.instruments import Catalog
from edc.listing import Listing
from edc.plan import plan_feeds
from edc.settings import ServerSettings, Settings, SpoolSettings, StorageSettings
from edc.simulator.binance import BinanceVenue
from edc.simulator.okx import OkxVenue
from edc.simulator.venue import Faults, Venue
from edc.supervisor import Supervisor
from edc.times import SECOND
from edc.transport import Frame
from tests.harness import FAST, read, running, until

DAY = 86_400 * SECOND


def frame(answer: object, about: str = "") -> Frame:
    return Frame(json.dumps(answer).encode(), 0, 0, 200, about)


# What each venue's answer looks like, from its pages; fields that are not read left out.
BINANCE = {
    "timezone": "UTC",
    "symbols": [
        {"symbol": "ETHBTC", "status": "TRADING", "baseAsset": "ETH", "quoteAsset": "BTC"},
        {"symbol": "LUNAUSDT", "status": "BREAK", "baseAsset": "LUNA", "quoteAsset": "USDT"},
    ],
}
FUTURES = {
    "symbols": [
        {
            "symbol": "BTCUSDT_260925",
            "pair": "BTCUSDT",
            "contractType": "CURRENT_QUARTER",
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
        }
    ]
}
COINBASE = [
    {
        "id": "BTC-USD",
        "base_currency": "BTC",
        "quote_currency": "USD",
        "status": "online",
        "trading_disabled": False,
    }
]
ADVANCED = {
    "products": [
        {
            "product_id": "BTC-USDC",
            "base_currency_id": "BTC",
            "quote_currency_id": "USDC",
            "alias": "BTC-USD",
        }
    ],
    "num_products": 1,
}
KRAKEN = {
    "error": [],
    "result": {
        "XXBTZUSD": {"altname": "XBTUSD", "wsname": "XBT/USD", "base": "XXBT", "quote": "ZUSD"},
        "XDGXBT": {"altname": "XDGXBT", "wsname": "XDG/XBT", "base": "XXDG", "quote": "XXBT"},
        "AAPLxUSD": {"altname": "AAPLxUSD", "wsname": "AAPLx/USD"},
        "ADAUSD.d": {"altname": "ADAUSD.d"},
    },
}
BITSTAMP = [
    {
        "base_currency": "BTC",
        "base_decimals": 8,
        "counter_currency": "USD",
        "market_symbol": "btcusd",
        "market_type": "SPOT",
        "name": "BTC/USD",
        "trading": "Enabled",
    },
    {
        "base_currency": "BTC",
        "counter_currency": "USD",
        "market_symbol": "btcusd-perp",
        "market_type": "PERPETUAL",
        "name": "BTC/USD-PERP",
    },
]
OKX = {
    "code": "0",
    "msg": "",
    "data": [
        {"instType": "SPOT", "instId": "BTC-USDT", "baseCcy": "BTC", "quoteCcy": "USDT"},
        {"instType": "SWAP", "instId": "BTC-USD-SWAP", "baseCcy": "", "quoteCcy": "", "ctVal": "1"},
    ],
}
BYBIT = {
    "retCode": 0,
    "retMsg": "OK",
    "result": {
        "category": "linear",
        "list": [
            {"symbol": "BTCPERP", "status": "Trading", "baseCoin": "BTC", "quoteCoin": "USDC"}
        ],
        "nextPageCursor": "first%3DBTCPERP",
    },
}
BITFINEX = [["BTCUST", "DOGE:USD", "DSHBTC"], [["UST", "USDt"], ["DSH", "DASH"]]]
DERIBIT = {
    "jsonrpc": "2.0",
    "result": [
        {"instrument_name": "XRP_USDC-26DEC25-0d5-C", "kind": "option", "is_active": True},
        {"instrument_name": "BTC-29SEP23", "kind": "future", "is_active": False},
    ],
}
META = {
    "universe": [
        {"name": "kPEPE", "szDecimals": 0},
        {"name": "MATIC", "szDecimals": 1, "isDelisted": True},
    ]
}


@pytest.mark.parametrize(
    ("vendor", "answer", "expected"),
    [
        ("binance", BINANCE, [("ETHBTC", "ETH", "BTC")]),
        ("binance_futures", FUTURES, [("BTCUSDT_260925", "BTC", "USDT")]),
        ("coinbase", COINBASE, [("BTC-USD", "BTC", "USD")]),
        (
            "kraken",
            KRAKEN,
            [
                ("BTC/USD", "BTC", "USD"),
                ("DOGE/BTC", "DOGE", "BTC"),
                ("AAPLx/USD", "AAPLx", "USD"),
            ],
        ),
        ("bitstamp", BITSTAMP, [("btcusd", "BTC", "USD")]),
        ("okx", OKX, [("BTC-USDT", "BTC", "USDT"), ("BTC-USD-SWAP", "", "")]),
        ("bybit", BYBIT, [("BTCPERP", "BTC", "USDC")]),
        ("gemini", ["btcusd", "btcgusdperp"], [("btcusd", "", ""), ("btcgusdperp", "", "")]),
        (
            "bitfinex",
            BITFINEX,
            [("tBTCUST", "BTC", "USDT"), ("tDOGE:USD", "DOGE", "USD"), ("tDSHBTC", "DASH", "BTC")],
        ),
        ("deribit", DERIBIT, [("XRP_USDC-26DEC25-0d5-C", "", "")]),
        ("hyperliquid", META, [("kPEPE", "", "")]),
    ],
)
def test_a_list_is_read_as_the_venue_writes_it(
    vendor: str, answer: object, expected: list[tuple[str, str, str]]
) -> None:
    source = adapters.load(vendor).instruments
    assert source is not None
    assert [tuple(each) for each in source.read(frame(answer))] == expected


def test_the_products_of_advanced_trade_have_a_form_of_their_own() -> None:
    source = adapters.load("coinbase").instruments
    assert source is not None
    assert source.read(frame(ADVANCED, "advanced")) == [Instrument("BTC-USDC", "BTC", "USDC")]


def test_a_list_in_pages_is_asked_for_to_the_end() -> None:
    source = adapters.load("bybit").instruments
    assert source is not None
    assert source.more is not None
    (first,) = source.requests(adapters.load("bybit").vendor_options(), "linear")

    second = source.more(first, frame(BYBIT))

    assert first.params == {"category": "linear", "limit": "1000"}
    assert second is not None
    assert second.params == {**first.params, "cursor": "first%3DBTCPERP"}
    last = {**BYBIT, "result": {"list": [], "nextPageCursor": ""}}
    assert source.more(second, frame(last)) is None


@pytest.mark.parametrize(
    "answer",
    [{}, [], "x", None, 3, [1], {"symbols": 1}, {"result": None}, {"universe": [{}]}, [[], 1]],
)
@pytest.mark.parametrize(
    "vendor", [name for name in adapters.names() if adapters.load(name).instruments]
)
def test_an_answer_that_is_no_list_raises_only_what_is_caught(vendor: str, answer: object) -> None:
    source = adapters.load(vendor).instruments
    assert source is not None
    for status in (200, 429, 503):
        told = Frame(json.dumps(answer).encode(), 0, 0, status)
        try:
            found = source.read(told)
        except (EdcError, ValueError):
            continue
        assert list(found) == []


def listing(
    vendor: str, channel: str, symbols: Sequence[str], written: Mapping[str, str] | None = None
) -> Listing:
    offered = adapters.load(vendor)
    options = offered.feed_options(
        vendor=vendor, channel=channel, symbols={"crypto": tuple(symbols)}
    )
    plan = FeedPlan(vendor, offered.vendor_options(), options, "", written=written or {})
    return Listing(offered, plan)


def names(of: Listing) -> list[str]:
    made: Any = of.build()
    found: list[str] = made._rows.symbols.names
    return found


def test_a_symbol_takes_the_name_that_the_venue_lists() -> None:
    found = listing("deribit", "public", ["xrp_usdc-26dec25-0d5-c"])
    assert names(found) == ["XRP_USDC-26DEC25-0D5-C"]  # by spelling, which is wrong here

    assert found.learn([Instrument("XRP_USDC-26DEC25-0d5-C")])

    assert names(found) == ["XRP_USDC-26DEC25-0d5-C"]
    assert not found.learn([Instrument("XRP_USDC-26DEC25-0d5-C")])


def test_an_unknown_symbol_is_left_out_and_told_with_the_nearest() -> None:
    found = listing("binance", "spot", ["btcusdx", "ethusdt"])

    found.learn(
        [Instrument(f"{base}USD{x}", base, f"USD{x}") for base in ("BTC", "ETH") for x in "TC"]
    )

    assert found.symbols == ["ethusdt"]
    told = found.unlisted["btcusdx"]
    assert told.startswith("btcusdx is not traded on binance; nearest: btcusd")
    assert set(re.findall(r"btcusd[tc]", told)) == {"btcusdt", "btcusdc"}


def test_what_a_list_does_not_cover_goes_by_its_spelling() -> None:
    options = listing("okx", "derivatives", ["btc-usd-260925-60000-c", "btc-usdt-swop"])

    options.learn([Instrument("BTC-USDT-SWAP")])

    assert names(options) == ["BTC-USD-260925-60000-C"]
    assert options.unlisted == {
        "btc-usdt-swop": "btc-usdt-swop is not traded on okx; nearest: btc-usdt-swap"
    }


@pytest.mark.parametrize(
    ("vendor", "channel", "option", "params", "listed", "near"),
    [
        (
            *("okx", "derivatives", "btc-usd-260925-60000-c"),
            {"instType": "OPTION", "instFamily": "BTC-USD"},
            *("BTC-USD-260925-60000-C", "btc-usd-260925-60001-c"),
        ),
        (
            *("bybit", "option", "btc-6jan23-18000-c"),
            {"category": "option", "baseCoin": "BTC", "limit": "1000"},
            *("BTC-6JAN23-18000-C", "btc-6jan23-18001-c"),
        ),
    ],
)
def test_options_are_listed_by_what_they_are_options_on(
    vendor: str, channel: str, option: str, params: dict[str, str], listed: str, near: str
) -> None:
    found = listing(vendor, channel, [option, near])

    assert [request.params for request in found.parts] == [params]
    assert found.requests[-1] == found.parts[0]
    assert found.key == f"{vendor}_{channel}_{params.get('instFamily', 'BTC')}"
    found.learn([Instrument(listed)])
    assert names(found) == [listed]
    assert found.unlisted == {near: f"{near} is not traded on {vendor}; nearest: {option}"}


@pytest.mark.parametrize(
    ("vendor", "channel", "symbol"),
    [
        ("okx", "derivatives", "../../x-260925-1-c"),
        ("okx", "derivatives", "btc-usdt-swap"),
        ("okx", "spot", "btcusdt"),
        ("bybit", "option", "btc-26dec25"),
        ("bybit", "linear", "btcusdt"),
    ],
)
def test_what_is_no_option_has_no_family(vendor: str, channel: str, symbol: str) -> None:
    assert listing(vendor, channel, [symbol]).key == f"{vendor}_{channel}"


def test_a_symbol_that_may_be_two_pairs_is_the_one_that_is_written() -> None:
    both = [Instrument("AB-CUSD", "AB", "CUSD"), Instrument("ABC-USD", "ABC", "USD")]
    plain = listing("coinbase", "exchange", ["abcusd"])
    plain.learn(both)
    assert names(plain) == ["ABC-USD"]  # USD is what pairs are quoted in

    written = listing("coinbase", "exchange", ["abcusd"], {"abcusd": "AB/CUSD"})
    written.learn(both)
    assert names(written) == ["AB-CUSD"]

    unclear = listing("coinbase", "exchange", ["abcxyzq"])
    unclear.learn([Instrument("AB-CXYZQ", "AB", "CXYZQ"), Instrument("ABC-XYZQ", "ABC", "XYZQ")])
    assert unclear.symbols == []
    assert "AB/CXYZQ, ABC/XYZQ" in unclear.unlisted["abcxyzq"]


@pytest.mark.parametrize(
    ("vendor", "channel", "written", "ours", "native"),
    [
        ("kraken", "spot", "XBT/USD", "btcusd", "BTC/USD"),
        ("kraken", "spot", "xdgeur", "dogeeur", "DOGE/EUR"),
        ("bitfinex", "spot", "tBTCUST", "btcusdt", "tBTCUST"),
        ("bitfinex", "spot", "BTC/USDT", "btcusdt", "tBTCUST"),
        ("bitfinex", "spot", "tDOGE:USD", "dogeusd", "tDOGE:USD"),
        ("bitfinex", "derivatives", "tBTCF0:USTF0", "tbtcf0:ustf0", "tBTCF0:USTF0"),
        ("okx", "spot", "BTC-USDT", "btcusdt", "BTC-USDT"),
        ("okx", "derivatives", "BTC-USDT-SWAP", "btc-usdt-swap", "BTC-USDT-SWAP"),
        ("binance_futures", "market", "BTCUSDT_260925", "btcusdt_260925", "BTCUSDT_260925"),
        ("bybit", "inverse", "BTCUSD", "btcusd", "BTCUSD"),
        ("deribit", "public", "BTC_USDC", "btc_usdc", "BTC_USDC"),
        ("hyperliquid", "public", "kPEPE", "kpepe", "kPEPE"),
        ("hyperliquid", "public", "btc", "btc", "BTC"),
    ],
)
def test_one_spelling_in_the_lake_whatever_the_config_writes(
    vendor: str, channel: str, written: str, ours: str, native: str
) -> None:
    """Without any list: a venue that does not answer changes no name in the lake."""
    section = {"vendor": vendor, "channel": channel, "symbols": {"crypto": [written]}}
    (feed,) = plan_feeds(Settings(feeds={"one": section}), Path("config.toml"))

    made: Any = feed.build()

    assert made._rows.symbols.names == [native]
    assert made._rows.symbols.of(native) == (ours, "crypto")


class Clock:
    """One that a test sets."""

    def __init__(self) -> None:
        self.now = 1_788_676_200 * SECOND

    def __call__(self) -> int:
        return self.now


@asynccontextmanager
async def listing_venue(faults: Faults | None = None) -> AsyncIterator[BinanceVenue]:
    venue = BinanceVenue(faults=faults, rate=400.0)
    await venue.start()
    try:
        yield venue
    finally:
        await venue.stop()


def listed_of(venue: Venue, symbols: Sequence[str] = ("btcusdt",)) -> Listing:
    settings = Settings(
        vendors={"binance": venue.options()},
        feeds={"f": {"vendor": "binance", "channel": "spot", "symbols": {"crypto": list(symbols)}}},
    )
    (feed,) = plan_feeds(settings, Path("config.toml"))
    assert feed.listing is not None
    return feed.listing


async def test_a_list_is_fetched_once_a_day_and_kept(tmp_path: Path) -> None:
    clock = Clock()
    async with listing_venue() as venue:
        catalog = Catalog(tmp_path, clock)
        await asyncio.gather(*(catalog.bring(listed_of(venue)) for _ in range(5)))
        assert venue.listings == 1  # five feeds, one request
        clock.now += DAY - 1
        await Catalog(tmp_path, clock).bring(listed_of(venue))  # another run
        assert venue.listings == 1
        clock.now += 1
        await Catalog(tmp_path, clock).bring(listed_of(venue))
        assert venue.listings == 2

    kept = json.loads((tmp_path / ".instruments" / "binance_spot.json").read_text())
    assert ["BTCUSDT", "BTC", "USDT"] in kept["instruments"]
    assert kept["fetched_ns"] == clock.now


async def test_a_family_that_the_venue_does_not_list_goes_by_its_spelling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    symbols = ["btc-usd-260925-60000-c", "btc-usd-260925-1-p", "foo-usd-260925-1-c", "btc-usd-swop"]
    venue = OkxVenue(faults=Faults())
    await venue.start()
    try:
        settings = Settings(
            vendors={"okx": venue.options()},
            feeds={
                "f": {"vendor": "okx", "channel": "derivatives", "symbols": {"crypto": symbols}}
            },
        )
        (feed,) = plan_feeds(settings, Path("config.toml"))
        assert feed.listing is not None
        await Catalog(tmp_path).bring(feed.listing)
    finally:
        await venue.stop()

    assert names(feed.listing) == ["BTC-USD-260925-60000-C", "FOO-USD-260925-1-C"]
    assert feed.listing.unlisted.keys() == {"btc-usd-260925-1-p", "btc-usd-swop"}
    assert "Instrument family does not exist (51001)" in caplog.text
    (kept,) = (tmp_path / ".instruments").iterdir()
    assert kept.name == "okx_derivatives_BTC-USD_FOO-USD.json"


async def test_a_venue_that_does_not_answer_leaves_the_last_list_then_the_spelling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    async with listing_venue(Faults(unlists=1)) as venue:
        catalog = Catalog(tmp_path, clock)
        none = listed_of(venue, ["foousdx"])
        assert not await catalog.bring(none)
        assert none.symbols == ["foousdx"]
        assert "symbols go by their spelling" in caplog.text
        assert 3599 < catalog.due(none) <= 3600
        clock.now += 3600 * SECOND
        assert await catalog.bring(none)  # now it does
        assert none.symbols == []
        clock.now += DAY

    old = listed_of(venue, ["foousdx"])  # nobody listens there any more
    assert await Catalog(tmp_path, clock).bring(old)
    assert old.symbols == []
    assert "the last one counts" in caplog.text


async def test_a_venue_that_never_ends_its_answer_holds_up_no_feed(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client has gone
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = Settings(
            vendors={"binance": {"rest_url": url}},
            feeds={"f": {"vendor": "binance", "channel": "spot", "symbols": {"crypto": ["x"]}}},
        )
        (feed,) = plan_feeds(settings, Path("config.toml"))
        assert feed.listing is not None
        async with asyncio.timeout(5):
            assert not await Catalog(tmp_path, within=0.2).bring(feed.listing)
            await gone.wait()


async def test_a_list_that_lost_its_half_is_not_believed(tmp_path: Path) -> None:
    clock = Clock()
    async with listing_venue() as venue:
        catalog = Catalog(tmp_path, clock)
        found = listed_of(venue, ["btcusdt", "solusdt"])
        await catalog.bring(found)
        every = [f"{base}{quote}".lower() for _, base, quote in venue.pairs()]
        venue.faults.unlisted = [name for name in every if name != "btcusdt"]
        clock.now += DAY

        assert not await catalog.bring(found)

    assert found.symbols == ["btcusdt", "solusdt"]


async def test_a_torn_file_is_fetched_anew(tmp_path: Path) -> None:
    clock = Clock()
    async with listing_venue() as venue:
        await Catalog(tmp_path, clock).bring(listed_of(venue))
        kept = tmp_path / ".instruments" / "binance_spot.json"
        whole = kept.read_bytes()
        kept.write_bytes(whole[: len(whole) // 2])
        await Catalog(tmp_path, clock).bring(listed_of(venue))

    assert kept.read_bytes() == whole


def daemon_of(venue: Venue, folder: Path, symbols: Sequence[str]) -> Supervisor:
    settings = Settings(
        storage=StorageSettings(path=folder / "lake"),
        spool=SpoolSettings(interval="50ms"),
        server=ServerSettings(listen=""),
        vendors={"binance": venue.options()},
        feeds={
            "coins": {
                "vendor": "binance",
                "channel": "spot",
                "symbols": {"crypto": list(symbols)},
            }
        },
    )
    return Supervisor(settings, plan_feeds(settings, folder / "config.toml"), times=FAST)


async def test_a_feed_of_which_nothing_is_traded_ends_with_the_mend(tmp_path: Path) -> None:
    async with listing_venue() as venue:
        daemon = daemon_of(venue, tmp_path, ["btcusdx"])
        async with running(daemon) as task:
            outcome = await asyncio.wait_for(task, 20)

    assert outcome.exit_code == 2
    assert "btcusdx is not traded on binance; nearest: btcusd" in outcome.failed["coins"]
    assert venue.connections == 0


async def test_a_symbol_that_comes_and_one_that_goes_change_the_connection(tmp_path: Path) -> None:
    """The list is a day old at once: solusdt is listed, ethusdt is gone."""
    async with listing_venue(Faults(unlisted=("solusdt",))) as venue:
        daemon = daemon_of(venue, tmp_path, ["btcusdt", "ethusdt", "solusdt"])
        daemon.parts.catalog._every = 0.4
        async with running(daemon):
            stats = daemon.feeds[0].stats
            await until(lambda: len(venue.heard) > 20)
            assert list(stats.refused) == ["solusdt"]
            venue.faults.unlisted = ("ethusdt",)
            await until(lambda: "SOLUSDT" in {tick.name for tick in venue.heard})
            await until(lambda: list(stats.refused) == ["ethusdt"])
            await until(lambda: len(venue.lines) == 1)
            started = len(venue.heard)
            await until(lambda: len(venue.heard) > started + 20)

    late = {tick.name for tick in venue.heard[started:]}
    assert late == {"BTCUSDT", "SOLUSDT"}
    assert stats.disconnects == {}  # the next connection delivered before the last was closed
    rows = read(tmp_path / "lake", "gap").filter(cause="unsubscribed")
    assert set(rows["symbol"]) == {"ethusdt", "solusdt"}
    sent = {(tick.name.lower(), tick.bid, tick.ask) for tick in venue.heard if tick.kind == "quote"}
    assert sent == set(read(tmp_path / "lake", "quote").select("symbol", "bid", "ask").rows())
