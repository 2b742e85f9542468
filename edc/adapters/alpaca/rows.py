"""Events of Alpaca's messages."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from edc.adapters import FeedPlan
from edc.adapters.alpaca.messages import (
    Cancel,
    Correction,
    Data,
    Message,
    Quote,
    Time,
    Trade,
)
from edc.adapters.alpaca.options import AlpacaFeedOptions
from edc.events import Event
from edc.rows import Rows
from edc.symbols import Symbols, parted, share_class
from edc.times import SECOND, instant, parse_iso

_TIMESTAMP = -1


def time_of(told: Time) -> int:
    """A time (ns). Raises ValueError for an extension that is none."""
    if isinstance(told, str):
        return parse_iso(told)
    data = bytes(told.data)
    if told.code != _TIMESTAMP or len(data) not in (4, 8, 12):
        raise ValueError("an extension that is no time")
    if len(data) == 4:  # noqa: PLR2004 - seconds; the forms are those of the msgpack format
        return instant(int.from_bytes(data, "big"), SECOND)
    if len(data) == 8:  # noqa: PLR2004 - 30 bits of nanoseconds, 34 of seconds
        both = int.from_bytes(data, "big")
        ns, seconds = both >> 34, both & ((1 << 34) - 1)
    else:
        ns = int.from_bytes(data[:4], "big")
        seconds = int.from_bytes(data[4:], "big", signed=True)
    if ns >= SECOND:
        raise ValueError("a time with more than a second of nanoseconds")
    return instant(seconds * SECOND + ns, 1)


def conditions_of(codes: Sequence[str] | None) -> str | None:
    """Condition codes joined by commas."""
    return ",".join(code for code in codes or () if code.strip()) or None


class Makes:
    """Events of the messages of one feed."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, AlpacaFeedOptions)
        self.crypto = plan.options.channel.startswith("crypto")

        def call(symbol: str, asset_type: str, written: str) -> str:
            pair = asset_type == "crypto"
            return "/".join(parted(symbol, written)) if pair else share_class(symbol, ".")

        self.rows = Rows(Symbols(plan, call))
        self._lot = 1 if self.crypto else plan.options.lot
        self._event: dict[type, Callable[[Any], Iterable[Event]]] = {
            Trade: self._trade,
            Quote: self._quote,
            Cancel: self._cancel,
            Correction: self._correction,
        }

    def of(self, message: Message) -> Iterable[Event]:
        """The events of a message; none of those that are not taken."""
        make = self._event.get(type(message))
        return () if make is None else make(message)

    def _trade(self, data: Trade) -> Iterator[Event]:
        yield self.rows.trade(
            *(data.S, time_of(data.t), data.p, data.s),
            trade_id=None if data.i is None else str(data.i),
            side={"B": "buy", "S": "sell"}.get(data.tks),
            exchange=data.x or None,
            conditions=conditions_of(data.c),
        )

    def _quote(self, data: Quote) -> Iterator[Event]:
        lot = self._lot
        yield self.rows.quote(
            *(data.S, time_of(data.t)),
            *(data.bp, None if data.bs is None else data.bs * lot),
            *(data.ap, None if data.as_ is None else data.as_ * lot),
            conditions=conditions_of(data.c),
            bid_exchange=data.bx or None,
            ask_exchange=data.ax or None,
        )

    def _cancel(self, data: Cancel) -> Iterator[Event]:
        yield self.rows.trade(
            *(data.S, time_of(data.t), data.p, data.s),
            trade_id=str(data.i),
            exchange=data.x or None,
            action="cancel",
        )

    def _correction(self, data: Correction) -> Iterator[Event]:
        time, exchange = time_of(data.t), data.x or None
        yield self.rows.trade(
            *(data.S, time, data.op, data.os),
            trade_id=str(data.oi),
            exchange=exchange,
            conditions=conditions_of(data.oc),
            action="cancel",
        )
        yield self.rows.trade(
            *(data.S, time, data.cp, data.cs),
            trade_id=str(data.ci),
            exchange=exchange,
            conditions=conditions_of(data.cc),
            action="correct",
        )


def row_of(makes: Makes, row: tuple[str, str, Raw]) -> Iterable[Event]:
    """A row of REST is the websocket's message without its type and symbol."""
    kind, name, raw = row
    fields = msgspec.json.decode(raw, type=dict[str, Any])
    return makes.of(msgspec.convert({**fields, "T": kind, "S": name}, Data))
