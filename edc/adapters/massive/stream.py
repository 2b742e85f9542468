"""Massive's clusters by websocket."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import Raw

from edc.adapters import Answer, FeedPlan, Hole, Keepalive, Silence
from edc.adapters.massive.history import History
from edc.adapters.massive.messages import Message, Status, Told
from edc.adapters.massive.options import TOPICS, MassiveFeedOptions
from edc.adapters.massive.rows import Makes
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE
from edc.rows import differing, each, spaced
from edc.transport import Frame, Request

_AT_ONCE = 200
_SUBSCRIBED = "subscribed to: "
_REFUSALS = ("error", "not_authorized")
_FINE = ("connected", "auth_success", "success")
_told = msgspec.json.Decoder(list[Told]).decode
_all = msgspec.json.Decoder(list[Message]).decode
_one = msgspec.json.Decoder(Message).decode
_raws = msgspec.json.Decoder(list[Raw]).decode


class MassiveStream:
    """One cluster of Massive."""

    messages_per_second = 10.0
    keepalive: Keepalive | None = None

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, MassiveFeedOptions)
        options = plan.options
        self.url = f"{plan.vendor_options.url}/{options.channel}"
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._makes = Makes(plan)
        self._key = plan.key
        self._welcome = False
        kinds = [kind for take, kind in TOPICS[options.channel].items() if take in options.take]
        symbols = self._makes.rows.symbols
        self.topics = {
            f"{kind}.{name}": symbols.of(name)[0] for kind in kinds for name in symbols.names
        }
        self._topic_of = {
            (topic.partition(".")[0], symbol): topic for topic, symbol in self.topics.items()
        }
        self._history = History(plan, self._makes)
        self.history_every = options.history_every
        self.spans = self._history.spans
        if options.channel == "stocks":
            self.ids_are_numbered: Literal[True] = True
        self._wanted = [f"{kind}.*" for kind in kinds] if symbols.everything else list(self.topics)

    def subscribe(self) -> Sequence[str]:
        """Nothing: the vendor speaks first."""
        return ()

    def answer(self, frame: Frame) -> Answer | None:
        """The key after the greeting, subscriptions after it was accepted."""
        try:
            messages = [message for message in _told(frame.data) if message.ev == "status"]
        except UNREADABLE:
            return None
        send: list[str] = []
        accepted: list[str] = []
        refused: dict[str, str] = {}
        for message in messages:
            if message.status == "connected":
                send.append(_said("auth", self._key))
            elif message.status == "auth_success":
                self._welcome = True
                send += _messages("subscribe", self._wanted)
            elif message.status == "success" and message.message.startswith(_SUBSCRIBED):
                told = message.message.removeprefix(_SUBSCRIBED).split(",")
                accepted += [self._asked(topic.strip()) for topic in told]
            elif message.status in _REFUSALS:
                refused |= dict.fromkeys(self._named(message.message), message.message)
        said = send or accepted or refused
        return Answer(send=send, accepted=accepted, refused=refused) if said else None

    def _named(self, message: str) -> list[str]:
        """The topics of ours that a message names."""
        words = [self._asked(word.strip(".;:'\"")) for word in re.split(r"[\s,]+", message)]
        return [topic for topic in words if topic in self.topics]

    def _asked(self, topic: str) -> str:
        """How we have written a topic that is acknowledged; pairs come in several spellings."""
        kind, _, name = topic.partition(".")
        symbols, name = self._makes.rows.symbols, name.removeprefix("C:")
        if symbols.everything or not symbols.has(name):
            return topic
        return self._topic_of.get((kind, symbols.of(name)[0]), topic)

    def change(self, plan: FeedPlan) -> Sequence[str]:
        """Topics come and go; before the vendor knows us there is nothing to say."""
        other = MassiveStream(plan)
        added, gone = differing(self._wanted, other._wanted)
        self._makes.rows.symbols.become(other._makes.rows.symbols)
        self.topics, self._topic_of = other.topics, {**self._topic_of, **other._topic_of}
        self._wanted, self.spans = other._wanted, other.spans
        self._history = History(plan, self._makes)
        if not self._welcome:
            return ()
        return [*_messages("unsubscribe", gone), *_messages("subscribe", added)]

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """What a silence has missed of one symbol."""
        return self._history.page(hole, last)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a frame; a status that ends the connection is raised."""
        if frame.status:
            return self._history.decode(frame)
        try:
            messages: Sequence[Message] = _all(frame.data)
        except UNREADABLE as error:
            try:
                raws = _raws(frame.data)
            except UNREADABLE:
                raise Skippable("malformed", str(error)) from None
            return each(raws, self._read)
        return each(messages, self._of)

    def _read(self, raw: Raw) -> Iterable[Event]:
        """One of several messages, of which some cannot be read."""
        try:
            message = _one(raw)
        except msgspec.ValidationError as error:
            unknown = "`$.ev`" in str(error)
            raise Skippable("unknown" if unknown else "malformed", str(error)) from None
        return self._of(message)

    def _of(self, message: Message) -> Iterable[Event]:
        if isinstance(message, Status) and not (
            message.status in _REFUSALS and self._named(message.message)
        ):
            _tell(message)
        return self._makes.of(message)


def _messages(action: str, topics: Sequence[str]) -> list[str]:
    return [_said(action, ",".join(some)) for some in spaced(topics, _AT_ONCE)]


def _said(action: str, params: str) -> str:
    return msgspec.json.encode({"action": action, "params": params}).decode()


def _tell(status: Status) -> None:
    """Raise what a status means, if it is no good one."""
    said = f"Massive: {status.message.strip()} ({status.status})"
    match status.status:
        case "auth_failed":
            raise Fatal(said, "check the API key (MASSIVE_API_KEY)")
        case "auth_timeout":
            raise Retriable("timeout", said)
        case "max_connections":
            raise Retriable("refused", said, 60.0)
        case "not_authorized":
            raise Fatal(said, "take a channel that your plan includes")
        case "error":
            raise Skippable("notice", said)
    if status.status not in _FINE:
        raise Skippable("unknown", said)
