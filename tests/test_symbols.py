"""No symbol, however odd, leaves the lake's folder, breaks a file or steers a terminal."""

import io
import json
import logging
import unicodedata
from collections import Counter
from pathlib import Path

import duckdb
import polars as pl
import pytest
from rich.console import Console

from edc import config, live, logs
from edc.adapters.tiingo.stream import TiingoStream
from edc.errors import ConfigError
from edc.inspection import find, inspect
from edc.plan import plan_feeds
from edc.transport import Frame
from edc.upkeep.compaction import Compacted, Compactor
from tests.harness import Process, Script, read, running, supervisor, until, write_config

STOCKS = """
[feeds.stocks]
vendor = "tiingo"
channel = "iex"
threshold_level = 0
symbols = { stock = ["*"] }
"""
NEW_YORK = "America/New_York"
TIME = 1_548_873_225_594_808_294  # 2019-01-30 13:33:45 in New York
LATER = 1_771_006_162_668_051_234
FOLDER = Path("trade/date=2019-01-30/hour=13")

TICKERS = {
    "BRK/B": "brk-b",
    "../../x": "------x",
    "/etc/passwd": "-etc-passwd",
    "~root": "~root",
    "a\0b": "a\0b",
    "a\nb": "a\nb",
    "a\r\nb": "a\r\nb",
    "-rf": "-rf",
    "%2e%2e%2fx": "%2e%2e%2fx",
    "CON": "con",
    "nul:x": "nul:x",
    "*?[a]": "*?[a]",
    "**a": "**a",
    "'a\"; DROP TABLE--": "'a\";-drop-table--",
    "{a}${b}%s": "{a}${b}%s",
    "date=1/hour=2": "date=1-hour=2",
    "[bold]a[/bold]": "[bold]a[-bold]",
    "[/]b": "[-]b",
    ":smile:a": ":smile:a",
    "\x1b[2J\x1b]0;a\x07": "\x1b[2j\x1b]0;a\x07",
    "\u202eabc": "\u202eabc",
    "\u05d0\u05d1\u05d2": "\u05d0\u05d1\u05d2",
    "\u0627\u0644": "\u0627\u0644",
    "e\u0301": "e\u0301",
    "\u00c9": "\u00e9",
    "a" + "\u0300" * 200: "a" + "\u0300" * 200,
    "\U0001f680a": "\U0001f680a",
    "\ufeffa": "\ufeffa",
    "a\u200bb": "a\u200bb",
    "null": "null",
    "NaN": "nan",
    "X" * 10_000: "x" * 10_000,
}
"""What a vendor might send, and how it is spelled in the lake: by events.spell, else as it came."""

REFUSED = ["", " ", "\n", ".", "..", "../..", "-", "*", "\u202e", "?"]
"""Without a letter or a digit: nothing that could be asked for or looked up."""


def frame(ticker: str, number: int) -> bytes:
    """A trade of the vendor; `number` becomes its price."""
    data = ["T", "2019-01-30T13:33:45.594808294-05:00", TIME, ticker]
    flags = [None, 0, 0, 0, 0]
    prices = [None, None, None, None, None, float(number), 200, *flags]
    return json.dumps({"messageType": "A", "service": "iex", "data": data + prices}).encode()


def everything(path: Path) -> list[str]:
    """Every file and folder under a path, but what a lake may hold."""
    return sorted(
        str(each.relative_to(path)) for each in path.rglob("*") if "lake" not in each.parts
    )


async def record(path: Path, frames: list[bytes], *, skipped: int = 0) -> None:
    """A daemon, from the socket to the lake, told of these frames; `skipped` are no data."""
    async with Script(frames) as script:
        daemon = supervisor(write_config(path, script.url, feeds=STOCKS))
        stats = daemon.feeds[0].stats
        async with running(daemon):
            await until(lambda: stats.frames == len(frames))
            await until(lambda: sum(stats.skipped.values()) == skipped)


async def test_odd_tickers_come_into_the_lake_as_they_were_spelled_and_nowhere_else(
    tmp_path: Path,
) -> None:
    wanted = dict(zip(TICKERS.values(), range(1, 100), strict=False))
    before = everything(tmp_path)

    await record(tmp_path, [frame(ticker, wanted[name]) for ticker, name in TICKERS.items()])

    lake = tmp_path / "lake"
    trades = read(lake, "trade")
    assert dict(trades.select("symbol", "last_price").iter_rows()) == wanted
    assert trades["asset_type"].unique().to_list() == ["stock"]
    assert [path.parent for path in lake.glob("trade/**/*.parquet")] == [lake / FOLDER]
    assert everything(tmp_path) == [*before, "config.toml"]
    assert not list(lake.rglob("*passwd*"))
    for text in ("x' OR 1=1", "'a\";-drop-table--"):
        with duckdb.connect() as connection:
            query = "SELECT count(*) FROM read_parquet(?) WHERE symbol = ?"
            [(found,)] = connection.execute(query, [f"{lake}/{FOLDER}/*.parquet", text]).fetchall()
        assert found == (text in wanted)


