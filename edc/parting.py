"""Frames by kind, in Python: for where `speedups` was not built."""

from collections.abc import Sequence


def part(
    frames: Sequence[bytes], at: int, keys: bytes, between: bytes, end: bytes, begin: bytes
) -> tuple[list[tuple[int, bytes, int]], bytes, int]:
    """Frames by their byte `at`, counted from the end where that is negative: one of the keys.

    Where `between` stands in a frame, one message ends and the next begins: they become two, the
    one with this end, the other with this beginning. Three are returned: of each key that there are
    any of, the key, its messages, one a line, and how many; the last message; the number of the
    frames' bytes. Raises LookupError where a message has none of the keys, or a frame has several
    lines.
    """
    received = sum(map(len, frames))
    if between:
        frames = _lines(frames).replace(between, end + b"\n" + begin).split(b"\n")
    found: dict[int, list[bytes]] = {key: [] for key in keys}
    for frame in frames:
        found[frame[at]].append(frame)
    parts = [(key, _lines(some), len(some)) for key, some in found.items() if some]
    return parts, frames[-1], received


def _lines(frames: Sequence[bytes]) -> bytes:
    """Frames, one a line. Raises LookupError where one has lines of its own."""
    text = b"\n".join(frames)
    if text.count(b"\n") >= len(frames):
        raise LookupError("a frame of several lines")
    return text
