"""One suite over every adapter and every line of its fixture.

A line of `fixtures/<vendor>.jsonl` is a frame as the vendor sent it (or `synthetic`, where no
recording exists), and what has to come of it, written by hand: `events` with every field that is
not empty, or `refused` with the error and what it says. A frame that yields nothing has no events.
`before` has frames of the same connection that come first, where it takes them to understand one.
"""

import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc import adapters, errors
from edc.adapters import Adapter, FeedPlan, PollAdapter
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.transport import Frame

FIXTURES = Path(__file__).parent / "fixtures"
RECORDED = Path(__file__).parents[2] / "shared" / "fixtures"
README = Path(__file__).parents[1] / "README.md"

RECEIVED = 1_788_676_200_000_000_000
"""2026-09-06T02:30:00 in New York: quotas end half an hour, 21.5 hours or 24.9 days later."""


def build(vendor: str, feed: dict[str, Any], key: str = "the-key") -> Adapter:
    """The adapter of a feed as the config would describe it."""
    offered = adapters.load(vendor)
    options = offered.feed_options(vendor=vendor, **feed)
    return offered.build(FeedPlan(vendor, offered.vendor_options(), options, key, "the-secret"))


def plain(event: object) -> dict[str, Any]:
    """An event as the fixture writes it: its type, and every field that is not empty."""
    assert isinstance(event, Event)
    fields = msgspec.structs.asdict(event)
    del fields["created_at"], fields["origin"]
    return {"type": event.event_type} | {
        name: value for name, value in fields.items() if value is not None
    }


def frame_of(case: dict[str, Any]) -> Frame:
    """The frame of a line: its text, or for binary ones (`base64`) its bytes."""
    data = base64.b64decode(case["base64"]) if "base64" in case else case["frame"].encode()
    return Frame(data, RECEIVED, 1, case.get("status", 0), case.get("frame_about", ""))


CASES = [
    pytest.param(path.stem, json.loads(line), id=f"{path.stem}: {json.loads(line)['about']}")
    for path in sorted(FIXTURES.glob("*.jsonl"))
    for line in path.read_text().splitlines()
]


@pytest.mark.parametrize(("vendor", "case"), CASES)
def test_a_frame_becomes_what_the_dossier_says(vendor: str, case: dict[str, Any]) -> None:
    adapter = build(vendor, case["feed"])
    for earlier in case.get("before", ()):
        adapter.decode(Frame(earlier.encode(), RECEIVED, 1))
    frame = frame_of(case)
    if "refused" not in case:
        assert [plain(event) for event in adapter.decode(frame)] == case["events"]
        return

    expected = case["refused"]
    with pytest.raises(getattr(errors, expected["error"])) as caught:
        adapter.decode(frame)

    assert expected.get("says", "") in str(caught.value)
    if isinstance(caught.value, Skippable):
        assert caught.value.reason == expected["reason"]
        assert [plain(event) for event in caught.value.events] == expected.get("events", [])
    if isinstance(caught.value, Retriable):
        assert caught.value.after == expected.get("after")


def test_every_vendor_has_a_fixture_with_data_and_refusals_and_a_row_in_the_readme() -> None:
    for vendor in adapters.names():
        cases = [case.values[1] for case in CASES if case.values[0] == vendor]
        assert any(isinstance(case, dict) and case.get("events") for case in cases), vendor
        assert any(isinstance(case, dict) and "refused" in case for case in cases), vendor
        assert f"| `{vendor}` |" in README.read_text(), vendor


def test_every_channel_of_every_vendor_is_in_its_fixture() -> None:
    for vendor in adapters.names():
        seen = {
            case.values[1]["feed"]["channel"]
            for case in CASES
            if case.values[0] == vendor and isinstance(case.values[1], dict)
        }
        assert seen == set(adapters.load(vendor).channels), vendor


