"""What the venue says and is told: objects, and arrays that are read piece by piece."""

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from edc.adapters.bitfinex.book import LEVELS
from edc.times import MILLISECOND, instant
from edc.transport import Frame


class Said(Struct, rename="camel"):
    """An object: an answer to what was sent, or a notice."""

    event: str
    channel: str = ""
    chan_id: int | None = None
    symbol: str = ""
    key: str = ""
    code: int | None = None
    msg: str = ""


read = msgspec.json.Decoder(Said).decode
parts_of = msgspec.json.Decoder(list[Raw]).decode
number_of = msgspec.json.Decoder(int).decode


def message(**fields: object) -> str:
    """An object to send."""
    return msgspec.json.encode(fields).decode()


def subscription(topic: str) -> str:
    """What asks for a topic."""
    stream, name = topic.split(" ", 1)
    where = {"key": f"deriv:{name}"} if stream == "status" else {"symbol": name}
    book = {"prec": "P0", "freq": "F0", "len": str(LEVELS)} if stream == "book" else {}
    return message(event="subscribe", channel=stream, **where, **book)


def payload(parts: Sequence[Raw]) -> int:
    """How many elements of an array stand before its sequence: some have one more."""
    return 3 if bytes(parts[1]) in (b'"te"', b'"tu"', b'"cs"') else 2


def time_of(rest: Sequence[Raw], frame: Frame) -> int:
    """The server's time (ns), which comes after the sequence; else when it was received."""
    return instant(number_of(rest[1]), MILLISECOND) if len(rest) > 1 else frame.received_ns
