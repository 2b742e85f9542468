"""Gemini, websocket API of 2025 (v3), and REST trades. No key is needed.

Source: the venue's websocket pages (v0.10.7), messages of 2026-07. Frames have neither a type nor a
stream's name: keys tell trades (`t`, `p`, `q`, `m`) from quotes (`u`, `b`, `a`). `E` is in
nanoseconds. `m` true: the taker sold. Of a quote, `c` is the last price, a ref_px when it changes.

* A quote may lack one side, or both: what is not there is a missing side; without any, nothing is
  recorded.
* UNCONFIRMED: whether ids are contiguous (no jump is looked for), the form of an error (`status`
  from 400 on, or `error`), all limits (fifty streams a connection are taken), and that REST's
  `tid` is the websocket's `t`: what a silence has missed is taken from REST only where it has ids
  that the lake knows from the websocket.
* Messages of the archived v1 and v2 (`type`) are refused as unknown.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct
from pydantic import Field

from edc.adapters import (
    Adapter,
    Answer,
    Channel,
    Duration,
    FeedOptions,
    FeedPlan,
    Hole,
    HttpUrl,
    Instrument,
    Instruments,
    Keepalive,
    Silence,
    Vendor,
    VendorOptions,
    WebsocketUrl,
)
from edc.errors import Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import Rows, differing, each, listed, newest, oldest
from edc.symbols import Symbols
from edc.times import MILLISECOND, SECOND, instant
from edc.transport import Frame, Request

Stream = Literal["trade", "bookTicker"]
_MOST_STREAMS = 50
_FAILED = 400
_PAGE = 500
_REMEMBERED = 7 * 86_400 * SECOND


class GeminiVendorOptions(VendorOptions):
    """`[vendors.gemini]`."""

    url: WebsocketUrl = "wss://ws.gemini.com"
    rest_url: HttpUrl = "https://api.gemini.com"


class GeminiFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Gemini. `interval` is for polling."""

    streams: tuple[Stream, ...] = Field(("trade", "bookTicker"), min_length=1)
    interval: Duration = Field(10.0, ge=1)


class _Frame(Struct, gc=False):
    s: str = ""
    E: int | None = None
    t: int | None = None
    p: Number | None = None
    q: Number | None = None
    m: bool | None = None
    u: int | None = None
    b: Number | None = None
    B: Number | None = None
    a: Number | None = None
    A: Number | None = None
    c: Number | None = None
    e: str = ""
    id: int | None = None
    status: int | None = None
    error: Any = None
    result: Any = None
    type: str = ""


class _RestTrade(Struct, gc=False):
    timestampms: int
    tid: int
    price: Number
    amount: Number
    type: str


_frame = msgspec.json.Decoder(_Frame, strict=False).decode
_rest_trade = msgspec.json.Decoder(_RestTrade, strict=False).decode


def _rows(plan: FeedPlan) -> Rows:
    return Rows(Symbols(plan, lambda symbol, _type, _written: symbol), "GEMINI")


