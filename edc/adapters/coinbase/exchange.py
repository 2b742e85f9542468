"""Coinbase's Exchange, by websocket and by REST."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from msgspec import Raw

from edc.adapters import Answer, FeedPlan, Hole, Keepalive, Silence
from edc.adapters.coinbase.messages import Said, read_frame, read_trade
from edc.adapters.coinbase.options import CoinbaseFeedOptions
from edc.adapters.coinbase.rows import AGENT, PAGE, Books, rows_of, trade_of
from edc.errors import Skippable
from edc.events import Event
from edc.fields import UNREADABLE
from edc.rows import Rows, above_missing, differing, each, listed
from edc.times import parse_iso
from edc.transport import Frame, Request


class CoinbaseExchange:
    """The Exchange feed of some products."""

    messages_per_second = 50.0
    keepalive: Keepalive | None = None
    history_every = 0.2

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, CoinbaseFeedOptions)
        options = plan.options
        self.url = str(plan.vendor_options.url)
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._rows = rows_of(plan)
        self._rest_url = str(plan.vendor_options.rest_url)
        self._books = Books(self._rows)
        channels = {"trades": "matches", "quotes": "level2_batch"}
        self._channels = [channels[stream] for stream in options.streams]
        symbols = self._rows.symbols
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        self.topics = {
            f"{channel} {name}": symbols.of(name)[0]
            for name in symbols.names
            for channel in self._channels
        }
        self._said = False
        self._make: dict[str, Callable[[Said, bytes, int], Iterator[Event]]] = {
            "match": self._match,
            "last_match": self._match,
            "snapshot": self._snapshot,
            "l2update": self._changes,
        }

    def subscribe(self) -> Sequence[str]:
        """One product a message, with the heartbeat that tells its last trade."""
        self._said = True
        return self._messages("subscribe", self._rows.symbols.names)

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """One product a message here too."""
        other = CoinbaseExchange(plan)
        added, gone = differing(self._rows.symbols.names, other._rows.symbols.names)
        self._rows.symbols.become(other._rows.symbols)
        self.topics = other.topics
        self._names |= other._names
        if not self._said:
            return ()
        return [*self._messages("unsubscribe", gone), *self._messages("subscribe", added)]

    def _messages(self, kind: str, names: Iterable[str]) -> list[str]:
        channels = [*self._channels, "heartbeat"]
        return [
            msgspec.json.encode(
                {"type": kind, "product_ids": [name], "channels": channels}
            ).decode()
            for name in names
        ]

    def answer(self, frame: Frame) -> Answer | None:
        """Each answer lists all that is subscribed; an error may name the product."""
        try:
            said = read_frame(frame.data)
        except UNREADABLE:
            return None
        if said.type == "subscriptions":
            names = {"level2_50": "level2_batch"}
            return Answer(
                accepted=[
                    f"{names.get(listed.name, listed.name)} {name}"
                    for listed in said.channels
                    for name in listed.product_ids
                ]
            )
        if said.type == "error":
            why = f"{said.message}: {said.reason}".rstrip(": ")
            named = [topic for topic in self.topics if topic.partition(" ")[2] in why]
            return Answer(refused=dict.fromkeys(named, why))
        return None

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a frame, or of a page of history."""
        if frame.status:
            return _answered(self._rows, frame)
        try:
            said = read_frame(frame.data)
            make = self._make.get(said.type)
            if make is not None:
                return list(make(said, frame.data, frame.received_ns))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None
        if said.type in ("subscriptions", "heartbeat", "ticker"):
            return ()
        if said.type == "error":
            if "ErrSlow" in said.message:
                raise Skippable("notice", f"Coinbase: {said.message}")
            return ()
        raise Skippable("unknown", f"type {said.type!r}")

    def _match(self, said: Said, data: bytes, _received_ns: int) -> Iterator[Event]:
        yield trade_of(self._rows, read_trade(data), said.product_id, by_maker=True)

    def _snapshot(self, said: Said, _data: bytes, received_ns: int) -> Iterator[Event]:
        self._books.snapshot(said.product_id, said.bids, said.asks)
        time = parse_iso(said.time) if said.time else received_ns
        yield from self._books.changed(said.product_id, time)

    def _changes(self, said: Said, _data: bytes, received_ns: int) -> Iterator[Event]:
        book = self._books.of(said.product_id)
        for side, price, size in said.changes:
            (book.bid if side == "buy" else book.ask)(price, size)
        time = parse_iso(said.time) if said.time else received_ns
        yield from self._books.changed(said.product_id, time)

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """A thousand trades older than the end of the hole, then older ones."""
        oldest = above_missing(hole, last)
        if oldest is None:
            return None
        return _request(self._rest_url, self._names[hole.symbol], str(oldest))


class CoinbaseRest:
    """The last trades of each product, from the Exchange."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, CoinbaseFeedOptions)
        self.interval = plan.options.interval
        self._url = str(plan.vendor_options.rest_url)
        self._rows = rows_of(plan)

    def requests(self) -> Sequence[Request]:
        """One for each product."""
        return [_request(self._url, name) for name in self._rows.symbols.names]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return _answered(self._rows, frame)


def _request(url: str, name: str, after: str = "") -> Request:
    params = {"limit": str(PAGE)} | ({"after": after} if after else {})
    return Request(f"{url}/products/{name}/trades", params, AGENT, about=name)


def _answered(rows: Rows, frame: Frame) -> Sequence[Event]:
    """The trades of an answer, oldest first; whose they are, the request says."""
    raws = listed(frame, "Coinbase")

    def trade(raw: Raw) -> Iterator[Event]:
        yield trade_of(rows, read_trade(raw), frame.about, by_maker=True)

    return each(reversed(raws), trade)
