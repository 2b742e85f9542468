from collections.abc import Sequence
from typing import TypeAlias

# What each is for says `speedups.c`, and `help(edc.speedups)`.

Column: TypeAlias = tuple[object, object]

def read(
    steps: tuple[tuple[bytes, str | None, bool], ...], texts: bytes, number: int
) -> tuple[list[Column], Column | None, bytes]: ...
def part(
    frames: Sequence[bytes], at: int, keys: bytes, between: bytes, end: bytes, begin: bytes
) -> tuple[list[tuple[int, bytes, int]], bytes, int]: ...
