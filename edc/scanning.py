"""Texts of one form, scanned letter by letter in C."""

from collections.abc import Sequence

import polars as pl

from edc.cutting import Field

try:
    from edc.speedups import read
except ImportError:  # there was no compiler
    COMPILED = False
else:
    COMPILED = True


class Scanner:
    """What reads texts of a form, in C; see `cutting.Cutter`."""

    def __init__(self, literals: Sequence[str], fields: Sequence[Field]) -> None:
        self._steps: tuple[tuple[bytes, str | None, bool], ...] = (
            *(
                (literal.encode(), kind, not name.startswith("_"))
                for literal, (name, kind) in zip(literals, fields, strict=False)
            ),
            (literals[-1].encode(), None, False),
        )
        self._proven = tuple((literal, kind, False) for literal, kind, _ in self._steps)
        self._names = [(name, kind) for name, kind in fields if not name.startswith("_")]

    def has(self, text: bytes) -> bool:
        """See `forms.Form.has`."""
        return read(self._proven, text, 1)[1] is None

    def read(
        self, texts: bytes, number: int
    ) -> tuple[pl.Series | None, dict[str, pl.Series], bytes]:
        """See `forms.Form.read`."""
        columns, fits, rest = read(self._steps, texts, number)
        cells = {}
        for (name, kind), column in zip(self._names, columns, strict=True):
            values = pl.Series(_Exported(column)).alias(name)
            cells[name] = values.cast(pl.Boolean) if kind == "flag" else values
        return None if fits is None else pl.Series(_Exported(fits)).cast(pl.Boolean), cells, rest


class _Exported:
    """A column as the extension hands it over, once."""

    __slots__ = ("_column",)

    def __init__(self, column: tuple[object, object]) -> None:
        self._column = column

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return self._column
