"""The configuration: every wrong input with its sentence, and where values may come from."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edc import adapters, config
from edc.adapters import Strict
from edc.adapters.tiingo.options import TiingoFeedOptions, TiingoVendorOptions
from edc.errors import ConfigError
from edc.logs import redact
from edc.plan import plan_feeds
from edc.queues import WhenFull
from edc.settings import Settings

PATH = Path("config.toml")
SHIPPED = Path(__file__).parent.parent / "config.toml"
DURATION = 'write a duration as a number and a unit, for example "200ms", "60s" or "5m"'
LISTEN = 'write an address and a port, like "127.0.0.1:8480", or "" for none'
SYMBOL = 'write one like "aapl", "BRK.B", "EUR/USD" or "*"'
ZONE = 'write one of the IANA names, for example "America/New_York" or "UTC"'
POLICY = (
    'write "block", "drop_oldest" or "drop_newest", or one of them by event type, like '
    '{ quote = "drop_oldest" }'
)
NAME = "use lower-case letters, digits, - and _, at most 64"
CHANNELS = "channels are crypto, crypto_rest, equity, fx, fx_rest, iex, iex_rest"
QUOTES = 'text is written in quotes, key = "text"'

VENDOR = '[vendors.tiingo]\napi_key = "some-key"\n'


def feed(symbols: str = '{ stock = ["aapl"] }', channel: str = "iex", more: str = "") -> str:
    """A whole configuration, right unless an argument is wrong."""
    lines = ["[feeds.a]", 'vendor = "tiingo"', f'channel = "{channel}"', f"symbols = {symbols}"]
    return VENDOR + "\n".join([*lines, more]) + "\n"


def problem(text: str | bytes) -> str:
    """What is said to a person whose config.toml is `text`."""
    PATH.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        plan_feeds(config.load(PATH), PATH)
    return str(caught.value)


FINE = feed()

WRONG: dict[str, tuple[str, str]] = {
    # Names that do not exist.
    "a key above all sections": (
        f"feed = 1\n{FINE}",
        "top level: unknown key 'feed'; did you mean 'feeds'?",
    ),
    "a misspelt section": (
        f"[stroage]\n{FINE}",
        "top level: unknown key 'stroage'; did you mean 'storage'?",
    ),
    "vendor for vendors": (
        f'[vendor.tiingo]\nurl = "x"\n{FINE}',
        "top level: unknown key 'vendor'; did you mean 'vendors'?",
    ),
    "a misspelt key of a section": (
        f"[batch]\nmax_row = 5\n{FINE}",
        "[batch]: unknown key 'max_row'; did you mean 'max_rows'?",
    ),
    "a key like no other": (
        f"[storage]\nbucket = 5\n{FINE}",
        (
            "[storage]: unknown key 'bucket'; keys are format, instance, keep_days, local, options,"
            " partition, path, reserve, timezone"
        ),
    ),
    "a misspelt key of a vendor": (
        FINE.replace("api_key", "api_kye"),
        "[vendors.tiingo]: unknown key 'api_kye'; did you mean 'api_key'?",
    ),
    "a misspelt key of a feed": (
        feed(more="treshold_level = 6"),
        "[feeds.a]: unknown key 'treshold_level'; did you mean 'threshold_level'?",
    ),
    "an unknown vendor": (
        FINE.replace('vendor = "tiingo"', 'vendor = "tingo"'),
        "[feeds.a] vendor: there is no vendor 'tingo'; did you mean 'tiingo'?",
    ),
    "a vendor that no feed uses, misspelt": (
        f"{FINE}[vendors.tingo]\n",
        "[vendors.tingo]: there is no vendor 'tingo'; did you mean 'tiingo'?",
    ),
    "an unknown adapter": (
        f'{FINE}[vendors.other]\nadapter = "tingo"\n',
        "[vendors.other]: there is no vendor 'tingo'; did you mean 'tiingo'?",
    ),
    "no vendor": (
        FINE.replace('vendor = "tiingo"\n', ""),
        f"[feeds.a]: vendor is missing; vendors are {', '.join(adapters.names())}",
    ),
    "an unknown channel": (
        feed(channel="iexx"),
        "[feeds.a] channel: tiingo has no channel 'iexx'; did you mean 'iex'?",
    ),
    "a channel that is a number": (
        FINE.replace('"iex"', "6"),
        f"[feeds.a] channel: tiingo has no channel 6; {CHANNELS}",
    ),
    "no channel": (
        FINE.replace('channel = "iex"\n', ""),
        f"[feeds.a]: channel is missing; {CHANNELS}",
    ),
    "a feed whose name is no file name": (
        FINE.replace("[feeds.a]", '[feeds."../a"]'),
        f"[feeds.../a]: '../a' is no name; {NAME}",
    ),
    "a feed in capitals": (
        FINE.replace("[feeds.a]", "[feeds.Stocks]"),
        f"[feeds.Stocks]: 'Stocks' is no name; {NAME}",
    ),
    "no feeds": (
        VENDOR,
        'there is no [feeds.…] section; add one; README, "Configuration"',
    ),
    # Symbols.
    "symbols left out": (
        FINE.replace('symbols = { stock = ["aapl"] }\n', ""),
        (
            "[feeds.a] symbols: lists of symbols by asset type are missing; "
            'write symbols = { stock = ["…"] }'
        ),
    ),
    "one symbol as text": (
        feed('"aapl"'),
        (
            "[feeds.a] symbols: lists of symbols by asset type are missing; "
            'write symbols = { stock = ["…"] }'
        ),
    ),
    "a list without asset types": (
        feed('["aapl", "spy"]', channel="fx"),
        (
            "[feeds.a] symbols: lists of symbols by asset type are missing; "
            'write symbols = { fx = ["…"] }'
        ),
    ),
    "no asset type at all": (
        feed("{}"),
        (
            "[feeds.a] symbols: lists of symbols by asset type are missing; "
            'write symbols = { stock = ["…"] }'
        ),
    ),
    "text instead of a list": (
        feed('{ etf = "spy" }'),
        ('[feeds.a] symbols: etf is not a list of symbols; write symbols = { etf = ["…"] }'),
    ),
    "an empty list": (
        feed("{ etf = [] }"),
        '[feeds.a] symbols: etf lists no symbols; write symbols = { etf = ["…"] }',
    ),
    "an asset type of another channel": (
        feed('{ fx = ["eurusd"] }'),
        (
            "[feeds.a] symbols: 'fx' is not an asset type of this channel; "
            "asset types are etf, stock"
        ),
    ),
    "a misspelt asset type": (
        feed('{ stocks = ["aapl"] }'),
        ("[feeds.a] symbols: 'stocks' is not an asset type of this channel; did you mean 'stock'?"),
    ),
    "a symbol twice in two spellings": (
        feed('{ stock = ["brk.b", "BRK-B"] }'),
        "[feeds.a] symbols: 'brk-b' is listed twice; remove one of them",
    ),
    "a symbol under two asset types": (
        feed('{ stock = ["spy"], etf = ["SPY"] }'),
        "[feeds.a] symbols: 'spy' is listed twice; remove one of them",
    ),
    "an odd character": (
        feed('{ stock = ["aa$pl"] }'),
        f"[feeds.a] symbols: 'aa$pl' is no symbol; {SYMBOL}",
    ),
    "a letter beyond ASCII": (
        feed('{ stock = ["äapl"] }'),
        f"[feeds.a] symbols: 'äapl' is no symbol; {SYMBOL}",
    ),
    "several symbols in one text": (
        feed('{ stock = ["aapl,spy"] }'),
        f"[feeds.a] symbols: 'aapl,spy' is no symbol; {SYMBOL}",
    ),
    "a blank symbol": (
        feed('{ stock = [" "] }'),
        f"[feeds.a] symbols: ' ' is no symbol; {SYMBOL}",
    ),
    "a symbol of marks only": (
        feed('{ stock = ["-"] }'),
        f"[feeds.a] symbols: '-' is no symbol; {SYMBOL}",
    ),
    "a pattern": (
        feed('{ stock = ["a*"] }'),
        f"[feeds.a] symbols: 'a*' is no symbol; {SYMBOL}",
    ),
    "a symbol of 65 letters": (
        feed(f'{{ stock = ["{"a" * 65}"] }}'),
        f"[feeds.a] symbols: '{'a' * 65}' is no symbol; {SYMBOL}",
    ),
    "a number among symbols": (
        feed('{ stock = ["aapl", 1] }'),
        f"[feeds.a] symbols: 1 is no symbol; {SYMBOL}",
    ),
    "a list among symbols": (
        feed('{ stock = [["aapl"]] }'),
        f"[feeds.a] symbols: ['aapl'] is no symbol; {SYMBOL}",
    ),
    "every symbol and others": (
        feed('{ stock = ["*", "aapl"] }'),
        ('[feeds.a] symbols: "*" already means every symbol; remove it, or the others'),
    ),
    "every symbol and others of another type": (
        feed('{ stock = ["*"], etf = ["spy"] }'),
        ('[feeds.a] symbols: "*" already means every symbol; remove it, or the others'),
    ),
    # Durations and numbers.
    "a duration without a unit": (
        f'[batch]\nmax_age = "60"\n{FINE}',
        f"[batch] max_age: '60' is not understood; {DURATION}",
    ),
    "a duration as a number": (
        f"[batch]\nmax_age = 60\n{FINE}",
        f"[batch] max_age: 60 is not understood; {DURATION}",
    ),
    "a duration in words": (
        f'[spool]\ninterval = "often"\n{FINE}',
        f"[spool] interval: 'often' is not understood; {DURATION}",
    ),
    "a negative duration": (
        f'[batch]\nmax_age = "-1s"\n{FINE}',
        f"[batch] max_age: '-1s' is not understood; {DURATION}",
    ),
    "no duration": (
        f'[batch]\nmax_age = "0s"\n{FINE}',
        "[batch] max_age: 0 s is too small; write more than 0 s",
    ),
    "a spool interval no disk can keep": (
        f'[spool]\ninterval = "1ms"\n{FINE}',
        "[spool] interval: 0.001 s is too small; write 0.01 s or more",
    ),
    "a spool interval that risks too much": (
        f'[spool]\ninterval = "2m"\n{FINE}',
        "[spool] interval: 120 s is too big; write 60 s or less",
    ),
    "a negative number": (
        f"[batch]\nmax_rows = -1\n{FINE}",
        "[batch] max_rows: -1 is too small; write 1 or more",
    ),
    "a zero": (
        f"[queue]\ncapacity = 0\n{FINE}",
        "[queue] capacity: 0 is too small; write 1 or more",
    ),
    "a number beyond memory": (
        f"[batch]\nmax_rows = 10_000_001\n{FINE}",
        "[batch] max_rows: 10000001 is too big; write 10000000 or less",
    ),
    "a number in words": (
        f'[batch]\nmax_rows = "many"\n{FINE}',
        ("[batch] max_rows: 'many' is no whole number; write one without quotes, like 6"),
    ),
    "a fraction": (
        f"[batch]\nmax_rows = 1.5\n{FINE}",
        "[batch] max_rows: 1.5 is no whole number; write one without quotes, like 6",
    ),
    # Words.
    "an unknown time zone": (
        f'[storage]\ntimezone = "New York"\n{FINE}',
        f"[storage] timezone: 'New York' is no time zone; {ZONE}",
    ),
    "an empty time zone": (
        f'[storage]\ntimezone = ""\n{FINE}',
        f"[storage] timezone: '' is no time zone; {ZONE}",
    ),
    "a time zone that leads out of the folder": (
        f'[storage]\ntimezone = "../UTC"\n{FINE}',
        f"[storage] timezone: '../UTC' is no time zone; {ZONE}",
    ),
    "a time zone as a number": (
        f"[storage]\ntimezone = -5\n{FINE}",
        "[storage] timezone: -5 is no text; write it in quotes",
    ),
    "a partition that is not there": (
        f'[storage]\npartition = "week"\n{FINE}',
        ("[storage] partition: 'week' is none of the choices; write 'hour' or 'day'"),
    ),
    "a path as a number": (
        f"[storage]\npath = 5\n{FINE}",
        "[storage] path: 5 is no text; write it in quotes",
    ),
    "an empty path": (
        f'[storage]\npath = ""\n{FINE}',
        '[storage] path: the value is empty; write a folder, like "data" or "."',
    ),
    "an instance that is no file name": (
        f'[storage]\ninstance = "A/b"\n{FINE}',
        f"[storage] instance: 'A/b' is no name; {NAME}",
    ),
    "a port without an address": (
        f'[server]\nlisten = "8480"\n{FINE}',
        f"[server] listen: '8480' is not understood; {LISTEN}",
    ),
    "an address without a port": (
        f'[server]\nlisten = "localhost"\n{FINE}',
        f"[server] listen: 'localhost' is not understood; {LISTEN}",
    ),
    "a port that does not exist": (
        f'[server]\nlisten = "127.0.0.1:65536"\n{FINE}',
        f"[server] listen: '127.0.0.1:65536' is not understood; {LISTEN}",
    ),
    "a port as a number": (
        f"[server]\nlisten = 8480\n{FINE}",
        "[server] listen: 8480 is no text; write it in quotes",
    ),
    "an unknown queue policy": (
        f'[queue]\nwhen_full = "drop"\n{FINE}',
        f"[queue] when_full: 'drop' is not understood; {POLICY}",
    ),
    "a queue policy as a number": (
        f"[queue]\nwhen_full = 3\n{FINE}",
        f"[queue] when_full: 3 is not understood; {POLICY}",
    ),
    "an unknown queue policy of one event type": (
        f'[queue]\nwhen_full = {{ trade = "drop" }}\n{FINE}',
        (
            "[queue] when_full.trade: 'drop' is none of the choices; "
            "write 'block', 'drop_oldest' or 'drop_newest'"
        ),
    ),
    "a queue policy of an unknown event type": (
        f'[queue]\nwhen_full = {{ trades = "block" }}\n{FINE}',
        (
            "[queue] when_full.trades: 'trades' is none of the choices; "
            "write 'trade', 'quote' or 'ref_px'"
        ),
    ),
    # What fits the vendor's channel.
    "a threshold level of another channel": (
        feed(more="threshold_level = 7"),
        "[feeds.a]: channel iex has no threshold_level 7; write one of 0, 5, 6",
    ),
    "a threshold level in words": (
        feed(more='threshold_level = "six"'),
        ("[feeds.a] threshold_level: 'six' is no whole number; write one without quotes, like 6"),
    ),
    "a threshold level of a polled channel": (
        feed(channel="iex_rest", more="threshold_level = 6"),
        "[feeds.a]: threshold_level is for websockets, iex_rest is polled; remove it",
    ),
    "an interval of a websocket channel": (
        feed(more='interval = "75s"'),
        "[feeds.a]: interval is for polling, iex is a websocket; remove it",
    ),
    "an interval that no quota allows": (
        feed(channel="iex_rest", more='interval = "10ms"'),
        "[feeds.a] interval: '10ms' is too small; write 1 s or more",
    ),
    "a watchdog that never rests": (
        feed(more='stale_after = "0s"'),
        "[feeds.a] stale_after: '0s' is too small; write more than 0 s",
    ),
    # The key.
    "no key": (
        FINE.removeprefix(VENDOR),
        (
            "[vendors.tiingo]: Tiingo needs an API key and none was given; "
            "set TIINGO_API_KEY in the environment or in .env, or name a file with api_key_file"
        ),
    ),
    "a blank key": (
        FINE.replace("some-key", " "),
        (
            "[vendors.tiingo]: Tiingo needs an API key and none was given; "
            "set TIINGO_API_KEY in the environment or in .env, or name a file with api_key_file"
        ),
    ),
    "a key as a number": (
        FINE.replace('"some-key"', "123456789"),
        "[vendors.tiingo] api_key: the value is no text; write it in quotes",
    ),
    "a key file that is not there": (
        FINE.replace("api_key = ", "api_key_file = "),
        (
            "[vendors.tiingo] api_key_file: some-key cannot be read: "
            "No such file or directory; name a file that holds the key"
        ),
    ),
    "a url of another kind": (
        f"[vendors.tiingo]\nurl = 'https://x'\n{FINE.removeprefix('[vendors.tiingo]')}",
        "[vendors.tiingo] url: 'https://x' is no such url; write one like wss://host",
    ),
    "a url as a number": (
        f"[vendors.tiingo]\nurl = 443\n{FINE.removeprefix('[vendors.tiingo]')}",
        "[vendors.tiingo] url: 443 is no text; write it in quotes",
    ),
    # The file itself.
    "a bracket left open": (
        "[storage\n",
        (
            "is not valid TOML: Expected ']' at the end of a table declaration "
            f"(at line 1, column 9); {QUOTES}"
        ),
    ),
    "text without quotes": (
        "[storage]\npath = data\n",
        f"is not valid TOML: Invalid value (at line 2, column 8); {QUOTES}",
    ),
    "a section given twice": (
        f"{FINE}[vendors.tiingo]\n",
        (
            "is not valid TOML: Cannot declare ('vendors', 'tiingo') twice "
            f"(at line 8, column 16); {QUOTES}"
        ),
    ),
    "a section that is text": (
        f'storage = "data"\n{FINE}',
        ("[storage]: 'data' is no table; begin a section with [storage] and write its keys below"),
    ),
    "a section in double brackets": (
        f"[[storage]]\n{FINE}",
        (
            "[storage]: the value is no table; "
            "begin a section with [storage] and write its keys below"
        ),
    ),
    "feeds as text": (
        'feeds = "stocks"\n',
        (
            "[feeds]: 'stocks' is no table; "
            "begin a section with [feeds.NAME] and write its keys below"
        ),
    ),
    "a feed without a name": (
        '[feeds]\nvendor = "tiingo"\n',
        (
            "[feeds] vendor: 'tiingo' is no table; "
            "begin a section with [feeds.NAME] and write its keys below"
        ),
    ),
    "a vendor that is text": (
        f'vendors = {{ tiingo = "x" }}\n{FINE.removeprefix(VENDOR)}',
        (
            "[vendors] tiingo: 'x' is no table; "
            "begin a section with [vendors.NAME] and write its keys below"
        ),
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_input_is_answered_with_its_place_and_its_mend(text: str, expected: str) -> None:
    assert problem(text) == f"config.toml: {expected}"


def test_a_file_that_is_not_utf_8_is_named_with_the_byte() -> None:
    assert problem(b'# caf\xe9\n[storage]\npath = "data"\n') == (
        "config.toml: byte 6 is not UTF-8; save the file as UTF-8"
    )


def test_a_byte_order_mark_is_named() -> None:
    assert problem(f"\ufeff{FINE}") == (
        "config.toml: begins with a byte order mark; save the file as UTF-8 without one"
    )


def test_a_missing_file_points_to_config_and_to_the_demo() -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(PATH)
    assert str(caught.value) == (
        "config.toml: there is no such file; name one with --config, or try `edc run --demo`"
    )


def test_a_folder_instead_of_a_file_is_refused() -> None:
    PATH.mkdir()
    with pytest.raises(ConfigError) as caught:
        config.load(PATH)
    assert str(caught.value) == (
        "config.toml: cannot be read: Is a directory; name another with --config"
    )


def test_an_env_file_that_is_not_text_is_refused() -> None:
    Path(".env").write_bytes(b"TIINGO_API_KEY=\xff\n")
    assert problem(FINE) == ".env: cannot be read: it is not UTF-8; mend or remove it"


def test_an_empty_key_file_is_refused() -> None:
    Path("key").write_text("\n")
    assert problem(FINE.replace('api_key = "some-key"', 'api_key_file = "key"')) == (
        "config.toml: [vendors.tiingo] api_key_file: key is empty; write the key into it"
    )


def test_a_key_file_that_is_not_text_is_refused() -> None:
    Path("key").write_bytes(b"\xff\xfe")
    assert problem(FINE.replace('api_key = "some-key"', 'api_key_file = "key"')) == (
        "config.toml: [vendors.tiingo] api_key_file: key cannot be read: it is not text; "
        "name a file that holds the key"
    )


@pytest.mark.parametrize(
    ("name", "mend"), [("b", "feeds are a"), ("A", "did you mean 'a'?"), ("", "feeds are a")]
)
def test_a_feed_that_the_file_does_not_have_is_refused_by_name(name: str, mend: str) -> None:
    PATH.write_text(FINE)
    with pytest.raises(ConfigError) as caught:
        plan_feeds(config.load(PATH), PATH, [name])
    assert str(caught.value) == f"config.toml: there is no feed {name!r}; {mend}"


# Where values come from.


@pytest.mark.parametrize("source", ["environment", ".env"])
@pytest.mark.parametrize(
    ("variable", "value", "path"),
    [
        ("EDC_STORAGE__PATH", "/srv/lake", "storage.path"),
        ("EDC_STORAGE__TIMEZONE", "UTC", "storage.timezone"),
        ("EDC_BATCH__MAX_AGE", "5m", "batch.max_age"),
        ("EDC_BATCH", '{"max_rows": 7}', "batch.max_rows"),
        ("EDC_SERVER__LISTEN", "", "server.listen"),
        ("EDC_QUEUE__WHEN_FULL", "drop_oldest", "queue.when_full"),
        ("EDC_QUEUE__WHEN_FULL", '{"quote": "drop_newest"}', "queue.when_full"),
        ("EDC_QUEUE__WHEN_FULL__TRADE", "drop_oldest", "queue.when_full"),
        ("EDC_FEEDS__A__THRESHOLD_LEVEL", "5", "feeds"),
        ("edc_storage__path", "/srv/lake", "storage.path"),
    ],
)
def test_a_variable_overrides_the_file(
    source: str, variable: str, value: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: dict[str, Any] = {
        "storage.path": Path("/srv/lake"),
        "storage.timezone": "UTC",
        "batch.max_age": 300.0,
        "batch.max_rows": 7,
        "server.listen": "",
        "queue.when_full": {
            "drop_oldest": dict.fromkeys(("trade", "quote", "ref_px"), WhenFull.DROP_OLDEST),
            '{"quote": "drop_newest"}': {"quote": WhenFull.DROP_NEWEST},
        },
    }
    PATH.write_text(f"[storage]\npath = 'elsewhere'\n{feed(more='threshold_level = 6')}")
    if source == "environment":
        monkeypatch.setenv(variable, value)
    else:
        Path(".env").write_text(f"{variable}='{value}'\n")
    settings = config.load(PATH)
    plan_feeds(settings, PATH)
    if path == "feeds":
        assert settings.feeds["a"]["threshold_level"] == "5"
        return
    section, key = path.split(".")
    wanted = expected[path]
    if variable == "EDC_QUEUE__WHEN_FULL__TRADE":
        wanted = {"trade": WhenFull.DROP_OLDEST}
    elif path == "queue.when_full":
        wanted = wanted[value]
    assert getattr(getattr(settings, section), key) == wanted


def test_the_levels_and_symbols_of_a_feed_can_be_overridden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    PATH.write_text(feed(more="threshold_level = 6"))
    monkeypatch.setenv("EDC_FEEDS__A__THRESHOLD_LEVEL", "5")
    monkeypatch.setenv("EDC_FEEDS__A__SYMBOLS", '{"etf": ["SPY"]}')
    [planned] = plan_feeds(config.load(PATH), PATH)
    [asked] = planned.build().subscribe()  # type: ignore[attr-defined]
    assert '"thresholdLevel":5' in asked
    assert '"tickers":["spy"]' in asked
    assert planned.asset_types == ("etf",)


def test_the_environment_goes_before_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    PATH.write_text(FINE)
    Path(".env").write_text("EDC_STORAGE__PATH=second\n")
    monkeypatch.setenv("EDC_STORAGE__PATH", "first")
    assert config.load(PATH).storage.path == Path("first")


def test_a_config_elsewhere_reads_the_env_file_beside_it() -> None:
    folder = Path("etc")
    folder.mkdir()
    (folder / "config.toml").write_text(FINE)
    (folder / ".env").write_text("EDC_STORAGE__PATH=right\n")
    Path(".env").write_text("EDC_STORAGE__PATH=wrong\n")
    assert config.load(folder / "config.toml").storage.path == Path("right")


@pytest.mark.parametrize("source", ["environment", ".env"])
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("EDC_STORGE__PATH", "x", "there is no section 'storge'; did you mean 'storage'?"),
        ("EDC_STORAGE__PTH", "x", "unknown key 'pth'; did you mean 'path'?"),
        (
            "EDC_STORAGE",
            "x",
            ("the value is no table; EDC_STORAGE__KEY sets one value, EDC_STORAGE a table as JSON"),
        ),
        (
            "EDC_FEEDS",
            "x",
            (
                "the value is no table; "
                "EDC_FEEDS__NAME__KEY sets one value, EDC_FEEDS a table as JSON"
            ),
        ),
        ("EDC_BATCH__MAX_ROWS", "0", "'0' is too small; write 1 or more"),
        ("EDC_BATCH__MAX_AGE", "5", f"'5' is not understood; {DURATION}"),
        ("EDC_QUEUE__WHEN_FULL", "drop", f"'drop' is not understood; {POLICY}"),
        ("EDC_QUEUE__WHEN_FULL", "{drop", f"'{{drop' is not understood; {POLICY}"),
    ],
)
def test_a_wrong_variable_is_named_itself_and_not_the_file(
    source: str, variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    PATH.write_text(FINE)
    if source == "environment":
        monkeypatch.setenv(variable, value)
    else:
        Path(".env").write_text(f"{variable}='{value}'\n")
    with pytest.raises(ConfigError) as caught:
        config.load(PATH)
    assert str(caught.value) == f"{variable}: {said}"


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    PATH.write_text(FINE)
    monkeypatch.setenv("EDC_HOME", "/opt/edc")
    monkeypatch.setenv("TINGO_API_KEY", "x")
    config.load(PATH)


KEYS = {
    "environment": "key-of-the-environment",
    ".env": "key-of-the-env-file",
    "api_key_file": "key-of-the-key-file",
    "credential": "key-of-the-credential",
    "api_key": "key-of-the-config",
}


@pytest.mark.parametrize("first", list(KEYS))
def test_the_first_source_of_a_key_wins(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    present = list(KEYS)[list(KEYS).index(first) :]
    vendor = f'[vendors.tiingo]\napi_key = "{KEYS["api_key"]}"\n'
    if "environment" in present:
        monkeypatch.setenv("TIINGO_API_KEY", KEYS["environment"])
    if ".env" in present:
        Path(".env").write_text(f"TIINGO_API_KEY={KEYS['.env']}\n")
    if "api_key_file" in present:
        Path("key").write_text(f"{KEYS['api_key_file']}\n")
        vendor += 'api_key_file = "key"\n'
    if "credential" in present:
        Path("credentials").mkdir()
        Path("credentials/tiingo_api_key").write_text(f"{KEYS['credential']}\n")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", "credentials")
    PATH.write_text(vendor + FINE.removeprefix(VENDOR))
    [planned] = plan_feeds(config.load(PATH), PATH)
    [asked] = planned.build().subscribe()  # type: ignore[attr-defined]
    assert f'"authorization":"{KEYS[first]}"' in asked
    assert KEYS[first] not in redact(asked)


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_variable_is_no_key(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", blank)
    PATH.write_text(FINE)
    [planned] = plan_feeds(config.load(PATH), PATH)
    [asked] = planned.build().subscribe()  # type: ignore[attr-defined]
    assert '"authorization":"some-key"' in asked


def test_a_second_account_of_a_vendor_has_a_name_and_a_key_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIINGO_TWO_API_KEY", "the-second-key")
    PATH.write_text(
        FINE.replace('vendor = "tiingo"', 'vendor = "tiingo-two"')
        + '[vendors.tiingo-two]\nadapter = "tiingo"\n'
    )
    [planned] = plan_feeds(config.load(PATH), PATH)
    assert (planned.vendor, planned.source) == ("tiingo-two", "tiingo-two_iex")
    assert "the-second-key" in planned.build().subscribe()[0]  # type: ignore[attr-defined]


def test_feeds_come_in_the_order_that_was_asked_for_and_once() -> None:
    PATH.write_text(FINE + FINE.removeprefix(VENDOR).replace("[feeds.a]", "[feeds.b]"))
    settings = config.load(PATH)
    assert [each.name for each in plan_feeds(settings, PATH)] == ["a", "b"]
    assert [each.name for each in plan_feeds(settings, PATH, ["b", "a", "b"])] == ["b", "a"]


def test_a_tilde_is_the_home_of_whoever_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/recorder")
    PATH.write_text(f'[storage]\npath = "~/lake"\n{FINE}')
    assert config.load(PATH).storage.path == Path("/home/recorder/lake")


# The file that comes with edc.

SECTION = re.compile(r"(?:# )?\[(?P<name>[a-z_.]+)\]")
KEY = re.compile(r"(?:# )?(?P<key>[a-z_]+) = (?P<value>.+)")


def shipped() -> dict[str, dict[str, str]]:
    """Sections of the shipped file and their keys, commented out or not, as they are written."""
    sections: dict[str, dict[str, str]] = {}
    keys: dict[str, str] = {}
    for line in SHIPPED.read_text().splitlines():
        if match := SECTION.fullmatch(line):
            keys = sections.setdefault(match["name"], {})
        elif match := KEY.fullmatch(line):
            keys[match["key"]] = match["value"]
    return sections


def models() -> list[tuple[str, type[Strict]]]:
    """Each section of the settings that has keys of its own, but for feeds and vendors."""
    return [
        (name, field.annotation)
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Strict)
    ]


def test_the_shipped_file_plans_with_a_key_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", "some-key")
    PATH.write_text(SHIPPED.read_text())
    planned = plan_feeds(config.load(PATH), PATH)
    assert [each.name for each in planned] == ["stocks", "fx", "crypto"]


def test_the_shipped_file_still_plans_with_every_default_uncommented(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", "some-key")
    lines = SHIPPED.read_text().splitlines()
    PATH.write_text("\n".join(re.sub(r"^# (?=[a-z\[])", "", line) for line in lines))
    planned = plan_feeds(config.load(PATH), PATH)
    assert [each.name for each in planned][:3] == ["stocks", "fx", "crypto"]
    assert len(planned) > 3


@pytest.mark.parametrize(("section", "model"), models())
def test_every_key_of_a_section_is_in_the_shipped_file(section: str, model: type[Strict]) -> None:
    assert set(shipped()[section]) == set(model.model_fields)


@pytest.mark.parametrize(("section", "model"), models())
def test_the_shipped_file_shows_the_defaults(section: str, model: type[Strict]) -> None:
    text = "\n".join(f"{key} = {value}" for key, value in shipped()[section].items())
    said, default = model(**tomllib.loads(text)), model()
    for key in model.model_fields:
        if key != "when_full":  # "block" for each event type, and nothing for each, are the same
            assert getattr(said, key) == getattr(default, key)


def test_every_key_of_vendors_and_feeds_is_in_the_shipped_file() -> None:
    sections = shipped()
    vendor_keys = set(sections["vendors.tiingo"])
    feed_keys = {
        key for name, keys in sections.items() if name.startswith("feeds.") for key in keys
    }
    assert vendor_keys == set(TiingoVendorOptions.model_fields)
    assert feed_keys == set(TiingoFeedOptions.model_fields)


def test_every_vendor_has_a_section_in_the_shipped_file() -> None:
    assert {f"vendors.{name}" for name in adapters.names()} <= set(shipped())


def test_every_policy_of_a_full_queue_is_explained_in_the_shipped_file() -> None:
    for policy in WhenFull:
        assert f'"{policy}"' in SHIPPED.read_text()
