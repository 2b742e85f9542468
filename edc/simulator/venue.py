"""What simulated venues share: a market that goes on, connections that listen to it, and faults.

A venue of its own file says how its clients are greeted, what they may say, and how an event is
written. It is written from the venue's pages, not from the adapter's code.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from aiohttp import WSMsgType, web

from edc.simulator.tape import text_frame

_ROUND = 0.01
_MOST_AT_ONCE = 5_000
_MOST_BUFFERED = 1 << 20

_BASES = ("BTC", "ETH", "SOL", "XRP", "DOGE", "MATIC", "ADA", "FOO")
_QUOTES = ("USD", "USDT", "USDC", "EUR")

Kind = Literal["trade", "quote", "ref_px"]


class Tick(NamedTuple):
    """An event of the market. `number` counts the symbol's events of that kind; `us` only rises."""

    name: str
    kind: Kind
    number: int
    us: int
    price: float
    size: float
    bought: bool
    bid: float
    bid_size: float
    ask: float
    ask_size: float


class Topic(NamedTuple):
    """What a connection has subscribed to. `channel` is the vendor's word for it."""

    kind: Kind
    name: str
    channel: str


@dataclass(slots=True)
class Faults:
    """What a venue does wrong. Numbers count the frames with data that it has written."""

    mute: bool = False
    """Accept subscriptions, and send no data."""
    deaf: bool = False
    """Hear subscriptions, and say nothing to them."""
    entitled: bool = True
    """False: the key is good, but not for this."""
    refuse: Collection[str] = ()
    """Names that the venue does not carry."""
    cut_after: Collection[int] = ()
    """Drop the connection in the middle of the next frame."""
    insert: Mapping[int, bytes] = field(default_factory=dict)
    """Payloads to write after these frames."""
    skip: Collection[int] = ()
    """Ticks, by their count, that no connection gets. They are in the history all the same."""
    handshakes: list[int] = field(default_factory=list)
    """The status with which the next handshakes are refused."""
    crowded: int = 0
    """So many connections still to come are one too many, and told so."""
    most: int | None = None
    """Topics that a connection may have."""
    beats: bool = True
    """Heartbeats are sent, where the vendor has them."""
    missum: Collection[int] = ()
    """Checksums, by their count, that are wrong; of venues that send some."""
    unknown_fields: bool = False
    """Every object has a field that the dossier does not list."""
    unlisted: Collection[str] = ()
    """Names that are not on its list of instruments, in the lake's spelling."""
    unlists: int = 0
    """How many requests for that list go unanswered (503)."""
    swallow: Collection[int] = ()
    """Frames that are counted, but never written."""
    answers: list[tuple[int, str]] = field(default_factory=list)
    """Status and body of the next polled answers, whatever was asked."""


@dataclass(slots=True, eq=False)
class Line:
    """A connection. `path` is where it knocked, `state` is the venue's to use."""

    socket: web.WebSocketResponse
    transport: asyncio.WriteTransport
    request: web.Request
    topics: dict[Topic, None] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    waiting: list[bytes] = field(default_factory=list)
    frames: int = 0
    """With data, written to it."""

    async def say(self, *messages: object) -> None:
        """Send messages: text and bytes as they are, everything else as JSON."""
        for message in messages:
            if isinstance(message, bytes):
                await self.socket.send_bytes(message)
            elif isinstance(message, str):
                await self.socket.send_str(message)
            else:
                await self.socket.send_str(json.dumps(message, separators=(",", ":")))

    def flush(self) -> None:
        """Write what waits."""
        if self.waiting and not self.transport.is_closing():
            self.transport.write(b"".join(self.waiting))
        self.waiting.clear()


