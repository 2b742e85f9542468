"""The websockets: channels are asked for, and pushes of them become events."""

import re
from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import Raw

from edc.adapters import Answer, FeedPlan, Hole, Keepalive, Silence
from edc.adapters.okx.messages import Book, Price, read
from edc.adapters.okx.options import OkxFeedOptions
from edc.adapters.okx.rest import answered
from edc.adapters.okx.rows import Trades, rows_of
from edc.errors import Skippable
from edc.events import Event
from edc.fields import UNREADABLE, decimal
from edc.rows import above_missing, differing, each
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

_AT_ONCE = 50
_PAGE = 100
_NAMED = re.compile(r"channel:(?P<channel>[\w-]+),\s*instId:(?P<name>[\w-]+)")
_book = msgspec.json.Decoder(Book, strict=False).decode
_price = msgspec.json.Decoder(Price, strict=False).decode


class OkxStream:
    """Some streams of some instruments on one connection."""

    messages_per_second = 3.0
    keepalive: Keepalive | None = Keepalive("ping", 20.0)
    history_every = 0.2

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, OkxFeedOptions)
        options = plan.options
        business = options.channel.endswith("_trades")
        self.url = f"{plan.vendor_options.url}/{'business' if business else 'public'}"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = rows_of(plan)
        self._rest_url = str(plan.vendor_options.rest_url)
        symbols = self._rows.symbols
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        self.topics = {
            f"{stream} {name}": symbols.of(name)[0]
            for stream in options.chosen
            for name in symbols.names
        }
        in_contracts = options.channel.startswith("derivatives")
        self._trades = Trades(self._rows, in_contracts=in_contracts, numbered=business)
        self._prices: dict[tuple[str, str], float] = {}
        self._said = 0
        self._make: dict[str, Callable[[Raw, str], Iterator[Event]]] = {
            "trades": lambda raw, _name: self._trades.of(raw),
            "trades-all": lambda raw, _name: self._trades.of(raw),
            "bbo-tbt": self._quote,
            "tickers": self._priced,
            "mark-price": self._priced,
            "index-tickers": self._priced,
        }

    def subscribe(self) -> Sequence[str]:
        """Fifty arguments a message: under its limit of 64 KB by far."""
        return self._say("subscribe", list(self.topics))

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Each change counts as a subscription; fifty arguments a message here too."""
        other = OkxStream(plan)
        added, gone = differing(self.topics, other.topics)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        self._names |= other._names
        if not self._said:
            return ()
        return [*self._say("unsubscribe", gone), *self._say("subscribe", added)]

    def _say(self, operation: str, topics: Sequence[str]) -> list[str]:
        pairs = [topic.split(" ", 1) for topic in topics]
        arguments = [{"channel": stream, "instId": name} for stream, name in pairs]
        said = []
        for start in range(0, len(arguments), _AT_ONCE):
            self._said += 1
            some = arguments[start : start + _AT_ONCE]
            message = {"id": str(self._said), "op": operation, "args": some}
            said.append(msgspec.json.encode(message).decode())
        return said

    def answer(self, frame: Frame) -> Answer | None:
        """An acknowledgement, a refusal, or the notice that the connection ends."""
        try:
            said = read(frame.data)
        except UNREADABLE:
            return None
        match said.event:
            case "subscribe" if said.arg is not None:
                return Answer(accepted=(f"{said.arg.channel} {said.arg.inst_id}",))
            case "notice" if said.code == "64008":
                return Answer(leaving=True)
            case "error":
                why = f"{said.msg} ({said.code})"
                named = _NAMED.search(said.msg)
                if named is not None:
                    return Answer(refused={f"{named['channel']} {named['name']}": why})
                return Answer(refused=dict.fromkeys(self.topics, why))
        return None

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a push, or of a page of history."""
        if frame.status:
            return answered(self._trades, frame)
        if frame.data == b"pong":
            return ()
        try:
            said = read(frame.data)
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        if said.arg is not None and said.data is not None:
            make = self._make.get(said.arg.channel)
            if make is None:
                raise Skippable("unknown", f"channel {said.arg.channel!r}")
            name = said.arg.inst_id
            return each(said.data, lambda raw: make(raw, name))
        if said.event in ("subscribe", "unsubscribe", "notice", "error", "channel-conn-count"):
            return ()
        raise Skippable("unknown", f"event {said.event!r}")

    def _quote(self, raw: Raw, name: str) -> Iterator[Event]:
        book = _book(raw)
        bid = book.bids[0][:2] if book.bids else (None, None)
        ask = book.asks[0][:2] if book.asks else (None, None)
        time = instant(book.ts, MILLISECOND)
        yield self._rows.quote(name, time, *bid, *ask, sequence=book.seq_id)

    def _priced(self, raw: Raw, _name: str) -> Iterator[Event]:
        data = _price(raw)
        for kind, text in (("last", data.last), ("mark", data.markPx), ("index", data.idxPx)):
            price = decimal(text)
            if price is not None and price != self._prices.get((data.instId, kind)):
                yield self._rows.price(data.instId, instant(data.ts, MILLISECOND), price, kind)
                self._prices[data.instId, kind] = price

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """`history-trades`, a hundred older than the end of the hole, then older ones."""
        oldest = above_missing(hole, last)
        if oldest is None:
            return None
        params = {"instId": self._names[hole.symbol], "type": "1", "after": str(oldest)}
        params["limit"] = str(_PAGE)
        return Request(f"{self._rest_url}/api/v5/market/history-trades", params)
