"""Advanced Trade counts its messages: where one is missing, no book is right any more."""

import json
from typing import Any

import pytest

from edc.errors import Skippable
from edc.transport import Frame
from tests.test_adapters import build, plain

RECEIVED = 1_788_676_200_000_000_000


def book(number: int, kind: str, *levels: tuple[str, str, str]) -> bytes:
    updates = [
        {
            "side": side,
            "event_time": "2026-04-07T14:30:02.5Z",
            "price_level": price,
            "new_quantity": size,
        }
        for side, price, size in levels
    ]
    event = {"type": kind, "product_id": "BTC-USD", "updates": updates}
    said = {"channel": "l2_data", "timestamp": "2026-04-07T14:30:03Z", "sequence_num": number}
    return json.dumps({**said, "events": [event]}).encode()


def test_after_a_jump_there_are_no_quotes_until_the_book_has_come_anew() -> None:
    adapter: Any = build("coinbase", {"channel": "advanced", "symbols": {"crypto": ["btcusd"]}})

    def rows(data: bytes) -> list[dict[str, Any]]:
        return [plain(event) for event in adapter.decode(Frame(data, RECEIVED, 1))]

    first = rows(
        book(0, "snapshot", ("bid", "100", "1"), ("bid", "99", "2"), ("offer", "101", "3"))
    )
    assert [(row["bid"], row["ask"]) for row in first] == [(100.0, 101.0)]
    assert adapter.answer(Frame(b"{}", RECEIVED, 1)) is None

    with pytest.raises(Skippable, match="1 messages before 2") as caught:
        rows(book(2, "update", ("bid", "98", "1")))  # 100 may have been taken away by 1
    assert caught.value.reason == "sequence"
    assert list(caught.value.events) == []
    assert rows(book(3, "update", ("bid", "98.5", "1"))) == []

    asked = adapter.answer(Frame(book(3, "update"), RECEIVED, 1))
    assert [json.loads(message) for message in asked.send] == [
        {"type": kind, "product_ids": ["BTC-USD"], "channel": "level2"}
        for kind in ("unsubscribe", "subscribe")
    ]
    anew = rows(book(4, "snapshot", ("bid", "99", "2"), ("offer", "101", "3")))
    assert [(row["bid"], row["ask"]) for row in anew] == [(99.0, 101.0)]
