"""Messages: rows of one event type and one partition, as an Arrow IPC file or as JSON.

Headers, all text: `edc-schema` (the schema version), `edc-type`, `edc-encoding` (`arrow` or
`json`), `edc-rows`, `edc-partitions` (how many the sender counts) and `edc-chunk`
(`<instance>/<chunk ids>`, as footers list them). JSON is one event a message: an object with the
columns of the table, times as integers, ns since the epoch, UTC.
"""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import polars as pl

from edc.bus import Delivery, Message, Share, partition_of
from edc.bus.settings import Encoding
from edc.errors import ConfigError
from edc.events import SCHEMA_VERSION, conform, schema

MOST_BYTES = 900_000
"""Of one message: the least that brokers take by default is 1 MiB."""


_TIMES = ("event_time", "started_at", "created_at")


class UnreadableError(Exception):
    """A message is none of ours, or harmed."""


def encode(
    event_type: str,
    rows: pl.DataFrame,
    *,
    chunks: str,
    encoding: Encoding,
    partitions: int,
) -> list[Message]:
    """The messages of a batch: those of one partition hold its rows in their order."""
    made: list[Message] = []
    for partition, part in _parted(rows, partitions):
        share = Share(event_type, partition)
        since = _least(part)
        bodies = _arrow(part) if encoding == "arrow" else _json(part)
        for number, (data, count) in enumerate(bodies):
            headers = {
                "edc-schema": str(SCHEMA_VERSION),
                "edc-type": event_type,
                "edc-encoding": encoding,
                "edc-rows": str(count),
                "edc-partitions": str(partitions),
                "edc-chunk": chunks,
            }
            key = f"{chunks}/{event_type}/{partition}/{number}"
            made.append(Message(share, data, headers, key, since))
    return made


def _least(rows: pl.DataFrame) -> int:
    """The least of all times of rows, ns."""
    times = [rows[name].to_physical().min() for name in _TIMES if name in rows.columns]
    return min((each for each in times if isinstance(each, int)), default=0)


def _parted(rows: pl.DataFrame, partitions: int) -> Iterator[tuple[int, pl.DataFrame]]:
    symbols = rows["symbol"].unique().to_list()
    numbers = {symbol: partition_of(symbol, partitions) for symbol in symbols}
    if len(set(numbers.values())) == 1:
        yield next(iter(numbers.values())), rows
        return
    table = pl.DataFrame(
        {"symbol": list(numbers), "partition": list(numbers.values())},
        schema={"symbol": pl.String, "partition": pl.Int64},
    )
    places = rows.select("symbol").join(
        table, on="symbol", how="left", nulls_equal=True, maintain_order="left"
    )["partition"]
    for number in sorted(set(numbers.values())):
        yield number, rows.filter(places == number)


def _arrow(rows: pl.DataFrame) -> Iterator[tuple[bytes, int]]:
    """As few as will do, none too big."""
    buffer = io.BytesIO()
    rows.write_ipc(buffer, compression="lz4")
    data = buffer.getvalue()
    if len(data) <= MOST_BYTES or rows.height == 1:
        yield data, rows.height
        return
    middle = rows.height // 2
    yield from _arrow(rows[:middle])
    yield from _arrow(rows[middle:])


def _json(rows: pl.DataFrame) -> Iterator[tuple[bytes, int]]:
    times = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.Datetime)]
    for row in rows.with_columns(pl.col(times).to_physical()).iter_rows(named=True):
        yield msgspec.json.encode(row), 1


def rows_in(message: Message) -> int:
    """How many rows a message says that it holds; 1 where it does not say."""
    said = message.headers.get("edc-rows", "")
    return int(said) if said.isascii() and said.isdigit() else 1


def check(message: Message, partitions: int) -> None:
    """Raises ConfigError where this store must not go on, whatever else comes."""
    said = message.headers.get("edc-schema", "")
    if said.isdigit() and int(said) > SCHEMA_VERSION:
        raise ConfigError(
            "[bus]",
            f"a message has schema version {said}, this edc knows up to {SCHEMA_VERSION}",
            "upgrade edc on this store",
        )
    counted = message.headers.get("edc-partitions", "")
    if counted.isdigit() and int(counted) != partitions:
        raise ConfigError(
            "[bus] partitions",
            f"a collector counts {counted}, this store {partitions}",
            f"write partitions = {counted}, or the same for all",
        )


def decode(
    event_type: str, deliveries: Sequence[Delivery], timezone: str
) -> tuple[pl.DataFrame, list[tuple[Delivery, str]]]:
    """The rows of messages, in their order, and each message that has none with the reason."""
    try:
        return _decoded(event_type, [each.message for each in deliveries], timezone), []
    except UnreadableError as error:
        if len(deliveries) == 1:
            empty = pl.DataFrame(schema=schema(event_type, timezone))
            return empty, [(deliveries[0], str(error))]
    middle = len(deliveries) // 2
    first, bad = decode(event_type, deliveries[:middle], timezone)
    last, more = decode(event_type, deliveries[middle:], timezone)
    return pl.concat([first, last]), bad + more


def _decoded(event_type: str, messages: Sequence[Message], timezone: str) -> pl.DataFrame:
    frames = [pl.DataFrame(schema=schema(event_type, timezone))]
    texts: list[bytes] = []
    for message in messages:
        encoding, said = message.headers.get("edc-encoding"), message.headers.get("edc-type")
        if said != event_type:
            raise UnreadableError(f"it says that it is {said!r}, and came as {event_type!r}")
        if encoding == "json":
            texts.append(message.data)
        elif encoding == "arrow":
            if texts:
                frames.append(_of_json(event_type, texts, timezone))
                texts = []
            frames.append(_of_arrow(event_type, message, timezone))
        else:
            raise UnreadableError(f"there is no encoding {encoding!r}")
    if texts:
        frames.append(_of_json(event_type, texts, timezone))
    return pl.concat(frames)


def _of_arrow(event_type: str, message: Message, timezone: str) -> pl.DataFrame:
    try:
        found = pl.read_ipc(io.BytesIO(message.data))
        return _sound(conform(found, event_type, timezone, version=1))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise UnreadableError(f"its Arrow data cannot be read: {error}") from error


def _of_json(event_type: str, texts: Sequence[bytes], timezone: str) -> pl.DataFrame:
    wanted = schema(event_type, timezone)
    plain = {
        name: pl.Int64() if isinstance(dtype, pl.Datetime) else dtype
        for name, dtype in wanted.items()
    }
    try:
        rows: list[dict[str, Any]] = msgspec.json.decode(
            b"[" + b",".join(texts) + b"]", type=list[dict[str, Any]]
        )
        if len(rows) != len(texts):
            raise UnreadableError("it is not one event")
        for row in rows:
            if unknown := row.keys() - plain.keys():
                raise UnreadableError(f"unknown columns {', '.join(sorted(unknown))}")
        found = pl.DataFrame(rows, schema=plain, strict=True)
        return _sound(found.cast(wanted))  # type: ignore[arg-type] # names and types, as it says
    except (msgspec.DecodeError, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise UnreadableError(f"its JSON cannot be read: {error}") from error


def _sound(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that the lake can place. Raises UnreadableError."""
    for name in [each for each in rows.columns if each in _TIMES]:
        if rows[name].null_count():
            raise UnreadableError(f"{name} is null")
    return rows
