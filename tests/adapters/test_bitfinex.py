"""Bitfinex's arrays mean what their channel's subscription has said."""

import json
from typing import Any

import pytest

from edc.adapters import Adapter
from edc.errors import Skippable, Unsound
from edc.transport import Frame
from tests.test_adapters import build, plain

RECEIVED = 1_788_676_200_000_000_000
SUBSCRIBED = (
    '{"event":"conf","status":"OK","flags":229376}',
    '{"event":"subscribed","channel":"trades","chanId":89,"symbol":"tBTCUSD","pair":"BTCUSD"}',
    '{"event":"subscribed","channel":"book","chanId":90,"symbol":"tBTCUSD","prec":"P0","len":"25"}',
    '{"event":"subscribed","channel":"status","chanId":91,"key":"deriv:tBTCF0:USTF0"}',
)


def subscribed(channel: str = "spot", symbol: str = "btcusd") -> Adapter:
    adapter = build("bitfinex", {"channel": channel, "symbols": {"crypto": (symbol,)}})
    for frame in SUBSCRIBED:
        assert list(adapter.decode(Frame(frame.encode(), RECEIVED, 1))) == []
    return adapter


def rows(adapter: Adapter, frame: str) -> list[dict[str, Any]]:
    return [plain(event) for event in adapter.decode(Frame(frame.encode(), RECEIVED, 1))]


def trade(number: int, ms: int, price: float, size: float, side: str) -> dict[str, Any]:
    return {
        "type": "trade",
        "symbol": "btcusd",
        "asset_type": "crypto",
        "event_time": ms * 1_000_000,
        "last_price": price,
        "last_size": size,
        "exchange": "BITFINEX",
        "trade_id": str(number),
        "side": side,
        "action": "new",
    }


def test_the_dossiers_trades_a_snapshot_and_each_once() -> None:
    adapter = subscribed()

    assert rows(adapter, "[89,[[382489562,1564617598688,0.01302607,10088]],1,1564617600401]") == [
        trade(382489562, 1564617598688, 10088.0, 0.01302607, "buy")
    ]
    executed = '[89,"te",[382489563,1564617600709,0.00705845,10087.98969503],2,1564617600784]'
    assert rows(adapter, executed) == [
        trade(382489563, 1564617600709, 10087.98969503, 0.00705845, "buy")
    ]
    again = '[89,"tu",[382489563,1564617600709,0.00705845,10087.98969503],3,1564617600834]'
    assert rows(adapter, again) == []


def test_a_jump_of_the_connections_count_is_told_and_costs_no_event() -> None:
    adapter = subscribed()
    assert rows(adapter, '[89,"hb",3603,1569715249702]') == []

    with pytest.raises(Skippable, match="2 messages of the connection") as caught:
        rows(adapter, '[89,"te",[1,1564617600709,-1,10],3606,1564617600784]')

    assert caught.value.reason == "sequence"
    assert [plain(event) for event in caught.value.events] == [
        trade(1, 1564617600709, 10.0, 1.0, "sell")
    ]


def test_a_book_gives_a_quote_when_its_best_level_changes_and_both_sides_stand() -> None:
    adapter = subscribed()

    first = rows(adapter, "[90,[[100,1,2.5],[101,3,-4]],1,1564617600401]")
    gone = rows(adapter, "[90,[100,0,1],2,1564617600402]")
    new = rows(adapter, "[90,[99.5,1,7],3,1564617600403]")
    same = rows(adapter, "[90,[99.5,1,7],4,1564617600404]")

    assert [(row["bid"], row["bid_size"], row["ask"], row["ask_size"]) for row in first + new] == [
        (100.0, 2.5, 101.0, 4.0),
        (99.5, 7.0, 101.0, 4.0),
    ]
    assert [row["event_time"] for row in first + new] == [
        1564617600401_000_000,
        1564617600403_000_000,
    ]
    assert gone == same == []


def test_after_a_jump_there_are_no_quotes_until_the_book_has_come_anew() -> None:
    adapter: Any = subscribed()
    assert len(rows(adapter, "[90,[[100,1,2.5],[101,3,-4]],1,1564617600401]")) == 1

    with pytest.raises(Skippable, match="1 messages of the connection") as caught:
        rows(adapter, "[90,[100.5,1,7],3,1564617600403]")  # 100 may have been taken away by then
    assert list(caught.value.events) == []
    assert rows(adapter, "[90,[100.6,1,7],4,1564617600404]") == []

    asked = adapter.answer(Frame(b"[90,[100.6,1,7],4,1564617600404]", RECEIVED, 1))
    assert [json.loads(message) for message in asked.send] == [
        {"event": "unsubscribe", "chanId": 90},
        {
            "event": "subscribe",
            "channel": "book",
            "symbol": "tBTCUSD",
            "prec": "P0",
            "freq": "F0",
            "len": "25",
        },
    ]
    assert adapter.answer(Frame(b'[90,"hb",5,1564617600405]', RECEIVED, 1)) is None
    rows(adapter, '{"event":"unsubscribed","status":"OK","chanId":90}')
    rows(adapter, SUBSCRIBED[2].replace("90", "92"))
    with pytest.raises(Unsound, match="has come anew") as anew:
        rows(adapter, "[92,[[99,1,2],[102,1,-3]],6,1564617600406]")
    (quote,) = map(plain, anew.value.events)
    assert (quote["bid"], quote["ask"]) == (99.0, 102.0)
    assert (anew.value.symbol, anew.value.since_ns) == ("btcusd", 1564617600403_000_000)


