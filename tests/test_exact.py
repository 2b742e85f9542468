"""Through each crypto venue's own decode, a number is the double nearest to its text, a time exact.

A form is a trade as the venue writes it, with the price, the size and the time left open. What is
the nearest double is told by fractions, which are exact, and not by another parser of floats.
"""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edc import adapters
from edc.adapters import Adapter
from edc.events import Trade
from edc.transport import Frame
from tests.test_adapters import build

PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)
SECOND = 10**9
NOW = 1_788_676_200 * SECOND

PLAIN = st.builds(
    lambda whole, digits, last: f"{whole}.{digits}{last}",
    st.one_of(st.just(0), st.integers(0, 10**6), st.integers(0, 10**15)),
    st.text("0123456789", max_size=17),
    st.integers(1, 9),  # so that it is never nothing
)


def _between(value: float, beyond: str) -> str:
    """The text of what lies half way from a double to the next, or just beyond."""
    with localcontext(prec=200):
        middle = (Decimal(value) + Decimal(math.nextafter(value, math.inf))) / 2
        return f"{middle:f}{beyond}"


HARD = st.builds(_between, st.floats(1e-3, 1e9), st.sampled_from(["0", "1", "0000000001"]))
"""Texts on which a parser that rounds twice is wrong by one."""
NUMBERS = PLAIN | HARD


def _times(digits: int) -> st.SearchStrategy[int]:
    """Times from 2010 to 2099 in ns, with so many digits of fraction."""
    step = 10 ** (9 - digits)
    return st.integers(1_262_304_000 * SECOND // step, 4_070_908_800 * SECOND // step).map(
        step.__mul__
    )


def _seconds(digits: int) -> Callable[[int], str]:
    def write(ns: int) -> str:
        return f"{ns // SECOND}.{ns % SECOND:09d}"[: 11 + digits]

    return write


