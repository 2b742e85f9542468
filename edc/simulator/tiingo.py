"""Tiingo on loopback: the websocket channels and the polled endpoints, and their misbehaviour.

Speaks what `edc.adapters.tiingo` documents, written from the same pages and captures, not from its
code. By itself, events are made while a connection takes them, and several connections share them;
of services that have a `market`, they are made all the time, and each connection gets every one.
"""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from edc.simulator.market import Market
from edc.simulator.polled import PATHS, Polled
from edc.simulator.tape import TICKERS, Tape, text_frame

_SUBSCRIPTION = 49_804_739
_SUCCESS = {"code": 200, "message": "Success"}
_HEARTBEAT = {"messageType": "H", "response": {"code": 200, "message": "HeartBeat"}}
_TICK = 0.01
_MOST_AT_ONCE = 5_000
_MOST_BUFFERED = 1 << 20
_SERVICES = {"/iex": "iex", "/fx": "fx", "/crypto": "crypto_data"}
_LEVELS = {"iex": {0, 5, 6}, "fx": {2, 5, 7}, "crypto_data": {2, 5}}


@dataclass(slots=True)
class Faults:
    """What the server does wrong, where there is no market. Numbers count a channel's events."""

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


class TiingoSimulator:
    """A server on 127.0.0.1, with `rate` events a second on each connection and `events` in all.

    With `record`, `frames` keeps every data frame sent, in order, repetitions included. `market`
    gives the threshold level of each service that has one; what they do and did is in `markets`,
    and a connection that leaves more than `patience` bytes of theirs unread is dropped.
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
        market: Mapping[str, int] | None = None,
        patience: int = _MOST_BUFFERED,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.faults = faults or Faults()
        self.frames: dict[str, list[bytes]] = {service: [] for service in TICKERS}
        self.connections = 0
        self.requests = 0
        self.port = 0
        self._key = key
        self._rate = rate
        self._events = events
        self._record = record
        self._heartbeat = heartbeat
        self._tapes = {service: Tape(service, seed, now_ns) for service in TICKERS}
        self._polled = Polled(seed, now_ns)
        self.markets = {
            service: Market(self._tapes[service], level, rate, patience)
            for service, level in (market or {}).items()
        }
        self._trading: list[asyncio.Task[None]] = []
        self._open: set[asyncio.WriteTransport] = set()
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
        app.add_routes([web.get(path, self._poll) for path in PATHS])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port = int(self._runner.addresses[0][1])
        self._trading = [
            asyncio.create_task(market.run(), name=f"market {service}")
            for service, market in self.markets.items()
        ]

    async def stop(self) -> None:
        """Close every market and connection, and stop listening."""
        for task in self._trading:
            task.cancel()
        await asyncio.gather(*self._trading, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    def cut(self) -> int:
        """Drop every websocket at once, without goodbye; the number of them."""
        dropped = [transport for transport in self._open if not transport.is_closing()]
        for transport in dropped:
            transport.abort()
        return len(dropped)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if "Upgrade" not in request.headers:  # `/iex` without its slash
            raise web.HTTPMovedPermanently(f"{request.path}/")
        service = _SERVICES[request.path]
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        self.connections += 1
        transport = request.transport
        if transport is None:
            return socket
        self._open.add(transport)
        try:
            await self._talk(socket, transport, service)
        finally:
            self._open.discard(transport)
        return socket

    async def _talk(
        self, socket: web.WebSocketResponse, transport: asyncio.WriteTransport, service: str
    ) -> None:
        """One connection's life, from its subscription to its end."""
        subscription = await self._subscription(socket, service)
        if subscription is None:
            await socket.close()
            return
        level, tickers = subscription
        market = self.markets.get(service)
        listener = None
        async with asyncio.TaskGroup() as tasks:
            with contextlib.ExitStack() as listening:
                if market is not None:
                    listener = listening.enter_context(market.listened_to(transport, tickers))
                    sender = tasks.create_task(self._beat(socket))
                else:
                    sender = tasks.create_task(
                        self._send(socket, transport, service, level, tickers)
                    )
                with contextlib.suppress(ConnectionError):
                    async for message in socket:  # until the client says goodbye
                        await self._changed(socket, json.loads(message.data), tickers)
                        if listener is not None:
                            listener.tickers = frozenset(tickers)
                sender.cancel()

    async def _changed(
        self, socket: web.WebSocketResponse, asked: dict[str, Any], tickers: list[str]
    ) -> None:
        """A subscription is changed by its number: tickers come on top of the others, or go."""
        data = asked["eventData"]
        if asked["authorization"] != self._key or data["subscriptionId"] != _SUBSCRIPTION:
            answer = {"code": 400, "message": "Data was not valid json"}
            await socket.send_json({"messageType": "E", "response": answer})
            return
        if asked["eventName"] == "subscribe":
            tickers += [ticker for ticker in data["tickers"] if ticker not in tickers]
        else:
            tickers[:] = [ticker for ticker in tickers if ticker not in data["tickers"]]
        told = {"data": {"tickers": tickers, "thresholdLevel": "5"}, "response": _SUCCESS}
        await socket.send_json({**told, "messageType": "I"})

    async def _beat(self, socket: web.WebSocketResponse) -> None:
        """Heartbeats, and nothing else."""
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(self._heartbeat)
                await socket.send_json(_HEARTBEAT)

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
        elif level not in self._levels(service):
            refusal = (400, "thresholdLevel not valid for your subscription tier")
        if refusal is not None:
            answer = {"code": refusal[0], "message": refusal[1]}
            await socket.send_json({"messageType": "E", "response": answer})
            return None  # the caller closes the connection, as the vendor does
        tickers = [ticker for ticker in data.get("tickers", ["*"]) if ticker != "*"]
        acknowledged = {"subscriptionId": _SUBSCRIPTION}
        await socket.send_json({"response": _SUCCESS, "data": acknowledged, "messageType": "I"})
        await socket.send_json(_HEARTBEAT)
        return level, tickers or list(TICKERS[service])

    def _levels(self, service: str) -> set[int]:
        market = self.markets.get(service)
        return _LEVELS[service] if market is None else {market.level}

    async def _send(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.WriteTransport,
        service: str,
        level: int,
        tickers: list[str],
    ) -> None:
        """Events at the stated rate, written a tick's worth at a time."""
        tape = self._tapes[service]
        loop = asyncio.get_running_loop()
        started = spoke = loop.time()
        sent = 0  # on this connection: another one's pace is its own

        def made(number: int) -> list[bytes]:
            return [tape.next(level, tickers).payload for _ in range(number)]

        if self.faults.replay and tape.sent:
            self._write(transport, service, list(tape.recent)[-self.faults.replay :])
        while not transport.is_closing():
            now = loop.time()
            if now - spoke >= self._heartbeat:
                spoke = now
                await socket.send_json(_HEARTBEAT)
            owed = int((now - started) * self._rate) - sent
            if transport.get_write_buffer_size() > _MOST_BUFFERED or self.faults.mute:
                owed = 0
            if self._events is not None:
                owed = min(owed, self._events - tape.sent)
            for number in self._pieces(tape.sent, min(owed, _MOST_AT_ONCE)):
                self._write(transport, service, made(number))
                sent += number
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
        transport.write(b"".join(map(text_frame, frames)))

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
