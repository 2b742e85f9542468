"""Whole recorded sessions: every frame is rows, control, or a skip that has a name.

What has to come of them is counted here from the raw JSON, by `json` and `Decimal`, without edc.
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from edc import adapters
from edc.adapters import Adapter
from edc.errors import Skippable
from edc.events import Event
from edc.transport import Frame
from tests.test_adapters import RECORDED, build, plain

pytestmark = pytest.mark.skipif(
    not RECORDED.exists(), reason="the folder of recorded messages is not here"
)
RECEIVED = 1_788_676_200_000_000_000


def lines_of(name: str) -> Iterator[str]:
    """The messages of a recording, received ones only, whatever its form."""
    with gzip.open(Path(RECORDED / name), "rt") as file:
        for line in file:
            text = line.strip()
            if not text or " <-> " in text[:2000].partition("{")[0] or " <- " in text[:200]:
                continue
            yield text.partition(" ")[2]


def decoded(adapter: Adapter, text: str) -> tuple[list[dict[str, Any]], str]:
    """The rows of a frame, and the name of the skip if it is one."""
    try:
        return [plain(event) for event in adapter.decode(Frame(text.encode(), RECEIVED, 1))], ""
    except Skippable as error:
        rows = [plain(event) for event in error.events if isinstance(event, Event)]
        return rows, f"{error.reason}: {error.problem}"


def is_nearest(value: float, text: str) -> bool:
    """True for the double that is nearest to the text: no other is nearer."""
    return value == float(Decimal(text))


def trade_of(row: dict[str, Any], data: dict[str, Any], number: str) -> None:
    """A trade of Binance's, spot or futures."""
    assert row["type"] == "trade"
    assert row["symbol"] == data["s"].lower()
    assert is_nearest(row["last_price"], data["p"])
    assert is_nearest(row["last_size"], data["q"])
    assert row["trade_id"] == str(data[number])
    assert row["event_time"] == data["T"] * 1_000_000
    assert row["side"] == ("sell" if data["m"] else "buy")


