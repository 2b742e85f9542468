"""Alpaca's dialogue, its two encodings, and what is asked of its REST."""

import json
from typing import Any

import pytest
from msgspec import msgpack

from edc import adapters
from edc.errors import Fatal, Retriable, Skippable
from edc.transport import Frame
from tests.test_adapters import RECEIVED, build, plain


def stream(**feed: Any) -> Any:
    return build("alpaca", {"channel": "iex", "symbols": {"stock": ("aapl", "brk-b")}, **feed})


def frame(*messages: dict[str, Any]) -> Frame:
    return Frame(json.dumps(messages).encode(), RECEIVED, 1)


def packed(*messages: dict[str, Any]) -> Frame:
    return Frame(msgpack.encode(messages), RECEIVED, 1)


CONNECTED = {"T": "success", "msg": "connected"}
AUTHENTICATED = {"T": "success", "msg": "authenticated"}


def test_the_vendor_speaks_first_then_key_and_secret_then_the_subscription() -> None:
    adapter = stream()

    assert list(adapter.subscribe()) == []
    assert adapter.answer(frame(CONNECTED)).send == [
        '{"action":"auth","key":"the-key","secret":"the-secret"}'
    ]
    assert adapter.answer(frame(AUTHENTICATED)).send == [
        '{"action":"subscribe","trades":["AAPL","BRK.B"],"quotes":["AAPL","BRK.B"]}'
    ]


def test_in_msgpack_the_same_is_said_in_msgpack() -> None:
    adapter = stream(encoding="msgpack")

    (auth,) = adapter.answer(packed(CONNECTED)).send
    (asked,) = adapter.answer(packed(AUTHENTICATED)).send

    assert adapter.headers == {"Content-Type": "application/msgpack"}
    assert msgpack.decode(auth) == {"action": "auth", "key": "the-key", "secret": "the-secret"}
    assert msgpack.decode(asked) == {
        "action": "subscribe",
        "trades": ["AAPL", "BRK.B"],
        "quotes": ["AAPL", "BRK.B"],
    }


def test_json_is_asked_for_in_the_handshake_too() -> None:
    assert stream().headers == {"Content-Type": "application/json"}


def test_each_acknowledgement_has_all_that_is_subscribed_and_accepts_it() -> None:
    adapter = stream()
    acknowledged = {"T": "subscription", "trades": ["AAPL"], "quotes": ["AAPL", "BRK.B"]}
    acknowledged |= {"bars": [], "corrections": ["AAPL"], "cancelErrors": ["AAPL"]}

    answer = adapter.answer(frame(acknowledged))

    assert set(adapter.topics) - set(answer.accepted) == {"trades BRK.B"}
    assert adapter.topics["trades BRK.B"] == "brk-b"
    assert answer.send == []


def test_what_is_not_taken_is_not_asked_for() -> None:
    adapter = stream(take=("quotes",))

    (asked,) = adapter.answer(frame(AUTHENTICATED)).send

    assert json.loads(asked) == {"action": "subscribe", "quotes": ["AAPL", "BRK.B"]}
    assert set(adapter.topics) == {"quotes AAPL", "quotes BRK.B"}


def test_everything_is_one_star_and_waits_for_no_acknowledgement() -> None:
    adapter = stream(symbols={"stock": ("*",)})

    (asked,) = adapter.answer(frame(AUTHENTICATED)).send

    assert json.loads(asked) == {"action": "subscribe", "trades": ["*"], "quotes": ["*"]}
    assert adapter.topics == {}


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_long_list_goes_in_messages_that_the_vendor_takes(encoding: str) -> None:
    names = tuple(f"abcdefgh{number:04}" for number in range(1001))
    adapter = stream(symbols={"stock": names}, encoding=encoding)
    said = packed(AUTHENTICATED) if encoding == "msgpack" else frame(AUTHENTICATED)

    messages = list(adapter.answer(said).send)
    acknowledged = {"T": "subscription", "trades": [], "quotes": []}
    answer = packed(acknowledged) if encoding == "msgpack" else frame(acknowledged)
    while more := adapter.answer(answer).send:  # one request after the other
        messages += more

    asked = [msgpack.decode(m) if encoding == "msgpack" else json.loads(m) for m in messages]
    assert max(len(message) for message in messages) < 32_768
    for kind in ("trades", "quotes"):
        assert [name for each in asked for name in each[kind]] == [name.upper() for name in names]


