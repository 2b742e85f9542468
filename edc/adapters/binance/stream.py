"""The websocket: streams are asked for, and each frame of one becomes an event."""

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Raw

from edc.adapters import Answer, FeedPlan, Hole, Keepalive, Silence
from edc.adapters.binance.messages import AvgPrice, BookTicker, OneTrade, ReferencePrice
from edc.adapters.binance.options import BinanceFeedOptions
from edc.adapters.binance.rest import MICROSECONDS, PAGE, trades
from edc.adapters.binance.rows import AGGREGATE, aggregated, rows_of
from edc.adapters.binance.short import short_way
from edc.binance_wire import AggTrade, Streams, is_answer, read, time, trade
from edc.errors import Skippable
from edc.events import Event, Trade
from edc.fields import UNREADABLE
from edc.rows import first_missing, newest, oldest
from edc.times import MILLISECOND
from edc.transport import Frame, Request

_HOUR = 3_600_000
"""The longest time that `aggTrades` is asked for at once, in its milliseconds."""


class BinanceStream:
    """The streams of some symbols on one connection."""

    messages_per_second = 4.0
    """The venue allows five, its own pings and our pongs included."""
    keepalive: Keepalive | None = None
    lifetime = 23.5 * 3600
    """The venue ends every connection after 24 hours."""
    history_every = 0.5
    """`historicalTrades` weighs 25 of 6,000 a minute: half of what is allowed."""
    overlap = 2.0
    coarse = 0.0
    confirms = False

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BinanceFeedOptions)
        options = plan.options
        self.url = f"{plan.vendor_options.url}/stream?timeUnit=MICROSECOND"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = rows_of(plan)
        self._rest_url = plan.vendor_options.rest_url
        symbols = self._rows.symbols
        self.topics = {
            f"{name.lower()}@{stream}": symbols.of(name)[0]
            for name in symbols.names
            for stream in options.streams
        }
        self._streams = Streams(list(self.topics))
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        aggregates = self._names if "aggTrade" in options.streams else ()
        self.spans = [("trade", symbol) for symbol in aggregates]
        self._until = 0
        self.short = short_way(self._rows, options.streams)
        self._event: dict[str, Callable[[Raw, Frame], Event | None]] = {
            "trade": self._trade,
            "aggTrade": self._agg_trade,
            "blockTrade": self._block_trade,
            "bookTicker": self._book_ticker,
            "referencePrice": self._reference_price,
            "avgPrice": self._avg_price,
        }

    def subscribe(self) -> Sequence[str]:
        """A hundred streams a message."""
        return self._streams.messages()

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Streams come and go by messages of a hundred."""
        other = BinanceStream(plan)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        return self._streams.change(list(self.topics))

    def answer(self, frame: Frame) -> Answer | None:
        """What was accepted or refused; that the connection is about to end."""
        return self._streams.answer(frame)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The event of a stream's frame, or the trades of a page of history."""
        try:
            if frame.status:
                return list(trades(self._rows, frame))
            said = read(frame.data)
            if not said.data or said.stream == "!serverShutdown":
                if not is_answer(said):
                    raise Skippable("unknown", "neither a stream's frame nor an answer")
                return ()
            event = self._event[said.stream.partition("@")[2]](said.data, frame)
        except KeyError as error:
            raise Skippable("unknown", f"stream {error}") from None
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        return () if event is None else (event,)

    def _trade(self, raw: Raw, _frame: Frame) -> Event:
        data = msgspec.json.decode(raw, type=OneTrade, strict=False)
        return trade(self._rows, data.s, data.t, data.p, data.q, data.T, maker_bought=data.m)

    def _agg_trade(self, raw: Raw, _frame: Frame) -> Event:
        return aggregated(self._rows, msgspec.json.decode(raw, type=AggTrade, strict=False))

    def _block_trade(self, raw: Raw, frame: Frame) -> Event:
        made = self._trade(raw, frame)
        assert isinstance(made, Trade)
        made.conditions, made.sequence = "block", None
        return made

    def _book_ticker(self, raw: Raw, frame: Frame) -> Event:
        data = msgspec.json.decode(raw, type=BookTicker, strict=False)
        sides = (data.b, data.B, data.a, data.A)
        return self._rows.quote(data.s, frame.received_ns, *sides, sequence=data.u)

    def _reference_price(self, raw: Raw, _frame: Frame) -> Event | None:
        data = msgspec.json.decode(raw, type=ReferencePrice, strict=False)
        if data.r is None:
            return None
        return self._rows.price(data.s, time(data.t), data.r, "reference")

    def _avg_price(self, raw: Raw, _frame: Frame) -> Event:
        data = msgspec.json.decode(raw, type=AvgPrice, strict=False)
        return self._rows.price(data.s, time(data.T), data.w, "average")

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """`historicalTrades` from the first id that is missing, a thousand at a time.

        Aggregates are asked for by time: their ids are no `sequence`.
        """
        if hole.before is None:
            return self._aggregates(hole, last)
        start = first_missing(hole, last)
        if start is None:
            return None
        name = self._names[hole.symbol]
        params = {"symbol": name, "fromId": str(start)}
        params["limit"] = str(min(PAGE, hole.before - start))
        url = f"{self._rest_url}/api/v3/historicalTrades"
        return Request(url, params, MICROSECONDS, about=name)

    def _aggregates(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """`aggTrades` of at most an hour; of a full page, from its end on."""
        start = hole.started_at // MILLISECOND
        if last is not None:
            end = newest(last)
            full = len(last) >= PAGE and end is not None
            start = end // MILLISECOND if full and end is not None else self._until
            if start >= hole.ended_at // MILLISECOND or (full and oldest(last) == end):
                return None
        self._until = min(hole.ended_at // MILLISECOND + 1, start + _HOUR)
        name = self._names[hole.symbol]
        params = {"symbol": name, "startTime": str(start), "endTime": str(self._until)}
        params["limit"] = str(PAGE)
        url = f"{self._rest_url}/api/v3/aggTrades"
        return Request(url, params, MICROSECONDS, about=f"{name} {AGGREGATE}")

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """All of it: the venue forgets nothing."""
        del hole, asked_ns
        return len(last) < PAGE
