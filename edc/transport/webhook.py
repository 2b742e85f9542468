"""The webhook transport: what a sender posts to `/hooks/<feed>`, once it has proved itself.

The answer is 2xx only when the events are safe in the spool, so that a sender's retry means
something. Of a request that is not proved nothing is decoded, counted or kept. HTTP itself is the
matter of `edc.server`.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from edc.adapters import FeedPlan, WebhookAdapter
from edc.errors import EdcError, Retriable, Skippable
from edc.options import WebhookOptions
from edc.times import SECOND
from edc.transport import Frame, Receiver

_TAKEN = 200
_MOST_REMEMBERED = 100_000
_SAFE_WITHIN = 2.5
"""Seconds. TradingView hangs up after three."""
_BURST = 2.0
"""Seconds' worth of what may come at once."""


class Post(NamedTuple):
    """A request: `token` is what follows the feed's name in its URL, `headers` in lower case."""

    token: str
    headers: Mapping[str, str]
    body: bytes
    peer: str


class Reply(NamedTuple):
    """A status, and a sentence for the sender's log."""

    status: int
    text: str


Hooks = dict[str, Callable[[Post], Awaitable[Reply]]]
"""By feed, who takes what is posted to it."""


class Guard:
    """Whether a sender is who it says: by address, by secret, and, where it signs, by time."""

    def __init__(
        self, options: WebhookOptions, secret: str, header: str, now_ns: Callable[[], int]
    ) -> None:
        self._options = options
        self._secret = secret.encode()
        self._header = header.lower()
        self._now_ns = now_ns
        self._allowed = [ip_network(each) for each in options.allow]
        self._proxies = [ip_network(each) for each in options.proxies]
        self._seen: dict[str, int] = {}
        """Signatures that were let in, each with when it grows too old to be let in again."""

    def refusal(self, post: Post) -> Reply | None:
        """Why a request is not let in; None where it is. Its signature is then not let in again."""
        if self._allowed and not self._may_send(post):
            return Reply(403, "this address may not send")
        if not self._secret:
            return Reply(401, "no secret is set, so nothing can be proved")
        if self._options.auth == "path":
            fine = hmac.compare_digest(_bytes(post.token), self._secret)
            return None if fine else Reply(401, "the secret in the path is wrong")
        if post.token:
            return Reply(404, "there is nothing under this path")
        given = post.headers.get(self._header, "")
        if self._options.auth == "header":
            fine = hmac.compare_digest(_bytes(given), self._secret)
            return None if fine else Reply(401, f"{self._header} is wrong or missing")
        return self._unsigned(given, post.body)

    def _may_send(self, post: Post) -> bool:
        peer = post.peer
        try:
            if any(ip_address(peer) in network for network in self._proxies):
                # the last entry is the proxy's own word; those before it are the sender's
                peer = post.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
            return any(ip_address(peer) in network for network in self._allowed)
        except ValueError:
            return False

    def _unsigned(self, given: str, body: bytes) -> Reply | None:
        told, shown = _signature(given)
        signed = signature(self._secret, told, body)
        if not hmac.compare_digest(_bytes(shown), signed.encode()):
            return Reply(
                401, f"{self._header} is wrong or missing; write t=<unix seconds>,v1=<hex>"
            )
        now = self._now_ns()
        if not (told.isascii() and told.isdigit() and len(told) <= 12):  # noqa: PLR2004 - seconds
            return Reply(401, "t is no unix time in seconds")
        if abs(now - int(told) * SECOND) > self._options.tolerance * SECOND:
            return Reply(401, "the signature is too old, or of the future")
        if self._seen.get(shown, 0) > now:
            return Reply(409, "this was received before")
        if len(self._seen) >= _MOST_REMEMBERED:
            self._seen = {each: until for each, until in self._seen.items() if until > now}
        self._seen[shown] = now + int(2 * self._options.tolerance * SECOND)
        return None

    def again(self, post: Post) -> None:
        """A request that was let in could not be taken: its sender may try the same again."""
        self._seen.pop(_signature(post.headers.get(self._header, ""))[1], None)


def signature(secret: bytes, told: str, body: bytes) -> str:
    """The `v1` of a body that is sent at `told`, in unix seconds."""
    return hmac.new(secret, _bytes(told) + b"." + body, hashlib.sha256).hexdigest()


def _signature(header: str) -> tuple[str, str]:
    """Time and signature of `t=…,v1=…`; empty where one is missing or there are two of it."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    times, signatures = ([value for name, _, value in parts if name == n] for n in ("t", "v1"))
    return ("", "") if (len(times), len(signatures)) != (1, 1) else (times[0], signatures[0])


def _bytes(text: str) -> bytes:
    """What a sender wrote, be it UTF-8 or not."""
    return text.encode(errors="surrogateescape")


class Bucket:
    """Lets so many through in a second, and a little more at once."""

    def __init__(self, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second * _BURST)
        self._left = self._most
        self._now = now
        self._at = now()

    def take(self) -> bool:
        """True where one more may pass."""
        now = self._now()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class WebhookTransport:
    """Takes what is posted to one feed while it runs."""

    def __init__(
        self,
        adapter: WebhookAdapter,
        name: str,
        hooks: Hooks,
        safe: Callable[[Collection[str]], Awaitable[None]],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.speaking, self.leaving = asyncio.Event(), asyncio.Event()
        self._adapter = adapter
        self._name = name
        self._hooks = hooks
        self._safe = safe
        self._now_ns = now_ns
        self._guard = Guard(adapter.options, adapter.secret, adapter.header, now_ns)
        self._bucket = Bucket(adapter.options.most_per_second)
        self._receiver: Receiver

    def change(self, plan: FeedPlan) -> bool:
        """Whoever takes over has a guard of its own."""
        del plan
        return False

    async def run(self, receiver: Receiver, stopping: asyncio.Event) -> None:
        """Take posts until told to stop; see `Transport.run`. Each is a connection of its own."""
        self._receiver = receiver
        self._hooks[self._name] = take = self.take
        self.speaking.set()
        try:
            await stopping.wait()
        finally:
            if self._hooks.get(self._name) == take:  # else another one has taken over
                del self._hooks[self._name]

    async def take(self, post: Post) -> Reply:
        """Let a request in, decode it, and answer when its events are on disk."""
        refusal = self._guard.refusal(post)
        if refusal is not None:
            return refusal
        reply = Reply(503, "it was not stored")
        try:
            reply = await self._proved(post)
        finally:
            if reply.status != _TAKEN:
                self._guard.again(post)
        return reply

    async def _proved(self, post: Post) -> Reply:
        """What becomes of a request whose sender has proved itself."""
        if not self._bucket.take():
            return Reply(429, "too many at once")
        frame = Frame(post.body, self._now_ns(), self._receiver.connected(self._adapter))
        try:
            events = self._adapter.decode(frame)
        except Skippable as error:
            self._receiver.receive(frame)  # counted, and kept as a dead letter
            return Reply(422, str(error)[:500])
        except EdcError as error:
            return Reply(503 if isinstance(error, Retriable) else 422, str(error)[:500])
        go_on = self._receiver.receive(frame)
        if events:
            try:
                async with asyncio.timeout(_SAFE_WITHIN):
                    await self._safe({event.event_type for event in events})
                    if not go_on:
                        await self._receiver.room()
            except TimeoutError:
                return Reply(503, "it cannot be stored at the moment; send it again")
        return Reply(_TAKEN, f"{len(events)} events")
