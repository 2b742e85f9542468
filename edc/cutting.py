"""Texts of one form, cut into columns by Polars: for where `speedups` was not built.

That a text has the form is proven by one regular expression over each; then all that have it are
cut at their commas, as CSV is.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from edc.times import iso_times, utc_times

Field = tuple[str, str]
"""Its name and its kind."""

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


class Cutter:
    """What reads texts of a form: `literals` stand around its fields. See `forms.Form.read`."""

    def __init__(self, literals: Sequence[str], fields: Sequence[Field]) -> None:
        self._head = literals[0]
        expression = "".join(
            _KINDS[kind] + re.escape(literal)
            for (_, kind), literal in zip(fields, literals[1:], strict=True)
        )
        self._rest = rf"\A{expression}\z"
        self._cells: dict[int, _Cell] = {}
        number, before = 0, len(literals[0]) - literals[0].rfind(",") - 1
        number += literals[0].count(",")
        for (name, kind), literal in zip(fields, literals[1:], strict=True):
            comma = literal.find(",")
            after = len(literal) if comma < 0 else comma  # one field in a cell
            if not name.startswith("_"):
                self._cells[number] = _Cell(name, kind, before, after)
            number += literal.count(",")
            before = len(literal) - literal.rfind(",") - 1
        self._columns: dict[str, pl.DataType] = {f"{at}": pl.String() for at in range(number + 1)}
        self._columns |= {f"{at}": cell.read_as for at, cell in self._cells.items()}

    def has(self, text: bytes) -> bool:
        """See `forms.Form.has`."""
        return bool(self._fits(lines(text, 1)).all())

    def _fits(self, texts: pl.Series) -> pl.Series:
        rest = texts.str.slice(len(self._head)).str.contains(self._rest)
        return rest & texts.str.starts_with(self._head)

    def read(
        self, texts: bytes, number: int
    ) -> tuple[pl.Series | None, dict[str, pl.Series], bytes]:
        """See `forms.Form.read`. Raises PolarsError where the texts are no UTF-8."""
        column = lines(texts, number)
        fits = self._fits(column)
        if fits.all():
            return None, self._cut(texts), b""
        found, others = column.filter(fits), column.filter(~fits)
        cells = self._cut(_joined(found)) if len(found) else {}
        return fits, cells, _joined(others)

    def _cut(self, texts: bytes) -> dict[str, pl.Series]:
        table = pl.read_csv(
            texts,
            has_header=False,
            quote_char=None,
            schema=self._columns,
            columns=list(self._cells),
            null_values="null",
        )
        return {cell.name: cell.values(table[f"{at}"]) for at, cell in self._cells.items()}


def _joined(texts: pl.Series) -> bytes:
    return str(texts.str.join("\n")[0]).encode()


def lines(texts: bytes, number: int) -> pl.Series:
    """The lines of a text. Raises ValueError if not so many, PolarsError if no UTF-8."""
    if b"\r" in texts:
        raise ValueError("not of these lines: Polars takes a carriage return from a line's end")
    column = pl.read_lines(io.BytesIO(texts + b"\n")).to_series()  # the last may be empty
    if len(column) != number:
        raise ValueError(f"{len(column)} lines of {number} texts")
    return column
