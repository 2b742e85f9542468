"""Types of fields that many vendors write, for msgspec. Imports nothing of edc."""

from typing import Annotated

import msgspec

Number = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
"""A finite number. Where decoding is not strict, also one written as text (`"0.001"`, `"1E-8"`):
the double that is nearest to it."""

UNREADABLE = (
    msgspec.DecodeError,
    UnicodeDecodeError,
    ValueError,
    RecursionError,
    ArithmeticError,
)
"""What reading a message that is not as it should be raises; the last is `decimal`'s."""


def decimal(text: str | float | None) -> float | None:
    """The number that a field holds as text or as number; None where it is empty or missing."""
    if text is None or text == "":
        return None
    return msgspec.convert(text, Number, strict=False)
