"""The websocket: channels and their numbers, the count of its arrays, books and their sums."""

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw

from edc.adapters import Answer, FeedPlan, Hole, Keepalive, Silence
from edc.adapters.bitfinex.book import SummedBook
from edc.adapters.bitfinex.messages import (
    Said,
    message,
    number_of,
    parts_of,
    payload,
    read,
    subscription,
    time_of,
)
from edc.adapters.bitfinex.options import BitfinexFeedOptions
from edc.adapters.bitfinex.rest import answered
from edc.adapters.bitfinex.rows import made, rows_of
from edc.errors import Retriable, Skippable, Unsound
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import differing, each, newest, oldest
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

_FLAGS = 32768 + 65536 + 131072
_MOST_WRONG = 3
"""Wrong sums in a row that are put down to the book."""
_LAST, _INDEX, _MARK = 2, 3, 14
_PAGE = 10_000
_numbers = msgspec.json.Decoder(list[Number | str | None]).decode


class BitfinexStream:
    """Some channels on one connection."""

    messages_per_second = 10.0
    keepalive: Keepalive | None = None
    history_every = 6.0
    """The venue allows ten a minute at worst."""
    overlap = 2.0
    coarse = 0.0
    confirms = False

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BitfinexFeedOptions)
        options = plan.options
        self._history = f"{plan.vendor_options.rest_url}/v2/trades"
        self.url = str(plan.vendor_options.url)
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = rows_of(plan)
        symbols = self._rows.symbols
        self._streams = options.streams
        self.topics = {
            f"{stream} {name}": symbols.of(name)[0]
            for stream in options.streams
            for name in symbols.names
        }
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        trades = self._names if "trades" in options.streams else ()
        self.spans = [("trade", symbol) for symbol in trades]
        self._channels: dict[int, tuple[str, str]] = {}
        self._left: dict[int, tuple[str, str]] = {}
        """Channels that were unsubscribed: what is on its way is read all the same."""
        self._said = False
        self._sequence: int | None = None
        self._books: dict[str, SummedBook] = {}
        self._lost: set[str] = set()
        """Books that were forgotten and have to be asked for."""
        self._missing: dict[str, int] = {}
        """Books that have not come anew, and since when (ns)."""
        self._sound: dict[str, int] = {}
        """When each book was last known to be the venue's (ns)."""
        self._wrong: Counter[str] = Counter()
        """Wrong sums in a row, by book."""
        self._tops: dict[str, tuple[float | None, ...]] = {}
        self._prices: dict[tuple[str, str], float] = {}

    def subscribe(self) -> Sequence[str]:
        """The flags first, then one channel a message."""
        self._said = True
        return [message(event="conf", flags=_FLAGS), *map(subscription, self.topics)]

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Channels go by their numbers: one that has none yet goes once it is acknowledged."""
        other = BitfinexStream(plan)
        added, gone = differing(self.topics, other.topics)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        if not self._said:
            return ()
        numbers = {" ".join(channel): number for number, channel in self._channels.items()}
        known = [numbers[topic] for topic in gone if topic in numbers]
        for number in known:
            self._left[number] = self._channels.pop(number)
        said = [message(event="unsubscribe", chanId=number) for number in known]
        return said + [subscription(topic) for topic in added]

    def answer(self, frame: Frame) -> Answer | None:
        """Each channel is acknowledged, or refused by an error that names it.

        Books that were lost are asked for anew.
        """
        if self._lost:
            return Answer(send=self._again())
        try:
            said = read(frame.data)
        except UNREADABLE:
            return None
        topic = f"{said.channel} {said.symbol or said.key.removeprefix('deriv:')}"
        match said.event:
            case "subscribed" if topic not in self.topics:
                return Answer(send=(message(event="unsubscribe", chanId=said.chan_id),))
            case "subscribed":
                return Answer(accepted=(topic,))
            case "error":
                return Answer(refused={topic: f"{said.msg} ({said.code})"})
            case "info" if said.code == 20051:  # noqa: PLR2004 - the server restarts
                return Answer(leaving=True)
        return None

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of an array; what a channel means is learned from its subscription."""
        if frame.status:
            return answered(self._rows, frame)
        try:
            if frame.data.lstrip()[:1] != b"[":
                return self._control(read(frame.data))
            parts = parts_of(frame.data)
            number = number_of(parts[0])
        except (*UNREADABLE, IndexError) as error:
            raise Skippable("malformed", str(error)) from None
        try:
            rest = parts[payload(parts) :]
            missing = self._jump(number_of(rest[0])) if rest else 0
            if missing:
                self._forget(time_of(rest, frame))
            events = self._events(number, parts, time_of(rest, frame))
        except (*UNREADABLE, IndexError) as error:
            raise Skippable("malformed", str(error)) from None
        if missing:
            raise Skippable("sequence", f"{missing} messages of the connection", events)
        return events

    def _forget(self, time: int) -> None:
        """Changes are missing: no book is right until it comes whole again."""
        for name in list(self._books):
            self._lose(name, time)

    def _lose(self, name: str, time: int) -> None:
        del self._books[name]
        self._tops.pop(name, None)
        self._lost.add(name)
        self._missing[name] = time

    def _again(self) -> list[str]:
        """What ends the subscriptions of the lost books, and begins them anew."""
        ended = [
            message(event="unsubscribe", chanId=number)
            for number, (channel, name) in self._channels.items()
            if channel == "book" and name in self._lost
        ]
        topics = [topic for topic in self.topics if topic.removeprefix("book ") in self._lost]
        self._lost.clear()
        return [*ended, *map(subscription, topics)]

    def _control(self, said: Said) -> Sequence[Event]:
        if said.event == "subscribed" and said.chan_id is not None:
            name = said.symbol or said.key.removeprefix("deriv:")
            self._channels[said.chan_id] = (said.channel, name)
        elif said.event == "unsubscribed" and said.chan_id is not None:
            self._channels.pop(said.chan_id, None)
        elif said.event == "info" and said.code == 20061:  # noqa: PLR2004 - see above
            raise Retriable("server_error", "Bitfinex is back from its maintenance", 0.0)
        elif said.event not in ("subscribed", "info", "conf", "pong", "error", "unsubscribed"):
            raise Skippable("unknown", f"event {said.event!r}")
        return ()

    def _jump(self, sequence: int) -> int:
        last, self._sequence = self._sequence, sequence
        return 0 if last is None else max(0, sequence - last - 1)

    def _events(self, number: int, parts: list[Raw], time: int) -> Sequence[Event]:
        """The events of an array."""
        told = bytes(parts[1])
        if told == b'"hb"':
            return ()
        channel, name = self._channels.get(number) or self._left.get(number, ("", ""))
        if told == b'"cs"' and channel == "book":
            return self._verify(name, number_of(parts[2]), time)
        if told.startswith(b'"'):
            if channel != "trades" or told not in (b'"te"', b'"tu"'):
                raise Skippable("unknown", f"message {told[:20]!r} of channel {channel!r}")
            return list(made(self._rows, name, parts[2])) if told == b'"te"' else ()
        if channel == "trades":
            rows = reversed(parts_of(parts[1]))  # the newest comes first
            return each(rows, lambda raw: made(self._rows, name, raw))
        if channel == "book":
            return self._booked(name, parts[1], time)
        if channel == "status":
            return list(self._priced(name, _numbers(parts[1])))
        raise Skippable("unknown", f"channel {number}, which was not subscribed")

    def _booked(self, name: str, raw: Raw, time: int) -> Sequence[Event]:
        """The quote of a book that has changed, if it is another one. Raises Unsound."""
        rows = parts_of(raw)
        whole = not rows or bytes(rows[0]).startswith(b"[")
        if whole:
            self._books[name] = SummedBook()
            self._sound[name] = time
        book = self._books.get(name)
        if book is None:  # it was forgotten, and comes anew
            return ()
        for row in rows if whole else [raw]:
            book.change(row)
        quotes = list(self._quote(name, book, time))
        since = self._missing.pop(name, None) if whole else None
        if since is not None:
            symbol = self._rows.symbols.of(name)[0]
            raise Unsound(symbol, since, "its book has come anew", quotes)
        return quotes

    def _verify(self, name: str, told: int, time: int) -> Sequence[Event]:
        """Nothing comes of a sum that is right. Raises Unsound for another."""
        book = self._books.get(name)
        if book is None or self._wrong[name] > _MOST_WRONG:
            return ()
        found = book.checksum()
        if found == told:
            self._sound[name], self._wrong[name] = time, 0
            return ()
        self._wrong[name] += 1
        last = self._wrong[name] > _MOST_WRONG
        if not last:
            self._lose(name, time)
        symbol, since = self._rows.symbols.of(name)[0], self._sound[name]
        more = ", again and again: its sums are believed no longer" if last else ""
        raise Unsound(symbol, since, f"its book sums up to {found}, the venue's to {told}{more}")

    def _quote(self, name: str, book: SummedBook, time: int) -> Iterator[Event]:
        top = book.top()
        if None not in top and top != self._tops.get(name):
            self._tops[name] = top
            yield self._rows.quote(name, time, *top)

    def _priced(self, name: str, values: list[float | str | None]) -> Iterator[Event]:
        ms = values[0]
        if not isinstance(ms, float):
            raise msgspec.ValidationError("a status without a time")
        for kind, at in (("last", _LAST), ("index", _INDEX), ("mark", _MARK)):
            price = values[at] if at < len(values) else None
            if isinstance(price, float) and price != self._prices.get((name, kind)):
                yield self._rows.price(name, instant(int(ms), MILLISECOND), price, kind)
                self._prices[name, kind] = price

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The trades of a time, ten thousand at once, each page from where the last one ended."""
        start = hole.started_at if last is None else newest(last)
        if start is None or (last is not None and len(last) < _PAGE):
            return None
        name = self._names[hole.symbol]
        params = {"start": str(start // MILLISECOND), "end": str(hole.ended_at // MILLISECOND)}
        params |= {"limit": str(_PAGE), "sort": "1"}
        if last is not None and oldest(last) == start:  # a page of one moment: it is all there is
            return None
        return Request(f"{self._history}/{name}/hist", params, about=name)

    def reaches(self, hole: Hole, last: Sequence[Event], asked_ns: int) -> bool:
        """All of it, since the venue forgets nothing."""
        del hole, asked_ns
        return len(last) < _PAGE
