"""What is said on a connection besides data: pace, acknowledgements, keepalives."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from edc.adapters import Answer, Keepalive, Silence
from edc.errors import Fatal, Retriable
from edc.transport import Frame
from edc.transport.conversation import Conversation
from edc.transport.sockets import Timing
from tests.harness import until

SOON = Timing(confirm_within=0.2)


class Talker:
    """An adapter whose answers a test writes."""

    url = "ws://nowhere"
    silence = Silence()

    def __init__(
        self,
        topics: Mapping[str, str] | None = None,
        *,
        first: Sequence[str] = ("hello",),
        pace: float = 1000.0,
        keepalive: Keepalive | None = None,
    ) -> None:
        self.topics = topics or {}
        self.messages_per_second = pace
        self.keepalive = keepalive
        self.next: Answer | None = None
        self._first = first

    def subscribe(self) -> Sequence[str]:
        return self._first

    def decode(self, frame: Frame) -> Sequence[Any]:
        return ()

    def answer(self, frame: Frame) -> Answer | None:
        return self.next


class Ear:
    """A socket that keeps what is sent, and when; and a receiver of refusals."""

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.at: list[float] = []
        self.refusals: dict[str, str] = {}

    async def send(self, message: str | bytes) -> None:
        self.sent.append(message)
        self.at.append(time.monotonic())

    def refused(self, epoch: int, symbol: str, why: str) -> None:
        assert epoch == 7
        self.refusals[symbol] = why


def talk(talker: Talker) -> tuple[Conversation, Ear]:
    ear = Ear()
    conversation = Conversation(talker, ear, SOON)  # type: ignore[arg-type]
    conversation.begin(ear, 7)  # type: ignore[arg-type]
    return conversation, ear


def hear(conversation: Conversation, talker: Talker, **answer: Any) -> None:
    talker.next = Answer(**answer)
    conversation.hear(Frame(b"{}", 1, 7))


async def test_messages_go_out_in_order_and_no_faster_than_the_vendor_allows() -> None:
    talker = Talker(first=("one", "two", "three"), pace=20.0)
    conversation, ear = talk(talker)
    speaker = asyncio.create_task(conversation.speak())
    await until(lambda: len(ear.sent) == 3)
    hear(conversation, talker, send=("four", b"five"))
    await until(lambda: len(ear.sent) == 5)
    speaker.cancel()

    assert ear.sent == ["one", "two", "three", "four", b"five"]
    assert ear.at[2] - ear.at[0] >= 0.09


async def test_a_keepalive_is_sent_again_and_again() -> None:
    conversation, ear = talk(Talker(keepalive=Keepalive("ping", 0.05)))
    speaker = asyncio.create_task(conversation.speak())
    await until(lambda: ear.sent.count("ping") == 3)
    speaker.cancel()

    assert ear.sent[0] == "hello"
    pings = [at for message, at in zip(ear.sent, ear.at, strict=True) if message == "ping"]
    assert pings[2] - pings[0] >= 0.09


async def test_it_is_settled_once_every_topic_was_accepted_or_refused() -> None:
    talker = Talker({"t.a": "a", "t.b": "b", "t.c": "c"})
    conversation, ear = talk(talker)
    assert not conversation.settled

    hear(conversation, talker, accepted=("t.a", "unasked"))
    hear(conversation, talker, refused={"t.b": "no such thing", "unasked": "x"})
    assert not conversation.settled
    hear(conversation, talker, accepted=("t.c", "t.a"))

    assert conversation.settled
    assert ear.refusals == {"b": "no such thing"}


async def test_it_is_complete_once_all_is_said_and_answered() -> None:
    talker = Talker({"t.a": "a", "t.b": "b"}, first=("a", "b"), pace=20.0)
    conversation, ear = talk(talker)
    hear(conversation, talker, accepted=("t.a", "t.b"))
    assert conversation.settled
    assert not conversation.complete  # neither has been asked for yet

    speaker = asyncio.create_task(conversation.speak())
    await until(lambda: len(ear.sent) == 1)
    assert not conversation.complete
    await until(lambda: len(ear.sent) == 2)
    assert conversation.complete
    speaker.cancel()


async def test_a_topic_that_was_accepted_may_be_taken_back() -> None:
    talker = Talker({"t.a": "a", "t.b": "b"})
    conversation, ear = talk(talker)
    hear(conversation, talker, accepted=("t.a", "t.b"))
    hear(conversation, talker, refused={"t.a": "limit exceeded"})

    assert ear.refusals == {"a": "limit exceeded"}
    with pytest.raises(Fatal, match="refused all that was asked for"):
        hear(conversation, talker, refused={"t.b": "limit exceeded"})


async def test_a_vendor_that_refuses_everything_is_the_operators_matter() -> None:
    talker = Talker({f"t.{n}": str(n) for n in range(8)})
    conversation, _ear = talk(talker)

    with pytest.raises(Fatal) as caught:
        hear(conversation, talker, refused=dict.fromkeys(talker.topics, "not yours"))

    assert "t.0 (not yours)" in str(caught.value)
    assert "and 3 more" in str(caught.value)


async def test_where_nothing_is_accepted_in_time_the_connection_is_given_up() -> None:
    conversation, ear = talk(Talker({"t.a": "a"}))
    speaker = asyncio.create_task(conversation.speak())
    await until(lambda: ear.sent)
    conversation.look()  # too early to say
    await asyncio.sleep(SOON.confirm_within)

    with pytest.raises(Retriable, match=r"accepted nothing of t.a within 0.2 s") as caught:
        conversation.look()

    speaker.cancel()
    assert caught.value.reason == "unconfirmed"


async def test_what_is_never_acknowledged_beside_others_counts_as_refused() -> None:
    talker = Talker({"t.a": "a", "t.b": "b"})
    conversation, ear = talk(talker)
    speaker = asyncio.create_task(conversation.speak())
    await until(lambda: ear.sent)
    hear(conversation, talker, accepted=("t.a",))
    await asyncio.sleep(SOON.confirm_within)
    conversation.look()
    speaker.cancel()

    assert conversation.settled
    assert ear.refusals == {"b": "not acknowledged within 0.2 s"}


async def test_the_notice_of_an_end_is_passed_on() -> None:
    talker = Talker()
    conversation, _ear = talk(talker)
    hear(conversation, talker, leaving=True)

    assert conversation.leaving.is_set()


async def test_an_adapter_that_does_not_converse_only_subscribes() -> None:
    class Plain:
        url, silence = "ws://nowhere", Silence()

        def subscribe(self) -> Sequence[str]:
            return ("hello",)

        def decode(self, frame: Frame) -> Sequence[Any]:
            return ()

    ear = Ear()
    conversation = Conversation(Plain(), ear, SOON)  # type: ignore[arg-type]
    conversation.begin(ear, 7)  # type: ignore[arg-type]
    conversation.hear(Frame(b"{}", 1, 7))
    speaker = asyncio.create_task(conversation.speak())
    await until(lambda: ear.sent == ["hello"])
    speaker.cancel()

    assert conversation.settled
