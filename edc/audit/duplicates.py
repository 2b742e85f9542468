"""Which rows are there twice, however many they are: in bounded memory, by fingerprints.

A row's fingerprint is a 64-bit hash of its identity. Those of a partition are collected (8 bytes a
row), and only the rows whose fingerprint comes up again are looked at once more, with a second hash
over the columns in reverse: rows are held to be equal where both agree, 128 bits in all. Equal rows
always agree; of a billion different rows, two agree by chance once in 10^20 lakes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import polars as pl

from edc.events import identity

HELD = 24_000_000
"""Fingerprints that are in memory at once; of more rows, one part after the other is."""
DOUBTFUL = 3_000_000
"""Rows that are looked at once more at a time."""
_PARTS = 16
_OTHER_SEED = 1

Stream = Callable[[], Iterator[tuple[int, pl.DataFrame]]]
"""Gives the rows again, batch by batch, each with the number of its file."""


@dataclass(slots=True)
class Twins:
    """Rows that are there again: `wrong` ones, and those that only two instances share.

    `files` are the numbers of the files that hold one of the wrong ones.
    """

    wrong: int = 0
    shared: int = 0
    files: list[int] = field(default_factory=list)


class Fingerprints:
    """The fingerprints of the rows of one partition, `expected` of them.

    `add` every batch once; `twins` reads again what it must.
    """

    def __init__(self, event_type: str, expected: int) -> None:
        self._columns = identity(event_type)
        self._passes = expected // HELD + 1
        self._held: list[pl.Series] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Remember a batch."""
        self._held.append(self._of(rows, 0))

    def twins(self, again: Stream, labels: list[str]) -> Twins:
        """The rows that are there more than once. `labels` name the instance of each file."""
        found = Twins()
        for number in range(self._passes):
            if number:
                self._held = [self._of(rows, number) for _, rows in again()]
            doubtful = _repeated(self._held)
            self._held = []
            for some in _portions(doubtful):
                _count(found, self._look(again, some), labels)
        return found

    def _of(self, rows: pl.DataFrame, number: int) -> pl.Series:
        """The fingerprints of a batch, as far as they belong to this pass."""
        fingerprints = rows.select(self._columns).hash_rows().alias("one")
        if self._passes == 1:
            return fingerprints
        return fingerprints.filter(fingerprints % self._passes == number)

    def _look(self, again: Stream, doubtful: pl.Series) -> pl.DataFrame:
        """Both hashes and the file of every row that has one of these fingerprints."""
        parts = []
        for file, rows in again():
            one = rows.select(self._columns).hash_rows().alias("one")
            some = one.is_in(doubtful.implode())
            if some.any():
                reverse = rows.filter(some).select(reversed(self._columns))
                two = reverse.hash_rows(seed=_OTHER_SEED).alias("two")
                parts.append(
                    pl.DataFrame([one.filter(some), two]).with_columns(
                        pl.lit(file, pl.UInt32).alias("file")
                    )
                )
        return pl.concat(parts, rechunk=True) if parts else pl.DataFrame()


def _repeated(held: list[pl.Series]) -> pl.DataFrame:
    """The fingerprints that come up more than once, ascending, and how often."""
    found = []
    for part in range(_PARTS):  # by their four highest bits: a sixteenth is copied and sorted
        some = pl.concat([each.filter(each // 2**60 == part) for each in held] or [_NONE]).sort()
        twice = some.filter(some == some.shift(1))
        found.append(twice.value_counts(sort=False).sort("one"))
    return pl.concat(found).with_columns(pl.col("count") + 1)


def _portions(doubtful: pl.DataFrame) -> Iterator[pl.Series]:
    """The fingerprints in parts that stand for about `DOUBTFUL` rows each."""
    part = (doubtful["count"].cast(pl.UInt64).cum_sum() // DOUBTFUL).alias("part")
    for _, some in doubtful.with_columns(part).group_by("part", maintain_order=True):
        yield some["one"]


def _count(found: Twins, rows: pl.DataFrame, labels: list[str]) -> None:
    if rows.is_empty():
        return
    names = pl.Series(labels).rank("dense")  # a number for each instance
    rows = rows.with_columns(names.gather(rows["file"]).alias("instance"))
    alone = rows.group_by("one", "two", "instance").agg(pl.len().alias("rows"))
    wrong = alone.filter(pl.col("rows") > 1)
    found.wrong += int(wrong["rows"].sum()) - wrong.height
    found.shared += alone.height - alone.select("one", "two").n_unique()
    if wrong.height and not found.files:
        first = wrong.sort("one", "two", "instance").head(1)
        files = rows.join(first, on=["one", "two", "instance"], how="semi")["file"]
        found.files = sorted(set(files))


_NONE = pl.Series("one", [], pl.UInt64)