class GeminiStream:
    """The streams of some pairs on one connection."""

    messages_per_second = 5.0
    keepalive: Keepalive | None = None
    history_every = 1.0
    """120 requests a minute are said to be allowed."""
    overlap = 60.0
    coarse = 0.0
    confirms = True

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, GeminiFeedOptions)
        options = plan.options
        self._rest_url = str(plan.vendor_options.rest_url)
        self._asked_from = 0
        self.url = str(plan.vendor_options.url)
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = _rows(plan)
        self.topics = {
            f"{name}@{stream}": self._rows.symbols.of(name)[0]
            for name in self._rows.symbols.names
            for stream in options.streams
        }
        trades = self._rows.symbols.names if "trade" in options.streams else ()
        self._names = {self._rows.symbols.of(name)[0]: name for name in trades}
        self.spans = [("trade", symbol) for symbol in self._names]
        self._asked: dict[int, str | None] = {}
        self._last: dict[str, float] = {}

    def subscribe(self) -> Sequence[str]:
        """One stream a message: an error then says which it is about."""
        return self._say("SUBSCRIBE", list(self.topics))

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """One stream a message here too."""
        other = GeminiStream(plan)
        added, gone = differing(self.topics, other.topics)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        if not self._asked:
            return ()
        return [*self._say("UNSUBSCRIBE", gone), *self._say("SUBSCRIBE", added)]

    def _say(self, method: str, topics: Sequence[str]) -> list[str]:
        said = []
        for topic in topics:
            number = len(self._asked) + 1
            self._asked[number] = topic if method == "SUBSCRIBE" else None
            message = {"method": method, "params": [topic], "id": number}
            said.append(msgspec.json.encode(message).decode())
        return said

    def answer(self, frame: Frame) -> Answer | None:
        """Each stream is accepted by 200."""
        try:
            said = _frame(frame.data)
        except UNREADABLE:
            return None
        topic = self._asked.get(said.id or 0)
        if topic is None:
            return None
        if said.error is not None or (said.status or 0) >= _FAILED:
            return Answer(refused={topic: f"{said.error or ''} ({said.status})".strip()})
        return Answer(accepted=(topic,))

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a frame, or the trades of a page of history."""
        if frame.status:
            return _answered(self._rows, frame)
        try:
            said = _frame(frame.data)
            if said.E is not None and said.s and not said.e:
                return list(self._events(said, instant(said.E, 1)))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        if said.id is not None or said.status is not None or said.error is not None:
            return ()
        if said.e == "contractStatus":
            return ()
        raise Skippable("unknown", f"neither a trade nor a quote ({said.e or said.type})")

    def _events(self, said: _Frame, time: int) -> Iterator[Event]:
        if said.t is not None and said.p is not None:
            yield self._rows.trade(
                *(said.s, time, said.p, said.q),
                trade_id=str(said.t),
                side=None if said.m is None else "sell" if said.m else "buy",
            )
            return
        if said.u is None:
            raise Skippable("unknown", "neither a trade nor a quote")
        if said.b or said.a:
            sides = (said.b, said.B, said.a, said.A)
            yield self._rows.quote(said.s, time, *sides, sequence=said.u)
        if said.c and said.c != self._last.get(said.s):
            yield self._rows.price(said.s, time, said.c, "last")
            self._last[said.s] = said.c

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The trades after a time; of a full page, those after the last but one millisecond."""
        start = hole.started_at
        if last is not None:
            end = newest(last)
            if len(last) < _PAGE or end is None or end >= hole.ended_at:
                return None
            start = end - MILLISECOND
            if start <= self._asked_from:
                return None
        self._asked_from = start
        name = self._names[hole.symbol]
        params = {"timestamp": str(start // MILLISECOND), "limit_trades": str(_PAGE)}
        return Request(f"{self._rest_url}/v1/trades/{name}", params, about=name)

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """Where the last page is not full, or holds what the one before it ended with.

        Of a full page it is not confirmed that it begins where it was asked to.
        """
        first = oldest(last)
        if hole.started_at < asked_ns - _REMEMBERED:
            return False
        since = max(hole.started_at, self._asked_from + MILLISECOND)
        return len(last) < _PAGE or (first is not None and first <= since)


class GeminiRest:
    """The last trades of each pair."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, GeminiFeedOptions)
        self.interval = plan.options.interval
        self._url = f"{plan.vendor_options.rest_url}/v1/trades"
        self._rows = _rows(plan)

    def requests(self) -> Sequence[Request]:
        """One for each pair."""
        return [
            Request(f"{self._url}/{name}", {"limit_trades": str(_PAGE)}, about=name)
            for name in self._rows.symbols.names
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return _answered(self._rows, frame)


def _answered(rows: Rows, frame: Frame) -> Sequence[Event]:
    """The trades of an answer; it does not say whose they are, so the request does."""

    def trade(raw: Raw) -> Iterator[Event]:
        data = _rest_trade(raw)
        known = data.type in ("buy", "sell")
        yield rows.trade(
            *(frame.about, instant(data.timestampms, MILLISECOND), data.price, data.amount),
            trade_id=str(data.tid),
            side=data.type if known else None,
            conditions=None if known else data.type,
        )

    return each(listed(frame, "Gemini"), trade)


def _build(plan: FeedPlan) -> Adapter:
    return GeminiRest(plan) if plan.options.channel == "spot_rest" else GeminiStream(plan)


def _most_symbols(options: FeedOptions) -> int:
    assert isinstance(options, GeminiFeedOptions)
    return _MOST_STREAMS // len(options.streams)


def _lists(options: VendorOptions, _channel: str) -> Sequence[Request]:
    return [Request(f"{options.rest_url}/v1/symbols")]


def _instruments(frame: Frame) -> Sequence[Instrument]:
    """Names in lower case; which currencies they are of is told by one request for each."""
    return [Instrument(msgspec.json.decode(raw, type=str)) for raw in listed(frame, "Gemini")]


VENDOR = Vendor(
    title="Gemini",
    needs_key=False,
    channels={
        "spot": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote", "ref_px"),
            "streams: trade, bookTicker (with the last price)",
            rising=("quote",),
        ),
        "spot_rest": Channel("poll", ("crypto",), ("trade",), "last trades"),
    },
    vendor_options=GeminiVendorOptions,
    feed_options=GeminiFeedOptions,
    build=_build,
    most_symbols=_most_symbols,
    instruments=Instruments(_lists, _instruments),
)
