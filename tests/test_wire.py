"""The short way: many messages at once become the very rows that each of them becomes alone."""

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from edc.adapters import HasShort
from edc.chunks import make_chunk
from edc.deadletters import DeadLetters
from edc.errors import Skippable
from edc.events import Event, Gap, Origin, Trade, to_frame
from edc.ingest import Ingest
from edc.ledger import Ledger
from edc.metrics import FeedStats
from edc.queues import Queue, WhenFull
from edc.times import SECOND, iso_times, parse_iso, utc_times
from edc.transport import Frame
from edc.wire import Batch
from tests.test_adapters import build

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)
ZONE = "America/New_York"
START = 1_771_006_162 * SECOND
FEEDS: dict[str, dict[str, Any]] = {
    "crypto": {"channel": "crypto", "symbols": {"crypto": ["btcusd", "*"]}},
    "fx": {"channel": "fx", "symbols": {"fx": ["eurusd", "gbpaud"]}},
    "spot": {
        "channel": "spot",
        "symbols": {"crypto": ["btcusdt", "ethbtc"]},
        "streams": ["trade", "aggTrade", "bookTicker"],
    },
    "sip": {"channel": "sip", "symbols": {"stock": ["aapl", "brk-b"]}},
    "sip all": {"channel": "sip", "symbols": {"stock": ["*"]}},
}
VENDORS = {"spot": "binance", "sip": "alpaca", "sip all": "alpaca"}
"""Of the feeds that are not Tiingo's."""