@pytest.mark.parametrize(
    ("channel", "path"),
    [
        ("iex", "v2/iex"),
        ("sip", "v2/sip"),
        ("delayed_sip", "v2/delayed_sip"),
        ("test", "v2/test"),
    ],
)
def test_each_stream_of_stocks_has_its_endpoint(channel: str, path: str) -> None:
    assert stream(channel=channel).url == f"wss://stream.data.alpaca.markets/{path}"


def test_crypto_is_asked_for_with_a_slash() -> None:
    adapter = stream(channel="crypto", symbols={"crypto": ("btcusd", "ethusdt")})

    (asked,) = adapter.answer(frame(AUTHENTICATED)).send

    assert adapter.url == "wss://stream.data.alpaca.markets/v1beta3/crypto/us"
    assert json.loads(asked)["trades"] == ["BTC/USD", "ETH/USDT"]


def test_every_endpoint_carries_one_connection() -> None:
    channels = adapters.load("alpaca").channels

    assert {name for name, channel in channels.items() if channel.one_connection} == {
        name for name, channel in channels.items() if channel.kind == "websocket"
    }


def test_an_error_in_msgpack_means_what_it_means_in_json() -> None:
    held = {"T": "error", "code": 406, "msg": "connection limit exceeded"}

    with pytest.raises(Retriable) as caught:
        stream(encoding="msgpack").decode(packed(held))
    with pytest.raises(Fatal):
        stream(encoding="msgpack").decode(packed({**held, "code": 402}))

    assert caught.value.after == 90.0


def test_a_bad_message_in_msgpack_does_not_cost_the_others() -> None:
    good = {"T": "t", "i": 7, "S": "AAPL", "p": 126.55, "s": 1, "t": "2021-02-22T15:51:44Z"}

    with pytest.raises(Skippable) as caught:
        stream(encoding="msgpack").decode(packed({**good, "p": "x"}, good))

    (event,) = caught.value.events
    assert plain(event)["trade_id"] == "7"


@pytest.mark.parametrize(
    "data", [b"\x00" * 3, b"\x3b\x9a\xca\x00" + b"\x00" * 8, b"\x00" * 4 + b"\x7f" + b"\xff" * 7]
)
def test_an_extension_that_is_no_time_is_malformed(data: bytes) -> None:
    """Three bytes, a whole second of nanoseconds, a year beyond 64 bits of them."""
    time = msgpack.Ext(-1, data)
    trade = {"T": "t", "i": 7, "S": "AAPL", "p": 126.55, "s": 1, "t": time}

    with pytest.raises(Skippable) as caught:
        stream(encoding="msgpack").decode(packed(trade))

    assert caught.value.reason == "malformed"


def test_an_id_beyond_what_a_double_holds_keeps_its_digits() -> None:
    trade = {"T": "t", "i": 5941898911247126155, "S": "BTC/USD", "p": 1.0, "s": 0.5}
    adapter = stream(channel="crypto", symbols={"crypto": ("btcusd",)})

    (event,) = adapter.decode(frame({**trade, "t": "2022-03-09T06:00:00.080264Z", "tks": "S"}))

    assert (event.trade_id, event.side) == ("5941898911247126155", "sell")