class Market:
    """Random walks, one for each name that somebody has ever asked for."""

    def __init__(self, seed: int, kinds: Sequence[Kind], now_ns: Callable[[], int]) -> None:
        self.history: dict[str, list[Tick]] = {}
        """The trades of each name."""
        self.last: dict[tuple[str, Kind], Tick] = {}
        self.made = 0
        self._random = random.Random(seed)
        self._kinds = kinds
        self._now_ns = now_ns
        self._us = 0
        self._numbers: Counter[tuple[str, Kind]] = Counter()
        self._prices: dict[str, int] = {}

    def list(self, name: str) -> None:
        """From now on there are events of a name."""
        if name not in self._prices:
            self._prices[name] = self._random.randrange(5_000, 5_000_000)
            self.history[name] = []

    def next(self) -> Tick | None:
        """The next event; None while nobody has asked for any."""
        if not self._prices:
            return None
        rng = self._random
        name = list(self._prices)[self.made % len(self._prices)]
        kind = self._kinds[rng.randrange(len(self._kinds))]
        cents = self._prices[name] = max(10, self._prices[name] + rng.randrange(-5, 6))
        self._us = max(self._us + 1, self._now_ns() // 1000)
        self._numbers[name, kind] += 1
        self.made += 1
        tick = Tick(
            *(name, kind, self._numbers[name, kind], self._us, cents / 100),
            round(rng.uniform(0.001, 5), 4),
            rng.random() < 0.5,  # noqa: PLR2004 - half and half
            *((cents - 1) / 100, round(rng.uniform(0.1, 9), 4)),
            *((cents + 1) / 100, round(rng.uniform(0.1, 9), 4)),
        )
        self.last[name, kind] = tick
        if kind == "trade":
            self.history[name].append(tick)
        return tick


class Venue:
    """A server on 127.0.0.1 that speaks one vendor's protocol; see the hooks at the end.

    `heard` has every event that some connection was sent whole, in order.
    """

    kinds: ClassVar[Sequence[Kind]] = ("trade", "quote")
    feeds: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Sections `[feeds.NAME]` for the demo and for the conformance suite, `vendor` left out."""
    required: ClassVar[Mapping[str, Any]] = {}
    """Options of `[vendors.NAME]` without which there is no connection."""
    columns: ClassVar[Mapping[Kind, Sequence[str]]] = {
        "trade": ("last_price", "last_size", "side"),
        "quote": ("bid", "bid_size", "ask", "ask_size"),
        "ref_px": ("price",),
    }
    """The columns that tell whether an event was recorded, as `rows` makes them."""
    counted: ClassVar[Collection[str]] = ()
    """Feeds of which all messages of a connection are numbered."""
    forgets: ClassVar[Mapping[str, int]] = {}
    """Feeds whose history is a list of the last trades, with how many of a symbol."""
    entitles: ClassVar[bool] = False
    """It has plans, which may not include what is asked for."""
    refuses: ClassVar[Collection[str]] = ()
    """Names of `feeds` that it may refuse, saying so."""
    limits: ClassVar[bool] = False
    """A connection may have so many topics, and is told when it asks for more."""
    crowds: ClassVar[float | None] = None
    """Seconds to wait after being told of a connection too many; None where nobody tells."""
    farewell: ClassVar[Mapping[str, Any] | None] = None
    """What it says before it ends a connection; None where it does so unannounced."""
    sums_up: ClassVar[bool] = False
    """It sends checksums of its books."""
    beats: ClassVar[bool] = False
    """It has heartbeats, which are heard in any market."""

    def __init__(
        self,
        *,
        key: str = "demo-key",
        secret: str = "demo-secret",  # noqa: S107 - of a simulator
        rate: float = 100.0,
        seed: int = 1,
        faults: Faults | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.faults = faults or Faults()
        self.key, self.secret = key, secret
        self.market = Market(seed, self.kinds, now_ns)
        self.heard: list[Tick] = []
        self.connections = 0
        self.requests = 0
        self.listings = 0
        self.frames = 0
        self.port = 0
        self.lines: set[Line] = set()
        self._rate = rate
        self._now_ns = now_ns
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """For `[vendors.NAME] url`."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def rest_url(self) -> str:
        """For `[vendors.NAME] rest_url`."""
        return f"http://127.0.0.1:{self.port}"

    def options(self) -> dict[str, Any]:
        """What `[vendors.NAME]` has to say to connect here."""
        return {"url": self.url, "rest_url": self.rest_url, **self.required}

    async def start(self, port: int = 0) -> None:
        """Listen, on a free port unless one is given."""
        app = web.Application()
        app.add_routes([*self.routes(), web.get("/{path:.*}", self._websocket)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port = int(self._runner.addresses[0][1])
        self._tasks = [asyncio.create_task(self._trade(), name="market")]

    async def stop(self) -> None:
        """Close every connection, and stop listening."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()

    def cut(self) -> int:
        """Drop every websocket at once, without goodbye; the number of them."""
        dropped = [line for line in self.lines if not line.transport.is_closing()]
        for line in dropped:
            line.transport.abort()
        return len(dropped)

    def subscribe(self, line: Line, topics: Iterable[Topic]) -> None:
        """A connection gets these from now on."""
        for topic in topics:
            self.market.list(topic.name)
            line.topics[topic] = None

    def crowd(self) -> bool:
        """True for a connection that is one too many."""
        crowded = self.faults.crowded > 0
        self.faults.crowded -= crowded
        return crowded

    def unsubscribe(self, line: Line, topics: Iterable[Topic]) -> None:
        """A connection gets these no more."""
        for topic in topics:
            line.topics.pop(topic, None)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if self.faults.handshakes:
            return web.Response(status=self.faults.handshakes.pop(0))
        refused = self.handshake(request)
        if refused is not None:
            return refused
        socket = web.WebSocketResponse(compress=False, autoping=True)
        await socket.prepare(request)
        self.connections += 1
        assert request.transport is not None
        line = Line(socket, request.transport, request)
        self.lines.add(line)
        try:
            await self.greet(line)
            async for message in socket:
                if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
                    await self.hear(line, message.data)
        except ConnectionError:
            pass
        finally:
            self.lines.discard(line)
        return socket

    async def _trade(self) -> None:
        """Make events until cancelled, at the stated rate."""
        loop = asyncio.get_running_loop()
        started, first = loop.time(), 0
        while True:
            owed = int((loop.time() - started) * self._rate) - first
            for _ in range(min(owed, _MOST_AT_ONCE)):
                tick = self.market.next()
                first += 1
                if tick is not None:
                    self._tell(tick)
            for line in list(self.lines):
                line.flush()
                if line.transport.get_write_buffer_size() > _MOST_BUFFERED:
                    line.transport.abort()
            await asyncio.sleep(_ROUND)

    def _tell(self, tick: Tick) -> None:
        """Write an event for everyone who listens to it."""
        if self.faults.mute or self.market.made in self.faults.skip:
            return
        whole = False
        for line in list(self.lines):
            for topic in line.topics:
                if topic.name != tick.name or topic.kind != tick.kind:
                    continue
                payload = self.render(topic, tick, line)
                if payload is not None and not line.transport.is_closing():
                    whole |= self._write(line, payload)
        if whole:
            self.heard.append(tick)

    def _write(self, line: Line, payload: bytes) -> bool:
        """Put a frame with data on a line; False where a fault keeps it from arriving whole."""
        if self.faults.unknown_fields:
            payload = self.extended(payload)
        cut = self.frames in self.faults.cut_after
        self.frames += 1
        line.frames += 1
        if self.frames in self.faults.swallow:
            return False
        frame = self.framed(line, payload)
        line.waiting.append(frame[: len(frame) // 2] if cut else frame)
        if self.frames in self.faults.insert:
            line.waiting.append(self.framed(line, self.faults.insert[self.frames]))
        if cut:
            line.flush()
            line.transport.close()  # what was written still goes out, a goodbye does not
        return not cut

    def extended(self, payload: bytes) -> bytes:
        """A payload of which every object has one field more."""
        return json.dumps(_with_more(json.loads(payload))).encode()

    def polled(self) -> web.Response | None:
        """The answer that a fault gives in place of the right one. Call it first in each route."""
        self.requests += 1
        if self.faults.answers:
            status, body = self.faults.answers.pop(0)
            return web.Response(status=status, text=body)
        return None

    def listed(self, names: Iterable[str]) -> list[str]:
        """Those of its names that are on its list of instruments."""
        return [name for name in names if self.ours(name) not in self.faults.unlisted]

    def pairs(self, form: str = "{}-{}") -> list[tuple[str, str, str]]:
        """The pairs on its list: the name, in this form, and the two currencies."""
        made = [(form.format(base, quote), base, quote) for base in _BASES for quote in _QUOTES]
        names = self.listed(name for name, _, _ in made)
        return [pair for pair in made if pair[0] in names]

    def instruments(self, make: Callable[[web.Request], object]) -> Callable[..., Any]:
        """A route that answers with a list of instruments, which is made anew each time."""

        async def answer(request: web.Request) -> web.Response:
            self.listings += 1
            if self.faults.unlists:
                self.faults.unlists -= 1
                return web.Response(status=503)
            return web.json_response(make(request))

        return answer

    # The hooks.

    def framed(self, line: Line, payload: bytes) -> bytes:
        """A message as it goes over the wire."""
        del line
        return text_frame(payload)

    def ours(self, name: str) -> str:
        """The lake's spelling of a venue's name."""
        return "".join(mark for mark in name.lower() if mark.isalnum())

    def rows(self, tick: Tick) -> Mapping[Kind, tuple[Any, ...] | list[tuple[Any, ...]]]:
        """The rows that come of an event, one or several, without their symbol, in `columns`."""
        match tick.kind:
            case "trade":
                side = "buy" if tick.bought else "sell"
                return {"trade": (tick.price, tick.size, side)}
            case "quote":
                return {"quote": (tick.bid, tick.bid_size, tick.ask, tick.ask_size)}
            case _:
                return {"ref_px": (tick.price,)}

    def routes(self) -> Sequence[web.RouteDef]:
        """The polled endpoints."""
        return ()

    def handshake(self, request: web.Request) -> web.Response | None:
        """The refusal of a handshake, if it is refused."""
        del request
        return None

    async def greet(self, line: Line) -> None:
        """What the venue says first."""

    async def hear(self, line: Line, message: str | bytes) -> None:
        """What a client says."""
        raise NotImplementedError

    def render(self, topic: Topic, tick: Tick, line: Line) -> bytes | None:
        """An event as the venue writes it; None where the topic does not get it."""
        raise NotImplementedError


def _with_more(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_more(each) for name, each in value.items()} | {"brand_new": [1, {}]}
    return [_with_more(each) for each in value] if isinstance(value, list) else value
