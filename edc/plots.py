"""Histograms of characters: for a terminal, as wide as it is, in UTF-8 or ASCII.

312/s ┤  ▂█▅
      ┤ ▃███▁ ▂
    0 ┼──────────
"""

from collections.abc import Sequence
from math import ceil

_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:#"
_HEIGHT = 6


def histogram(
    counts: Sequence[int], width: int, *, top: str, ends: tuple[str, str], ascii_only: bool
) -> list[str]:
    """Lines of at most `width` characters: bars, their highest named, and the ends of the axis.

    Neighbours are added up where there are more counts than columns; what is not nothing is seen.
    """
    margin = max(len(top), 1)
    room = width - margin - 2
    if room < 1 or not counts:
        return []
    columns = _columns(counts, room)
    tick, corner, rule = "|+-" if ascii_only else "┤┼─"
    marks = _ASCII if ascii_only else _BLOCKS
    lines = []
    for row in range(_HEIGHT - 1, -1, -1):
        label = top if row == _HEIGHT - 1 else ""
        bars = "".join(_mark(each, row, marks) for each in columns)
        lines.append(f"{label:>{margin}} {tick}{bars}".rstrip())
    lines.append(f"{'0':>{margin}} {corner}{rule * len(columns)}")
    left, right = ends
    space = max(len(columns) - len(left) - len(right), 1)
    lines.append((" " * (margin + 2) + left + " " * space + right)[:width])
    return lines


def merged(counts: Sequence[int], room: int) -> int:
    """How many neighbouring counts share one of at most `room` columns."""
    return ceil(len(counts) / room)


def _columns(counts: Sequence[int], room: int) -> list[float]:
    """The heights of the columns, from 0 to 1; few counts are some columns wide each."""
    each = merged(counts, room)
    sums = [sum(counts[begin : begin + each]) for begin in range(0, len(counts), each)]
    highest = max(sums) or 1
    wide = max(room // len(sums), 1)
    return [number / highest for number in sums for _ in range(wide)]


def _mark(height: float, row: int, marks: str) -> str:
    """The character of a column in a row; row 0 is the lowest."""
    full = len(marks) - 1
    eighths = ceil(height * _HEIGHT * full) - row * full
    return marks[min(max(eighths, 0), full)]
