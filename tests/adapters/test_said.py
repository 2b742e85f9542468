"""What edc says to vendors of stocks and FX is what the dossier says that clients send."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from edc.transport import Frame
from tests import dossier
from tests.dossier import DOSSIERS
from tests.test_adapters import RECEIVED, build

DOSSIER = DOSSIERS / "stock_fx.md"
SAID = "said by us: the tests of tests/adapters/ hold what edc says"
VENDORS = ("alpaca", "massive", "finnhub", "twelvedata", "tradermade")


def text() -> str:
    if not DOSSIER.exists():
        pytest.skip("the folder of dossiers is not here")
    return DOSSIER.read_text()


def sent(vendor: str, feed: dict[str, Any], *heard: str) -> list[Any]:
    """What an adapter says, to begin with and to what it hears; JSON read."""
    adapter: Any = build(vendor, feed)
    messages = list(adapter.subscribe())
    for text in heard:
        answer = adapter.answer(Frame(text.encode(), RECEIVED, 1))
        messages += answer.send if answer else ()
    return [json.loads(message) for message in messages]


def our_messages() -> list[Any]:
    """What is sent with the key, the secret and the symbols of the dossier's examples."""
    success = '[{"T":"success","msg":"%s"}]'
    status = '[{"ev":"status","status":"%s","message":""}]'
    symbols = {"stock": ("aapl", "ry"), "fx": ("eurusd",), "crypto": ("btcusd",)}
    pairs = {"fx": ("eurusd", "gbpusd", "usdjpy")}
    aapl: dict[str, Any] = {"symbols": {"stock": ("aapl",)}}
    alpaca = {"channel": "iex", **aapl}
    twelve: Any = build("twelvedata", {"channel": "price", **aapl})
    return [
        *sent("alpaca", alpaca, success % "connected", success % "authenticated"),
        *sent(
            "massive",
            {"channel": "stocks", **aapl},
            status % "connected",
            status % "auth_success",
        ),
        *sent("finnhub", {"channel": "trades", **aapl}),
        *sent("twelvedata", {"channel": "price", "symbols": symbols}),
        json.loads(twelve.keepalive.message),
        *sent("tradermade", {"channel": "fx", "symbols": pairs}, "Connected"),
    ]


KEYS = {"{KEY_ID}": "the-key", "{SECRET}": "the-secret", "KEY": "the-key"}
OURS = {
    '{"action":"subscribe","trades":["AAPL"],"quotes":["AMD","CLDR"],"bars":["*"]}': {
        "action": "subscribe",
        "trades": ["AAPL"],
        "quotes": ["AAPL"],
    },
    '{"action":"subscribe","params":{"symbols":"AAPL,RY,RY:TSX,EUR/USD,BTC/USD"}}': {
        "action": "subscribe",
        "params": {"symbols": "AAPL,RY,EUR/USD,BTC/USD"},
    },
}
"""Examples whose symbols no feed of ours has, with what is sent for those that it has."""


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_the_dossier_says_that_clients_send_is_what_is_sent(vendor: str) -> None:
    examples = dossier.exceptions("stock_fx")[vendor][SAID]
    for example in examples:
        told = example
        for key, value in KEYS.items():
            told = told.replace(f'"{key}"', f'"{value}"')
        assert OURS.get(example, json.loads(told)) in our_messages(), example


def test_every_code_of_alpaca_is_in_its_fixture() -> None:
    rows = re.findall(r"^\| (\d{3}) \| ([^|(]+?) (?:\(|\|)", _codes(), flags=re.MULTILINE)
    held = list(_errors())

    assert len(rows) == 11
    assert {(int(code), message) for code, message in rows} <= set(held)


def _codes() -> str:
    return text().partition("### 2.4")[2].partition("### 3.1")[0]


def _errors() -> Iterator[tuple[int, str]]:
    for frame in dossier.frames("alpaca"):
        for message in frame if isinstance(frame, list) else ():
            if message.get("T") == "error":
                yield message["code"], message["msg"]


def test_the_template_for_tradingview_is_an_alert_once_it_is_filled_in() -> None:
    (template,) = re.findall(r'\{"v":1,"symbol":"\{\{ticker\}\}"[^`]*', text())
    values = {"ticker": "AAPL", "exchange": "NASDAQ", "close": "227.51", "volume": "1200"}
    values |= {"time": "2019-08-27T09:56:00Z", "timenow": "2019-08-27T09:56:03Z", "interval": "1"}
    for name, value in values.items():
        template = template.replace("{{" + name + "}}", value)

    assert dossier.read(template) in list(dossier.frames("tradingview"))
