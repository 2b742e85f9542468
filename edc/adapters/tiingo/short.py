"""Tiingo's commonest messages, many at once: see `edc.wire`. `stream` tells what they mean."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from edc.adapters.tiingo.messages import CRYPTO, FX, CryptoQuote, CryptoTrade, FxQuote
from edc.adapters.tiingo.rows import Rows
from edc.times import iso_times, parse_iso
from edc.wire import Values, Wire, book

_DATA = attrgetter("data")


def short_way(channel: str, rows: Rows) -> "Short | None":
    """For the channels that send much: crypto and FX."""
    match channel:
        case "crypto":
            kinds: dict[type, Wire] = {
                CryptoTrade: _Trades(rows, "crypto_data"),
                CryptoQuote: _Quotes(rows, "crypto_data"),
            }
            return Short(CRYPTO, kinds)
        case "fx":
            return Short(FX, {FxQuote: _Quotes(rows, "fx")})
        case _:
            return None


class Short:
    """See `edc.wire.Short`."""

    def __init__(self, decode: Callable[[bytes], Any], wires: Mapping[type, Wire]) -> None:
        self._decode = decode
        self._wires = wires

    def read(self, frames: Sequence[bytes]) -> Sequence[tuple[Wire, list[Any]]]:
        """The messages of all frames, by form. Raises ValueError or msgspec's errors."""
        messages = list(map(_DATA, map(self._decode, frames)))
        kinds = set(map(type, messages))
        if not kinds <= self._wires.keys():
            raise ValueError("a message that goes the long way")
        if len(kinds) == 1:
            return [(self._wires[kinds.pop()], messages)]
        return [
            (self._wires[kind], [each for each in messages if type(each) is kind]) for kind in kinds
        ]


class _Rows:
    """What trades and quotes share."""

    def __init__(self, rows: Rows, service: str) -> None:
        self._rows = rows
        self._service = service

    def event_time(self, message: Any) -> int:
        """See `Wire`."""
        return parse_iso(message.date)

    def frame(self, message: Any) -> bytes:
        """See `Wire`."""
        return msgspec.json.encode({"service": self._service, "messageType": "A", "data": message})

    def _shared(self, messages: list[Any]) -> dict[str, Values]:
        shared = self._rows.all_of(_all("ticker", messages))
        shared["event_time"] = iso_times(_all("date", messages))
        if self._service == "crypto_data":
            shared["exchange"] = _all("exchange", messages)
        return shared


class _Trades(_Rows):
    """Crypto trades."""

    event_type = "trade"

    def columns(self, messages: list[Any]) -> Mapping[str, Values]:
        """See `Wire`."""
        return {
            **self._shared(messages),
            "last_price": _all("price", messages),
            "last_size": _all("size", messages),
            "action": "new",
        }


class _Quotes(_Rows):
    """Crypto and FX quotes."""

    event_type = "quote"

    def columns(self, messages: list[Any]) -> Mapping[str, Values]:
        """See `Wire`."""
        sides = [_all(name, messages) for name in ("bid", "bid_size", "ask", "ask_size", "mid")]
        return {**self._shared(messages), **book(*sides)}


def _all(name: str, messages: list[Any]) -> list[Any]:
    return list(map(attrgetter(name), messages))