@pytest.mark.parametrize(
    ("channel", "symbols", "paths", "first"),
    [
        (
            "stocks_rest",
            {"stock": tuple(f"a{number}" for number in range(201))},
            ["v2/stocks/trades/latest", "v2/stocks/quotes/latest"],
            "A0",
        ),
        (
            "crypto_rest",
            {"crypto": tuple(f"a{number}usd" for number in range(201))},
            ["v1beta3/crypto/us/latest/trades", "v1beta3/crypto/us/latest/quotes"],
            "A0/USD",
        ),
    ],
)
def test_a_polled_feed_asks_two_hundred_at_a_time_with_the_key_in_headers(
    channel: str, symbols: dict[str, tuple[str, ...]], paths: list[str], first: str
) -> None:
    requests = stream(channel=channel, symbols=symbols).requests()

    asked = [request.params["symbols"].split(",") for request in requests]
    assert [len(names) for names in asked] == [200, 1, 200, 1]
    assert asked[0][0] == asked[2][0] == first
    assert [request.url for request in requests] == [
        f"https://data.alpaca.markets/{path}" for path in paths for _ in range(2)
    ]
    headers = {"APCA-API-KEY-ID": "the-key", "APCA-API-SECRET-KEY": "the-secret"}
    assert all(request.headers == headers for request in requests)


class Books:
    """What the vendor's end of a subscription does: requests are taken whole, or not at all."""

    def __init__(self, *, bad: tuple[str, ...] = (), most: int = 1 << 30) -> None:
        self.bad, self.most = bad, most
        self.held: set[tuple[str, str]] = set()
        self.heard: list[str] = []

    def answer(self, message: str) -> dict[str, Any]:
        self.heard.append(message)
        asked = json.loads(message)
        wanted = {(kind, name) for kind in ("trades", "quotes") for name in asked.get(kind, ())}
        if any(name in self.bad for _, name in wanted):
            return {"T": "error", "code": 400, "msg": "invalid syntax"}
        if len(self.held | wanted) > self.most:
            return {"T": "error", "code": 405, "msg": "symbol limit exceeded"}
        self.held |= wanted
        return {
            "T": "subscription",
            **{kind: [n for k, n in self.held if k == kind] for kind in ("trades", "quotes")},
        }


def subscribed(adapter: Any, books: Books) -> tuple[set[str], dict[str, str]]:
    """What is accepted and what is refused, once nothing more is said."""
    accepted, refused = set[str](), dict[str, str]()
    answers = [adapter.answer(frame(AUTHENTICATED))]
    while answers:
        answer = answers.pop()
        accepted |= set(answer.accepted)
        refused |= answer.refused
        for message in answer.send:
            reply = frame(books.answer(message))
            assert adapter.decode(reply) == []  # it is the dialogue's alone
            answers.append(adapter.answer(reply))
    return accepted, refused


def test_bad_symbols_are_named_and_the_others_go_on() -> None:
    names = tuple(f"a{number}" for number in range(500))
    books = Books(bad=("A7", "A8", "A333"))
    adapter = stream(symbols={"stock": names})

    accepted, refused = subscribed(adapter, books)

    bad = {f"{kind} {name}" for kind in ("trades", "quotes") for name in books.bad}
    assert set(refused) == bad
    assert accepted == set(adapter.topics) - bad
    assert refused["quotes A7"] == "quotes: Alpaca: invalid syntax (400)"
    assert len(set(books.heard)) == len(books.heard) < 80  # nothing is said twice


@pytest.mark.parametrize("most", [0, 1, 30, 401, 999])
def test_of_too_many_symbols_those_that_fit_go_on_in_the_order_of_the_config(most: int) -> None:
    names = tuple(f"a{number}" for number in range(500))
    books = Books(most=most)
    adapter = stream(symbols={"stock": names})

    accepted, refused = subscribed(adapter, books)

    topics = list(adapter.topics)
    assert accepted == set(topics[:most])
    assert list(refused) == topics[most:]
    assert len(books.heard) < 30


def test_a_star_that_is_refused_is_the_operators_to_mend() -> None:
    adapter = stream(symbols={"stock": ("*",)})
    adapter.answer(frame(AUTHENTICATED))

    with pytest.raises(Fatal, match="list the feed's symbols"):
        adapter.answer(frame({"T": "error", "code": 405, "msg": "symbol limit exceeded"}))


def test_symbols_that_an_error_comes_for_out_of_turn_are_a_notice() -> None:
    with pytest.raises(Skippable) as caught:
        stream().decode(frame({"T": "error", "code": 405, "msg": "symbol limit exceeded"}))

    assert caught.value.reason == "notice"
