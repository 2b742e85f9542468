"""What is sent to each vendor, as its pages show it, and how it is parted for its limits."""

import json
from typing import Any

import msgspec
import pytest

from edc import adapters
from edc.adapters import Answer, Converses, FeedPlan, Hole, Keepalive
from edc.transport import Frame, Request
from tests.test_adapters import build

RECEIVED = 1_788_676_200_000_000_000
CRYPTO = {"crypto": ("btcusdt", "ethusdt")}


def sent(vendor: str, channel: str, symbols: dict[str, tuple[str, ...]], **more: Any) -> list[Any]:
    """The messages of a subscription, JSON read."""
    adapter: Any = build(vendor, {"channel": channel, "symbols": symbols, **more})
    return [json.loads(message) for message in adapter.subscribe()]


@pytest.mark.parametrize(
    ("vendor", "channel", "symbols", "more", "expected"),
    [
        (
            "binance",
            "spot",
            {"crypto": ("btcusdt",)},
            {},
            [{"method": "SUBSCRIBE", "params": ["btcusdt@trade", "btcusdt@bookTicker"], "id": 1}],
        ),
        (
            "coinbase",
            "exchange",
            {"crypto": ("ethusd",)},
            {"streams": ("trades",)},
            [
                {
                    "type": "subscribe",
                    "product_ids": ["ETH-USD"],
                    "channels": ["matches", "heartbeat"],
                }
            ],
        ),
        (
            "coinbase",
            "advanced",
            {"crypto": ("btcusd", "ethusd")},
            {"streams": ("trades",)},
            [
                {"type": "subscribe", "channel": "heartbeats"},
                {
                    "type": "subscribe",
                    "product_ids": ["BTC-USD", "ETH-USD"],
                    "channel": "market_trades",
                },
            ],
        ),
        (
            "kraken",
            "spot",
            {"crypto": ("btcusd",)},
            {},
            [
                {
                    "method": "subscribe",
                    "params": {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": True},
                    "req_id": 1,
                },
                {
                    "method": "subscribe",
                    "params": {
                        "channel": "ticker",
                        "symbol": ["BTC/USD"],
                        "event_trigger": "bbo",
                        "snapshot": True,
                    },
                    "req_id": 2,
                },
            ],
        ),
        (
            "bitstamp",
            "spot",
            {"crypto": ("btcusd",)},
            {"streams": ("live_trades",)},
            [{"event": "bts:subscribe", "data": {"channel": "live_trades_btcusd"}}],
        ),
        (
            "okx",
            "spot",
            {"crypto": ("btcusdt",)},
            {},
            [
                {
                    "id": "1",
                    "op": "subscribe",
                    "args": [
                        {"channel": "trades", "instId": "BTC-USDT"},
                        {"channel": "bbo-tbt", "instId": "BTC-USDT"},
                    ],
                }
            ],
        ),
        (
            "bybit",
            "spot",
            {"crypto": ("btcusdt",)},
            {"streams": ("orderbook.1", "publicTrade")},
            [
                {
                    "req_id": "1",
                    "op": "subscribe",
                    "args": ["orderbook.1.BTCUSDT", "publicTrade.BTCUSDT"],
                }
            ],
        ),
        (
            "gemini",
            "spot",
            {"crypto": ("btcusd",)},
            {"streams": ("trade",)},
            [{"method": "SUBSCRIBE", "params": ["btcusd@trade"], "id": 1}],
        ),
        (
            "deribit",
            "public",
            {"crypto": ("btc-perpetual",)},
            {},
            [
                {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": "public/subscribe",
                    "params": {
                        "channels": [
                            "trades.BTC-PERPETUAL.100ms",
                            "quote.BTC-PERPETUAL",
                            "ticker.BTC-PERPETUAL.100ms",
                        ]
                    },
                },
                {
                    "jsonrpc": "2.0",
                    "id": 0,
                    "method": "public/set_heartbeat",
                    "params": {"interval": 30},
                },
            ],
        ),
        (
            "hyperliquid",
            "public",
            {"crypto": ("btc",)},
            {"streams": ("trades",)},
            [{"method": "subscribe", "subscription": {"type": "trades", "coin": "BTC"}}],
        ),
        (
            "finnhub",
            "trades",
            {"stock": ("aapl", "brk-b"), "fx": ("eurusd",), "crypto": ("btcusdt",)},
            {},
            [
                {"type": "subscribe", "symbol": name}
                for name in ("AAPL", "BRK.B", "OANDA:EUR_USD", "BINANCE:BTCUSDT")
            ],
        ),
        (
            "twelvedata",
            "price",
            {"stock": ("aapl", "ry"), "fx": ("eurusd",), "crypto": ("btcusd",)},
            {},
            [{"action": "subscribe", "params": {"symbols": "AAPL,RY,EUR/USD,BTC/USD"}}],
        ),
    ],
)
def test_a_subscription_is_the_pages_own(
    vendor: str,
    channel: str,
    symbols: dict[str, tuple[str, ...]],
    more: dict[str, Any],
    expected: list[Any],
) -> None:
    assert sent(vendor, channel, symbols, **more) == expected


def answered(adapter: Any, text: str) -> Answer:
    assert isinstance(adapter, Converses)
    answer = adapter.answer(Frame(text.encode(), RECEIVED, 1))
    assert answer is not None
    return answer


def test_alpaca_is_told_the_key_when_it_has_greeted_and_the_symbols_when_it_has_accepted_it() -> (
    None
):
    feed = {"channel": "iex", "symbols": {"stock": ("aapl", "brk-b")}}
    adapter: Any = build("alpaca", feed)

    assert list(adapter.subscribe()) == []
    greeted = answered(adapter, '[{"T":"success","msg":"connected"}]')
    known = answered(adapter, '[{"T":"success","msg":"authenticated"}]')

    assert [json.loads(message) for message in greeted.send] == [
        {"action": "auth", "key": "the-key", "secret": "the-secret"}
    ]
    assert [json.loads(message) for message in known.send] == [
        {"action": "subscribe", "trades": ["AAPL", "BRK.B"], "quotes": ["AAPL", "BRK.B"]}
    ]


def test_alpaca_in_msgpack_is_spoken_to_in_msgpack() -> None:
    feed = {"channel": "sip", "encoding": "msgpack", "symbols": {"stock": ("aapl",)}}
    adapter: Any = build("alpaca", feed)
    greeting = msgspec.msgpack.encode([{"T": "success", "msg": "connected"}])

    (message,) = adapter.answer(Frame(greeting, RECEIVED, 1)).send

    assert adapter.headers == {"Content-Type": "application/msgpack"}
    assert msgspec.msgpack.decode(message) == {
        "action": "auth",
        "key": "the-key",
        "secret": "the-secret",
    }


def test_massive_is_told_the_key_and_then_its_topics() -> None:
    adapter: Any = build("massive", {"channel": "stocks", "symbols": {"stock": ("aapl",)}})

    greeting = '[{"ev":"status","status":"connected","message":"Connected Successfully"}]'
    known = '[{"ev":"status","status":"auth_success","message":"authenticated"}]'

    assert answered(adapter, greeting).send == ['{"action":"auth","params":"the-key"}']
    assert answered(adapter, known).send == ['{"action":"subscribe","params":"T.AAPL,Q.AAPL"}']
    done = answered(
        adapter, '[{"ev":"status","status":"success","message":"subscribed to: T.AAPL"}]'
    )
    assert done.accepted == ["T.AAPL"]


def test_tradermade_is_told_key_and_symbols_after_its_greeting() -> None:
    symbols = {"fx": ("eurusd", "gbpusd", "usdjpy")}
    adapter: Any = build("tradermade", {"channel": "fx", "symbols": symbols})

    (message,) = answered(adapter, "Connected").send

    assert json.loads(message) == {"userKey": "the-key", "symbol": "EURUSD,GBPUSD,USDJPY"}


def test_a_life_sign_that_deribit_asks_for_is_given() -> None:
    adapter = build("deribit", {"channel": "public", "symbols": {"crypto": ("btc-perpetual",)}})

    asked = '{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'

    (message,) = answered(adapter, asked).send
    assert json.loads(message)["method"] == "public/test"


def test_channels_that_deribits_answer_lacks_are_refused() -> None:
    symbols = {"crypto": ("btc-perpetual", "nothing-here")}
    feed = {"channel": "public", "streams": ("trades",), "symbols": symbols}
    adapter: Any = build("deribit", feed)
    number = json.loads(adapter.subscribe()[0])["id"]
    said = {"jsonrpc": "2.0", "id": number, "result": ["trades.BTC-PERPETUAL.100ms"]}

    answer = answered(adapter, json.dumps(said))

    assert list(answer.accepted) == ["trades.BTC-PERPETUAL.100ms"]
    assert list(answer.refused) == ["trades.NOTHING-HERE.100ms"]


def test_a_message_that_bybit_refuses_whole_is_tried_piece_by_piece() -> None:
    adapter: Any = build("bybit", {"channel": "spot", "symbols": CRYPTO, "streams": ("tickers",)})
    adapter.subscribe()

    refusal = '{"success":false,"ret_msg":"Invalid topic","req_id":"%s","op":"subscribe"}'
    pieces = [json.loads(message) for message in answered(adapter, refusal % "1").send]

    assert [piece["args"] for piece in pieces] == [["tickers.BTCUSDT"], ["tickers.ETHUSDT"]]
    again = answered(adapter, refusal % pieces[1]["req_id"])
    assert again.refused == {"tickers.ETHUSDT": "Invalid topic"}


@pytest.mark.parametrize(
    ("vendor", "feed", "keepalive"),
    [
        ("okx", {"channel": "spot", "symbols": CRYPTO}, Keepalive("ping", 20.0)),
        ("bybit", {"channel": "spot", "symbols": CRYPTO}, Keepalive('{"op":"ping"}', 20.0)),
        (
            "hyperliquid",
            {"channel": "public", "symbols": CRYPTO},
            Keepalive('{"method":"ping"}', 30.0),
        ),
        (
            "twelvedata",
            {"channel": "price", "symbols": {"stock": ("aapl",)}},
            Keepalive('{"action":"heartbeat"}', 10.0),
        ),
        ("binance", {"channel": "spot", "symbols": CRYPTO}, None),
    ],
)
def test_a_vendor_hears_what_it_wants_to_hear(
    vendor: str, feed: dict[str, Any], keepalive: Keepalive | None
) -> None:
    adapter: Any = build(vendor, feed)
    assert adapter.keepalive == keepalive


@pytest.mark.parametrize(
    ("vendor", "feed", "most"),
    [
        ("binance", {"channel": "spot"}, 512),
        ("binance", {"channel": "spot", "streams": ("trade",)}, 1024),
        ("bitfinex", {"channel": "spot"}, 12),
        ("gemini", {"channel": "spot"}, 25),
        ("hyperliquid", {"channel": "public"}, 333),
        ("binance_futures", {"channel": "market"}, 100),
    ],
)
def test_a_connection_carries_so_many_symbols(vendor: str, feed: dict[str, Any], most: int) -> None:
    offered = adapters.load(vendor)
    assert offered.most_symbols is not None
    options = offered.feed_options(vendor=vendor, symbols=CRYPTO, **feed)
    assert offered.most_symbols(options) == most


@pytest.mark.parametrize(
    ("vendor", "feed", "symbol", "expected"),
    [
        (
            "binance",
            {"channel": "spot"},
            "btcusdt",
            ("/api/v3/historicalTrades", {"symbol": "BTCUSDT", "fromId": "101", "limit": "1000"}),
        ),
        (
            "binance_futures",
            {"channel": "market"},
            "btcusdt",
            ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "fromId": "101", "limit": "1000"}),
        ),
        (
            "coinbase",
            {"channel": "exchange"},
            "btcusd",
            ("/products/BTC-USD/trades", {"limit": "1000", "after": "2500"}),
        ),
        (
            "okx",
            {"channel": "spot_trades"},
            "btcusdt",
            (
                "/api/v5/market/history-trades",
                {"instId": "BTC-USDT", "type": "1", "after": "2500", "limit": "100"},
            ),
        ),
        (
            "deribit",
            {"channel": "public"},
            "btc-perpetual",
            (
                "/api/v2/public/get_last_trades_by_instrument",
                {
                    "instrument_name": "BTC-PERPETUAL",
                    "start_seq": "101",
                    "end_seq": "2499",
                    "count": "1000",
                    "sorting": "asc",
                },
            ),
        ),
        (
            "kraken",
            {"channel": "spot"},
            "btcusd",
            (
                "/0/public/Trades",
                {"pair": "XBTUSD", "count": "1000", "since": str(RECEIVED - 60 * 10**9)},
            ),
        ),
    ],
)
def test_the_first_page_of_a_gap_is_asked_for_as_the_pages_say(
    vendor: str, feed: dict[str, Any], symbol: str, expected: tuple[str, dict[str, str]]
) -> None:
    offered = adapters.load(vendor)
    options = offered.feed_options(vendor=vendor, symbols={"crypto": (symbol,)}, **feed)
    adapter: Any = offered.build(FeedPlan(vendor, offered.vendor_options(), options, ""))
    hole = Hole(symbol, 100, 2500, RECEIVED, RECEIVED + 1)

    request: Request = adapter.page(hole, None)

    assert (request.url.partition("//")[2].partition("/")[2], request.params) == (
        expected[0].removeprefix("/"),
        expected[1],
    )
    assert adapter.page(hole, []) is None, "an empty page is the last one"
    unnumbered = Hole(symbol, None, None, RECEIVED, RECEIVED + 1)
    by_time = adapter.page(unnumbered, None)
    if vendor == "binance":  # aggregates, whose ids are no sequence
        assert by_time.url.endswith("/api/v3/aggTrades")
    else:
        assert by_time is None


def test_a_reply_to_nothing_is_no_answer() -> None:
    """Options have no book of one level, so that nothing is asked for here."""
    feed = {"channel": "option", "streams": ("orderbook.1",), "symbols": {"crypto": ("btc-1-c",)}}
    adapter: Any = build("bybit", feed)
    reply = b'{"success":true,"ret_msg":"subscribe","op":"subscribe"}'

    assert list(adapter.subscribe()) == []
    assert adapter.answer(Frame(reply, RECEIVED, 1)) is None