async def test_tickers_without_a_letter_and_broken_text_are_dead_letters(tmp_path: Path) -> None:
    whole = frame("AAPL", 1)
    broken = [
        whole.replace(b"AAPL", b"\\ud800"),  # half a surrogate pair
        whole.replace(b"AAPL", b"a\\udfffb"),
        whole.replace(b"AAPL", b"\xff\xfe"),  # no UTF-8
        whole.replace(b"AAPL", b"\xed\xa0\x80"),  # a surrogate in what looks like it
        whole.replace(b'"AAPL"', b"null"),
        whole.replace(b'"AAPL"', b"7"),
        whole.replace(b'"AAPL"', b'["AAPL"]'),
    ]
    frames = [frame(ticker, 2) for ticker in REFUSED] + broken

    await record(tmp_path, [*frames, whole], skipped=len(frames))

    lake = tmp_path / "lake"
    assert read(lake, "trade").select("symbol", "last_price").rows() == [("aapl", 1.0)]
    dead = lake / ".dead" / "stocks.jsonl"
    letters = [json.loads(line) for line in dead.read_text().splitlines()]
    assert len(letters) == len(frames)
    assert [each["text"].encode() for each in letters[: len(REFUSED)]] == frames[: len(REFUSED)]
    assert {each["reason"] for each in letters} == {"malformed"}
    assert list(dead.parent.iterdir()) == [dead]
    assert read(lake, "gap").filter(cause="undecodable").height > 0


async def test_odd_symbols_are_compacted_and_inspected_to_the_letter(tmp_path: Path) -> None:
    once, again = ([frame(ticker, price) for ticker in TICKERS] for price in (1, 2))
    await record(tmp_path, once)
    await record(tmp_path, once + again)
    lake = tmp_path / "lake"
    expected = dict.fromkeys(TICKERS.values(), 2)

    done = list(Compactor(lake, NEW_YORK, now_ns=lambda: LATER, group_rows=5).run())

    [trades_done] = [each for each in done if each.folder == lake / FOLDER]
    assert isinstance(trades_done, Compacted)
    assert (trades_done.files_after, trades_done.rows_after) == (1, 2 * len(TICKERS))
    assert Counter(read(lake, "trade")["symbol"]) == expected
    [trades] = inspect(find([str(lake / "trade")])).tables
    assert trades.symbols == expected
    command = Process("inspect", str(lake / "trade"), "--json", cwd=tmp_path)
    assert command.wait() == 0
    [table] = json.loads(command.output)["tables"]
    assert table["symbols"] == expected


def harmless(text: str) -> bool:
    """True if a terminal shows just this text, in this order."""
    steering = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return all(c == "\n" or unicodedata.category(c) not in steering for c in text)


@pytest.mark.parametrize("ticker", TICKERS, ids=lambda ticker: ascii(ticker)[:20])
async def test_a_terminal_is_not_steered_by_a_symbol(tmp_path: Path, ticker: str) -> None:
    symbol = TICKERS[ticker]
    rows = pl.DataFrame({"symbol": [symbol], "source": [symbol], "exchange": [symbol]})
    path = written(tmp_path, rows)
    for markup in (True, False):
        screen = io.StringIO()
        console = Console(file=screen, width=400, markup=markup, color_system=None)
        console.print(live.report(inspect([path])))

        assert harmless(screen.getvalue())
        if symbol.isprintable() and len(symbol) <= 40:
            assert screen.getvalue().count(symbol) >= 4  # symbols, sources, symbol, exchange
        assert len(screen.getvalue()) < 20_000


def written(path: Path, values: pl.DataFrame) -> Path:
    """A Parquet file with one trade and these values."""
    at = pl.Series([TIME]).cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone(NEW_YORK)
    row = pl.DataFrame(
        {
            "asset_type": ["stock"],
            "event_type": ["trade"],
            "symbol": [""],
            "last_size": [1.0],
            "last_price": [1.0],
            "event_time": at,
            "vendor": ["tiingo"],
            "source": [""],
            "exchange": [""],
            "trade_id": pl.Series([None], dtype=pl.String),
            "side": pl.Series([None], dtype=pl.String),
            "conditions": pl.Series([None], dtype=pl.String),
            "action": ["new"],
            "sequence": pl.Series([None], dtype=pl.Int64),
            "ordinal": [0],
            "created_at": at,
        }
    ).with_columns(values.get_columns())
    file = path / "a.parquet"
    row.write_parquet(file)
    return file


def test_a_terminal_is_not_steered_by_paths_problems_and_trouble(tmp_path: Path) -> None:
    bad = tmp_path / "[bold]\x1b[2J\u202e.parquet"
    bad.write_bytes(b"no parquet")

    command = Process("inspect", str(bad), cwd=tmp_path)

    assert command.wait() == 1
    assert "[bold]\\x1b[2J\\u202e.parquet" in command.output.replace("\n", "")
    assert harmless(command.output)


