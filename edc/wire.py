"""The short way of a feed's commonest frames: columns are made of many messages at once.

A message becomes an event one by one (`Adapter.decode`), or, where an adapter has a `Short`, it
stays as it was read until a chunk is written; then `Wire.columns` makes the columns of all of them
together. Both give the same rows. Whatever is not the commonest form goes the long way.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, Protocol

import msgspec
import polars as pl

from edc.events import Origin, schema

Values = pl.Series | list[Any] | str | None
"""A column: its values, or the one value that all rows have."""


class Wire(Protocol):
    """Messages of one form, and the rows of one table that they make."""

    event_type: str

    def columns(self, messages: list[Any]) -> Mapping[str, Values]:
        """The columns of as many rows; those of the connection and those left out are not there.

        Raises ValueError, TypeError or a PolarsError where a message has no row.
        """
        ...

    def event_time(self, message: Any) -> int:
        """The time of one message, ns since the epoch. Raises ValueError."""
        ...

    def frame(self, message: Any) -> bytes:
        """A frame with nothing but this message, as it was understood."""
        ...


class Short(Protocol):
    """Reads frames of the commonest forms, many at once."""

    def read(self, frames: Sequence[bytes]) -> Sequence[tuple[Wire, list[Any]]]:
        """All messages, those of each form in the order of receipt.

        Raises ValueError (msgspec's errors among them) where one frame has another form: then all
        of them go the long way.
        """
        ...


class Batch(msgspec.Struct, frozen=True):
    """Messages of one form that came at one moment; see `Wire`.

    `again` takes back what turns out to have no row: it goes the long way, which says what is wrong
    with it.
    """

    wire: Wire
    origin: Origin
    received_ns: int
    messages: list[Any]
    again: Callable[["Batch"], None]


def wire_frame(batches: Sequence[Batch], timezone: str) -> pl.DataFrame:
    """The rows of batches of one wire, in the columns of their table. `ordinal` is 0.

    Raises what `Wire.columns` raises.
    """
    wire, length = batches[0].wire, sum(len(batch.messages) for batch in batches)
    given = wire.columns(list(chain.from_iterable(batch.messages for batch in batches)))
    origins = [(batch.origin, len(batch.messages)) for batch in batches]
    every: dict[str, Values | int] = {
        "event_type": wire.event_type,
        "ordinal": 0,
        "vendor": _by_batch([(origin.vendor, number) for origin, number in origins]),
        "source": _by_batch([(origin.source, number) for origin, number in origins]),
        "created_at": _spread([(batch.received_ns, len(batch.messages)) for batch in batches]),
        **given,
    }
    columns = []
    for name, dtype in schema(wire.event_type, timezone).items():
        values = every.get(name)
        if isinstance(values, pl.Series):
            columns.append(values.alias(name).cast(dtype))
        elif isinstance(values, list):
            kind = pl.Int64() if isinstance(dtype, pl.Datetime) else dtype
            column = pl.Series(name, values, dtype=kind)
            columns.append(column if kind is dtype else column.cast(dtype))
        else:
            columns.append(pl.Series(name, [values], dtype=dtype).new_from_index(0, length))
    return pl.DataFrame(columns)


def wire_epochs(batches: Sequence[Batch]) -> pl.Series:
    """The connection epoch of each row, in the order of `wire_frame`."""
    spread = _spread([(batch.origin.epoch, len(batch.messages)) for batch in batches])
    return pl.Series("epoch", spread, dtype=pl.Int64)


def _by_batch(values: list[tuple[str, int]]) -> Values:
    """One value, where it is the same in all batches."""
    first = values[0][0]
    return first if all(value == first for value, _ in values) else _spread(values)


def _spread(values: list[tuple[Any, int]]) -> list[Any]:
    """Each value as often as its batch has messages."""
    return list(chain.from_iterable(repeat(value, number) for value, number in values))


def mapped(column: pl.Series, meaning: Mapping[str, str]) -> Values:
    """What each text of a column means; `meaning` has them all."""
    meanings = set(meaning.values())
    if len(meanings) == 1:
        return meanings.pop()
    if all(text == meant for text, meant in meaning.items()):
        return column
    return column.replace_strict(meaning, return_dtype=pl.String)


def book(
    bid: list[float | None],
    bid_size: list[float | None],
    ask: list[float | None],
    ask_size: list[float | None],
    mid: list[float | None],
) -> dict[str, pl.Series]:
    """The columns of both sides and of the middle, as `side_of` and `mid_of` have them."""
    sides = pl.DataFrame(
        {"bid": bid, "bid_size": bid_size, "ask": ask, "ask_size": ask_size, "mid": mid},
        schema=dict.fromkeys(("bid", "bid_size", "ask", "ask_size", "mid"), pl.Float64),
    )
    prices = [sides[name] for name in ("bid", "ask", "mid")]
    if any(column.null_count() or (column == 0).any() for column in prices):
        has_bid, has_ask = ((pl.col(side) != 0).fill_null(value=False) for side in ("bid", "ask"))
        mean = (pl.col("bid") + pl.col("ask")) / 2
        sides = sides.select(
            pl.when(has_bid).then(pl.col("bid", "bid_size")),
            pl.when(has_ask).then(pl.col("ask", "ask_size")),
            pl.when(has_bid & has_ask).then(pl.coalesce("mid", mean)).alias("mid"),
        )
    return {name: sides[name] for name in sides.columns}