# By hand: the CRC-32 of "100:2.5:101:-4:99.5:1.7e-7:102:-0.00001302", less 2 ** 32.
SUM = -1959454351
BOOK = "[90,[[100,1,2.5],[99.5,1,1.7e-7],[102,2,-0.00001302],[101,3,-4]],1,1564617600401]"


def test_a_sum_that_is_the_venues_says_nothing() -> None:
    adapter: Any = subscribed()
    rows(adapter, BOOK)

    assert rows(adapter, f'[90,"cs",{SUM},2,1564617600402]') == []
    assert rows(adapter, "[90,[98,1,9],3,1564617600403]") == []  # the third bid
    assert rows(adapter, "[90,[98,0,1],4,1564617600403]") == []
    assert rows(adapter, f'[90,"cs",{SUM},5,1564617600404]') == []
    assert adapter.answer(Frame(b'[90,"hb",6,1564617600405]', RECEIVED, 1)) is None


def test_of_a_deep_book_the_best_25_levels_a_side_are_summed() -> None:
    """`100:1:200:-1:99:1:201:-1 …` to `76:1:224:-1`; the other levels do not count."""
    adapter = subscribed()
    levels = [[100 - at, 1, 1] for at in range(40)] + [[200 + at, 1, -1] for at in range(40)]
    rows(adapter, json.dumps([90, levels, 1, 1564617600401]))

    assert rows(adapter, '[90,"cs",-717709205,2,1564617600402]') == []


def test_a_book_whose_sum_is_not_the_venues_is_told_and_asked_for_anew() -> None:
    adapter: Any = subscribed()
    rows(adapter, BOOK)
    rows(adapter, f'[90,"cs",{SUM},2,1564617600402]')
    assert len(rows(adapter, "[90,[100.5,1,3],3,1564617600403]")) == 1

    with pytest.raises(Unsound, match=f"the venue's to {SUM}") as caught:
        rows(adapter, f'[90,"cs",{SUM},4,1564617600404]')

    assert (caught.value.reason, caught.value.symbol) == ("book", "btcusd")
    assert caught.value.since_ns == 1564617600402_000_000  # the last time that it was right
    asked = adapter.answer(Frame(b'[90,"cs",1,4,1564617600404]', RECEIVED, 1))
    assert [json.loads(message)["event"] for message in asked.send] == ["unsubscribe", "subscribe"]
    assert rows(adapter, "[90,[100.6,1,7],5,1564617600404]") == []
    assert rows(adapter, '[90,"cs",7,6,1564617600404]') == []
    rows(adapter, '{"event":"unsubscribed","status":"OK","chanId":90}')
    rows(adapter, SUBSCRIBED[2].replace("90", "92"))
    with pytest.raises(Unsound, match="has come anew") as anew:
        rows(adapter, BOOK.replace("90", "92").replace(",1,1564617600401", ",7,1564617600407"))
    assert len(anew.value.events) == 1
    assert anew.value.since_ns == 1564617600404_000_000


def test_sums_that_are_wrong_of_each_book_that_comes_are_believed_no_longer() -> None:
    adapter: Any = subscribed()
    told = []
    for sequence in range(1, 16, 2):
        for frame in (BOOK.replace(",1,156", f",{sequence},156"), f'[90,"cs",5,{sequence + 1},1]'):
            try:
                rows(adapter, frame)
            except Unsound as error:
                told.append(error.problem)

    wrong = [said for said in told if "anew" not in said]
    assert len(wrong) == 4
    assert wrong[-1].endswith("its sums are believed no longer")
    assert len(rows(adapter, "[90,[100.5,1,3],17,1564617600403]")) == 1


def test_a_status_gives_last_index_and_mark_when_they_change() -> None:
    adapter = subscribed("derivatives", "tbtcf0:ustf0")
    status: list[Any] = [1596124822000, None, 10950.5, 10948.1, *[None] * 10, 10949.3, None]

    first = rows(adapter, json.dumps([91, status, 1, 1596124822001]))
    status[14] = 10950
    second = rows(adapter, json.dumps([91, status, 2, 1596124822002]))

    prices = {"last": 10950.5, "index": 10948.1, "mark": 10949.3}
    assert {row["price_type"]: row["price"] for row in first} == prices
    assert {row["symbol"] for row in first} == {"tbtcf0:ustf0"}
    assert [(row["price_type"], row["price"]) for row in second] == [("mark", 10950.0)]


def test_names_have_a_colon_where_a_code_is_long_and_the_venues_own_codes() -> None:
    symbols = {"crypto": ("btcusd", "dogeusdt", "btcusdc")}
    adapter = build("bitfinex", {"channel": "spot", "symbols": symbols})

    asked = [json.loads(message) for message in adapter.subscribe()]  # type: ignore[attr-defined]

    assert asked[0] == {"event": "conf", "flags": 229376}  # 32768 + 65536 + 131072
    assert [each["symbol"] for each in asked[1:4]] == ["tBTCUSD", "tDOGE:UST", "tBTCUDC"]
    assert asked[4] == {
        "event": "subscribe",
        "channel": "book",
        "symbol": "tBTCUSD",
        "prec": "P0",
        "freq": "F0",
        "len": "25",
    }
