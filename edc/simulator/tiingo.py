"""Tiingo on loopback: the websocket channels and the polled endpoints, and their misbehaviour.

Speaks what `edc.adapters.tiingo` documents, written from the same pages and captures, not from its
code. What is sent follows from the seed, except the times, which are those of the clock: strictly
rising by at least a microsecond on each channel, so that no two events are the same.
"""

import asyncio
import contextlib
import json
import random
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from aiohttp import WSMsgType, web

_SUCCESS = {"code": 200, "message": "Success"}
_HEARTBEAT = {"messageType": "H", "response": {"code": 200, "message": "HeartBeat"}}
_TICK = 0.01
_MOST_AT_ONCE = 5_000
_MOST_BUFFERED = 1 << 20
_NEW_YORK = ZoneInfo("America/New_York")
_SERVICES = {"/iex": "iex", "/fx": "fx", "/crypto": "crypto_data"}
_LEVELS = {"iex": {0, 5, 6}, "fx": {2, 5, 7}, "crypto_data": {2, 5}}
_EVERYTHING = {"iex": ["aapl", "spy"], "fx": ["eurusd"], "crypto_data": ["btcusd", "ethusd"]}
_EXCHANGES = ("gdax", "kraken", "gemini", "bitfinex")


@dataclass(slots=True)
class Faults:
    """What the server does wrong. Numbers count the events of a channel, from the start."""

    cut_after: Sequence[int] = ()
    """Drop the connection, without goodbye, after these events."""
    replay: int = 0
    """Send the last so many events again at the start of the next connection."""
    insert: Mapping[int, bytes] = field(default_factory=dict)
    """Raw frames to send after these events."""
    refuse: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """By service: the code and text of the `E` that answers a subscription."""
    mute: bool = False
    """Accept the subscription and send heartbeats, never data."""
    answers: deque[tuple[int, str, str]] = field(default_factory=deque)
    """Status, content type and body of the next polled answers, whatever was asked."""