def quote_of(row: dict[str, Any], data: dict[str, Any]) -> None:
    """A book ticker of Binance's."""
    assert row["type"] == "quote"
    assert row["sequence"] == data["u"]
    for name, key in (("bid", "b"), ("bid_size", "B"), ("ask", "a"), ("ask_size", "A")):
        assert is_nearest(row[name], data[key])
    assert row["event_time"] == data.get("T", RECEIVED // 1_000_000) * 1_000_000


BINANCE = {
    "trade": lambda row, data: trade_of(row, data, "t"),
    "aggTrade": lambda row, data: trade_of(row, data, "a"),
    "bookTicker": quote_of,
}


@pytest.mark.parametrize(
    ("name", "vendor", "feed", "made", "expected"),
    [
        (
            "spot_btcusdt_20240808.gz",
            "binance",
            {"channel": "spot", "symbols": {"crypto": ("btcusdt",)}},
            ("trade", "bookTicker"),
            {"trade": 9757, "bookTicker": 28040, "depth@100ms": 3451, "": 1},
        ),
        (
            "usdm_btcusdt_20240808.gz",
            "binance_futures",
            {"channel": "public", "symbols": {"crypto": ("btcusdt",)}},
            ("bookTicker",),
            {"bookTicker": 66089, "trade": 21313, "depth@0ms": 6551, "": 1},
        ),
        (
            "cryptofeed_BINANCE.ws.1.0.gz",
            "binance",
            {"channel": "spot", "symbols": {"crypto": ("*",)}},
            ("aggTrade", "bookTicker"),
            {"depth@100ms": 177, "bookTicker": 84, "aggTrade": 2, "kline_1m": 2},
        ),
        (
            "cryptofeed_BINANCE_FUTURES.ws.1.0.gz",
            "binance_futures",
            {"channel": "market", "symbols": {"crypto": ("*",)}},
            ("aggTrade", "bookTicker"),
            {"depth@100ms": 764, "bookTicker": 613, "aggTrade": 91, "kline_1m": 67},
        ),
    ],
    ids=["spot 2024", "futures 2024", "spot 2021", "futures 2021"],
)
def test_a_session_of_binance(
    name: str,
    vendor: str,
    feed: dict[str, Any],
    made: tuple[str, ...],
    expected: dict[str, int],
) -> None:
    adapter = build(vendor, feed)
    counts: Counter[str] = Counter()
    for text in lines_of(name):
        sent = json.loads(text)
        stream = sent.get("stream", "").partition("@")[2]
        counts[stream] += 1
        rows, skipped = decoded(adapter, text)
        if stream in made:
            (row,) = rows
            check: Callable[[dict[str, Any], dict[str, Any]], None] = BINANCE[stream]
            check(row, sent["data"])
            assert not skipped
        else:  # books, bars, and a snapshot of REST that the recorder put in between
            assert rows == []
            assert skipped.startswith("unknown: ")
            assert stream in skipped

    assert counts == expected


def test_a_session_of_deribit() -> None:
    """Options of 2021: tickers; books are not offered; the subscription's answer is control."""
    adapter = build("deribit", {"channel": "public", "symbols": {"crypto": ("*",)}})
    counts: Counter[str] = Counter()
    last: dict[tuple[str, str], float] = {}
    for text in lines_of("cryptofeed_DERIBIT.ws.1.0.gz"):
        sent = json.loads(text)
        rows, skipped = decoded(adapter, text)
        if "result" in sent:
            assert (rows, skipped) == ([], "")
            counts["control"] += 1
            continue
        channel = sent["params"]["channel"].partition(".")[0]
        counts[channel] += 1
        if channel == "book":
            assert skipped == f"unknown: channel {sent['params']['channel']!r}"
            continue
        data = sent["params"]["data"]
        name = data["instrument_name"]
        changed = {
            kind: data[key]
            for kind, key in (
                ("last", "last_price"),
                ("mark", "mark_price"),
                ("index", "index_price"),
            )
            if data[key] is not None and data[key] != last.get((name, kind))
        }
        last |= {(name, kind): price for kind, price in changed.items()}
        assert {row["price_type"]: row["price"] for row in rows} == changed
        assert all(row["event_time"] == data["timestamp"] * 1_000_000 for row in rows)
        assert not skipped

    assert counts == {"control": 1, "ticker": 89, "book": 46}


def test_a_session_of_geminis_archived_protocol_is_refused_by_name() -> None:
    adapter = build("gemini", {"channel": "spot", "symbols": {"crypto": ("*",)}})
    counts: Counter[str] = Counter()
    for text in lines_of("cryptofeed_GEMINI.ws.1.0.gz"):
        rows, skipped = decoded(adapter, text)
        assert rows == []
        kind = json.loads(text)["type"]
        assert skipped == f"unknown: neither a trade nor a quote ({kind})"
        counts[kind] += 1

    assert counts == {"l2_updates": 655, "trade": 16, "heartbeat": 7}


REPLAYED_BY = {
    "cryptofeed_BINANCE.ws.1.0.gz": "test_recordings.py",
    "cryptofeed_BINANCE_FUTURES.ws.1.0.gz": "test_recordings.py",
    "cryptofeed_DERIBIT.ws.1.0.gz": "test_recordings.py",
    "cryptofeed_GEMINI.ws.1.0.gz": "test_recordings.py",
    "spot_btcusdt_20240808.gz": "test_recordings.py",
    "tiingo_crypto_live_2026-09-06.jsonl": "test_adapters.py",
    "usdm_btcusdt_20240808.gz": "test_recordings.py",
}
NOT_REPLAYED = {
    "README.md": "where the recordings are from",
    "cryptofeed_GATEIO.ws.1.0.gz": "Gate.io is none of the vendors",
}


def test_every_recording_is_replayed_or_it_is_said_why_not() -> None:
    present = {path.name for path in RECORDED.iterdir()}
    assert present == REPLAYED_BY.keys() | NOT_REPLAYED.keys()
    for name, test in REPLAYED_BY.items():
        text = (Path(__file__).parent / test).read_text()
        assert text.count(f'"{name}"') >= 1 + (test == Path(__file__).name), name
    assert not {"gateio", "gate"} & set(adapters.names())
