"""What Binance's websockets and REST have in common, spot and futures: see the adapters."""

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from edc.adapters import Answer, Instrument
from edc.errors import Retriable
from edc.events import Trade
from edc.fields import UNREADABLE, Number
from edc.rows import Rows, differing, refused, spaced
from edc.times import MICROSECOND, MILLISECOND, instant
from edc.transport import Frame

_AT_ONCE = 100
"""Streams in one message."""
_FIRST_MICROSECONDS = 10**14
"""Smaller numbers are milliseconds (until the year 5138)."""
_BANNED, _FIREWALL = 418, 403


class AggTrade(Struct, gc=False):
    """Trades of one taker at one price; REST has the same form."""

    a: int
    p: Number
    q: Number
    T: int
    m: bool
    s: str = ""


class Problem(Struct):
    """An error, on the websocket and in REST."""

    code: int = 0
    msg: str = ""


class _Symbol(Struct, rename="camel"):
    symbol: str
    status: str
    base_asset: str
    quote_asset: str


class _Info(Struct):
    symbols: list[_Symbol]


class Said(Struct):
    """A frame of a combined stream, or an answer to what was sent."""

    stream: str = ""
    data: Raw = Raw()
    id: int | str | None = None
    result: Raw = Raw()
    code: int | None = None
    msg: str = ""
    error: Problem | None = None
    e: str = ""


read = msgspec.json.Decoder(Said).decode


def time(number: int) -> int:
    """Nanoseconds of a time in milliseconds or microseconds: which, the number itself says."""
    return instant(number, MICROSECOND if number >= _FIRST_MICROSECONDS else MILLISECOND)


def trade(
    rows: Rows, name: str, number: int, price: float, size: float, told: int, *, maker_bought: bool
) -> Trade:
    """A trade; its number is its id."""
    side = "sell" if maker_bought else "buy"
    return rows.trade(
        *(name, time(told), price, size), trade_id=str(number), side=side, sequence=number
    )


def is_shutdown(said: Said) -> bool:
    """The server is about to end this connection."""
    return "serverShutdown" in (said.e, said.stream.removeprefix("!"))


def is_answer(said: Said) -> bool:
    """True for whatever carries no data by right."""
    return bool(problem(said) is not None or said.result or is_shutdown(said))


def problem(said: Said) -> Problem | None:
    """The error that a frame tells, flat or nested."""
    if said.error is not None:
        return said.error
    return None if said.code is None else Problem(said.code, said.msg)


class Streams:
    """The streams of one connection: asked for in messages of a hundred, each answered whole."""

    def __init__(self, streams: Sequence[str]) -> None:
        self._all = streams
        self._asked: dict[int, Sequence[str]] = {}

    def messages(self) -> list[str]:
        """What to send."""
        return self._say("SUBSCRIBE", self._all)

    def change(self, streams: Sequence[str]) -> list[str]:
        """What to send to have these instead."""
        added, gone = differing(self._all, streams)
        self._all = streams
        if not self._asked:
            return []
        return [*self._say("UNSUBSCRIBE", gone), *self._say("SUBSCRIBE", added)]

    def _say(self, method: str, streams: Sequence[str]) -> list[str]:
        said = []
        for some in spaced(streams, _AT_ONCE):
            number = len(self._asked) + 1
            self._asked[number] = some if method == "SUBSCRIBE" else ()
            message = {"method": method, "params": some, "id": number}
            said.append(msgspec.json.encode(message).decode())
        return said

    def answer(self, frame: Frame) -> Answer | None:
        """`{"result": null, "id": 1}` accepts a message whole, an error refuses it whole."""
        try:
            said = read(frame.data)
        except UNREADABLE:
            return None
        if is_shutdown(said):
            return Answer(leaving=True)
        streams = self._asked.get(said.id) if isinstance(said.id, int) else None
        wrong = problem(said)
        if wrong is not None:
            asked = self._all if streams is None else streams
            return Answer(refused=dict.fromkeys(asked, f"{wrong.msg} ({wrong.code})"))
        if streams is None or not said.result:
            return None
        return Answer(accepted=streams)


def instruments(frame: Frame) -> Sequence[Instrument]:
    """What `exchangeInfo` lists, but for what is no longer traded (`BREAK`)."""
    check(frame)
    info = msgspec.json.decode(frame.data, type=_Info)
    return [
        Instrument(each.symbol, each.base_asset, each.quote_asset)
        for each in info.symbols
        if each.status != "BREAK"
    ]


def check(frame: Frame) -> None:
    """Raises what a polled answer that is an error means."""
    try:
        wrong = msgspec.json.decode(frame.data, type=Problem)
        said = f"{wrong.msg} ({wrong.code})"
    except UNREADABLE:
        said = frame.data.decode(errors="replace")
    if frame.status == _FIREWALL:
        raise Retriable("refused", f"Binance answered {_FIREWALL}: {said[:300]}")
    error = refused(frame, "Binance", said, wait=120.0 if frame.status == _BANNED else 60.0)
    if error is not None:
        raise error