class _Tape:
    """The events of one service, one after the other, whichever connection they go out on."""

    def __init__(self, service: str, seed: int, now_ns: Callable[[], int]) -> None:
        self.service = service
        self.sent = 0
        self.recent: deque[bytes] = deque(maxlen=4096)
        self._random = random.Random(f"{seed} {service}")
        self._now_ns = now_ns
        self._last_us = 0
        self._prices: dict[str, float] = {}

    def next(self, level: int, tickers: Sequence[str]) -> bytes:
        """The next event as a text frame's payload."""
        rng = self._random
        ticker = tickers[rng.randrange(len(tickers))]
        price = self._prices.get(ticker) or 50.0 + rng.random() * 100
        price = round(max(1.0, price + rng.gauss(0, 0.02)), 4)
        self._prices[ticker] = price
        self._last_us = max(self._last_us + 1, self._now_ns() // 1000)
        data = self._data(level, ticker, price, self._last_us)
        payload = json.dumps(
            {"service": self.service, "messageType": "A", "data": data}, separators=(",", ":")
        ).encode()
        self.sent += 1
        self.recent.append(payload)
        return payload

    def _data(self, level: int, ticker: str, price: float, us: int) -> list[object]:
        rng = self._random
        bid, ask = round(price - 0.01, 4), round(price + 0.01, 4)
        if self.service == "iex":
            ns = us * 1000 + rng.randrange(1000)
            stamp = _new_york(ns)
            if level == 6:  # noqa: PLR2004 - the vendor's number
                return [stamp, ticker, price]
            size = 100 * rng.randrange(1, 50)
            if rng.random() < 0.5:  # noqa: PLR2004 - half and half
                book = [size, bid, price, ask, size + 100, None, None, 0, 0, None, None, None]
                return ["Q", stamp, ns, ticker, *book]
            return ["T", stamp, ns, ticker, *[None] * 5, price, size, None, 0, 0, 0, 0]
        stamp = datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        stamp += f".{us % 1_000_000:06d}+00:00"
        volume = round(rng.uniform(0.001, 5), 8)
        if self.service == "fx":
            return ["Q", ticker, stamp, 1e6 * rng.randrange(1, 9), bid, price, 5e6, ask]
        exchange = _EXCHANGES[rng.randrange(len(_EXCHANGES))]
        if level == 5 or rng.random() < 0.5:  # noqa: PLR2004 - the vendor's number, half and half
            return ["T", ticker, stamp, exchange, volume, price]
        return ["Q", ticker, stamp, exchange, volume, bid, price, round(volume * 2, 8), ask]


class TiingoSimulator:
    """A server on 127.0.0.1. `rate` is events a second on each channel, `events` how many in all.

    With `record`, `frames` keeps every data frame sent, in order, repetitions included.
    """

    def __init__(
        self,
        *,
        key: str = "demo-key",
        rate: float = 100.0,
        seed: int = 1,
        events: int | None = None,
        faults: Faults | None = None,
        record: bool = False,
        heartbeat: float = 30.0,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.faults = faults or Faults()
        self.frames: dict[str, list[bytes]] = {service: [] for service in _EVERYTHING}
        self.connections = 0
        self.requests = 0
        self.port = 0
        self._key = key
        self._rate = rate
        self._events = events
        self._record = record
        self._heartbeat = heartbeat
        self._tapes = {service: _Tape(service, seed, now_ns) for service in _EVERYTHING}
        self._polled = _Polled(seed, now_ns)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """For `[vendors.tiingo] url`."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def rest_url(self) -> str:
        """For `[vendors.tiingo] rest_url`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def sent(self) -> dict[str, int]:
        """Distinct events sent so far, by service."""
        return {service: tape.sent for service, tape in self._tapes.items()}

    async def start(self, port: int = 0) -> None:
        """Listen, on a free port unless one is given."""
        app = web.Application()
        app.add_routes([web.get(path, self._websocket) for path in _SERVICES])
        app.add_routes([web.get(path, self._poll) for path in _Polled.PATHS])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if "Upgrade" not in request.headers:  # `/iex` without its slash
            raise web.HTTPMovedPermanently(f"{request.path}/")
        service = _SERVICES[request.path]
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        self.connections += 1
        subscription = await self._subscription(socket, service)
        if subscription is None:
            await socket.close()
            return socket
        async with asyncio.TaskGroup() as tasks:
            sender = tasks.create_task(self._send(request, socket, service, *subscription))
            with contextlib.suppress(ConnectionError):
                async for _ in socket:  # until the client says goodbye
                    pass
            sender.cancel()
        return socket

    async def _subscription(
        self, socket: web.WebSocketResponse, service: str
    ) -> tuple[int, list[str]] | None:
        """The level and tickers that were asked for, acknowledged; None if refused."""
        message = await socket.receive()
        if message.type is not WSMsgType.TEXT:
            return None
        try:
            asked = json.loads(message.data)
        except ValueError:
            asked = {}
        data = asked.get("eventData", {})
        level = int(data.get("thresholdLevel", 6))
        refusal: tuple[int, str] | None = None
        if asked.get("eventName") != "subscribe":
            refusal = (400, "Data was not valid json")
        elif asked.get("authorization") != self._key:
            refusal = (401, "Invalid token.")
        elif service in self.faults.refuse:
            refusal = self.faults.refuse[service]
        elif level not in _LEVELS[service]:
            refusal = (400, "thresholdLevel not valid for your subscription tier")
        if refusal is not None:
            answer = {"code": refusal[0], "message": refusal[1]}
            await socket.send_json({"messageType": "E", "response": answer})
            return None  # the caller closes the connection, as the vendor does
        tickers = [ticker for ticker in data.get("tickers", ["*"]) if ticker != "*"]
        acknowledged = {"subscriptionId": 49_804_739}
        await socket.send_json({"response": _SUCCESS, "data": acknowledged, "messageType": "I"})
        await socket.send_json(_HEARTBEAT)
        return level, tickers or _EVERYTHING[service]

    async def _send(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        service: str,
        level: int,
        tickers: list[str],
    ) -> None:
        """Events at the stated rate, written a tick's worth at a time."""
        tape, transport = self._tapes[service], request.transport
        assert transport is not None
        loop = asyncio.get_running_loop()
        started = spoke = loop.time()
        first = tape.sent
        if self.faults.replay and tape.sent:
            self._write(transport, service, list(tape.recent)[-self.faults.replay :])
        while not transport.is_closing():
            now = loop.time()
            if now - spoke >= self._heartbeat:
                spoke = now
                await socket.send_json(_HEARTBEAT)
            owed = int((now - started) * self._rate) + first - tape.sent
            if transport.get_write_buffer_size() > _MOST_BUFFERED or self.faults.mute:
                owed = 0
            if self._events is not None:
                owed = min(owed, self._events - tape.sent)
            for number in self._pieces(tape.sent, min(owed, _MOST_AT_ONCE)):
                self._write(transport, service, [tape.next(level, tickers) for _ in range(number)])
                if tape.sent in self.faults.insert:
                    self._write(transport, service, [self.faults.insert[tape.sent]])
                if tape.sent in self.faults.cut_after:
                    transport.close()  # what was written still goes out, a goodbye does not
                    return
            await asyncio.sleep(_TICK)

    def _pieces(self, sent: int, owed: int) -> Iterator[int]:
        """`owed` events in pieces that end where a fault is due."""
        end = sent + owed
        marks = {
            mark for mark in (*self.faults.cut_after, *self.faults.insert) if sent < mark < end
        }
        for mark in sorted(marks | {end}):
            if mark > sent:
                yield mark - sent
            sent = mark

    def _write(self, transport: asyncio.WriteTransport, service: str, frames: list[bytes]) -> None:
        if self._record:
            self.frames[service] += frames
        transport.write(b"".join(map(_text_frame, frames)))

    async def _poll(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.faults.answers:
            status, kind, body = self.faults.answers.popleft()
            return web.Response(status=status, content_type=kind, text=body)
        given = request.headers.get("Authorization", "").removeprefix("Token ")
        given = given or request.query.get("token", "")
        if not given:
            return web.json_response({"detail": "Please supply a token"}, status=403)
        if given != self._key:
            return web.json_response({"detail": "Invalid token."}, status=403)
        tickers = [ticker for ticker in request.query.get("tickers", "").split(",") if ticker]
        if not tickers and request.path != "/iex/":
            problem = 'Error: Please pass a "tickers" parameter.'
            return web.json_response({"detail": problem}, status=400)
        return web.json_response(self._polled.answer(request.path, tickers))


class _Polled:
    """Last values, of which each request finds about half moved since the one before."""

    PATHS = ("/iex/", "/tiingo/fx/top", "/tiingo/crypto/top")

    def __init__(self, seed: int, now_ns: Callable[[], int]) -> None:
        self._random = random.Random(f"{seed} polled")
        self._now_ns = now_ns
        self._rows: dict[tuple[str, str], dict[str, object]] = {}

    def answer(self, path: str, tickers: Sequence[str]) -> list[dict[str, object]]:
        """One row for each ticker, in another order than they were asked for."""
        rows = []
        for ticker in sorted(tickers, reverse=True):
            row = self._rows.get((path, ticker))
            if row is None or self._random.random() < 0.5:  # noqa: PLR2004 - about half
                row = self._rows[path, ticker] = self._row(path, ticker)
            rows.append(row)
        return rows

    def _row(self, path: str, ticker: str) -> dict[str, object]:
        price = round(50 + 100 * self._random.random(), 4)
        ns = self._now_ns()
        book: dict[str, object] = {"bidPrice": price - 0.01, "bidSize": 100.0}
        book |= {"askPrice": price + 0.01, "askSize": 200.0}
        if path == "/iex/":
            stamp = _new_york(ns)
            times = dict.fromkeys(("timestamp", "lastSaleTimestamp", "quoteTimestamp"), stamp)
            last = {"tngoLast": price, "last": price, "lastSize": 100, "mid": price}
            return {"ticker": ticker.upper(), **times, **last, **book, "volume": 680}
        stamp = datetime.fromtimestamp(ns // 1000 / 1e6, UTC).isoformat(timespec="microseconds")
        if path == "/tiingo/fx/top":
            return {"ticker": ticker, "quoteTimestamp": stamp, "midPrice": price, **book}
        book |= {"quoteTimestamp": stamp, "bidExchange": "GDAX", "askExchange": "BULLISH"}
        book |= {"lastSaleTimestamp": stamp, "lastPrice": price, "lastSize": 0.5}
        book |= {"lastExchange": "KRAKEN", "lastSizeNotional": price / 2}
        return {"ticker": ticker, "topOfBookData": [book]}


def _text_frame(payload: bytes) -> bytes:
    """A whole text message as a server sends it: RFC 6455, section 5.2."""
    if len(payload) < 126:  # noqa: PLR2004 - the RFC's
        return struct.pack("!BB", 0x81, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", 0x81, 126, len(payload)) + payload
    return struct.pack("!BBQ", 0x81, 127, len(payload)) + payload


def _new_york(ns: int) -> str:
    """`2019-01-30T13:33:45.383129126-05:00`: nine digits and New York's offset."""
    moment = datetime.fromtimestamp(ns // 1_000_000_000, _NEW_YORK)
    offset = moment.strftime("%z")
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % 1_000_000_000:09d}{offset[:3]}:{offset[3:]}"
