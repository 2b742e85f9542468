"""How feeds of the config become connections: parted, shared, and each with its own adapter."""

from pathlib import Path
from typing import Any

import pytest

from edc.errors import ConfigError
from edc.plan import Feed, plan_feeds
from edc.settings import Settings, StorageSettings
from tests.harness import KEY

ALPACA = {"vendor": "alpaca", "channel": "sip"}


def planned(folder: Path, **feeds: dict[str, Any]) -> list[Feed]:
    settings = Settings(
        storage=StorageSettings(path=folder),
        vendors={"alpaca": {"api_key": KEY, "api_secret": "the-secret"}},
        feeds=feeds,
    )
    return plan_feeds(settings, folder / "config.toml")


def topics(feed: Feed) -> list[str]:
    adapter: Any = feed.build()
    return list(adapter.topics)


def test_a_feed_with_many_symbols_takes_several_connections(tmp_path: Path) -> None:
    symbols = [f"c{number}usd" for number in range(30)]
    feeds = planned(
        tmp_path,
        crypto={"vendor": "bitfinex", "channel": "spot", "symbols": {"crypto": symbols}},
    )

    assert [feed.name for feed in feeds] == ["crypto.1", "crypto.2", "crypto.3"]
    assert [len(topics(feed)) for feed in feeds] == [24, 24, 12]
    asked = [topic for feed in feeds for topic in topics(feed) if topic.startswith("trades")]
    assert len(set(asked)) == 30
    assert {feed.source for feed in feeds} == {"bitfinex_spot"}


def test_feeds_of_a_vendor_that_allows_one_connection_share_it(tmp_path: Path) -> None:
    feeds = planned(
        tmp_path,
        stocks={**ALPACA, "symbols": {"stock": ["AAPL", "BRK.B"]}},
        funds={**ALPACA, "symbols": {"etf": ["SPY"]}},
        coins={"vendor": "alpaca", "channel": "crypto", "symbols": {"crypto": ["BTC/USD"]}},
    )

    assert [feed.name for feed in feeds] == ["stocks+funds", "coins"]
    assert feeds[0].asset_types == ("stock", "etf")
    assert [topic for topic in topics(feeds[0]) if topic.startswith("trades")] == [
        *("trades AAPL", "trades BRK.B", "trades SPY")
    ]


def test_feeds_that_have_to_share_a_connection_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shares that of stocks, whose options differ"):
        planned(
            tmp_path,
            stocks={**ALPACA, "symbols": {"stock": ["AAPL"]}},
            funds={**ALPACA, "take": ["trades"], "symbols": {"etf": ["SPY"]}},
        )
    with pytest.raises(ConfigError, match=r"'aapl' is listed in \[feeds.stocks\]"):
        planned(
            tmp_path,
            stocks={**ALPACA, "symbols": {"stock": ["AAPL"]}},
            more={**ALPACA, "symbols": {"stock": ["aapl"]}},
        )


def test_a_vendor_with_one_connection_is_not_taken_twice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="taken once: the vendor allows no more"):
        planned(tmp_path, stocks={**ALPACA, "connections": 2, "symbols": {"stock": ["AAPL"]}})


def test_each_connection_has_an_adapter_of_its_own(tmp_path: Path) -> None:
    (feed,) = planned(
        tmp_path,
        coins={"vendor": "kraken", "channel": "spot", "symbols": {"crypto": ["BTC/USD"]}},
    )

    assert feed.build() is not feed.build()


def test_a_secret_is_asked_for_where_the_vendor_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(
        storage=StorageSettings(path=tmp_path),
        vendors={"alpaca": {"api_key": KEY}},
        feeds={"stocks": {**ALPACA, "symbols": {"stock": ["AAPL"]}}},
    )
    place = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match="Alpaca needs an API secret and none was given"):
        plan_feeds(settings, place)

    monkeypatch.setenv("ALPACA_API_SECRET", "canary-secret-1b2c")
    (feed,) = plan_feeds(settings, place)

    assert feed.name == "stocks"


@pytest.mark.parametrize(
    ("written", "name"),
    [("kPEPE", "kPEPE"), ("btc", "BTC"), ("@162", "@162"), ("flx:TSLA", "flx:TSLA")],
)
def test_a_venues_own_names_are_asked_for_as_they_are_written(
    written: str, name: str, tmp_path: Path
) -> None:
    (feed,) = planned(
        tmp_path,
        coins={"vendor": "hyperliquid", "channel": "public", "symbols": {"crypto": [written]}},
    )
    adapter: Any = feed.build()

    assert adapter.topics[f"trades {name}"] == written.lower()


@pytest.mark.parametrize("written", ["BTC-USDT", "BTC/USDT", "btcusdt", "BTC_USDT"])
def test_a_pair_may_be_written_in_any_way(written: str, tmp_path: Path) -> None:
    (feed,) = planned(
        tmp_path, coins={"vendor": "okx", "channel": "spot", "symbols": {"crypto": [written]}}
    )

    assert topics(feed) == ["trades BTC-USDT", "bbo-tbt BTC-USDT"]
