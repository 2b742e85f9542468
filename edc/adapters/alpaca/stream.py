"""Alpaca's endpoints by websocket."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, msgpack

from edc.adapters import Answer, FeedPlan, Hole, Keepalive, Silence
from edc.adapters import Message as Sent
from edc.adapters.alpaca.messages import Error, Message, Subscription, Success
from edc.adapters.alpaca.options import AT_ONCE, AlpacaFeedOptions
from edc.adapters.alpaca.rest import History
from edc.adapters.alpaca.rows import Makes
from edc.adapters.alpaca.short import short_way
from edc.errors import EdcError, Fatal, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE
from edc.rows import differing, each, spaced
from edc.transport import Frame, Request

_PATHS = {
    "iex": "v2/iex",
    "sip": "v2/sip",
    "delayed_sip": "v2/delayed_sip",
    "test": "v2/test",
    "crypto": "v1beta3/crypto/us",
}
_FULL = 405
_PARTED = (400, _FULL)
"""Codes that refuse a request of which parts may be accepted."""


class AlpacaStream:
    """One endpoint of Alpaca."""

    messages_per_second = 10.0
    keepalive: Keepalive | None = None

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, AlpacaFeedOptions)
        options = plan.options
        self.url = f"{plan.vendor_options.url}/{_PATHS[options.channel]}"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._binary = options.encoding == "msgpack"
        self.headers: Mapping[str, str] = {"Content-Type": f"application/{options.encoding}"}
        self._makes = Makes(plan)
        self._take = options.take
        self._key, self._secret = plan.key, plan.secret
        self._waiting: deque[list[str]] = deque()
        self._asking: list[str] = []
        """The topics of the request that is not answered yet."""
        self._welcome = False
        self._history = History(plan, self._makes)
        self.history_every = History.every
        self.spans = self._history.spans
        commonest = not (self._binary or self._makes.crypto)
        self.short = short_way(self._makes.rows, options.lot) if commonest else None
        symbols = self._makes.rows.symbols
        self.topics = {
            f"{kind} {name}": symbols.of(name)[0] for name in symbols.names for kind in options.take
        }
        decoder: Any = msgpack.Decoder if self._binary else msgspec.json.Decoder
        self._all: Callable[[bytes], list[Message]] = decoder(list[Message]).decode
        self._one: Callable[[Raw], Message] = decoder(Message).decode
        self._raws: Callable[[bytes], list[Raw]] = decoder(list[Raw]).decode

    def subscribe(self) -> Sequence[Sent]:
        """Nothing: the vendor speaks first."""
        return ()

    def answer(self, frame: Frame) -> Answer | None:
        """Key and secret after the greeting, then one request after the other."""
        try:
            messages = self._all(frame.data)
        except UNREADABLE:
            return None
        send: list[Sent] = []
        accepted: list[str] = []
        refused: dict[str, str] = {}
        for message in messages:
            if isinstance(message, Success) and message.msg == "connected":
                send.append(self._said(action="auth", key=self._key, secret=self._secret))
            elif isinstance(message, Success) and message.msg == "authenticated":
                self._welcome = True
                self._waiting.extend(self._pieces())
                send += self._next()
            elif isinstance(message, Subscription):
                accepted += [f"trades {name}" for name in message.trades or ()]
                accepted += [f"quotes {name}" for name in message.quotes or ()]
                send += self._next()
            elif isinstance(message, Error) and message.code in _PARTED and self._asking:
                refused |= self._part(message)
                send += self._next()
        return Answer(send=send, accepted=accepted, refused=refused)

    def change(self, plan: FeedPlan) -> Sequence[Sent]:
        """Symbols come and go; before the vendor knows us there is nothing to say."""
        other = AlpacaStream(plan)
        symbols = self._makes.rows.symbols
        added, gone = differing(symbols.names, other._makes.rows.symbols.names)
        symbols.become(other._makes.rows.symbols)
        self.topics, self.spans = other.topics, other.spans
        self._history = History(plan, self._makes)
        if not self._welcome:
            return ()
        said = [
            self._said(action="unsubscribe", **{kind: list(some) for kind in self._take})
            for some in spaced(gone, AT_ONCE)
        ]
        self._waiting.extend(self._pieces(added))
        return said if self._asking else [*said, *self._next()]

    def _pieces(self, names: Sequence[str] | None = None) -> list[list[str]]:
        """Topics for one request each; of all names where none are given."""
        symbols = self._makes.rows.symbols
        if names is None:
            names = ["*"] if symbols.everything else symbols.names
        topics = [f"{kind} {name}" for name in names for kind in self._take]
        return [list(piece) for piece in spaced(topics, AT_ONCE * len(self._take))]

    def _next(self) -> list[Sent]:
        """The next request, if there is one more to make."""
        self._asking = self._waiting.popleft() if self._waiting else []
        if not self._asking:
            return []
        asked: dict[str, list[str]] = {}
        for topic in self._asking:
            kind, _, name = topic.partition(" ")
            asked.setdefault(kind, []).append(name)
        return [self._said(action="subscribe", **asked)]

    def _part(self, error: Error) -> dict[str, str]:
        """What a refused request means: topics with the reason, or two requests in its place."""
        asked = self._asking
        if len(asked) > 1 and not self._makes.rows.symbols.everything:
            middle = len(asked) // 2
            self._waiting.extendleft((asked[middle:], asked[:middle]))
            return {}
        said = f"Alpaca: {error.msg} ({error.code})"
        if asked[0] not in self.topics:
            raise Fatal(said, "list the feed's symbols, or take a larger plan")
        if error.code == _FULL:  # so it is for all that would follow
            asked = [*asked, *(topic for piece in self._waiting for topic in piece)]
            self._waiting.clear()
        return {topic: f"{topic.partition(' ')[0]}: {said}" for topic in asked}

    def _said(self, **message: object) -> Sent:
        if self._binary:
            return msgpack.encode(message)
        return msgspec.json.encode(message).decode()

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """What a silence has missed of one symbol."""
        return self._history.page(hole, last)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a frame; an error of the vendor's is raised as what it means."""
        if frame.status:
            return self._history.decode(frame)
        try:
            messages: Sequence[Message] = self._all(frame.data)
        except UNREADABLE as error:
            try:
                raws = self._raws(frame.data)
            except UNREADABLE:
                raise Skippable("malformed", str(error)) from None
            return each(raws, self._of)
        for message in messages:
            if isinstance(message, Error):
                self._tell(message)
        return each(messages, self._makes.of)

    def _of(self, raw: Raw) -> Iterable[Event]:
        """One of several messages, of which some cannot be read."""
        try:
            message = self._one(raw)
        except msgspec.ValidationError as error:
            unknown = "`$.T`" in str(error)
            raise Skippable("unknown" if unknown else "malformed", str(error)) from None
        if isinstance(message, Error):
            self._tell(message)
        return self._makes.of(message)

    def _tell(self, error: Error) -> None:
        """Raise what a code means, unless `answer` deals with it."""
        if error.code not in _PARTED:
            _tell(error)
        elif not self._asking:
            raise Skippable("notice", f"Alpaca: {error.msg} ({error.code})")


def _tell(error: Error) -> None:
    """Raise what a code means; 403 (authenticated before) means nothing."""
    said = f"Alpaca: {error.msg} ({error.code})"
    means: dict[int, EdcError] = {
        401: Retriable("refused", said),
        402: Fatal(said, "check the API key and secret (ALPACA_API_KEY, ALPACA_API_SECRET)"),
        404: Retriable("timeout", said),
        406: Retriable("refused", said, 90.0),
        407: Retriable("refused", said),
        409: Fatal(said, "take a channel that your plan includes"),
        410: Fatal(said, "take a channel that has what this feed asks for"),
    }
    if error.code in means:
        raise means[error.code]
    if error.code != 403:  # noqa: PLR2004 - the vendor's number
        raise Retriable("server_error", said)
