"""Bitfinex v2, by websocket and by REST. No key is needed.

Source: the venue's pages, its Python client, recordings of 2019 to 2021. Data are arrays, `[chanId,
…, sequence, time]`; what a channel id means is said when it is subscribed. Flags ask for a sequence
of all arrays of a connection, heartbeats included, for the server's time, and for books' checksums.

* A jump of that sequence is told, and books are asked for anew: until they have come there are no
  quotes. So is a book whose sum is not the venue's; what was recorded of it since its last right
  sum is told as unsound. UNCONFIRMED: that numbers are summed as they are sent. Of a symbol whose
  book is wrong by its sum four times in a row, though it came whole each time, sums are no longer
  believed on that connection.
* Trades' ids are unique, but not in order. Of `te` and `tu`, which tell the same trade twice, `te`
  is taken. An amount above 0: the taker bought. Subscribing brings the last 30 trades.
* The book is asked for with 25 levels a side, since that is what the sum is of. A level may be
  taken away before its successor comes; quotes are recorded only with both sides, when the best
  level changes. `ticker` is no quote, its sizes are sums of 25 levels.
* `status` of derivatives gives last (2), index (3) and mark (14) price, each a ref_px when it
  changes. Derivatives are called by the venue's own names (`tBTCF0:USTF0`), in lower case; spot
  pairs like all pairs. The venue's own codes: UST is USDT, UDC is USDC.
* Info 20051: the server restarts; 20061: maintenance is over, everything is to be subscribed anew.
* UNCONFIRMED: most error codes; any `error` that names a channel and a symbol refuses it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

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
from edc.bitfinex_book import LEVELS, SummedBook
from edc.errors import Retriable, Skippable, Unsound
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import Rows, differing, each, listed, newest, oldest
from edc.symbols import Symbols, parted, usual_pair
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

Stream = Literal["trades", "book", "status"]
_MOST_CHANNELS = 25
_FLAGS = 32768 + 65536 + 131072
_MOST_WRONG = 3
"""Wrong sums in a row that are put down to the book."""
_CODES = {"USDT": "UST", "USDC": "UDC"}
_USUAL = {code: name for name, code in _CODES.items()}
_OWN = re.compile(r"t([A-Z0-9]{2,}:?[A-Z0-9]{3,})")
_LAST, _INDEX, _MARK = 2, 3, 14
_PAGE = 10_000


class BitfinexVendorOptions(VendorOptions):
    """`[vendors.bitfinex]`."""

    url: WebsocketUrl = "wss://api-pub.bitfinex.com/ws/2"
    rest_url: HttpUrl = "https://api-pub.bitfinex.com"


class BitfinexFeedOptions(FeedOptions):
    """`[feeds.NAME]` of Bitfinex; `status` is for derivatives. `interval` is for polling."""

    streams: tuple[Stream, ...] = Field(("trades", "book"), min_length=1)
    interval: Duration = Field(15.0, ge=1)


class _Said(Struct, rename="camel"):
    event: str
    channel: str = ""
    chan_id: int | None = None
    symbol: str = ""
    key: str = ""
    code: int | None = None
    msg: str = ""


_said = msgspec.json.Decoder(_Said).decode
_raws = msgspec.json.Decoder(list[Raw]).decode
_trade = msgspec.json.Decoder(tuple[int, int, Number, Number]).decode
_numbers = msgspec.json.Decoder(list[Number | str | None]).decode
_int = msgspec.json.Decoder(int).decode


def _rows(plan: FeedPlan) -> Rows:
    derivatives = plan.options.channel == "derivatives"

    def call(symbol: str, _type: str, written: str) -> str:
        if derivatives:
            return f"t{(written or symbol)[1:].upper()}"
        base, quote = (_CODES.get(code, code) for code in parted(symbol, written))
        return f"t{base}{':' if len(base) > 3 or len(quote) > 3 else ''}{quote}"  # noqa: PLR2004

    return Rows(Symbols(plan, call), "BITFINEX")


def _made(rows: Rows, name: str, raw: Raw) -> Iterator[Event]:
    number, ms, amount, price = _trade(_first_four(raw))
    yield rows.trade(
        *(name, instant(ms, MILLISECOND), price, abs(amount)),
        trade_id=str(number),
        side="buy" if amount > 0 else "sell",
    )


def _first_four(raw: Raw) -> bytes:
    """A row without what the venue may have added at its end."""
    parts = _raws(raw)
    return bytes(raw) if len(parts) <= 4 else b"[" + b",".join(map(bytes, parts[:4])) + b"]"  # noqa: PLR2004


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
        self._rows = _rows(plan)
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
        return [_message(event="conf", flags=_FLAGS), *map(_subscription, self.topics)]

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
        said = [_message(event="unsubscribe", chanId=number) for number in known]
        return said + [_subscription(topic) for topic in added]

    def answer(self, frame: Frame) -> Answer | None:
        """Each channel is acknowledged, or refused by an error that names it.

        Books that were lost are asked for anew.
        """
        if self._lost:
            return Answer(send=self._again())
        try:
            said = _said(frame.data)
        except UNREADABLE:
            return None
        topic = f"{said.channel} {said.symbol or said.key.removeprefix('deriv:')}"
        match said.event:
            case "subscribed" if topic not in self.topics:
                return Answer(send=(_message(event="unsubscribe", chanId=said.chan_id),))
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
            return _answered(self._rows, frame)
        try:
            if frame.data.lstrip()[:1] != b"[":
                return self._control(_said(frame.data))
            parts = _raws(frame.data)
            number = _int(parts[0])
        except (*UNREADABLE, IndexError) as error:
            raise Skippable("malformed", str(error)) from None
        try:
            rest = parts[_payload(parts) :]
            missing = self._jump(_int(rest[0])) if rest else 0
            if missing:
                self._forget(_time(rest, frame))
            events = self._events(number, parts, _time(rest, frame))
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
            _message(event="unsubscribe", chanId=number)
            for number, (channel, name) in self._channels.items()
            if channel == "book" and name in self._lost
        ]
        topics = [topic for topic in self.topics if topic.removeprefix("book ") in self._lost]
        self._lost.clear()
        return [*ended, *map(_subscription, topics)]

    def _control(self, said: _Said) -> Sequence[Event]:
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
            return self._verify(name, _int(parts[2]), time)
        if told.startswith(b'"'):
            if channel != "trades" or told not in (b'"te"', b'"tu"'):
                raise Skippable("unknown", f"message {told[:20]!r} of channel {channel!r}")
            return list(_made(self._rows, name, parts[2])) if told == b'"te"' else ()
        if channel == "trades":
            rows = reversed(_raws(parts[1]))  # the newest comes first
            return each(rows, lambda raw: _made(self._rows, name, raw))
        if channel == "book":
            return self._booked(name, parts[1], time)
        if channel == "status":
            return list(self._priced(name, _numbers(parts[1])))
        raise Skippable("unknown", f"channel {number}, which was not subscribed")

    def _booked(self, name: str, raw: Raw, time: int) -> Sequence[Event]:
        """The quote of a book that has changed, if it is another one. Raises Unsound."""
        rows = _raws(raw)
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


def _message(**message: object) -> str:
    return msgspec.json.encode(message).decode()


def _subscription(topic: str) -> str:
    stream, name = topic.split(" ", 1)
    where = {"key": f"deriv:{name}"} if stream == "status" else {"symbol": name}
    book = {"prec": "P0", "freq": "F0", "len": str(LEVELS)} if stream == "book" else {}
    return _message(event="subscribe", channel=stream, **where, **book)


def _payload(parts: Sequence[Raw]) -> int:
    """How many elements of an array stand before its sequence: some have one more."""
    return 3 if bytes(parts[1]) in (b'"te"', b'"tu"', b'"cs"') else 2


def _time(rest: Sequence[Raw], frame: Frame) -> int:
    """The server's time (ns), which comes after the sequence; else when it was received."""
    return instant(_int(rest[1]), MILLISECOND) if len(rest) > 1 else frame.received_ns