NUMBERS = st.none() | st.just(0) | st.just(0.0) | st.floats(1e-9, 1e9) | st.integers(0, 10**6)
TICKERS = st.sampled_from(
    ["btcusd", "BTCUSD", "eth/usd", "ETH-USD", "sol_usd", "eurusd", "GBP/AUD"]
)
DATES = st.one_of(
    st.integers(0, 999_999).map(lambda micros: f"2026-02-13T13:09:22.{micros:06d}+00:00"),
    st.sampled_from(
        [
            "2026-02-13T13:09:23.000001-05:00",
            "2026-02-13T13:09:22Z",
            "2026-02-13T13:09:22.5Z",
            "2026-02-13T13:09:22.668051234+00:00",
            "2026-02-13T24:00:00.000000+00:00",
            "2026-02-13T13:09:22.+12345+00:00",
            "2026-02-13T13:09:22.12345 +00:00",
            "2026-02-30T13:09:22.123456+00:00",
            "yesterday",
        ]
    ),
)
EXCHANGES = st.sampled_from(["binance", "kraken", "Ünïcode", ""])
CRYPTO_QUOTE = st.tuples(
    *(st.just("Q"), TICKERS, DATES, EXCHANGES, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
)
CRYPTO_TRADE = st.tuples(
    st.just("T"), TICKERS, DATES, EXCHANGES, st.floats(0, 1e9), st.floats(0, 1e9)
)
FX_QUOTE = st.tuples(st.just("Q"), TICKERS, DATES, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)


def frame_of(service: str, data: object) -> bytes:
    """As the vendor writes it: without spaces."""
    message = {"service": service, "messageType": "A", "data": data}
    return json.dumps(message, separators=(",", ":")).encode()


def crypto_trade(number: int, **change: Any) -> bytes:
    """A trade, the number in its price and time."""
    date = f"2026-02-13T18:09:22.{number:06d}+00:00"
    fields = {"ticker": "btcusd", "date": date, "exchange": "kraken", "size": 1.0, "price": number}
    return frame_of("crypto_data", ["T", *(fields | change).values()])


def crypto_quote(number: int) -> bytes:
    date = f"2026-02-13T18:09:22.{number:06d}+00:00"
    return frame_of("crypto_data", ["Q", "btcusd", date, "kraken", 1, number, None, 1, number])


class Feed:
    """A live feed with its queues, of which the test is the spool."""

    def __init__(
        self, folder: Path, feed: str = "crypto", *, live: bool = True, short: bool = True
    ) -> None:
        vendor = VENDORS.get(feed, "tiingo")
        self.adapter = build(vendor, FEEDS[feed])
        if not short:
            self.adapter.short = None  # type: ignore[attr-defined]
        self.queues = {
            kind: Queue(kind, 10**6, WhenFull.BLOCK) for kind in ("trade", "quote", "ref_px")
        }
        self.gaps = Queue("gap", 100, WhenFull.BLOCK)
        self.ledger = Ledger(self.gaps, lambda: START)
        self.stats = FeedStats(feed, vendor, f"{vendor}_{feed}")
        self.letters = DeadLetters(folder)
        self.ingest = Ingest(
            *(self.stats, self.queues, self.letters, self.ledger),
            lambda: START,
            sequenced=("trade",) if feed == "spot" else (),
            rising=("quote",) if feed == "spot" else (),
        )
        self.epoch = self.ingest.connected(self.adapter)
        if live:
            self.stats.state = "live"

    def receive(self, frames: list[bytes], after_ns: int = 0) -> None:
        assert self.ingest.receive_many(frames, START + after_ns, self.epoch)

    def chunk(self, event_type: str) -> pl.DataFrame:
        """The rows of what is queued; what could not be read is sent the long way."""
        made = make_chunk(event_type, self.queues[event_type].drain(), ZONE)
        for batch in made.unread:
            batch.again(batch)
        return made.frame


def the_long_way(feed: Feed, frames: list[bytes], event_type: str) -> pl.DataFrame:
    events: list[Event] = []
    for data in frames:
        try:
            events += feed.adapter.decode(Frame(data, START, feed.epoch))
        except Skippable:
            continue
    for event in events:
        event.created_at = START
        event.origin = Origin("f", "tiingo", feed.stats.source, feed.epoch)
    return to_frame(event_type, [each for each in events if each.event_type == event_type], ZONE)


@PROPERTY
@given(st.lists(CRYPTO_QUOTE | CRYPTO_TRADE, min_size=1, max_size=30), st.integers(1, 40))
def test_crypto_makes_the_same_rows_both_ways(
    tmp_path_factory: pytest.TempPathFactory, messages: list[Any], at_once: int
) -> None:
    _compare(tmp_path_factory.mktemp("dead"), "crypto", "crypto_data", messages, at_once)


@PROPERTY
@given(st.lists(FX_QUOTE, min_size=1, max_size=30), st.integers(1, 40))
def test_fx_makes_the_same_rows_both_ways(
    tmp_path_factory: pytest.TempPathFactory, messages: list[Any], at_once: int
) -> None:
    _compare(tmp_path_factory.mktemp("dead"), "fx", "fx", messages, at_once)


@PROPERTY
@given(
    st.lists(st.booleans(), min_size=2, max_size=6),
    st.integers(0, 5),
    st.integers(50, 150),
    st.binary(max_size=3) | st.text('{}[],:"\\ .0123456789nulQTe\n+-', max_size=4).map(str.encode),
)
def test_a_damaged_frame_fares_the_same_both_ways(
    tmp_path_factory: pytest.TempPathFactory, trades: list[bool], hit: int, at: int, by: bytes
) -> None:
    frames = [
        crypto_trade(number) if is_trade else crypto_quote(number)
        for number, is_trade in enumerate(trades)
    ]
    hit %= len(frames) - 1  # the last is read at once
    frames[hit] = frames[hit][:at] + by + frames[hit][at + len(by) :]
    _compare_frames(tmp_path_factory.mktemp("dead"), "crypto", frames, len(frames))


def _compare(folder: Path, name: str, service: str, messages: list[Any], at_once: int) -> None:
    frames = [frame_of(service, message) for message in messages]
    _compare_frames(folder, name, frames, at_once)


def _compare_frames(folder: Path, name: str, frames: list[bytes], at_once: int) -> None:
    """The same rows, and the same number of them refused."""
    feed = Feed(folder, name)
    for first in range(0, len(frames), at_once):
        feed.receive(frames[first : first + at_once])
    kinds = ("trade", "quote", "ref_px")
    early = {event_type: feed.chunk(event_type) for event_type in kinds}
    for event_type in kinds:
        # what goes the long way comes after what did not: the order is that of the rows
        got = pl.concat([early[event_type], feed.chunk(event_type)])
        want = the_long_way(feed, frames, event_type)
        every = got.columns
        assert_frame_equal(got.sort(every), want.sort(every), check_exact=True)
        assert feed.stats.events[event_type] == want.height
    kept = sum(feed.stats.skipped.values())
    assert kept + sum(feed.stats.events.values()) == len(frames)


def test_what_a_live_feed_sends_much_goes_the_short_way_and_nothing_else(tmp_path: Path) -> None:
    feed = Feed(tmp_path, live=False)
    assert isinstance(feed.adapter, HasShort)

    feed.receive([crypto_trade(0), crypto_trade(1)])
    first = list(feed.queues["trade"].drain())
    feed.receive([crypto_trade(2), crypto_quote(3), crypto_trade(4)])
    live = list(feed.queues["trade"].drain())
    feed.receive([crypto_trade(5), b'{"messageType": "H"}'])
    mixed = list(feed.queues["trade"].drain())

    assert [type(each) for each in first] == [Trade, Trade]  # it turned live within this read
    assert [type(each) for each in live] == [Batch]
    assert [type(each) for each in mixed] == [Trade]
    assert len(feed.queues["quote"]) == 1


def test_one_message_without_a_row_costs_the_others_nothing(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    frames = [crypto_trade(number) for number in range(1000)]
    frames[617] = crypto_trade(617, date="2026-02-30T18:09:22.000617+00:00")

    feed.receive(frames)
    rows = feed.chunk("trade")

    assert rows["last_price"].to_list() == [number for number in range(1000) if number != 617]
    assert len(feed.queues["trade"]) == 0
    assert feed.stats.events["trade"] == 999
    assert dict(feed.stats.skipped) == {"malformed": 1}
    feed.ledger.settle()
    lost = [(gap.cause, gap.rows_lost) for gap in feed.gaps.drain() if isinstance(gap, Gap)]
    assert lost == [("undecodable", None)]
    (letter,) = (tmp_path / ".dead" / "crypto.jsonl").read_text().splitlines()
    assert "2026-02-30T18:09:22.000617+00:00" in letter


def test_what_turns_out_late_to_be_none_is_missing_since_before_it(tmp_path: Path) -> None:
    """The feed went on meanwhile: nothing that it has said since may hide the loss."""
    feed = Feed(tmp_path)
    second = feed.adapter.decode(Frame(crypto_trade(0), START, feed.epoch))[0].event_time
    bad = crypto_trade(5, date="2026-02-30T18:09:22.000005+00:00")
    start = second - START
    feed.receive([crypto_trade(1)], start + 2000)
    feed.receive([crypto_quote(3), bad, crypto_trade(6)], start + 7000)
    feed.receive([crypto_trade(9)], start + 10_000)
    assert feed.ingest.reach() == second + 9000

    rows = feed.chunk("trade")

    assert rows["last_price"].to_list() == [1, 6, 9]
    feed.ledger.settle()
    (gap,) = feed.gaps.drain()
    assert isinstance(gap, Gap)
    assert (gap.started_at, gap.ended_at) == (second + 1000, second + 7000)


def test_a_feed_has_got_no_further_than_what_waits_for_the_disk(tmp_path: Path) -> None:
    """A trade that is written otherwise turns out late to be one, and is read once more."""
    feed = Feed(tmp_path)
    feed.receive([crypto_trade(1)])
    before = feed.ingest.reach()
    spaced = crypto_trade(2).replace(b'"btcusd",', b'"btcusd", ')
    feed.receive([spaced, crypto_trade(3)], 10)
    after = feed.ingest.reach()

    assert feed.chunk("trade")["last_price"].to_list() == [1, 3]
    assert before < after
    assert feed.ingest.reach() == before

    queue = feed.queues["trade"]
    assert feed.chunk("trade")["last_price"].to_list() == [2]
    assert feed.ingest.reach() == before
    queue.stored = queue.taken
    assert feed.ingest.reach() == after


def test_rows_lie_in_the_order_in_which_they_were_received(tmp_path: Path) -> None:
    """Messages of two wires, and events that went the long way between them."""
    crypto, fx = Feed(tmp_path / "a"), Feed(tmp_path / "b", "fx")
    fx.queues = crypto.queues
    fx.ingest = Ingest(*(fx.stats, fx.queues, fx.letters, fx.ledger), lambda: START)
    fx.epoch = fx.ingest.connected(fx.adapter)
    fx.stats.state = "live"
    eurusd = ["Q", "eurusd", "2026-02-13T18:09:22.000001+00:00", 1, 1.1, None, 1, 1.2]

    crypto.receive([crypto_quote(1), crypto_quote(2)], 10)
    fx.receive([frame_of("fx", eurusd)], 20)
    crypto.receive([crypto_quote(3), b'{"messageType": "H"}'], 30)
    crypto.receive([crypto_quote(4)], 40)

    rows = crypto.chunk("quote")
    assert rows["bid"].to_list() == [1.0, 2.0, 1.1, 3.0, 4.0]
    assert rows["created_at"].dt.epoch("ns").to_list() == [
        START + after for after in (10, 10, 20, 30, 40)
    ]
    assert rows["source"].to_list() == ["tiingo_crypto"] * 2 + ["tiingo_fx"] + ["tiingo_crypto"] * 2


@PROPERTY
@given(st.lists(DATES.filter(re.compile(r".{20}\d{6}(Z|.\d\d:\d\d)").fullmatch), max_size=8))
def test_many_times_are_read_as_one_is(texts: list[str]) -> None:
    try:
        expected = [parse_iso(text) for text in texts]
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - the type is the promise
            iso_times(pl.Series(texts, dtype=pl.String))
    else:
        assert iso_times(pl.Series(texts, dtype=pl.String)).to_list() == expected


def spot(stream: str, name: str, number: int, **change: Any) -> bytes:
    """A frame of Binance as its documentation shows it."""
    moment = START // 1000 + number
    data: dict[str, Any] = {"e": stream, "E": moment, "s": name}
    match stream:
        case "trade":
            data |= {"t": number, "p": "61837.63000000", "q": "0.02000000", "T": moment}
            data |= {"m": bool(number % 3), "M": True}
        case "aggTrade":
            data |= {"a": number, "p": "0.1", "q": "9007199254740993.1", "f": 1, "l": 2}
            data |= {"T": moment // 1000, "m": True, "M": True}
        case _:
            data = {"u": number, "s": name, "b": "0.10000000", "B": "1", "a": "0.2", "A": "3.5"}
    said = {"stream": f"{name.lower()}@{stream}", "data": data | change}
    return json.dumps(said, separators=(",", ":")).encode()


SPOT = st.builds(
    lambda stream, name, number, change: spot(stream, name, number, **change),
    st.sampled_from(["trade", "aggTrade", "bookTicker"]),
    st.sampled_from(["BTCUSDT", "ETHBTC", "ETHBTC", "XRPUSDT"]),
    st.integers(1, 9),
    st.just({})
    | st.sampled_from(
        [
            {"p": "0.00"},
            {"b": "0.00000000"},
            {"q": "x"},
            {"T": 10**17},
            {"T": 0},
            {"a": ""},
            {"z": 1},
        ]
    ),
)


@PROPERTY
@given(st.lists(SPOT | st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 12))
def test_binance_makes_the_same_rows_both_ways(
    tmp_path_factory: pytest.TempPathFactory, steps: list[bytes | int], at_once: int
) -> None:
    """A number is so many trades in a row, without a jump."""
    frames: list[bytes] = []
    last = 0
    for step in steps:
        if isinstance(step, bytes):
            frames.append(step)
        else:
            frames += [spot("trade", "BTCUSDT", last + number) for number in range(1, step + 1)]
            last += step
    _compare_with_the_long_way(tmp_path_factory.mktemp("dead"), "spot", frames, at_once)


def _compare_with_the_long_way(
    folder: Path, name: str, frames: list[bytes], at_once: int
) -> tuple[Feed, Feed]:
    """Rows, counts, refused frames and the ledger; what is told late may be told again."""
    feeds = Feed(folder / "a", name), Feed(folder / "b", name, short=False)
    rows: list[list[pl.DataFrame]] = []
    ledger = []
    for feed in feeds:
        for first in range(0, len(frames), at_once):
            feed.receive(frames[first : first + at_once])
        rows.append([])
        kinds = ("trade", "quote", "ref_px")
        early = {event_type: feed.chunk(event_type) for event_type in kinds}
        for kind in kinds:
            every = pl.concat([early[kind], feed.chunk(kind)])
            rows[-1].append(every.sort(every.columns))
        feed.ledger.settle()
        gaps = [gap for gap in feed.gaps.drain() if isinstance(gap, Gap)]
        ledger.append(sorted((gap.cause, gap.symbol or "", gap.rows_lost or 0) for gap in gaps))
    for short, long in zip(*rows, strict=True):
        assert_frame_equal(short, long, check_exact=True)
    assert feeds[0].stats.events == feeds[1].stats.events
    assert feeds[0].stats.skipped == feeds[1].stats.skipped
    assert ledger[0] == ledger[1]
    assert feeds[0].ingest.reach() <= feeds[1].ingest.reach()
    return feeds


EXCHANGE = st.sampled_from(["V", "D", "", " "])
CONDITIONS = st.lists(st.sampled_from(["@", "I", " ", "F T", "R"]), max_size=5)
MOMENT = st.sampled_from(
    [
        "2026-02-13T18:09:22Z",
        "2026-02-13T18:09:22.1Z",
        "2026-02-13T18:09:22.66805Z",
        "2026-02-13T18:09:23.123456789Z",
        "2026-02-13T18:09:22.000000001Z",
        "2026-02-13T13:09:22.5-05:00",
    ]
)
PRICE = st.sampled_from([0, 0.0, 1, 126.55, 1e-7, 133.85])
SIP_TRADE = st.fixed_dictionaries(
    {
        "T": st.just("t"),
        "S": st.sampled_from(["AAPL", "BRK.B"]),
        "i": st.integers(0, 10**17),
        "x": EXCHANGE,
        "p": PRICE,
        "s": st.integers(1, 500) | st.just(0.5),
        "c": CONDITIONS,
        "z": st.just("C"),
        "t": MOMENT,
    }
)
SIP_QUOTE = st.fixed_dictionaries(
    {
        "T": st.just("q"),
        "S": st.sampled_from(["AAPL", "BRK.B"]),
        "bx": EXCHANGE,
        "bp": PRICE,
        "bs": st.integers(0, 90),
        "ax": EXCHANGE,
        "ap": PRICE,
        "as": st.integers(0, 90),
        "c": CONDITIONS,
        "z": st.just("A"),
        "t": MOMENT,
    }
)
SIP_OTHERS = st.sampled_from(
    [
        {"T": "t", "S": "MSFT", "i": 1, "x": "V", "p": 1, "s": 1, "c": ["@"], "z": "C"},
        {"T": "t", "S": "MSFT", "i": 1, "p": 1, "s": 1, "t": "2026-02-13T18:09:22Z"},
        {"T": "q", "S": "AAPL", "bp": 1.5, "bs": 2, "t": "2026-02-13T18:09:22Z"},
        {
            "T": "t",
            "S": "AAPL",
            "i": 1,
            "x": '"},{"T":"',
            "p": 1,
            "s": 1,
            "t": "2026-02-13T18:09:22Z",
        },
        {"T": "t", "S": "AAPL", "i": 1, "p": 1e301, "s": 1, "t": "2026-02-30T18:09:22Z"},
        {"T": "x", "S": "AAPL", "i": 1, "x": "V", "p": 1, "s": 1, "t": "2026-02-13T18:09:22Z"},
        {"T": "s", "S": "AAPL"},
    ]
)


def old_order(message: dict[str, Any]) -> dict[str, Any]:
    """The same, in the order in which the vendor wrote it in 2021."""
    first = ("T", "i", "S", "x", "p") if message["T"] == "t" else ("T", "S", "bx", "bp")
    last = ("t", "c", "z")
    middle = [key for key in message if key not in (*first, *last)]
    return {key: message[key] for key in (*first, *middle, *last)}


def sip(*messages: dict[str, Any], indent: int | None = None) -> bytes:
    """A frame of Alpaca."""
    separators = (",", ":") if indent is None else None
    return json.dumps(messages, separators=separators, indent=indent).encode()


@PROPERTY
@given(
    st.lists(
        st.tuples(
            st.lists(SIP_TRADE | SIP_QUOTE | SIP_TRADE.map(old_order) | SIP_QUOTE.map(old_order)),
            st.none() | SIP_OTHERS,
            st.booleans(),
        ).filter(lambda frame: frame[0] or frame[1]),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 4),
)
def test_alpaca_makes_the_same_rows_both_ways(
    tmp_path_factory: pytest.TempPathFactory, frames: list[Any], at_once: int
) -> None:
    """At most one message of a frame has no row: each counts by itself, or the frame as a whole."""
    made = []
    for messages, other, first in frames:
        some = [] if other is None else [other]
        made.append(sip(*some, *messages) if first else sip(*messages, *some))
    _compare_with_the_long_way(tmp_path_factory.mktemp("dead"), "sip", made, at_once)


@pytest.mark.parametrize("order", [dict, old_order])
@pytest.mark.parametrize("conditions", [1, 2, 3, 4])
def test_an_array_of_alpaca_goes_the_short_way(tmp_path: Path, order: Any, conditions: int) -> None:
    feed = Feed(tmp_path, "sip")
    codes = ["@", " ", "I", "T"][:conditions]
    same = {"c": codes, "z": "C", "t": "2026-02-13T18:09:22.00000008Z"}
    trade = {"T": "t", "S": "BRK.B", "i": 52983525029461, "x": "V", "p": 126.55, "s": 3, **same}
    quote = {"T": "q", "S": "AAPL", "bx": "U", "bp": 87.66, "bs": 1, "ax": "", "ap": 0, "as": 4}

    feed.receive([sip(order(trade), order(quote | same), order(trade))])
    trades, quotes = (list(feed.queues[kind].drain()) for kind in ("trade", "quote"))
    assert [[type(each) for each in some] for some in (trades, quotes)] == [[Batch], [Batch]]
    made = [make_chunk(*each, ZONE) for each in (("trade", trades), ("quote", quotes))]

    assert [each.unread for each in made] == [[], []]
    row = made[0].frame.row(1, named=True)
    told = {1: "@", 2: "@", 3: "@,I", 4: "@,I,T"}[conditions]
    assert (row["symbol"], row["asset_type"], row["last_price"], row["last_size"]) == (
        *("brk-b", "stock", 126.55, 3),
    )
    assert (row["trade_id"], row["exchange"], row["conditions"]) == ("52983525029461", "V", told)
    row = made[1].frame.row(0, named=True)
    assert (row["symbol"], row["bid"], row["bid_size"], row["ask"]) == ("aapl", 87.66, 100, None)
    assert (row["bid_exchange"], row["ask_exchange"]) == ("U", None)
    assert made[1].frame["event_time"].to_physical().item() == START + 80


def test_an_array_that_is_laid_out_goes_the_long_way(tmp_path: Path) -> None:
    feed = Feed(tmp_path, "sip")
    quote = {"T": "q", "S": "AAPL", "bp": 1.5, "bs": 2, "t": "2026-02-13T18:09:22Z"}

    feed.receive([sip(quote, quote, indent=1)])

    assert len(list(feed.queues["quote"].drain())) == 2


@PROPERTY
@given(st.lists(MOMENT.filter(lambda text: text.endswith("Z")), max_size=6))
def test_many_times_in_utc_are_read_as_one_is(texts: list[str]) -> None:
    expected = [parse_iso(text) for text in texts]
    assert utc_times(pl.Series(texts, dtype=pl.String)).to_list() == expected


@pytest.mark.parametrize("text", ["2026-02-30T18:09:22.5Z", "2026-02-13T24:09:22Z", "x"])
def test_a_time_in_utc_that_there_is_not_is_none(text: str) -> None:
    for others in ([], ["2026-02-13T18:09:22Z"]):
        with pytest.raises(ValueError):  # noqa: PT011 - the type is the promise
            utc_times(pl.Series([*others, text]))


def test_numbers_without_a_jump_go_the_short_way_and_a_jump_is_told(tmp_path: Path) -> None:
    feed = Feed(tmp_path, "spot")
    kinds = []
    for numbers in ([5, 6, 7], [8], [10, 11], [12], [12], [13, 14]):
        feed.receive([spot("trade", "BTCUSDT", number) for number in numbers])
        kinds.append({type(each) for each in feed.queues["trade"].drain()})

    assert kinds == [{Batch}, {Batch}, {Trade}, {Batch}, {Batch}, {Batch}]
    feed.ledger.settle()
    gaps = [gap for gap in feed.gaps.drain() if isinstance(gap, Gap)]
    assert [(gap.cause, gap.symbol, gap.rows_lost) for gap in gaps] == [("sequence", "btcusdt", 1)]


def made_together(feeds: list[Feed], event_type: str) -> tuple[pl.DataFrame, list[int], int]:
    """The rows of what all feeds have queued, as one lane makes them; and the frames left over."""
    queued = [each for feed in feeds for each in feed.queues[event_type].drain()]
    made = make_chunk(event_type, queued, ZONE)
    return made.frame, made.epochs.to_list(), sum(batch.size for batch in made.unread)


@pytest.mark.parametrize("tickers", [["btcusd", "ethusd"], ["btcusd", "ETH/USD"], ["btcusd", "--"]])
def test_frames_of_several_connections_are_made_the_rows_that_each_would_be(
    tmp_path: Path, tickers: list[str]
) -> None:
    feeds = [Feed(tmp_path / "a"), Feed(tmp_path / "b"), Feed(tmp_path / "c")]
    alone = [Feed(tmp_path / "d"), Feed(tmp_path / "e"), Feed(tmp_path / "f")]
    for _ in range(2):  # at first no name is known
        for number, (one, other) in enumerate(zip(feeds, alone, strict=True)):
            frames = [
                crypto_trade(number * 10 + at, ticker=each) for at, each in enumerate(tickers)
            ]
            one.receive(frames, number)
            other.receive(frames, number)

        rows, epochs, left = made_together(feeds, "trade")
        expected = [made_together([feed], "trade") for feed in alone]

        assert_frame_equal(rows, pl.concat([frame for frame, _, _ in expected]))
        assert left == sum(number for _, _, number in expected)
        assert epochs == [feed.epoch for feed in feeds for _ in range(rows.height // 3)]


def test_names_that_are_spelled_otherwise_are_looked_up_by_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and not by halving what was queued until it is one connection's."""
    monkeypatch.setattr("edc.chunks._halves", lambda _batches: pytest.fail("halved"))
    feeds = [Feed(tmp_path / "a"), Feed(tmp_path / "b")]
    for feed in feeds:
        feed.receive([crypto_trade(1, ticker="ETH/USD"), crypto_trade(2)])

    rows, _, left = made_together(feeds, "trade")

    assert rows["symbol"].to_list() == ["ethusd", "btcusd"] * 2
    assert rows["asset_type"].to_list() == ["crypto"] * 4
    assert left == 0


def test_a_name_that_one_connection_did_not_ask_for_costs_its_frame_alone(tmp_path: Path) -> None:
    feeds = [Feed(tmp_path / "a", "spot"), Feed(tmp_path / "b", "spot")]
    feeds[0].receive([spot("aggTrade", "BTCUSDT", 1), spot("aggTrade", "ETHBTC", 1)])
    feeds[1].receive([spot("aggTrade", "NOBODY", 1), spot("aggTrade", "BTCUSDT", 2)])

    rows, _, left = made_together(feeds, "trade")

    assert rows["symbol"].to_list() == ["btcusdt", "ethbtc", "btcusdt"]
    assert left == 1


def test_a_trade_that_is_sent_twice_is_no_jump_and_goes_the_short_way(tmp_path: Path) -> None:
    feed = Feed(tmp_path, "spot")
    trades = [spot("trade", "BTCUSDT", number) for number in (7, 8, 8, 9, 8, 10)]

    feed.receive(trades[:3])
    feed.receive(trades[3:])

    assert all(isinstance(each, Batch) for each in feed.queues["trade"].drain())
    feed.receive([spot("trade", "BTCUSDT", 12)])
    (trade,) = feed.queues["trade"].drain()
    assert isinstance(trade, Trade)
    feed.ledger.settle()
    gaps = [gap for gap in feed.gaps.drain() if isinstance(gap, Gap)]
    assert [gap.rows_lost for gap in gaps] == [1]
