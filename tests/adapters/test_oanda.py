"""What OANDA's refusals mean, and what is asked of it."""

import json
from collections.abc import Collection
from typing import Any

import pytest

from edc.errors import Fatal, Refused, Retriable, Skippable
from edc.transport import Frame, Request
from tests.test_adapters import build

BAD = json.dumps({"errorMessage": "Invalid value specified for 'instruments'"})
ACCOUNT = "/v3/accounts/101-001-1234567-001/pricing"
SEVEN = ("eurusd", "usdjpy", "gbpusd", "audnzd", "eurchf", "usdcad", "nzdusd")

FEED = {
    "channel": "pricing",
    "account": "101-001-1234567-001",
    "symbols": {"fx": ("eurusd", "usdjpy")},
}


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, Fatal, "check the API key"),
        (403, Fatal, "check the API key"),
        (400, Fatal, "correct the feed"),  # it says nothing of instruments
        (429, Retriable, "429"),
        (503, Retriable, "503"),
        (520, Retriable, "520"),
        (302, Fatal, "302"),
    ],
)
def test_a_refused_stream_says_who_can_mend_it(
    status: int, kind: type[Exception], says: str
) -> None:
    adapter: Any = build("oanda", FEED)

    error = adapter.refusal(status, '{"errorMessage":"Insufficient authorization"}')

    assert type(error) is kind
    assert says in str(error)
    assert getattr(error, "tries", 4) == 4  # they come and go during maintenance


def test_the_stream_is_asked_for_as_its_page_says() -> None:
    adapter: Any = build("oanda", FEED)

    request = adapter.request()

    assert request.url == (
        "https://stream-fxtrade.oanda.com/v3/accounts/101-001-1234567-001/pricing/stream"
    )
    assert request.params == {"instruments": "EUR_USD,USD_JPY", "snapshot": "true"}
    assert request.headers == {
        "Authorization": "Bearer the-key",
        "Accept-Datetime-Format": "RFC3339",
    }


def answer(request: Request, bad: Collection[str]) -> Frame:
    """What the vendor answers to a request for prices, where it has not got these."""
    asked = set(request.params["instruments"].split(","))
    wrong = not asked.isdisjoint(bad)
    text = BAD if wrong else json.dumps({"prices": [], "time": "2024-06-14T12:00:05.000000000Z"})
    return Frame(text.encode(), 0, 0, 400 if wrong else 200, request.about)


def sifted(adapter: Any, bad: Collection[str]) -> list[Request]:
    """Let an adapter ask what it wants to know; the requests that it took."""
    steps, asked = adapter.sift(), []
    request = next(steps)
    while True:
        asked.append(request)
        try:
            request = steps.send(answer(request, bad))
        except StopIteration:
            return asked


@pytest.mark.parametrize(
    ("bad", "refused"),
    [
        (["USD_JPY"], {"usdjpy"}),
        (["EUR_USD", "NZD_USD"], {"eurusd", "nzdusd"}),
        (["EUR_USD", "USD_JPY", "GBP_USD", "AUD_NZD", "EUR_CHF", "USD_CAD"], {*SEVEN[:-1]}),
    ],
)
def test_of_a_refused_stream_the_bad_instruments_are_found_and_the_rest_is_asked_for(
    bad: list[str], refused: set[str]
) -> None:
    adapter: Any = build("oanda", FEED | {"symbols": {"fx": SEVEN}})
    assert isinstance(adapter.refusal(400, BAD), Refused)

    asked = sifted(adapter, bad)

    assert {*adapter.refused} == refused
    assert all(said.endswith(BAD[18:-2]) for said in adapter.refused.values())
    left = adapter.request().params["instruments"].split(",")
    assert len(left) == 7 - len(bad)
    assert set(left).isdisjoint(bad)
    assert {request.url for request in asked} == {f"https://api-fxtrade.oanda.com{ACCOUNT}"}
    assert len(asked) <= 2 * len(bad) * 3 + 1


def test_where_all_are_bad_the_feed_is_to_be_corrected() -> None:
    adapter: Any = build("oanda", FEED)

    with pytest.raises(Fatal, match="correct the feed's symbols") as caught:
        sifted(adapter, ["EUR_USD", "USD_JPY"])

    assert "EUR_USD" in str(caught.value)
    assert "USD_JPY" in str(caught.value)


def test_a_refusal_that_is_none_when_it_is_asked_about_is_tried_again() -> None:
    with pytest.raises(Retriable, match="refuses the stream"):
        sifted(build("oanda", FEED), [])


@pytest.mark.parametrize(("status", "kind"), [(401, Fatal), (503, Retriable), (429, Retriable)])
def test_what_else_goes_wrong_while_asking_is_what_it_is(
    status: int, kind: type[Exception]
) -> None:
    adapter: Any = build("oanda", FEED)
    steps = adapter.sift()
    next(steps)

    with pytest.raises(kind, match=str(status)):
        steps.send(Frame(b'{"errorMessage":"no"}', 0, 0, status))


def test_polled_prices_are_asked_for_in_halves_until_the_bad_instrument_is_known() -> None:
    adapter: Any = build("oanda", FEED | {"channel": "rest", "symbols": {"fx": SEVEN}})
    told: list[Skippable] = []
    for _ in range(4):
        for request in adapter.requests():
            try:
                adapter.decode(answer(request, ["GBP_USD"]))
            except Skippable as error:
                told.append(error)

    *halves, refused = told
    assert [error.reason for error in halves] == ["notice"] * 3
    assert isinstance(refused, Refused)
    assert refused.symbols == ["gbpusd"]
    asked = [each for request in adapter.requests() for each in request.about.split(",")]
    assert sorted(asked) == [
        *("AUD_NZD", "EUR_CHF", "EUR_USD", "NZD_USD", "USD_CAD", "USD_JPY"),
    ]
