"""What travels on a bus: rows to messages and back, and messages that are none."""

import io
from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pytest

from edc.bus import Delivery, Message, Share, by_share, partition_of
from edc.bus.messages import MOST_BYTES, UnreadableError, check, decode, encode, rows_in
from edc.bus.settings import Encoding
from edc.errors import ConfigError
from edc.events import EVENT_TYPES, schema

ZONE = "America/New_York"
ENCODINGS: tuple[Encoding, ...] = ("arrow", "json")


def rows(event_type: str, count: int = 50) -> pl.DataFrame:
    """Rows in which every column that may be null is null somewhere."""
    columns: dict[str, list[object]] = {}
    for name, dtype in schema(event_type, ZONE).items():
        values: list[object] = []
        for number in range(count):
            if isinstance(dtype, pl.Datetime):
                values.append(1_771_005_600_123_456_789 + number)
            elif name == "symbol":
                values.append(f"sym{number % 7}")
            elif number % 3 == 0 and name not in ("event_type", "asset_type", "cause", "state"):
                values.append(None)
            elif isinstance(dtype, pl.Float64):
                values.append(0.1 + number * 1e-9)
            else:
                values.append(number if isinstance(dtype, pl.Int64) else f'{name} "é" {number}')
        columns[name] = values
    plain = {
        name: pl.Int64() if isinstance(dtype, pl.Datetime) else dtype
        for name, dtype in schema(event_type, ZONE).items()
    }
    wanted = pl.Schema(schema(event_type, ZONE))
    return pl.DataFrame(columns, schema=plain).cast(wanted)


def encoded(event_type: str, encoding: Encoding, partitions: int = 4) -> list[Message]:
    return encode(
        event_type, rows(event_type), chunks="i/1:1-1", encoding=encoding, partitions=partitions
    )


def delivered(messages: Sequence[Message]) -> list[Delivery]:
    return [Delivery(each, number) for number, each in enumerate(messages)]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_rows_come_back_as_they_went(event_type: str, encoding: Encoding) -> None:
    messages = encoded(event_type, encoding)
    found, bad = decode(event_type, delivered(messages), ZONE)

    assert bad == []
    assert found.sort("created_at").equals(rows(event_type))
    assert sum(map(rows_in, messages)) == 50


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_symbol_is_in_one_partition_and_in_its_order(encoding: Encoding) -> None:
    for message in encoded("trade", encoding):
        found, _ = decode("trade", [Delivery(message, 0)], ZONE)
        assert {partition_of(symbol, 4) for symbol in found["symbol"]} == {message.share.partition}
        assert found["created_at"].is_sorted()


def test_the_partition_of_a_symbol_never_changes() -> None:
    """CRC-32 modulo the partitions, as gzip's trailer has it."""
    assert [partition_of(name, 4) for name in ("btcusd", "aapl", "eurusd", None)] == [3, 0, 1, 0]


def test_a_message_is_never_much_bigger_than_brokers_take() -> None:
    some = pl.concat([rows("trade", 3000)] * 20).with_columns(
        trade_id=pl.int_range(pl.len()).hash().cast(pl.String)
    )
    made = encode("trade", some, chunks="i/1:1-1", encoding="arrow", partitions=1)

    assert len(made) > 1
    assert max(len(each.data) for each in made) <= MOST_BYTES
    assert len({each.key for each in made}) == len(made)
    found, bad = decode("trade", delivered(made), ZONE)
    assert (found.equals(some), bad) == (True, [])


def harmed(message: Message) -> dict[str, Message]:
    headers = dict(message.headers)
    as_json = headers["edc-encoding"] == "json"
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_ipc(buffer)
    return {
        "cut": replace(message, data=message.data[:-7]),
        "empty": replace(message, data=b""),
        "garbage": replace(message, data=b"\xff" * 100),
        "another table": replace(message, data=b'{"a":1}' if as_json else buffer.getvalue()),
        "not one event": replace(message, data=b"1,2" if as_json else b"{}"),
        "without headers": replace(message, headers={}),
        "another type": replace(message, headers=headers | {"edc-type": "quote"}),
        "an unknown encoding": replace(message, headers=headers | {"edc-encoding": "xml"}),
    }


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("harm", list(harmed(encoded("trade", "arrow")[0])))
def test_a_message_that_cannot_be_read_costs_itself(encoding: Encoding, harm: str) -> None:
    messages = encoded("trade", encoding)
    bad = harmed(messages[3])[harm]
    found, refused = decode("trade", delivered([*messages[:3], bad, *messages[4:]]), ZONE)

    assert [each.message for each, _ in refused] == [bad]
    assert refused[0][1]
    assert found.height == 50 - rows_in(messages[3])


def test_json_without_a_time_has_no_place_in_the_lake() -> None:
    message = encoded("trade", "json")[0]
    bad = replace(message, data=b'{"symbol":"x","event_type":"trade"}')
    _, refused = decode("trade", [Delivery(bad, 0)], ZONE)
    assert "event_time is null" in refused[0][1]
    assert issubclass(UnreadableError, Exception)


def test_a_store_that_is_too_old_or_counts_otherwise_stops() -> None:
    message = encoded("trade", "arrow")[0]
    check(message, 4)
    with pytest.raises(ConfigError, match="a collector counts 4, this store 8"):
        check(message, 8)
    newer = replace(message, headers={**message.headers, "edc-schema": "99"})
    with pytest.raises(ConfigError, match=r"schema version 99.*upgrade edc"):
        check(newer, 4)


def test_runs_keep_the_order_of_a_share() -> None:
    messages = [
        Message(Share("trade", number % 2), bytes([number]), {}, str(number)) for number in range(7)
    ]
    runs = by_share(messages, 2)
    assert [[[each.data[0] for each in run] for run in share] for share in runs] == [
        [[0, 2], [4, 6]],
        [[1, 3], [5]],
    ]
