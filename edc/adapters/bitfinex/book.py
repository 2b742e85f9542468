"""Bitfinex's book, and the sum by which the venue says what is in it.

Source: the venue's page on checksums. The sum is a CRC-32, as a number with a sign, of the prices
and amounts of the best 25 levels a side, as they were sent, in turns (the best bid, the best ask,
the second bid …) and joined by colons. Amounts of asks are below zero.
"""

import heapq
import zlib
from itertools import zip_longest

import msgspec
from msgspec import Raw

from edc.book import Book
from edc.fields import Number

LEVELS = 25
"""A side, in the sum; the book has to be asked for with as many."""

_row = msgspec.json.Decoder(tuple[Number, int, Number]).decode
_texts = msgspec.json.Decoder(tuple[Raw, Raw, Raw]).decode


class SummedBook(Book):
    """One symbol's price levels, and what they were written like."""

    __slots__ = ("_ask_texts", "_bid_texts")

    def __init__(self) -> None:
        super().__init__()
        self._bid_texts: dict[float, bytes] = {}
        self._ask_texts: dict[float, bytes] = {}

    def change(self, row: Raw) -> None:
        """Take a row, `[price, count, amount]`; without a count the level is gone."""
        price, count, amount = _row(row)
        take, texts = (self.bid, self._bid_texts) if amount > 0 else (self.ask, self._ask_texts)
        size = abs(amount) if count else 0.0
        take(price, size)
        if size:
            written, _, much = _texts(row)
            texts[price] = b"%b:%b" % (bytes(written), bytes(much))
        else:
            texts.pop(price, None)

    def checksum(self) -> int:
        """The sum that the venue should come to."""
        bids = heapq.nlargest(LEVELS, self._bid_texts)
        asks = heapq.nsmallest(LEVELS, self._ask_texts)
        parts = []
        for bid, ask in zip_longest(bids, asks):
            if bid is not None:
                parts.append(self._bid_texts[bid])
            if ask is not None:
                parts.append(self._ask_texts[ask])
        crc = zlib.crc32(b":".join(parts))
        return crc - (1 << 32) if crc >> 31 else crc
