"""The short way of a feed's commonest frames: columns are made of many messages at once.

A frame becomes events one by one (`Adapter.decode`), or, where an adapter has a `Short`, it stays
as it was received until a chunk is written; then the columns of all of them are made together, from
the text (`forms`). Both give the same rows: whatever is not proven to have the commonest form goes
the long way.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Protocol

import msgspec
import polars as pl

from edc.events import Origin, Values, schema, table
from edc.forms import Cells, Form

try:
    from edc.speedups import part
except ImportError:  # there was no compiler
    from edc.parting import part

Columns = Callable[[Cells], Mapping[str, Values]]
"""From the fields of messages to the columns of their rows. Those of the connection, of the symbol
and those left out are not there. `received_ns` is among the fields. Raises ValueError, EdcError or
a PolarsError where a message has no row."""


Numbers = Callable[[bytes, int], list[tuple[str, int]]]
"""From frames, one a line, and how many they are, to the symbol and the number of each that carries
one, in their order. Raises ValueError where a frame is none of the forms, or EdcError."""


class Spelling(Protocol):
    """What a connection knows of its vendor's names."""

    def all_of(self, names: pl.Series) -> dict[str, Values]:
        """The columns `symbol` and `asset_type` of names. Raises EdcError or ValueError."""
        ...

    @property
    def usual(self) -> "Usual":
        """Names of which `as_usual` is known to say what `all_of` does."""
        ...

    def as_usual(self, names: pl.Series) -> dict[str, Values]:
        """As `all_of`, from the names alone."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Wire:
    """Frames that each make one row of one table, by their forms.

    `named_by` is the field with the vendor's name of what it is about. Wires that are `alike`
    differ in nothing but their `spelling`: their frames are made rows together.
    """

    event_type: str
    forms: Sequence[tuple[Form, Columns]]
    named_by: str
    spelling: Spelling
    alike: Hashable
    numbers: Numbers | None = None
    """For feeds whose numbers are looked at: there a frame has to be what its table says before it
    is queued, since one that went the long way later would seem to be missing."""


class Part(NamedTuple):
    """The frames of one table: one a line, and how many."""

    wire: Wire
    text: bytes
    size: int


class Parted(NamedTuple):
    """The frames of a read by table, each in the order of receipt; the last of all; their bytes."""

    parts: Sequence[Part]
    latest: bytes
    received: int


class Seam(NamedTuple):
    """Between two messages of one frame; and how a frame with but one of them ends and begins."""

    between: bytes
    end: bytes
    begin: bytes


_SEAMLESS = Seam(b"", b"", b"")


class Short:
    """Which frames go the short way: those of which the byte `at` is among the keys.

    That tells one table's frames from another's at the cost of a byte; whether they are what they
    seem is proven when the rows are made. Where a frame holds many messages, `seam` says how to
    make as many frames of it, which say the same.
    """

    def __init__(self, at: int, wires: Mapping[int, Wire], seam: Seam = _SEAMLESS) -> None:
        self._at = at
        self._wires = wires
        self._keys = bytes(wires)
        self._seam = seam

    def parted(self, frames: Sequence[bytes]) -> Parted:
        """The frames of a read. Raises LookupError where one goes the long way: then all do.

        They are joined at once, while the processor still has them at hand: to do it later, with
        those of many reads, costs several times as much.
        """
        parts, latest, received = part(frames, self._at, self._keys, *self._seam)
        of = self._wires
        return Parted([Part(of[key], text, size) for key, text, size in parts], latest, received)


class Batch(msgspec.Struct, frozen=True):
    """Frames of one kind that came at one moment, one a line, and how many; see `Wire`.

    `since_ns` is until when nothing was missing before them. `again` takes back what turns out to
    have no row: it goes the long way, which says what is wrong with it.
    """

    wire: Wire
    origin: Origin
    received_ns: int
    since_ns: int
    text: bytes
    size: int
    again: Callable[["Batch"], None]

    @property
    def frames(self) -> list[bytes]:
        """Each by itself."""
        return self.text.split(b"\n")

    def of(self, frames: Sequence[bytes]) -> "Batch":
        """Some of its frames."""
        return msgspec.structs.replace(self, text=b"\n".join(frames), size=len(frames))


def wire_rows(
    batches: Sequence[Batch], timezone: str
) -> tuple[pl.DataFrame, pl.Series, list[Batch]]:
    """The rows of batches, the epoch of each, and the frames that have none of the forms.

    The batches' wires are alike. The rows are in the columns of their table, in the order of
    receipt; `ordinal` is 0. Raises ValueError, EdcError or a PolarsError where a frame has a form,
    but no row.
    """
    wire, sizes = batches[0].wire, [batch.size for batch in batches]
    text = b"\n".join([batch.text for batch in batches])
    left = pl.DataFrame({"batch": _numbered(sizes)}).with_row_index("row")
    parts, rows = [], []
    for form, columns in _likeliest_first(wire.forms, text):
        if left.is_empty():
            break
        fits, cells, text = form.read(text, len(left))
        if fits is None:
            some, left = left, left.clear()
        else:
            some, left = left.filter(fits), left.filter(~fits)
        if some.is_empty():
            continue
        cells = {**cells, "received_ns": _of_batch(batches, some["batch"], "received_ns")}
        made = {**columns(cells), **_spelled(batches, some["batch"], cells[wire.named_by])}
        parts.append(_frame(wire.event_type, batches, some["batch"], cells, made, timezone))
        rows.append(some)
    found = pl.concat(rows) if rows else left.clear()
    frame = pl.concat(parts) if parts else pl.DataFrame(schema=schema(wire.event_type, timezone))
    if len(parts) > 1:
        order = found["row"].arg_sort()
        found, frame = found[order], frame[order]
    return frame, _of_batch(batches, found["batch"], "epoch"), _unread(batches, left)


def _frame(
    event_type: str,
    batches: Sequence[Batch],
    batch: pl.Series,
    cells: Cells,
    made: Mapping[str, Values],
    timezone: str,
) -> pl.DataFrame:
    """The rows of messages of one form. `batch` says to which each belongs."""
    every: dict[str, Values] = {
        "event_type": event_type,
        "ordinal": 0,
        "vendor": _of_origin(batches, batch, "vendor"),
        "source": _of_origin(batches, batch, "source"),
        "created_at": cells["received_ns"],
        **made,
    }
    return table(event_type, timezone, every)


def _spelled(batches: Sequence[Batch], batch: pl.Series, names: pl.Series) -> Mapping[str, Values]:
    """The columns of symbols, by what each connection knows of names; mostly all are as usual."""
    spellings = list(dict.fromkeys(each.wire.spelling for each in batches))
    if len(spellings) == 1:
        return spellings[0].all_of(names)
    kinds = {each.as_usual(names.clear())["asset_type"] for each in spellings}
    if len(kinds) == 1 and Usual.of(each.usual for each in spellings).are_all(names):
        return spellings[0].as_usual(names)
    whose = pl.Series([spellings.index(each.wire.spelling) for each in batches]).gather(batch)
    rows = pl.DataFrame({"name": names, "whose": whose}).with_row_index("row")
    parts = []
    for (number,), part in rows.partition_by("whose", as_dict=True).items():
        told = spellings[number].all_of(part["name"])
        parts.append(part.with_columns(pl.lit(each).alias(name) for name, each in told.items()))
    found = pl.concat(parts).sort("row")
    return {"symbol": found["symbol"], "asset_type": found["asset_type"]}


def _of_origin(batches: Sequence[Batch], batch: pl.Series, name: str) -> Values:
    """What the connection says; mostly there is but one."""
    said = {getattr(each.origin, name) for each in batches}
    return said.pop() if len(said) == 1 else _of_batch(batches, batch, name)


def _of_batch(batches: Sequence[Batch], batch: pl.Series, name: str) -> pl.Series:
    """What a batch or its origin says, for each of its rows."""
    values = [getattr(each if hasattr(each, name) else each.origin, name) for each in batches]
    column = pl.Series(name, values)
    same = all(value == values[0] for value in values)
    return column.new_from_index(0, len(batch)) if same else column.gather(batch)


def _unread(batches: Sequence[Batch], left: pl.DataFrame) -> list[Batch]:
    """The frames that are left, in batches of their own."""
    if left.is_empty():
        return []
    starts = list(accumulate((each.size for each in batches), initial=0))
    rows: dict[int, list[int]] = {}
    for row, number in left.select("row", "batch").iter_rows():
        rows.setdefault(number, []).append(row - starts[number])
    return [
        batches[number].of([frame for at, frame in enumerate(batches[number].frames) if at in some])
        for number, some in ((number, set(found)) for number, found in rows.items())
    ]


def _numbered(sizes: Sequence[int]) -> pl.Series:
    """For each frame, the number of its batch."""
    batches = pl.DataFrame({"size": sizes}).with_row_index("batch")
    return batches.select(pl.col("batch").repeat_by("size").explode()).to_series()


def _likeliest_first(
    forms: Sequence[tuple[Form, Columns]], text: bytes
) -> Sequence[tuple[Form, Columns]]:
    """Forms that the first frame has come first: a feed mostly sends what it has just sent."""
    if not forms[1:]:
        return forms
    end = text.find(b"\n")
    first = text if end < 0 else text[:end]
    return sorted(forms, key=lambda each: not each[0].has(first))


def renamed(column: pl.Series, meaning: Mapping[str, str]) -> Values:
    """What each text of a column means; `meaning` has them all."""
    meanings = set(meaning.values())
    if len(meanings) == 1:
        return meanings.pop()
    if all(text == meant for text, meant in meaning.items()):
        return column
    return column.replace_strict(meaning, return_dtype=pl.String)


class Usual:
    """Texts whose meaning follows from the text itself, so that a column of them is not looked up.

    At most `most` of them: a vendor gone mad does not fill the memory.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._texts = pl.Series(dtype=pl.String)
        self._listed = self._texts.implode()

    @classmethod
    def of(cls, some: Iterable["Usual"]) -> "Usual":
        """What several know together."""
        found = cls()
        found._texts = pl.concat([each._texts for each in some])  # noqa: SLF001 - of this class
        found._listed = found._texts.implode()
        return found

    def are_all(self, column: pl.Series) -> bool:
        """True where it knows all texts of a column."""
        return bool(column.is_in(self._listed).all())

    def add(self, texts: Iterable[str]) -> None:
        """Know these as well."""
        known = self._texts if len(self._texts) < self._most else self._texts.clear()
        self._texts = pl.concat([known, pl.Series(texts, dtype=pl.String)]).unique()
        self._listed = self._texts.implode()


def book(
    bid: pl.Series, bid_size: pl.Series, ask: pl.Series, ask_size: pl.Series, mid: pl.Series | None
) -> dict[str, pl.Series]:
    """The columns of both sides and of the middle, as `side_of` and `mid_of` have them."""
    if mid is None:
        mid = pl.Series([None], dtype=pl.Float64).new_from_index(0, len(bid))
    given = {"bid": bid, "bid_size": bid_size, "ask": ask, "ask_size": ask_size, "mid": mid}
    if not any(column.null_count() or (column == 0).any() for column in (bid, ask, mid)):
        return given
    has_bid, has_ask = ((pl.col(side) != 0).fill_null(value=False) for side in ("bid", "ask"))
    mean = (pl.col("bid") + pl.col("ask")) / 2
    sides = pl.DataFrame(given).select(
        pl.when(has_bid).then(pl.col("bid", "bid_size")),
        pl.when(has_ask).then(pl.col("ask", "ask_size")),
        pl.when(has_bid & has_ask).then(pl.coalesce("mid", mean)).alias("mid"),
    )
    return {name: sides[name] for name in sides.columns}
