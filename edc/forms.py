"""Texts of one form, many at once: what is proven to have it is cut into columns.

A form is written as the text itself, with fields in it: `{"p":"<price:decimal>","q":<size:real?>}`.
A text has the form where it is that, letter by letter, with each field of its kind. That is proven
for all texts by one regular expression over each; then they are cut at their commas, all in native
code that lets other threads run. So no field may hold a comma, and none may be written in another
way than the commonest: whatever differs is not of the form, and nothing is guessed. A field whose
name begins with `_` is proven, and not read.

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

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from edc.times import iso_times, utc_times

Cells = Mapping[str, pl.Series]
"""The fields of many texts, by name."""

_REAL = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
_TWO = "[0-9][0-9]"
_MOMENT = f"[0-9]{{4}}-{_TWO}-{_TWO}T{_TWO}:{_TWO}:{_TWO}"
_KINDS = {
    "word": r"[0-9A-Za-z._:/-]+",
    "text": r"[ -!#-+\--\[\]-~]*",
    "real": _REAL,
    "real?": f"(?:{_REAL}|null)",
    "decimal": r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?",
    "integer": r"(?:0|[1-9][0-9]{0,17})",
    "flag": "(?:true|false)",
    "iso": rf"{_MOMENT}\.[0-9]{{6}}(?:Z|[+-]{_TWO}:{_TWO})",
    "zulu": rf"{_MOMENT}(?:\.[0-9]{{1,9}})?Z",
}
_NUMBERS: dict[str, pl.DataType] = dict.fromkeys(("real", "real?", "decimal"), pl.Float64())
_NUMBERS["integer"] = pl.Int64()
_FIELD = re.compile(r"<(\w+):(\w+\??)>")
_GREATEST = 1e300


@dataclass(frozen=True, slots=True)
class _Cell:
    """What stands between two commas: a field, with the text before and after it."""

    name: str
    kind: str
    before: int
    after: int

    @property
    def read_as(self) -> pl.DataType:
        """A number that stands alone is read as one at once."""
        bare = not (self.before or self.after)
        return _NUMBERS.get(self.kind, pl.String()) if bare else pl.String()

    def values(self, column: pl.Series) -> pl.Series:
        """The field in a column of cells. Raises ValueError or a PolarsError."""
        if column.dtype == pl.String:
            if self.before or self.after:
                column = column.str.head(-self.after) if self.after else column
                column = column.str.slice(self.before) if self.before else column
            if self.kind in _NUMBERS:
                missing = "null" if self.kind == "real?" else None
                column = column.replace(missing, None) if missing else column
                column = column.cast(_NUMBERS[self.kind])
            elif self.kind == "flag":
                column = column == "true"
            elif self.kind == "iso":
                column = iso_times(column)
            elif self.kind == "zulu":
                column = utc_times(column)
        if self.kind != "real?" and column.null_count():
            raise ValueError(f"{self.name} is missing")
        if column.dtype == pl.Float64 and not _is_finite(column):
            raise ValueError(f"{self.name} is too great")
        return column.alias(self.name)


def _is_finite(column: pl.Series) -> bool:
    least, greatest = column.min(), column.max()
    if not (isinstance(least, float) and isinstance(greatest, float)):
        return True  # nothing but nulls
    return least >= -_GREATEST and greatest <= _GREATEST


@dataclass(slots=True, eq=False)
class Form:
    """Texts of one form; see the module for how `pattern` is written.

    `head` is what all of them begin with.
    """

    pattern: str
    head: str = field(init=False)
    _rest: str = field(init=False)
    _cells: dict[int, _Cell] = field(init=False)
    _columns: dict[str, pl.DataType] = field(init=False)

    def __post_init__(self) -> None:
        self.head = _FIELD.split(self.pattern, maxsplit=1)[0]
        pieces = _FIELD.split(self.pattern[len(self.head) :])
        literals, kinds = pieces[::3], pieces[2::3]
        expression = re.escape(literals[0]) + "".join(
            _KINDS[kind] + re.escape(literal)
            for kind, literal in zip(kinds, literals[1:], strict=True)
        )
        self._rest = rf"\A{expression}\z"
        self._cells = {}
        for number, cell in enumerate(self.pattern.split(",")):
            if "<" in cell:
                before, name, kind, after = _FIELD.split(cell)  # one field in a cell
                if not name.startswith("_"):
                    self._cells[number] = _Cell(name, kind, len(before), len(after))
        self._columns = {f"{number}": pl.String() for number in range(number + 1)}
        self._columns |= {f"{number}": cell.read_as for number, cell in self._cells.items()}

    def fits(self, texts: pl.Series) -> pl.Series:
        """Which texts have this form: Boolean."""
        rest = texts.str.slice(len(self.head)).str.contains(self._rest)
        return rest & texts.str.starts_with(self.head)

    def cells(self, texts: bytes) -> dict[str, pl.Series]:
        """The fields of texts that have this form, one a line.

        Raises ValueError or a PolarsError where a value of the right form means nothing: a 30th of
        February, a number beyond 1e300.
        """
        table = pl.read_csv(
            texts,
            has_header=False,
            quote_char=None,
            schema=self._columns,
            columns=list(self._cells),
            null_values="null",
        )
        return {cell.name: cell.values(table[f"{at}"]) for at, cell in self._cells.items()}


def lines(texts: bytes, number: int) -> pl.Series:
    """The lines of a text. Raises ValueError if not so many, PolarsError if no UTF-8."""
    column = pl.read_lines(io.BytesIO(texts)).to_series()
    if len(column) != number:
        raise ValueError(f"{len(column)} lines of {number} texts")
    return column
