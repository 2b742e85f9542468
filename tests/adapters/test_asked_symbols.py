"""Whatever symbols a config lists: they are refused in a sentence, or the vendor can be asked."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc import adapters
from edc.errors import ConfigError
from edc.plan import Feed, plan_feeds
from edc.settings import Settings
from edc.symbols import QUOTES
from tests.harness import Process
from tests.test_adapters import feeds_of_fixtures

PLACE = Path("config.toml")
_NOTHING = Settings()
_WRITTEN = st.text("aQz09./_-:@* \u00e9", max_size=9) | st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "a", "btc", "EUR", "1inch", "t", "f"]),
    st.sampled_from(["", "/", "-", "_", ".", ":", " ", "--"]),
    st.sampled_from(["", "x", "F0", *QUOTES]),
)


def _one_of_each_channel() -> dict[str, tuple[str, dict[str, Any]]]:
    """A feed of each channel of each vendor, by what a test is called."""
    return {f"{vendor}-{feed['channel']}": (vendor, feed) for vendor, feed in feeds_of_fixtures()}


def _settings(vendor: str, feed: dict[str, Any], symbols: dict[str, list[str]]) -> Settings:
    secret = "api_secret" in adapters.load(vendor).vendor_options.model_fields
    options = {"api_key": "the-key"} | ({"api_secret": "the-secret"} if secret else {})
    feeds = {"one": feed | {"vendor": vendor, "symbols": symbols}}
    return _NOTHING.model_copy(update={"vendors": {vendor: options}, "feeds": feeds})


def _planned(of: Settings) -> tuple[ConfigError | None, list[Feed]]:
    try:
        return None, plan_feeds(of, PLACE)
    except ConfigError as error:
        return error, []


@pytest.mark.parametrize("named", _one_of_each_channel())
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_symbol_is_asked_for_or_refused_in_a_sentence(named: str, data: st.DataObject) -> None:
    vendor, feed = _one_of_each_channel()[named]
    channel = adapters.load(vendor).channels[feed["channel"]]
    kind = data.draw(st.sampled_from(channel.asset_types))
    symbols = data.draw(st.lists(_WRITTEN, min_size=1, max_size=4))
    wrong, planned = _planned(_settings(vendor, feed, {kind: symbols}))

    if wrong is not None:
        assert wrong.place.startswith("config.toml: [feeds.one] symbols")
        assert wrong.mend
    for each in planned:
        adapter: Any = each.build()
        asked = adapter.requests() if channel.kind == "poll" else ()
        asked = adapter.subscribe() if channel.kind == "websocket" else asked
        asked = [adapter.request()] if channel.kind == "stream" else asked
        assert all(asked)


@pytest.mark.parametrize(
    ("vendor", "channel", "kind"),
    [
        ("massive", "forex", "fx"),
        ("massive", "crypto", "crypto"),
        ("massive", "forex_rest", "fx"),
        ("alpaca", "crypto", "crypto"),
        ("finnhub", "trades", "fx"),
        ("twelvedata", "price", "crypto"),
        ("oanda", "pricing", "fx"),
    ],
)
@pytest.mark.parametrize("written", ["q", "usd", "a/b/c"])
def test_what_is_no_pair_is_refused_where_pairs_are_spelled(
    vendor: str, channel: str, kind: str, written: str
) -> None:
    feed = next(
        feed for of, feed in feeds_of_fixtures() if (of, feed["channel"]) == (vendor, channel)
    )

    with pytest.raises(ConfigError) as caught:
        plan_feeds(_settings(vendor, feed, {kind: [written]}), PLACE)

    assert caught.value.place == "config.toml: [feeds.one] symbols"
    assert caught.value.problem.endswith("is no pair of currencies")
    assert caught.value.mend == "write it like BASE/QUOTE"


def test_check_says_which_symbol_is_no_pair(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[vendors.massive]\napi_key = "k"\n'
        '[feeds.fx]\nvendor = "massive"\nchannel = "forex"\nsymbols = { fx = ["eurusd", "q"] }\n'
    )

    check = Process("check", cwd=tmp_path)

    assert check.wait() == 2
    assert "[feeds.fx] symbols: 'q' is no pair of currencies; write it like BASE/QUOTE" in (
        " ".join(check.output.split())
    )


def test_a_venue_that_lists_what_it_trades_says_itself_what_is_none() -> None:
    """Until the list is there, a name that it will refuse; `edc check` does not stop at it."""
    feed = {"channel": "spot", "symbols": {}}

    [planned] = plan_feeds(_settings("kraken", feed, {"crypto": ["q"]}), PLACE)

    adapter: Any = planned.build()
    assert list(adapter.topics.values()) == ["q"] * len(adapter.topics)
    assert any('"Q"' in message for message in adapter.subscribe())
