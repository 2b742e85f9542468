"""What is said on a websocket besides data: subscription, acknowledgements, keepalive.

All of it is sent by one speaker, no faster than the vendor allows.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from edc.adapters import (
    Answer,
    Converses,
    FeedPlan,
    Message,
    Resubscribes,
    WebsocketAdapter,
)
from edc.errors import Fatal, Retriable
from edc.transport import Frame, Receiver
from edc.transport.sockets import Socket, Timing


class Conversation:
    """One connection's; see `edc.transport.Heard`.

    A topic that is neither accepted nor refused within `confirm_within` of the last message that
    could bring its answer counts as refused; if none was accepted, the connection is over.
    """

    def __init__(
        self, adapter: WebsocketAdapter, socket: Socket, timing: Timing, path: int = 0
    ) -> None:
        self.path = path
        self.leaving = asyncio.Event()
        """Set once the vendor says that it is about to end the connection."""
        self._converses = adapter if isinstance(adapter, Converses) else None
        self._socket = socket
        self._timing = timing
        self._adapter = adapter
        self._waiting: deque[Message] = deque()
        self._stir = asyncio.Event()
        self._open: dict[str, str] = dict(self._converses.topics) if self._converses else {}
        self._accepted: set[str] = set()
        self._why: dict[str, str] = {}
        self._tell: Callable[[str, str], None]
        self._spoke = time.monotonic()
        self.settled = not self._open

    @property
    def complete(self) -> bool:
        """All is said, and each topic is accepted or refused: data may come of every one."""
        return self.settled and not self._waiting

    def begin(self, receiver: Receiver, epoch: int) -> None:
        """Subscribe; from now on refused symbols are told to `receiver`."""
        self._waiting.extend(self._adapter.subscribe())
        self._tell = lambda symbol, why: receiver.refused(epoch, symbol, why)

    def change(self, plan: FeedPlan) -> bool:
        """Go on by another plan; False where that takes another connection."""
        adapter = self._adapter
        if not isinstance(adapter, Resubscribes):
            return False
        before = dict(self._converses.topics) if self._converses else {}
        messages = adapter.change(plan)
        if messages is None:
            return False
        after = self._converses.topics if self._converses else {}
        for topic in before.keys() - after.keys():
            self._open.pop(topic, None)
            self._why.pop(topic, None)
            self._accepted.discard(topic)
        self._open |= {topic: symbol for topic, symbol in after.items() if topic not in before}
        self.settled = not self._open
        self._waiting.extend(messages)
        self._spoke = time.monotonic()
        self._stir.set()
        return True

    def hear(self, frame: Frame) -> None:
        """Ask the adapter what a frame says; what it wants to be said waits for the speaker."""
        if self._converses is None:
            return
        answer = self._converses.answer(frame)
        if answer is not None:
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        if answer.leaving:
            self.leaving.set()
        if answer.send:
            self._waiting.extend(answer.send)
            self._stir.set()
        for topic in answer.accepted:
            if self._open.pop(topic, None) is not None:
                self._accepted.add(topic)
        self._refuse(answer.refused)
        self.settled = not self._open

    def _refuse(self, refused: Mapping[str, str]) -> None:
        topics = self._converses.topics if self._converses else {}
        for topic, why in refused.items():
            if topic in self._why or topic not in topics:
                continue
            self._accepted.discard(topic)  # it was taken, and is taken back
            self._open.pop(topic, None)
            self._why[topic] = why
            self._tell(topics[topic], why)
        if self._why and not self._open and not self._accepted:
            raise Fatal(
                f"the vendor refused all that was asked for: {_listed(self._why)}",
                "correct the feed's symbols or channel",
            )

    async def speak(self) -> None:
        """Send what waits, and the keepalive when it is due. Ends only by being cancelled."""
        converses = self._converses
        keepalive = converses.keepalive if converses else None
        pause = 1.0 / converses.messages_per_second if converses else 0.0
        due = time.monotonic() + keepalive.every if keepalive else None
        while True:
            while self._waiting:
                await self._socket.send(self._waiting.popleft())
                self._spoke = time.monotonic()
                if pause and (self._waiting or keepalive):
                    await asyncio.sleep(pause)
            if due is not None and keepalive is not None and time.monotonic() >= due:
                self._waiting.append(keepalive.message)
                due = time.monotonic() + keepalive.every
                continue
            self._stir.clear()
            try:
                left = None if due is None else max(0.0, due - time.monotonic())
                async with asyncio.timeout(left):
                    await self._stir.wait()
            except TimeoutError:
                pass

    def look(self) -> None:
        """Judge what was never answered. Raises Retriable where nothing was accepted."""
        silent = time.monotonic() - self._spoke
        if self.settled or self._waiting or silent < self._timing.confirm_within:
            return
        within = f"within {self._timing.confirm_within:g} s"
        if not self._accepted:
            asked = _listed(list(self._open))
            raise Retriable("unconfirmed", f"the vendor accepted nothing of {asked} {within}")
        self._refuse(dict.fromkeys(list(self._open), f"not acknowledged {within}"))
        self.settled = True


_MOST_LISTED = 5


def _listed(topics: Mapping[str, str] | Iterable[str]) -> str:
    if isinstance(topics, Mapping):
        topics = [f"{topic} ({why})" if why else topic for topic, why in topics.items()]
    names = list(topics)
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more
