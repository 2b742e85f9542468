"""Texts of one form, many at once: what is proven to have it is cut into columns.

A form is written as the text itself, with fields in it: `{"p":"<price:decimal>","q":<size:real?>}`.
A text has the form where it is that, letter by letter, with each field of its kind. No field may
hold a comma, between two there is one, and what follows a field is no letter that it could hold.
None may be written in another way than the commonest: whatever differs is not of the form, and
nothing is guessed. A field whose name begins with `_` is proven, and not read.

Texts are read by `speedups`, which takes them letter by letter, in C, and lets other threads run;
where that was not built, by `cutting`, which is several times slower and says the same.

kind        what stands there                                          its column
word        letters, digits and `._:/-`, at least one                  String
text        printable ASCII without quotes, backslashes and commas     String
real        a JSON number up to 1e300                                  Float64, the nearest double
real?       that, or null                                              Float64
decimal     digits, perhaps with a fraction                            Float64, the nearest double
integer     up to 18 digits                                            Int64
flag        true or false                                              Boolean
iso         an ISO 8601 time with six digits of fraction and a zone    Int64, ns since the epoch
zulu        one in UTC, `Z`, with up to nine digits or no fraction     Int64, ns since the epoch
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from edc.cutting import Cutter
from edc.scanning import COMPILED, Scanner

Cells = Mapping[str, pl.Series]
"""The fields of many texts, by name."""

_FIELD = re.compile(r"<(\w+):(\w+\??)>")


Reader = type[Scanner] | type[Cutter]
"""Who reads texts of a form."""


class Read(NamedTuple):
    """Which of many texts have a form, None where all do; their fields; the others, one a line."""

    fits: pl.Series | None
    cells: Cells
    rest: bytes


@dataclass(slots=True, eq=False)
class Form:
    """Texts of one form; see the module for how `pattern` is written.

    `head` is what all of them begin with, `by` is who reads them.
    """

    pattern: str
    by: Reader = Scanner if COMPILED else Cutter
    head: str = field(init=False)
    _reader: Scanner | Cutter = field(init=False)

    def __post_init__(self) -> None:
        pieces = _FIELD.split(self.pattern)
        literals, fields = pieces[::3], list(zip(pieces[1::3], pieces[2::3], strict=True))
        self.head = literals[0]
        self._reader = self.by(literals, fields)

    def has(self, text: bytes) -> bool:
        """True where a text, which is one line, has this form."""
        return self._reader.has(text)

    def read(self, texts: bytes, number: int) -> Read:
        """The fields of those texts, one a line, that have this form.

        Where a value of the right form means nothing (a 30th of February, a number beyond 1e300),
        that text has not the form, or a ValueError is raised. So it is, or a PolarsError, where
        there are not so many lines, or they are no texts at all.
        """
        return Read(*self._reader.read(texts, number))
