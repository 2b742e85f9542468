"""What a vendor tells by websocket and by REST becomes one event, where the facts are the same.

Of Alpaca's and Massive's history, too: `test_history`. Massive pushes times in ms and tells them in
ns by REST; here the digits that are not pushed are zeros. What is not here differs in its facts:
Finnhub's REST knows no trades, TraderMade has no REST that is confirmed, and the books that Tiingo
polls for crypto are of all exchanges together.
"""

from typing import Any

import pytest

from edc.transport import Frame
from tests.test_adapters import RECEIVED, build, plain

SYMBOLS: dict[str, Any] = {"symbols": {"stock": ("aapl",)}}
PAIR: dict[str, Any] = {"symbols": {"fx": ("eurusd",)}}
COIN: dict[str, Any] = {"symbols": {"crypto": ("btcusd",)}}
ACCOUNT = {"account": "101-001-1234567-001", **PAIR}

PRICE = (
    '{"type":"PRICE","instrument":"EUR_USD","time":"2024-06-14T12:00:00.000000000Z",'
    '"tradeable":%s,"bids":[{"price":"1.07132","liquidity":10000000}],'
    '"asks":[{"price":"1.07145","liquidity":10000000}],"closeoutBid":"1.07128",'
    '"closeoutAsk":"1.07149"}'
)
MASSIVE_PAST = (
    '{"results":[{"conditions":[12,37],"correction":0,"decimal_size":"2.5","exchange":%d,'
    '"id":"237688","participant_timestamp":%d,"price":166.25,"sequence_number":7084210,'
    '"sip_timestamp":1651179319310000000,"size":2,"tape":3,"trf_id":202,'
    '"trf_timestamp":1651179319310000000}],"status":"OK","request_id":"5"}'
)
SAME = {
    "alpaca trade": (
        ("alpaca", {"channel": "iex", **SYMBOLS}),
        (
            '[{"T":"t","i":96921,"S":"AAPL","x":"D","p":126.55,"s":1,"t":"2021-02-22T15:51:44.208Z",'
            '"c":["@","I"],"z":"C"}]'
        ),
        ("alpaca", {"channel": "stocks_rest", **SYMBOLS}),
        (
            '{"trades":{"AAPL":{"t":"2021-02-22T15:51:44.208Z","x":"D","p":126.55,"s":1,'
            '"c":["@","I"],"i":96921,"z":"C"}}}'
        ),
        "AAPL",
    ),
    "alpaca quote": (
        ("alpaca", {"channel": "iex", **SYMBOLS}),
        (
            '[{"T":"q","S":"AAPL","bx":"U","bp":87.66,"bs":1,"ax":"Q","ap":87.68,"as":4,'
            '"t":"2021-02-22T15:51:45.335689322Z","c":["R"],"z":"C"}]'
        ),
        ("alpaca", {"channel": "stocks_rest", **SYMBOLS}),
        (
            '{"quotes":{"AAPL":{"t":"2021-02-22T15:51:45.335689322Z","ax":"Q","ap":87.68,"as":4,'
            '"bx":"U","bp":87.66,"bs":1,"c":["R"],"z":"C"}}}'
        ),
        "AAPL",
    ),
    "alpaca crypto quote": (
        ("alpaca", {"channel": "crypto", **COIN}),
        (
            '[{"T":"q","S":"BTC/USD","bp":29058,"bs":0.3544,"ap":29059,"as":3.252,'
            '"t":"2022-05-26T11:47:18.44347136Z"}]'
        ),
        ("alpaca", {"channel": "crypto_rest", **COIN}),
        (
            '{"quotes":{"BTC/USD":{"t":"2022-05-26T11:47:18.44347136Z","bp":29058,"bs":0.3544,'
            '"ap":29059,"as":3.252}}}'
        ),
        "BTC/USD",
    ),
    "massive trade off the exchanges, of a part of a share": (
        ("massive", {"channel": "stocks", **SYMBOLS}),
        (
            '[{"ev":"T","sym":"AAPL","i":"237688","x":4,"p":166.25,"s":2,"ds":"2.5","c":[12,37],'
            '"t":1651179319310,"pt":1651179319308,"trfi":202,"trft":1651179319310,"q":7084210,'
            '"z":3}]'
        ),
        ("massive", {"channel": "stocks", **SYMBOLS}),
        MASSIVE_PAST % (4, 1651179319308000000),
        "trade AAPL",
    ),
    "massive trade off the exchanges, last value": (
        ("massive", {"channel": "stocks", **SYMBOLS}),
        (
            '[{"ev":"T","sym":"AAPL","i":"237688","x":4,"p":166.25,"s":2,"c":[12,37],'
            '"t":1651179319310,"q":7084210,"z":3}]'
        ),
        ("massive", {"channel": "stocks_rest", **SYMBOLS}),
        (
            '{"results":{"c":[12,37],"i":"237688","p":166.25,"s":2,"x":4,"r":202,"z":3,"T":"AAPL",'
            '"t":1651179319310000000,"y":1651179319308000000,"f":1651179319310000000,"q":7084210},'
            '"status":"OK","request_id":"5"}'
        ),
        "trades AAPL",
    ),
    "massive trade off the exchanges, by the venue's time": (
        ("massive", {"channel": "stocks", "time_of": "participant", **SYMBOLS}),
        (
            '[{"ev":"T","sym":"AAPL","i":"237688","x":4,"p":166.25,"s":2,"ds":"2.5","c":[12,37],'
            '"t":1651179319310,"pt":1651179319308,"trfi":202,"trft":1651179319310,"q":7084210,'
            '"z":3}]'
        ),
        ("massive", {"channel": "stocks", "time_of": "participant", **SYMBOLS}),
        MASSIVE_PAST % (4, 1651179319308000000),
        "trade AAPL",
    ),
    "massive trade over the counter, which is pushed without the venue's time": (
        ("massive", {"channel": "stocks", "time_of": "participant", **SYMBOLS}),
        (
            '[{"ev":"T","sym":"AAPL","i":"237688","x":62,"p":166.25,"s":2,"ds":"2.5","c":[12,37],'
            '"t":1651179319310,"trfi":202,"trft":1651179319310,"q":7084210,"z":3}]'
        ),
        ("massive", {"channel": "stocks", "time_of": "participant", **SYMBOLS}),
        MASSIVE_PAST % (62, 1651179319308000000),
        "trade AAPL",
    ),
    "massive FX quote": (
        ("massive", {"channel": "forex", **PAIR}),
        '[{"ev":"C","p":"EUR/USD","x":48,"a":1.0849,"b":1.0847,"t":1652193694000}]',
        ("massive", {"channel": "forex_rest", **PAIR}),
        (
            '{"last":{"ask":1.0849,"bid":1.0847,"exchange":48,"timestamp":1652193694000},'
            '"status":"success","symbol":"EUR/USD"}'
        ),
        "quotes EUR/USD",
    ),
    "twelvedata price": (
        ("twelvedata", {"channel": "price", **SYMBOLS}),
        (
            '{"event":"price","symbol":"AAPL","currency":"USD","exchange":"NASDAQ",'
            '"type":"Common Stock","timestamp":1592249566,"price":342.0157,"day_volume":27631112}'
        ),
        ("twelvedata", {"channel": "rest", **SYMBOLS}),
        (
            '{"symbol":"AAPL","exchange":"NASDAQ","currency":"USD","close":"342.01570",'
            '"timestamp":1592249400,"last_quote_at":1592249566,"is_market_open":true}'
        ),
        "AAPL",
    ),
    "oanda price": (
        ("oanda", {"channel": "pricing", **ACCOUNT}),
        PRICE % "true",
        ("oanda", {"channel": "rest", **ACCOUNT}),
        f'{{"prices":[{PRICE % "true"}],"time":"2024-06-14T12:00:00.000000000Z"}}',
        "",
    ),
    "oanda price of a shut market": (
        ("oanda", {"channel": "pricing", **ACCOUNT}),
        PRICE % "false",
        ("oanda", {"channel": "rest", **ACCOUNT}),
        f'{{"prices":[{PRICE % "false"}]}}',
        "",
    ),
    "tiingo reference price": (
        ("tiingo", {"channel": "iex", "threshold_level": 6, **SYMBOLS}),
        (
            '{"messageType":"A","service":"iex","data":["2021-11-05T11:54:23.055122029-04:00",'
            '"aapl",51.27]}'
        ),
        ("tiingo", {"channel": "iex_rest", **SYMBOLS}),
        (
            '[{"ticker":"AAPL","timestamp":"2021-11-05T11:54:23.055122029-04:00","tngoLast":51.27,'
            '"last":null,"lastSize":null,"lastSaleTimestamp":null,"quoteTimestamp":null}]'
        ),
        "",
    ),
    "tiingo FX quote": (
        ("tiingo", {"channel": "fx", "threshold_level": 5, **PAIR}),
        (
            '{"messageType":"A","service":"fx","data":["Q","eurusd",'
            '"2019-07-01T21:00:01.181000+00:00",250000.0,1.12849,1.128565,250000.0,1.12864]}'
        ),
        ("tiingo", {"channel": "fx_rest", **PAIR}),
        (
            '[{"ticker":"eurusd","quoteTimestamp":"2019-07-01T21:00:01.181000+00:00",'
            '"bidPrice":1.12849,"bidSize":250000.0,"askPrice":1.12864,"askSize":250000.0,'
            '"midPrice":1.128565}]'
        ),
        "",
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_pushed_and_polled_it_is_the_same_event(name: str) -> None:
    (vendor, feed), pushed, (_, polled_feed), polled, about = SAME[name]

    first = build(vendor, feed).decode(Frame(pushed.encode(), RECEIVED, 1))
    second = build(vendor, polled_feed).decode(Frame(polled.encode(), RECEIVED, 1, 200, about))

    assert [plain(event) for event in first] == [plain(event) for event in second]
    assert len(first) == 1
