"""What OANDA's refusals mean, and what is asked of it."""

from typing import Any

import pytest

from edc.errors import Fatal, Retriable
from tests.test_adapters import build

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
        (400, Fatal, "correct the feed"),
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
