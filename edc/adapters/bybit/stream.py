"""The websockets: topics are asked for, and pushes of them become events."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw

from edc.adapters import Answer, FeedPlan, Hole, Keepalive, Silence
from edc.adapters.bybit.messages import Book, Said, Ticker, Topics, Trade
from edc.adapters.bybit.options import BybitFeedOptions
from edc.adapters.bybit.rest import most_recent, recent, trades
from edc.adapters.bybit.rows import conditions, rows_of
from edc.errors import Skippable
from edc.events import Event
from edc.fields import UNREADABLE, decimal
from edc.rows import differing, each, oldest, spaced
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

_AT_ONCE = 10
"""Arguments in one message: spot takes no more."""
_frame = msgspec.json.Decoder(Said).decode
_trade = msgspec.json.Decoder(Trade, strict=False).decode
_book = msgspec.json.Decoder(Book, strict=False).decode
_ticker = msgspec.json.Decoder(Ticker).decode
_raws = msgspec.json.Decoder(list[Raw]).decode


class BybitStream:
    """Some streams of some instruments of one category on one connection."""

    messages_per_second = 10.0
    keepalive: Keepalive | None = Keepalive('{"op":"ping"}', 20.0)
    history_every = 0.2
    overlap = 2.0
    coarse = 0.0
    confirms = False

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BybitFeedOptions)
        options = plan.options
        self._category = options.channel
        self.url = f"{plan.vendor_options.url}/{options.channel}"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = rows_of(plan)
        symbols = self._rows.symbols
        self.topics: dict[str, str] = {}
        for stream in options.streams:
            for name in symbols.names:
                if options.channel == "option" and stream == "orderbook.1":
                    continue  # its book begins at depth 25; the tickers have the best level
                by_coin = options.channel == "option" and stream == "publicTrade"
                told = name.partition("-")[0] if by_coin else name
                self.topics.setdefault(f"{stream}.{told}", symbols.of(name)[0])
        self._rest_url = str(plan.vendor_options.rest_url)
        self.spans: list[tuple[str, str]] = []
        if "publicTrade" in options.streams:
            self._names = {symbols.of(name)[0]: name for name in symbols.names}
            self.spans = [("trade", symbol) for symbol in self._names]
        self._asked: dict[str, Sequence[str]] = {}
        self._books: dict[str, tuple[int, tuple[float, float] | None, tuple[float, float] | None]]
        self._books = {}
        self._prices: dict[tuple[str, str], float] = {}

    def subscribe(self) -> Sequence[str]:
        """Ten arguments a message."""
        return self._say("subscribe", list(self.topics))

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Ten arguments a message here too."""
        other = BybitStream(plan)
        added, gone = differing(self.topics, other.topics)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        if not self._asked:
            return ()
        return [*self._say("unsubscribe", gone), *self._say("subscribe", added)]

    def _say(self, operation: str, topics: Sequence[str]) -> list[str]:
        said = []
        for some in spaced(topics, _AT_ONCE):
            number = str(len(self._asked) + 1)
            self._asked[number] = some if operation == "subscribe" else ()
            said.append(_message(number, some, operation))
        return said

    def answer(self, frame: Frame) -> Answer | None:
        """A message is accepted or refused whole; refused ones are tried piece by piece."""
        try:
            said = _frame(frame.data)
            if said.type == "COMMAND_RESP":
                told = msgspec.json.decode(said.data, type=Topics)
                why = dict.fromkeys(told.fail_topics, "there is no such topic")
                return Answer(accepted=told.success_topics, refused=why)
        except UNREADABLE:
            return None
        if said.success is None or said.op == "ping":
            return None
        asked = self._asked.get(said.req_id)
        if asked is None:  # a reply without its number is about the first message that is open
            asked = next(iter(self._asked.values()), None) if not said.req_id else None
        if asked is None:
            return None
        if said.success:
            return Answer(accepted=asked)
        if len(asked) == 1:
            return Answer(refused={asked[0]: said.ret_msg})
        again = {f"{said.req_id}.{number}": [topic] for number, topic in enumerate(asked, 1)}
        self._asked |= again
        return Answer(send=[_message(number, topics) for number, topics in again.items()])

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a push, or the trades of a list of recent ones."""
        if frame.status:
            return trades(self._rows, self._category, frame)
        try:
            said = _frame(frame.data)
            kind = said.topic.rpartition(".")[0]
            if kind == "publicTrade":
                return each(_raws(said.data), self._trade)
            if kind == "orderbook.1":
                return list(self._quote(said))
            if kind == "tickers":
                return list(self._priced(_ticker(said.data), said.ts))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        if said.success is not None or said.op == "pong" or said.type == "COMMAND_RESP":
            return ()
        raise Skippable("unknown", f"topic {said.topic!r}")

    def _trade(self, raw: Raw) -> Iterator[Event]:
        data = _trade(raw)
        if self._category == "option" and not self._rows.symbols.has(data.s):
            return  # the topic brings all of its base coin
        yield self._rows.trade(
            *(data.s, instant(data.T, MILLISECOND), data.p, data.v),
            trade_id=data.i,
            side=data.S.lower(),
            sequence=data.seq,
            conditions=conditions(self._category, block=data.BT, rpi=data.RPI),
        )

    def _quote(self, said: Said) -> Iterator[Event]:
        book = _book(said.data)
        u, bid, ask = self._books.get(book.s, (0, None, None))
        if said.type == "snapshot":
            bid = ask = None
        elif book.u == u:
            return
        if said.type == "snapshot" and book.u == u and u != 1:
            return  # it is repeated every three seconds
        bid, ask = _best(bid, book.b), _best(ask, book.a)
        self._books[book.s] = (book.u, bid, ask)
        time = instant(said.ts if said.cts is None else said.cts, MILLISECOND)
        sides = (*(bid or (None, None)), *(ask or (None, None)))
        yield self._rows.quote(book.s, time, *sides, sequence=book.u)

    def _priced(self, data: Ticker, ts: int) -> Iterator[Event]:
        time = instant(ts, MILLISECOND)
        if data.bid_price or data.ask_price:
            yield self._rows.quote(
                *(data.symbol, time, decimal(data.bid_price), decimal(data.bid_size)),
                *(decimal(data.ask_price), decimal(data.ask_size)),
            )
        prices = {"last": data.last_price, "mark": data.mark_price}
        prices["index"] = data.index_price or data.usd_index_price
        for kind, text in prices.items():
            price = decimal(text)
            if price is not None and price != self._prices.get((data.symbol, kind)):
                yield self._rows.price(data.symbol, time, price, kind)
                self._prices[data.symbol, kind] = price

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The list of recent trades: there is no other."""
        if last is not None:
            return None
        return recent(self._rest_url, self._category, self._names[hole.symbol])

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """Where the list begins before the hole, or is not full."""
        del asked_ns
        first = oldest(last)
        full = len(last) >= most_recent(self._category)
        return not full or (first is not None and first < hole.started_at)


def _best(
    known: tuple[float, float] | None, levels: list[tuple[float, float]]
) -> tuple[float, float] | None:
    """The best level after a change; a size of 0 takes it away."""
    for price, size in levels:
        if size:
            known = (price, size)
        elif known is not None and known[0] == price:
            known = None
    return known


def _message(number: str, topics: Sequence[str], operation: str = "subscribe") -> str:
    return msgspec.json.encode({"req_id": number, "op": operation, "args": topics}).decode()