class BitfinexRest:
    """The last trades of each pair."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BitfinexFeedOptions)
        self.interval = plan.options.interval
        self._url = f"{plan.vendor_options.rest_url}/v2/trades"
        self._rows = _rows(plan)

    def requests(self) -> Sequence[Request]:
        """One for each pair."""
        return [
            Request(f"{self._url}/{name}/hist", {"limit": "1000"}, about=name)
            for name in self._rows.symbols.names
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return list(reversed(_answered(self._rows, frame)))


def _answered(rows: Rows, frame: Frame) -> Sequence[Event]:
    """The trades of an answer; whose they are, the request says."""
    if frame.data.startswith(b'["error",11010'):
        raise Retriable("rate_limited", "Bitfinex: ratelimit (11010)", 60.0)
    raws = listed(frame, "Bitfinex")
    return each(raws, lambda raw: _made(rows, frame.about, raw))


def _build(plan: FeedPlan) -> Adapter:
    return BitfinexRest(plan) if plan.options.channel == "spot_rest" else BitfinexStream(plan)


def _most_symbols(options: FeedOptions) -> int:
    assert isinstance(options, BitfinexFeedOptions)
    return _MOST_CHANNELS // len(options.streams)


def _lists(options: VendorOptions, channel: str) -> Sequence[Request]:
    kind = "futures" if channel == "derivatives" else "exchange"
    return [Request(f"{options.rest_url}/v2/conf/pub:list:pair:{kind},pub:map:currency:sym")]


def _instruments(frame: Frame) -> Sequence[Instrument]:
    """Pairs (`BTCUST`, `DOGE:USD`), then what others call the venue's codes (`["UST","USDt"]`)."""
    listed(frame, "Bitfinex")
    form = tuple[list[str], list[tuple[str, str]]]
    pairs, told = msgspec.json.decode(frame.data, type=form)
    codes = {code: name.upper() for code, name in told} | _USUAL
    made = []
    for pair in pairs:
        base, colon, quote = pair.partition(":")
        if not colon:
            base, quote = pair[:-3], pair[-3:]
        made.append(Instrument(f"t{pair}", codes.get(base, base), codes.get(quote, quote)))
    return made


def _usual(symbol: str) -> str:
    """`tBTCUST` is `BTC/USDT`."""
    own = _OWN.fullmatch(symbol.strip())
    return usual_pair(own[1].replace(":", "/") if own else symbol, _USUAL)


VENDOR = Vendor(
    title="Bitfinex",
    needs_key=False,
    channels={
        "spot": Channel("websocket", ("crypto",), ("trade", "quote"), "streams: trades, book"),
        "derivatives": Channel(
            "websocket",
            ("crypto",),
            ("trade", "quote", "ref_px"),
            "perpetuals; streams: trades, book, status (last, index, mark)",
            own_names=True,
        ),
        "spot_rest": Channel("poll", ("crypto",), ("trade",), "last trades"),
    },
    vendor_options=BitfinexVendorOptions,
    feed_options=BitfinexFeedOptions,
    build=_build,
    most_symbols=_most_symbols,
    instruments=Instruments(_lists, _instruments),
    usual=_usual,
)
