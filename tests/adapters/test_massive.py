"""Massive's dialogue, the spellings of its pairs, and what is asked of its REST."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from edc import adapters
from edc.errors import Fatal, Retriable, Skippable
from edc.transport import Frame
from tests.test_adapters import RECEIVED, build


def stream(channel: str, symbols: dict[str, tuple[str, ...]], **more: Any) -> Any:
    return build("massive", {"channel": channel, "symbols": symbols, **more})


def frame(*messages: dict[str, Any]) -> Frame:
    return Frame(json.dumps(messages).encode(), RECEIVED, 1)


def status(name: str, message: str = "") -> dict[str, Any]:
    return {"ev": "status", "status": name, "message": message}


def test_the_key_follows_the_greeting_and_topics_the_key() -> None:
    adapter = stream("stocks", {"stock": ("aapl", "brk-b")})

    assert list(adapter.subscribe()) == []
    assert adapter.answer(frame(status("connected"))).send == [
        '{"action":"auth","params":"the-key"}'
    ]
    assert adapter.answer(frame(status("auth_success"))).send == [
        '{"action":"subscribe","params":"T.AAPL,T.BRK.B,Q.AAPL,Q.BRK.B"}'
    ]


def test_each_topic_is_acknowledged_by_itself() -> None:
    adapter = stream("stocks", {"stock": ("aapl", "brk-b")})

    answer = adapter.answer(frame(status("success", "subscribed to: T.BRK.B")))

    assert answer.accepted == ["T.BRK.B"]
    assert adapter.topics["T.BRK.B"] == "brk-b"
    assert adapter.answer(frame(status("success", "unsubscribed to: T.BRK.B"))) is None


@pytest.mark.parametrize("name", ["EUR/USD", "EUR-USD", "EURUSD", "C:EUR-USD", "C:EUR/USD"])
def test_a_pair_is_acknowledged_however_it_is_spelled(name: str) -> None:
    adapter = stream("forex", {"fx": ("eurusd", "usdcnh")})

    answer = adapter.answer(frame(status("success", f"subscribed to: C.{name}")))

    assert answer.accepted == ["C.EUR/USD"]


@pytest.mark.parametrize("channel", ["stocks", "crypto"])
def test_an_acknowledgement_of_something_else_accepts_nothing_of_ours(channel: str) -> None:
    kind = "stock" if channel == "stocks" else "crypto"
    adapter = stream(channel, {kind: ("btcusd",)})

    answer = adapter.answer(frame(status("success", "subscribed to: A.MSFT")))

    assert not set(answer.accepted) & set(adapter.topics)


@pytest.mark.parametrize(
    "beside", [{"ev": "AM", "sym": "AAPL"}, {"ev": "T", "sym": "AAPL", "p": "x", "t": 1}]
)
def test_an_acknowledgement_counts_beside_data_that_cannot_be_read(beside: dict[str, Any]) -> None:
    adapter = stream("stocks", {"stock": ("aapl",)})

    answer = adapter.answer(frame(status("success", "subscribed to: T.AAPL"), beside))

    assert answer.accepted == ["T.AAPL"]


def test_data_is_no_answer() -> None:
    adapter = stream("crypto", {"crypto": ("btcusd",)})
    quote = {"ev": "XQ", "pair": "BTC-USD", "bp": 33052.79, "bs": 0.48, "t": 1610462411115}

    assert adapter.answer(frame(quote)) is None


def test_a_long_list_is_asked_for_in_pieces() -> None:
    names = tuple(f"a{number}" for number in range(250))
    adapter = stream("stocks", {"stock": names})

    messages = [json.loads(each) for each in adapter.answer(frame(status("auth_success"))).send]

    topics = [message["params"].split(",") for message in messages]
    assert [len(piece) for piece in topics] == [200, 200, 100]
    assert {topic for piece in topics for topic in piece} == set(adapter.topics)


def test_everything_is_a_star_for_each_kind() -> None:
    adapter = stream("crypto", {"crypto": ("*",)})

    (message,) = adapter.answer(frame(status("auth_success"))).send

    assert json.loads(message) == {"action": "subscribe", "params": "XT.*,XQ.*"}
    assert adapter.topics == {}


@pytest.mark.parametrize("told", ["C.*", "C.", "", "C./", "nonsense"])
@pytest.mark.parametrize("symbol", ["*", "eurusd"])
def test_an_acknowledgement_of_nothing_that_exists_harms_nobody(told: str, symbol: str) -> None:
    adapter = stream("forex", {"fx": (symbol,)})

    answer = adapter.answer(frame(status("success", f"subscribed to: {told}")))

    assert not set(answer.accepted) & set(adapter.topics)


def test_one_connection_too_many_waits_though_it_was_accepted_before() -> None:
    adapter = stream("stocks", {"stock": ("aapl",)})
    adapter.answer(frame(status("success", "subscribed to: T.AAPL")))
    told = status("max_connections", "Maximum number of websocket connections exceeded. ")

    with pytest.raises(Retriable) as caught:
        adapter.decode(frame(told))

    assert caught.value.after == 60.0


def test_every_cluster_carries_one_connection() -> None:
    channels = adapters.load("massive").channels

    assert {name for name, channel in channels.items() if channel.one_connection} == {
        name for name, channel in channels.items() if channel.kind == "websocket"
    }


@pytest.mark.parametrize(
    ("channel", "take"), [("forex", "trades"), ("forex_rest", "trades"), ("crypto_rest", "quotes")]
)
def test_what_a_channel_does_not_have_cannot_be_all_that_is_taken(channel: str, take: str) -> None:
    with pytest.raises(ValidationError, match=f"{channel} has (quotes|trades); take some of it"):
        stream(channel, {"fx": ("eurusd",)}, take=(take,))


@pytest.mark.parametrize(
    ("channel", "symbols", "expected"),
    [
        (
            "stocks_rest",
            {"stock": ("aapl", "brk-b")},
            {
                "trades AAPL": "/v2/last/trade/AAPL",
                "quotes AAPL": "/v2/last/nbbo/AAPL",
                "trades BRK.B": "/v2/last/trade/BRK.B",
                "quotes BRK.B": "/v2/last/nbbo/BRK.B",
            },
        ),
        (
            "forex_rest",
            {"fx": ("audusd",)},
            {"quotes AUD/USD": "/v1/last_quote/currencies/AUD/USD"},
        ),
        ("crypto_rest", {"crypto": ("btcusd",)}, {"trades BTC-USD": "/v1/last/crypto/BTC/USD"}),
    ],
)
def test_a_polled_feed_asks_for_each_symbol_with_the_key_in_a_header(
    channel: str, symbols: dict[str, tuple[str, ...]], expected: dict[str, str]
) -> None:
    requests = stream(channel, symbols).requests()

    assert {request.about: request.url for request in requests} == {
        about: f"https://api.massive.com{path}" for about, path in expected.items()
    }
    assert all(request.headers == {"Authorization": "Bearer the-key"} for request in requests)
    assert all(request.params == {} for request in requests)


@pytest.mark.parametrize("kind", ["error", "not_authorized"])
def test_topics_that_a_status_names_are_refused_and_the_others_go_on(kind: str) -> None:
    adapter = stream("stocks", {"stock": ("aapl", "brk-b")})
    told = frame(status(kind, "not authorized to subscribe to: Q.AAPL, Q.BRK.B."))

    assert list(adapter.decode(told)) == []
    assert set(adapter.answer(told).refused) == {"Q.AAPL", "Q.BRK.B"}


@pytest.mark.parametrize(("kind", "error"), [("error", Skippable), ("not_authorized", Fatal)])
def test_a_status_that_names_nothing_is_a_notice_or_the_plans_word(
    kind: str, error: type[Exception]
) -> None:
    adapter = stream("stocks", {"stock": ("aapl",)})
    told = frame(status(kind, "invalid topic"))

    with pytest.raises(error):
        adapter.decode(told)
    assert adapter.answer(told) is None
