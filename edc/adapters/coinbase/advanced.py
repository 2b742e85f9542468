"""Coinbase's Advanced Trade, by websocket, and its history."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw

from edc.adapters import Answer, FeedPlan, Hole, Keepalive, Silence
from edc.adapters.coinbase.messages import Envelope, Happened, Past, read_envelope, read_trade
from edc.adapters.coinbase.options import CoinbaseFeedOptions, CoinbaseVendorOptions
from edc.adapters.coinbase.rows import AGENT, PAGE, Books, rows_of, trade_of
from edc.errors import Skippable
from edc.events import Event
from edc.fields import UNREADABLE
from edc.rows import differing, each, oldest, refused
from edc.times import SECOND, parse_iso
from edc.transport import Frame, Request

_BOOKS = "level2"


class CoinbaseAdvanced:
    """Advanced Trade's feed of some products."""

    messages_per_second = 7.0
    keepalive: Keepalive | None = None
    history_every = 0.5
    overlap = 2.0
    coarse = 0.0
    confirms = False

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, CoinbaseFeedOptions)
        assert isinstance(plan.vendor_options, CoinbaseVendorOptions)
        options = plan.options
        self.url = plan.vendor_options.advanced_url
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = rows_of(plan)
        self._by_maker = options.side_is == "maker"
        self._books = Books(self._rows)
        channels = {"trades": "market_trades", "quotes": _BOOKS}
        self._channels = [channels[stream] for stream in options.streams]
        symbols = self._rows.symbols
        self.topics = {
            f"{channel} {name}": symbols.of(name)[0]
            for channel in self._channels
            for name in symbols.names
        }
        self._sequence: int | None = None
        self._rest_url = str(plan.vendor_options.advanced_rest_url)
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        trades = self._names if "trades" in options.streams else ()
        self.spans = [("trade", symbol) for symbol in trades]
        self._end = 0
        self._said = False

    def subscribe(self) -> Sequence[str]:
        """One channel a message, and the heartbeats that keep it open."""
        self._said = True
        heartbeats = msgspec.json.encode({"type": "subscribe", "channel": "heartbeats"}).decode()
        return [heartbeats, *self._messages("subscribe", self._rows.symbols.names)]

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Products come and go on each channel."""
        other = CoinbaseAdvanced(plan)
        added, gone = differing(self._rows.symbols.names, other._rows.symbols.names)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        if not self._said:
            return ()
        return [*self._messages("unsubscribe", gone), *self._messages("subscribe", added)]

    def _messages(self, kind: str, names: list[str]) -> list[str]:
        messages = [
            {"type": kind, "product_ids": names, "channel": channel} for channel in self._channels
        ]
        return [msgspec.json.encode(message).decode() for message in messages if names]

    def answer(self, frame: Frame) -> Answer | None:
        """Each answer lists all that is subscribed. Books that were lost are asked for anew."""
        if self._books.lost:
            self._books.lost = False
            names, channel = self._rows.symbols.names, _BOOKS
            again = [
                {"type": kind, "product_ids": names, "channel": channel}
                for kind in ("unsubscribe", "subscribe")
            ]
            return Answer(send=[msgspec.json.encode(message).decode() for message in again])
        try:
            said = read_envelope(frame.data)
        except UNREADABLE:
            return None
        if said.channel != "subscriptions":
            return None
        return Answer(
            accepted=[
                f"{channel} {name}"
                for event in said.events
                for channel, names in event.subscriptions.items()
                for name in names
            ]
        )

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a frame, or of a page of history; a jump of the count is told."""
        if frame.status:
            return self._past(frame)
        try:
            said = read_envelope(frame.data)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        jump = self._jump(said)
        if not jump:
            return self._events(said)
        self._books.forget()
        try:
            events = self._events(said)
        except Skippable as error:
            events = [event for event in error.events if isinstance(event, Event)]
        raise Skippable("sequence", f"{jump} messages before {said.sequence_num}", events)

    def _events(self, said: Envelope) -> Sequence[Event]:
        if said.channel == "market_trades":
            events = each([raw for event in said.events for raw in event.trades], self._trade)
            return sorted(events, key=lambda event: getattr(event, "sequence", 0))
        if said.channel == "l2_data":
            return each(said.events, self._quotes)
        if said.type == "error":
            raise Skippable("notice", f"Coinbase: {said.message}")
        if said.channel not in ("subscriptions", "heartbeats", "ticker"):
            raise Skippable("unknown", f"channel {said.channel!r}")
        return ()

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """A thousand trades of a time, the newest of it; then those before them."""
        end = -(-hole.ended_at // SECOND)
        if last is not None:
            first = oldest(last)
            if len(last) < PAGE or first is None or first < hole.started_at:
                return None
            end = -(-first // SECOND)
            if end >= self._end:  # a page of one second
                return None
        self._end = end
        name = self._names[hole.symbol]
        params = {"limit": str(PAGE), "start": str(hole.started_at // SECOND), "end": str(end)}
        url = f"{self._rest_url}/api/v3/brokerage/market/products/{name}/ticker"
        return Request(url, params, AGENT, about=name)

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """Where the last page begins before the hole, or is not full."""
        del asked_ns
        first = oldest(last)
        return len(last) < PAGE or (first is not None and first < hole.started_at)

    def _past(self, frame: Frame) -> Sequence[Event]:
        wrong = refused(frame, "Coinbase", frame.data.decode(errors="replace"))
        if wrong is not None:
            raise wrong
        try:
            trades = msgspec.json.decode(frame.data, type=Past).trades
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        return each(reversed(trades), self._trade)

    def _jump(self, said: Envelope) -> int:
        last, self._sequence = self._sequence, said.sequence_num
        if last is None or said.sequence_num is None:
            return 0
        return max(0, said.sequence_num - last - 1)

    def _trade(self, raw: Raw) -> Iterator[Event]:
        data = read_trade(raw)
        yield trade_of(self._rows, data, data.product_id, by_maker=self._by_maker)

    def _quotes(self, event: Happened) -> Iterator[Event]:
        book, time = self._books.of(event.product_id), 0
        if event.type == "snapshot":
            self._books.snapshot(event.product_id, (), ())
        for update in event.updates:
            take = book.bid if update.side == "bid" else book.ask
            take(update.price_level, update.new_quantity)
            time = max(time, parse_iso(update.event_time))
        if event.updates:
            yield from self._books.changed(event.product_id, time)
