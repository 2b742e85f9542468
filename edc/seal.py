"""The seal of a Parquet file: checksums of all its bytes, in the file itself.

    "PAR1"  pages  SEAL  footer  length of the footer (4 bytes, little endian)  "PAR1"
                   └─ 8 bytes that say what it is, the CRC-32 of all before it, that of all after it

Parquet is read from its end, and every page is found by an offset from the beginning, so the bytes
of the seal are nobody's: each reader passes over them, as over the padding that other writers leave
(https://parquet.apache.org/docs/file-format/). Without it a bit that flips within a page may turn
one price into another, and nobody would know. A file without a seal is as good as its reader finds.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import polars as pl

_MAGIC = b"edc\x00crc\x01"
_SEAL = struct.Struct("<8sII")
_TAIL = 8
"""Bytes of the footer's length and the last magic."""
_BLOCK = 1 << 20


class BrokenSealError(Exception):
    """The bytes of a file are not those that were written; those of its footer may still be."""

    def __init__(self, *, footer_is_whole: bool) -> None:
        super().__init__("its bytes are not those that were written")
        self.footer_is_whole = footer_is_whole


UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, BrokenSealError)
"""What reading a damaged Parquet file raises, beside an OSError."""


def parted(data: memoryview) -> tuple[memoryview, bytes]:
    """The pages of a Parquet file, and its footer, to the end of the file."""
    start = len(data) - _TAIL - _footer_size(data[-_TAIL:])
    return data[:start], bytes(data[start:])


def with_length(footer: bytes) -> bytes:
    """A footer that says its own length, in place of whatever length it says."""
    body = footer[:-_TAIL]
    return body + len(body).to_bytes(4, "little") + footer[-4:]


def sealed(pages: memoryview, footer: bytes) -> bytes:
    """A whole Parquet file, with its seal, from what `parted` gives."""
    return b"".join((pages, _SEAL.pack(_MAGIC, zlib.crc32(pages), zlib.crc32(footer)), footer))


def seal_file(path: Path) -> None:
    """Put the seal into a Parquet file that nobody else sees yet. It is not durable by that."""
    with path.open("r+b") as file:
        start = _footer_at(file)
        pages = _crc(file, 0, start)
        file.seek(start)
        footer = file.read()
        file.seek(start)
        file.write(_SEAL.pack(_MAGIC, pages, zlib.crc32(footer)))
        file.write(footer)


def check(source: Path | BytesIO) -> bool:
    """True for a file that is what was sealed, False for one without a seal.

    Raises BrokenSealError where it is not what was sealed, OSError where it cannot be read. What is
    no Parquet file at all has no seal, and is left to its reader.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _holds(file)
    return _holds(source)


def _holds(file: BinaryIO) -> bool:
    said = _seal(file)
    if said is None:
        return False
    if _crc(file, said.at + _SEAL.size, None) != said.footer:
        raise BrokenSealError(footer_is_whole=False)
    if _crc(file, 0, said.at) != said.pages:
        raise BrokenSealError(footer_is_whole=True)
    return True


@dataclass(frozen=True, slots=True)
class _Said:
    """A seal as it was found: where, and the checksums of what lies before and after it."""

    at: int
    pages: int
    footer: int


def _seal(file: BinaryIO) -> _Said | None:
    at = _footer_at(file) - _SEAL.size
    if at < 0:
        return None
    file.seek(at)
    magic, pages, footer = _SEAL.unpack(file.read(_SEAL.size))
    return _Said(at, pages, footer) if magic == _MAGIC else None


def _footer_at(file: BinaryIO) -> int:
    """Where the footer begins; negative where there is none."""
    size = file.seek(0, 2)
    if size < _TAIL:
        return -1
    file.seek(size - _TAIL)
    return size - _TAIL - _footer_size(file.read(_TAIL))


def _footer_size(tail: bytes | memoryview) -> int:
    return int.from_bytes(tail[:4], "little")


def _crc(file: BinaryIO, start: int, end: int | None) -> int:
    """The checksum of some bytes of a file; to its end without `end`."""
    crc = 0
    for block in _blocks(file, start, end):
        crc = zlib.crc32(block, crc)
    return crc


def _blocks(file: BinaryIO, start: int, end: int | None) -> Iterator[bytes]:
    file.seek(start)
    while block := file.read(_BLOCK if end is None else min(_BLOCK, end - file.tell())):
        yield block