def _iso(digits: int) -> Callable[[int], str]:
    def write(ns: int) -> str:
        whole = datetime.fromtimestamp(ns // SECOND, UTC)
        return f"{whole:%Y-%m-%dT%H:%M:%S}.{f'{ns % SECOND:09d}'[:digits]}Z"

    return write


def _count(digits: int) -> Callable[[int], str]:
    def write(ns: int) -> str:
        return str(ns // 10 ** (9 - digits))

    return write


class Form(NamedTuple):
    """A trade of a venue's: `PRICE`, `SIZE` and `TIME` are open; `digits` of fraction in a time."""

    vendor: str
    channel: str
    symbol: str
    text: str
    digits: int
    write: Callable[[int], str]
    about: str | None = None
    """Of an answer to a request: what it was about."""
    before: str = ""


FORMS = {
    "binance, ms": Form(
        *("binance", "spot", "btcusdt"),
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"PRICE",'
        '"q":"SIZE","T":TIME,"m":true,"M":true}}',
        *(3, _count(3)),
    ),
    "binance, us": Form(
        *("binance", "spot", "btcusdt"),
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"PRICE",'
        '"q":"SIZE","T":TIME,"m":true,"M":true}}',
        *(6, _count(6)),
    ),
    "binance futures": Form(
        *("binance_futures", "market", "btcusdt"),
        '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,'
        '"p":"PRICE","q":"SIZE","nq":"80","f":1,"l":1,"T":TIME,"m":true,"st":1}}',
        *(3, _count(3)),
    ),
    "coinbase exchange": Form(
        *("coinbase", "exchange", "btcusd"),
        '{"type":"match","trade_id":1,"side":"sell","size":"SIZE","price":"PRICE",'
        '"product_id":"BTC-USD","sequence":1,"time":"TIME"}',
        *(6, _iso(6)),
    ),
    "coinbase advanced": Form(
        *("coinbase", "advanced", "btcusd"),
        '{"channel":"market_trades","client_id":"","timestamp":"2026-04-07T14:30:02.789012Z",'
        '"sequence_num":0,"events":[{"type":"update","trades":[{"trade_id":"1",'
        '"product_id":"BTC-USD","price":"PRICE","size":"SIZE","side":"BUY","time":"TIME"}]}]}',
        *(9, _iso(9)),
    ),
    "kraken": Form(
        *("kraken", "spot", "btcusd"),
        '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell",'
        '"price":PRICE,"qty":SIZE,"ord_type":"market","trade_id":1,"timestamp":"TIME"}]}',
        *(6, _iso(6)),
    ),
    "kraken, history": Form(
        *("kraken", "spot", "btcusd"),
        '{"error":[],"result":{"XXBTZUSD":[["PRICE","SIZE",TIME,"b","m","",1]],"last":"1"}}',
        *(9, _seconds(9)),
        about="BTC/USD",
    ),
    "bitstamp": Form(
        *("bitstamp", "spot", "btcusd"),
        '{"data":{"id":1,"timestamp":"1","amount":1,"amount_str":"SIZE","price":1,'
        '"price_str":"PRICE","type":0,"microtimestamp":"TIME"},'
        '"channel":"live_trades_btcusd","event":"trade"}',
        *(6, _count(6)),
    ),
    "bitstamp, history": Form(
        *("bitstamp", "spot", "btcusd"),
        '[{"date":"TIME","tid":"1","price":"PRICE","type":"1","amount":"SIZE"}]',
        *(0, _count(0)),
        about="btcusd",
    ),
    "okx": Form(
        *("okx", "spot", "btcusd"),
        '{"arg":{"channel":"trades","instId":"BTC-USD"},"data":[{"instId":"BTC-USD",'
        '"tradeId":"1","px":"PRICE","sz":"SIZE","side":"buy","ts":"TIME","count":"3"}]}',
        *(3, _count(3)),
    ),
    "bybit": Form(
        *("bybit", "linear", "btcusdt"),
        '{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1,"data":[{"T":TIME,"s":"BTCUSDT",'
        '"S":"Buy","v":"SIZE","p":"PRICE","i":"a","BT":false,"seq":1}]}',
        *(3, _count(3)),
    ),
    "gemini": Form(
        *("gemini", "spot", "btcusd"),
        '{"E":TIME,"s":"btcusd","t":1,"p":"PRICE","q":"SIZE","m":true}',
        *(9, _count(9)),
    ),
    "bitfinex": Form(
        *("bitfinex", "spot", "btcusd"),
        '[89,"te",[1,TIME,SIZE,PRICE],1,1564617600784]',
        *(3, _count(3)),
        before='{"event":"subscribed","channel":"trades","chanId":89,"symbol":"tBTCUSD"}',
    ),
    "deribit": Form(
        *("deribit", "public", "btc-perpetual"),
        '{"jsonrpc":"2.0","method":"subscription","params":{"channel":'
        '"trades.BTC-PERPETUAL.100ms","data":[{"timestamp":TIME,"price":PRICE,"amount":SIZE,'
        '"direction":"sell","instrument_name":"BTC-PERPETUAL","trade_seq":1,"trade_id":"1"}]}}',
        *(3, _count(3)),
    ),
    "hyperliquid": Form(
        *("hyperliquid", "public", "btc"),
        '{"channel":"trades","data":[{"coin":"BTC","hash":"0x","px":"PRICE","side":"B",'
        '"sz":"SIZE","tid":1,"time":TIME,"users":[]}]}',
        *(3, _count(3)),
    ),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))


def adapter_of(form: Form) -> Adapter:
    feed: dict[str, Any] = {"channel": form.channel, "symbols": {"crypto": [form.symbol]}}
    adapter = build(form.vendor, feed)
    if form.before:
        adapter.decode(Frame(form.before.encode(), NOW, 1))
    return adapter


def traded(form: Form, price: str, size: str, time: str) -> Trade:
    """The trade that comes of a form, as the first of its connection."""
    text = form.text.replace("PRICE", price).replace("SIZE", size).replace("TIME", time)
    json.loads(text)
    status, about = (0, "") if form.about is None else (200, form.about)
    (event,) = adapter_of(form).decode(Frame(text.encode(), NOW, 1, status, about))
    assert isinstance(event, Trade)
    return event


def is_nearest(value: float | None, text: str) -> bool:
    """No other double is nearer to the text; of two that are as near, this one is even."""
    assert value is not None
    exact = Fraction(text)
    off = abs(Fraction(value) - exact)
    others = [math.nextafter(value, way) for way in (-math.inf, math.inf)]
    nearest = min(abs(Fraction(other) - exact) for other in others)
    return off < nearest or (off == nearest and _is_even(value))


def _is_even(value: float) -> bool:
    return int(Fraction(value) / Fraction(math.ulp(value))) % 2 == 0


def test_what_is_nearest_is_told_from_what_is_not() -> None:
    assert is_nearest(0.1, "0.1")
    assert not is_nearest(math.nextafter(0.1, 1), "0.1")
    assert is_nearest(9007199254740992.0, "9007199254740993")
    assert not is_nearest(9007199254740994.0, "9007199254740993")
    assert is_nearest(9007199254740994.0, "9007199254740993.0000001")


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (_iso(6), "2024-02-29T23:59:59.123456Z"),
        (_iso(9), "2024-02-29T23:59:59.123456789Z"),
        (_seconds(9), "1709251199.123456789"),
        (_count(3), "1709251199123"),
    ],
)
def test_the_ways_of_writing_a_time(write: Callable[[int], str], text: str) -> None:
    assert write(1_709_251_199_123_456_789) == text


def test_there_is_a_form_of_every_venue_without_a_key() -> None:
    keyless = {name for name in adapters.names() if not adapters.load(name).needs_key}
    assert keyless == {form.vendor for form in FORMS.values()}


@every_form
@PROPERTY
@example(price="9007199254740993", size="0.1")
@example(price="0.30000000000000004", size="1.00000000000000011102230246251565")
@given(price=NUMBERS, size=NUMBERS)
def test_a_number_is_the_double_nearest_to_its_text(form: Form, price: str, size: str) -> None:
    event = traded(form, price, size, form.write(1_709_251_199 * SECOND))

    assert is_nearest(event.last_price, price)
    assert is_nearest(event.last_size, size)


@every_form
@PROPERTY
@given(data=st.data())
def test_a_time_is_exact_to_its_last_digit(form: Form, data: st.DataObject) -> None:
    ns = data.draw(_times(form.digits))

    assert traded(form, "1.5", "2", form.write(ns)).event_time == ns