def feeds_of_fixtures() -> list[tuple[str, dict[str, Any]]]:
    """Every vendor and feed that a line of a fixture is of, once."""
    unique = {
        (str(case.values[0]), json.dumps(case.values[1]["feed"]))
        for case in CASES
        if isinstance(case.values[1], dict)
    }
    return [(vendor, json.loads(feed)) for vendor, feed in sorted(unique)]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=18)
        | st.dictionaries(
            st.sampled_from(["messageType", "service", "data", "response", "code", "ticker"]), inner
        )
    ),
    max_leaves=20,
)
_NOISE = st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize(("vendor", "feed"), feeds_of_fixtures())
@settings(max_examples=100, deadline=None)
@given(data=_NOISE, status=st.sampled_from([0, 200, 301, 403, 429, 500]))
def test_noise_yields_only_documented_errors(
    vendor: str, feed: dict[str, Any], data: bytes, status: int
) -> None:
    adapter = build(vendor, feed)
    try:
        events = adapter.decode(Frame(data, RECEIVED, 1, status))
    except (Skippable, Fatal, Retriable):
        return
    assert all(isinstance(event, Event) for event in events)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_frame_never_raises_anything_undocumented(data: st.DataObject) -> None:
    vendor, case = data.draw(st.sampled_from(CASES)).values
    assert isinstance(vendor, str)
    assert isinstance(case, dict)
    whole = frame_of(case)
    frame = bytearray(whole.data or b" ")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(frame) - 1))
        frame[at] = data.draw(st.integers(0, 255))
    adapter = build(vendor, case["feed"])
    with contextlib.suppress(Skippable, Fatal, Retriable):
        adapter.decode(Frame(bytes(frame), RECEIVED, 1, whole.status, whole.about))


def test_a_subscription_names_key_level_and_tickers() -> None:
    feed = {"channel": "iex", "symbols": {"stock": ["aapl", "brk-b"], "etf": ["spy"]}}
    adapter = build("tiingo", feed)

    (message,) = adapter.subscribe()  # type: ignore[attr-defined]

    assert json.loads(message) == {
        "eventName": "subscribe",
        "authorization": "the-key",
        "eventData": {"thresholdLevel": 6, "tickers": ["aapl", "brk-b", "spy"]},
    }
    assert adapter.url == "wss://api.tiingo.com/iex"  # type: ignore[attr-defined]


def test_a_polled_feed_asks_a_hundred_tickers_at_a_time_with_the_key_in_a_header() -> None:
    symbols = [f"c{number}usd" for number in range(250)]
    adapter = build("tiingo", {"channel": "crypto_rest", "symbols": {"crypto": symbols}})
    poll: PollAdapter = adapter  # type: ignore[assignment]

    requests = poll.requests()

    assert [request.params["tickers"].count(",") + 1 for request in requests] == [100, 100, 50]
    assert ",".join(request.params["tickers"] for request in requests) == ",".join(symbols)
    assert all(request.headers == {"Authorization": "Token the-key"} for request in requests)
    assert {request.url for request in requests} == {"https://api.tiingo.com/tiingo/crypto/top"}


def test_every_frame_of_the_live_crypto_capture_is_accounted_for() -> None:
    """31 frames of 2026-09-06: an acknowledgement, a heartbeat, 11 trades and 18 quotes."""
    capture = RECORDED / "tiingo_crypto_live_2026-09-06.jsonl"
    if not capture.exists():
        pytest.skip("the folder of recorded messages is not here")
    adapter = build("tiingo", {"channel": "crypto", "symbols": {"crypto": ["btcusd", "ethusd"]}})
    counts: dict[str, int] = {}
    for line in capture.read_bytes().splitlines():
        sent = json.loads(line)
        events = adapter.decode(Frame(line, RECEIVED, 1))
        if sent["messageType"] != "A":
            assert list(events) == []
            counts["control"] = counts.get("control", 0) + 1
            continue
        (event,) = events
        row, data = plain(event), sent["data"]
        counts[row["type"]] = counts.get(row["type"], 0) + 1
        assert (row["symbol"], row["exchange"]) == (data[1], data[3])
        prices = {
            "T": ("last_size", "last_price"),
            "Q": ("bid_size", "bid", "mid", "ask_size", "ask"),
        }[data[0]]
        assert [row[name] for name in prices] == data[4:]

    assert counts == {"control": 2, "trade": 11, "quote": 18}