@pytest.mark.parametrize("ticker", TICKERS, ids=lambda ticker: ascii(ticker)[:20])
def test_a_log_line_stays_one_line_and_steers_no_terminal(ticker: str) -> None:
    record = logging.makeLogRecord(
        {"msg": "refused: %s", "args": (ticker,), "levelname": "WARNING", "feed": ticker}
    )

    line = logs.TextFormatter().format(record)

    assert "\n" not in line
    assert harmless(line)
    told = json.loads(logs.JsonFormatter().format(record))
    assert (told["event"], told["feed"]) == (f"refused: {ticker}", ticker)


ASKED = {
    "BRK/B": "brk-b",
    "BRK.B": "brk-b",
    " brk b ": "brk-b",
    "a-b-c": "a-b-c",
    "CON": "con",
    "7203": "7203",
}


@pytest.mark.parametrize(("symbol", "spelled"), ASKED.items())
def test_a_symbol_of_the_config_goes_to_the_vendor_in_one_spelling(
    tmp_path: Path, symbol: str, spelled: str
) -> None:
    adapter = planned(tmp_path, symbol)

    [message] = adapter.subscribe()

    assert json.loads(message)["eventData"]["tickers"] == [spelled]


def test_what_the_vendor_sends_does_not_change_what_it_is_asked_for(tmp_path: Path) -> None:
    adapter = planned(tmp_path, "*")
    [before] = adapter.subscribe()

    for ticker in TICKERS:
        adapter.decode(Frame(frame(ticker, 1), LATER, 1))

    assert adapter.subscribe() == [before]
    assert json.loads(before)["eventData"]["tickers"] == ["*"]


def test_what_is_remembered_of_tickers_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edc.adapters.tiingo.rows._MOST_KNOWN", 10)
    adapter = planned(tmp_path, "brk-b")

    for number in range(100):
        for ticker, symbol in (("BRK/B", "brk-b"), (f"X{number}", f"x{number}")):
            [event] = adapter.decode(Frame(frame(ticker, 1), LATER, 1))
            assert (event.symbol, event.asset_type) == (symbol, "stock")

    assert len(adapter._rows._known) <= 10


NOT_ASKED = [
    *(ticker for ticker in TICKERS if ticker not in (*ASKED, "null", "NaN")),
    *(ticker for ticker in REFUSED if ticker != "*"),
]


@pytest.mark.parametrize("symbol", NOT_ASKED, ids=lambda symbol: ascii(symbol)[:20])
def test_an_odd_symbol_in_the_config_is_refused_in_a_few_words(tmp_path: Path, symbol: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, symbol)

    assert caught.value.place.endswith("[feeds.stocks] symbols")
    assert "is no symbol" in caught.value.problem
    assert len(caught.value.problem) < 120
    assert caught.value.problem.isprintable()


def planned(path: Path, symbol: str) -> TiingoStream:
    """The adapter of a config that asks for a symbol."""
    feeds = STOCKS.replace('"*"', toml(symbol))
    file = write_config(path, "ws://127.0.0.1:1", feeds=feeds)
    [feed] = plan_feeds(config.load(file), file)
    adapter = feed.build()
    assert isinstance(adapter, TiingoStream)
    return adapter


def toml(text: str) -> str:
    """A text as TOML writes it, every character by its number."""
    return '"' + "".join(f"\\U{ord(c):08x}" for c in text) + '"'


NAMES = [*NOT_ASKED, "Stocks", "a b", "a/b", "a.b", "main\n", "a" * 65, "\u00e4", "_a", "CON"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_names_that_become_files_are_plain(tmp_path: Path, name: str) -> None:
    """Of instances (a folder), of feeds (a file of dead letters) and of vendors (a variable)."""
    config_of = {
        "instance": (STOCKS, f"[storage]\ninstance = {toml(name)}\n"),
        "feed": (STOCKS.replace("feeds.stocks", f"feeds.{toml(name)}"), ""),
        "vendor": (STOCKS.replace('"tiingo"', toml(name)), ""),
    }
    for what, (feeds, storage) in config_of.items():
        file = write_config(tmp_path, "ws://127.0.0.1:1", feeds=feeds)
        if storage:
            file.write_text(file.read_text().replace("[storage]\n", storage))

        with pytest.raises(ConfigError) as caught:
            plan_feeds(config.load(file), file)

        assert "is no name" in caught.value.problem, what
        assert caught.value.problem.isprintable()
    assert everything(tmp_path) == ["config.toml"]


async def test_a_partition_that_is_a_link_is_followed_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator may have moved it to another disk; edc itself never makes one."""
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "lake" / FOLDER
    folder.parent.mkdir(parents=True)
    folder.symlink_to(outside)

    for price in (1, 2):
        await record(tmp_path, [frame("AAPL", price)])

    assert len(list(outside.glob("*.parquet"))) == 2
    told = [each for each in caplog.records if "is a link" in each.getMessage()]
    assert [each.levelname for each in told] == ["WARNING"] * 2  # once in each run
    before = sorted(outside.iterdir())
    assert list(Compactor(tmp_path / "lake", NEW_YORK, now_ns=lambda: LATER).run()) == []
    assert sorted(outside.iterdir()) == before
    assert folder.is_symlink()
