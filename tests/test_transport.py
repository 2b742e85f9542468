"""The two transports against real servers, each with one misbehaviour."""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trustme
from aiohttp import WSMsgType, web
from websockets import exceptions
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Response

from edc.adapters import Silence
from edc.errors import ConfigError, Fatal, Retriable
from edc.staleness import Watchdog
from edc.transport import Frame, Heard, Request, with_websockets
from edc.transport import fetch as fetch_module
from edc.transport.libraries import Choice, library
from edc.transport.poll import PollTransport
from edc.transport.sockets import MOST_AT_ONCE, Library, Timing
from edc.transport.websocket import WebsocketTransport
from tests.harness import until

CALM = Timing(open_timeout=30.0, close_timeout=30.0, ping_after=0.3, ping_timeout=30.0, tick=0.05)
"""Who answers has time for it, which is needed on a busy machine."""
CURT = replace(CALM, close_timeout=0.3)
"""For who does not answer a goodbye."""


class Collector:
    """A receiver that keeps what it is given and, if told so, has no room after each read."""

    def __init__(self, *, narrow: bool = False) -> None:
        self.frames: list[Frame] = []
        self.waits = 0
        self.deliveries = 0
        self.epoch = 0
        self._narrow = narrow

    def connected(self, adapter: object, heard: Heard | None = None) -> int:
        self.epoch += 1
        return self.epoch

    def refused(self, epoch: int, symbol: str, why: str) -> None:
        raise AssertionError(symbol, why)

    def ended(self, epoch: int) -> None:
        assert epoch == self.epoch

    def receive(self, frame: Frame) -> bool:
        self.frames.append(frame)
        return not self._narrow

    def receive_many(self, frames: Sequence[bytes], received_ns: int, epoch: int) -> bool:
        self.deliveries += 1
        for data in frames:
            self.receive(Frame(data, received_ns, epoch))
        return not self._narrow

    async def room(self) -> None:
        self.waits += 1

    def data_frames(self, epoch: int) -> int:
        return len(self.frames)


class Full(Collector):
    """A receiver that has no room after the first read, until it is emptied."""

    def __init__(self) -> None:
        super().__init__(narrow=True)
        self.emptied = asyncio.Event()

    async def room(self) -> None:
        await super().room()
        await self.emptied.wait()


class Reads(Collector):
    """A receiver that notes the sizes of the messages of each read."""

    def __init__(self, *, narrow: bool = False) -> None:
        super().__init__(narrow=narrow)
        self.reads: list[list[int]] = []

    def receive_many(self, frames: Sequence[bytes], received_ns: int, epoch: int) -> bool:
        self.reads.append([len(each) for each in frames])
        return super().receive_many(frames, received_ns, epoch)


class Pushed:
    """A websocket adapter with nothing to say."""

    def __init__(self, url: str, silence: Silence) -> None:
        self.url = url
        self.silence = silence

    def subscribe(self) -> list[str]:
        return ["hello"]

    def decode(self, frame: Frame) -> list[object]:
        return []


class Polled:
    """A polling adapter with the requests it is given."""

    def __init__(self, *urls: str, interval: float = 0.05) -> None:
        self.interval = interval
        self._urls = urls

    def requests(self) -> list[Request]:
        return [
            Request(url, {"tickers": "a,b"}, {"Authorization": "Token k"}) for url in self._urls
        ]

    def decode(self, frame: Frame) -> list[object]:
        return []


@asynccontextmanager
async def server(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """A server whose every path is `handler`; its address without the scheme."""
    app = web.Application()
    app.add_routes([web.get("/{path:.*}", handler)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture(params=["websockets", "picows"])
def connect(request: pytest.FixtureRequest) -> Library:
    """Each library that can carry the transport."""
    choice: Choice = request.param
    if choice == "picows":
        pytest.importorskip("picows", reason="the extra `fast` is not installed")
    return library(choice)


def pushed(
    connect: Library, url: str, silence: Silence | None = None, timing: Timing = CALM
) -> WebsocketTransport:
    adapter = Pushed(url, silence or Silence())
    watchdog = Watchdog(adapter.silence)
    return WebsocketTransport(adapter, connect, lambda: True, watchdog, timing, lambda: 7)  # type: ignore[arg-type]


def polled(*urls: str, once: bool = True) -> PollTransport:
    return PollTransport(Polled(*urls), once=once, now_ns=lambda: 7)  # type: ignore[arg-type]


async def test_frames_carry_bytes_receive_time_and_epoch_up_to_the_last_before_the_goodbye(
    connect: Library,
) -> None:
    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert (await socket.receive()).data == "hello"
        for number in range(1000):
            await socket.send_str(f"{number}")
        await socket.send_bytes(b"\xff\x00")
        async for _ in socket:
            pass
        return socket

    receiver, stopping = Collector(narrow=True), asyncio.Event()
    async with server(talk) as address:
        run = asyncio.create_task(pushed(connect, f"ws://{address}").run(receiver, stopping))
        await until(lambda: receiver.frames)
        stopping.set()  # what was sent before the goodbye is still delivered
        await run

    assert [frame.data for frame in receiver.frames] == [
        *(str(number).encode() for number in range(1000)),
        b"\xff\x00",
    ]
    assert {(frame.received_ns, frame.epoch, frame.status) for frame in receiver.frames} == {
        (7, 1, 0)
    }
    assert receiver.waits == receiver.deliveries > 0


async def test_a_redirect_is_not_followed_since_the_key_would_go_with_it(connect: Library) -> None:
    asked = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPFound("/other")

    async with server(elsewhere) as address:
        with pytest.raises(Retriable, match="302"):
            await pushed(connect, f"ws://{address}/first").run(Collector(), asyncio.Event())
        receiver = Collector()
        await polled(f"http://{address}/first").run(receiver, asyncio.Event())

    assert asked == ["/first", "/first"]
    assert [frame.status for frame in receiver.frames] == [302]


async def test_a_message_over_a_mebibyte_even_if_it_was_small_when_compressed_is_refused(
    connect: Library,
) -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=True)
        await socket.prepare(request)
        await socket.receive()  # the handshake is over: making so much takes a while
        await socket.send_str("0" * (64 << 20))
        async for _ in socket:
            pass
        return socket

    receiver = Collector()
    async with server(bomb) as address:
        with pytest.raises(Retriable, match="1009"):
            await pushed(connect, f"ws://{address}").run(receiver, asyncio.Event())

    assert receiver.frames == []


async def test_a_full_queue_of_ours_is_no_silence_of_the_vendor(connect: Library) -> None:
    """No room for three times as long as a silence may last; the alarm comes after that."""

    async def once(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("data")
        async for _ in socket:
            pass
        return socket

    receiver, stopping = Full(), asyncio.Event()
    async with server(once) as address:
        transport = pushed(connect, f"ws://{address}", Silence(stale_after=0.3))
        run = asyncio.create_task(transport.run(receiver, stopping))
        await until(lambda: receiver.waits)
        _, pending = await asyncio.wait({run}, timeout=0.9)
        assert pending == {run}
        receiver.emptied.set()
        with pytest.raises(Retriable, match=r"no data for 0\.3 s") as caught:
            await run

    assert caught.value.reason == "stale"


async def test_a_server_that_never_answers_the_handshake_is_given_up_in_time(
    connect: Library,
) -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client has gone
        writer.close()
        await writer.wait_closed()
        gone.set()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    hurried = replace(CALM, open_timeout=0.3)
    with pytest.raises(Retriable) as caught:
        await pushed(connect, f"ws://127.0.0.1:{port}", timing=hurried).run(
            Collector(), asyncio.Event()
        )
    await gone.wait()
    listening.close()

    assert caught.value.reason == "timeout"


async def test_polling_sends_the_key_in_a_header_and_gives_each_answer_an_epoch() -> None:
    asked: list[tuple[str, str | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((request.path_qs, request.headers.get("Authorization")))
        if request.path == "/a":
            return web.Response(text="[]", headers={"Date": "Fri, 13 Feb 2026 18:09:22 GMT"})
        return web.Response(text="[]", status=429, headers={"Date": "soon"})

    receiver = Collector()
    async with server(answer) as address:
        await polled(f"http://{address}/a", f"http://{address}/b").run(receiver, asyncio.Event())

    assert asked == [("/a?tickers=a%2Cb", "Token k"), ("/b?tickers=a%2Cb", "Token k")]
    assert receiver.frames == [
        Frame(b"[]", 7, 1, 200, dated=1_771_006_162),
        Frame(b"[]", 7, 2, 429),
    ]


async def test_polling_goes_on_until_it_is_told_to_stop() -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="[]")

    receiver, stopping = Collector(), asyncio.Event()
    async with server(answer) as address:
        run = asyncio.create_task(polled(f"http://{address}/", once=False).run(receiver, stopping))
        await until(lambda: len(receiver.frames) >= 3)
        stopping.set()
        await run


async def test_an_answer_without_end_is_cut_off_even_if_it_came_compressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch_module, "_MOST_BYTES", 100_000)

    async def bomb(_request: web.Request) -> web.StreamResponse:
        body = gzip.compress(b"0" * 10_000_000)
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    receiver = Collector()
    async with server(bomb) as address:
        with pytest.raises(Retriable, match="100000 bytes"):
            await polled(f"http://{address}/").run(receiver, asyncio.Event())

    assert receiver.frames == []


async def test_an_unreachable_server_is_tried_again_and_a_wrong_url_is_not(
    connect: Library,
) -> None:
    for transport in (pushed(connect, "ws://127.0.0.1:1"), polled("http://127.0.0.1:1/")):
        with pytest.raises(Retriable):
            await transport.run(Collector(), asyncio.Event())
    for wrong in (
        pushed(connect, "http://x"),
        pushed(connect, "nonsense"),
        polled("ftp://x/"),
        polled("nonsense"),
    ):
        with pytest.raises(Fatal):
            await wrong.run(Collector(), asyncio.Event())


async def test_a_message_in_parts_is_one_frame_and_no_larger_than_a_whole_one(
    connect: Library,
) -> None:
    parts = [
        *((b"ab", 1, False), (b"", 0, False), (b"there?", 9, True), (b"cd", 0, True)),
        *((b"e", 2, True), (b"f", 1, False), (b"g", 0, True)),
    ]

    async def talk(writer: asyncio.StreamWriter) -> None:
        for data, opcode, fin in parts:
            writer.write(bytes([opcode | (0x80 if fin else 0), len(data)]) + data)
        for number in range(20):
            size = (64 << 10).to_bytes(8, "big")
            writer.write(bytes([0 if number else 1, 127]) + size + bytes(64 << 10))
        await writer.drain()

    receiver = Collector()
    async with raw_server(talk) as address:
        with pytest.raises(Retriable, match="1009") as caught:
            await pushed(connect, f"ws://{address}", timing=CURT).run(receiver, asyncio.Event())

    assert caught.value.reason == "disconnected"
    assert [frame.data for frame in receiver.frames] == [b"abcd", b"e", b"fg"]


async def test_compression_is_undone_where_it_was_offered_whole_and_in_parts(
    connect: Library,
) -> None:
    messages: list[str | bytes | list[str]] = [
        *("whole" * 1000, ["in ", "", "parts" * 1000], b"\xff\x00", "", "whole" * 1000)
    ]
    offered: list[str] = []

    async def talk(connection: ServerConnection) -> None:
        offered.extend(extension.name for extension in connection.protocol.extensions)
        for message in messages:
            await connection.send(message)

    receiver = Collector()
    async with serve(talk, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(Retriable, match="1000"):
            await pushed(connect, f"ws://127.0.0.1:{port}").run(receiver, asyncio.Event())

    assert offered == ["permessage-deflate"] * (connect is with_websockets.connect)
    whole = b"whole" * 1000
    assert [frame.data for frame in receiver.frames] == [
        *(whole, b"in " + b"parts" * 1000, b"\xff\x00", b"", whole)
    ]


@pytest.mark.parametrize("secure", [False, True])
async def test_who_has_no_room_reads_no_more_and_keeps_little(
    connect: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, secure: bool
) -> None:
    context = None
    if secure:
        authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        authority.issue_cert("localhost").configure_cert(context)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    count, size = 1024, 60_000
    sent: list[int] = []

    async def flood(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)  # until somebody reads
        for number in range(count):
            writer.write(b"\x82\x7e" + size.to_bytes(2, "big") + number.to_bytes(2, "big") * 30_000)
            await writer.drain()
            sent.append(number)
        writer.write(b"\x88\x02\x03\xe8")

    async def stuck() -> bool:
        before = len(sent)
        await asyncio.sleep(0.3)
        return len(sent) == before

    receiver = Full()
    async with raw_server(flood, context) as address:
        url = f"wss://localhost:{address.rpartition(':')[2]}" if secure else f"ws://{address}"
        run = asyncio.create_task(pushed(connect, url, timing=CURT).run(receiver, asyncio.Event()))
        await until(lambda: receiver.waits)
        while not await stuck():
            pass
        assert receiver.deliveries == receiver.waits == 1
        assert len(sent) < count // 2  # the rest of them is in the buffers of two sockets
        receiver.emptied.set()
        with pytest.raises(Retriable, match="1000"):
            await run

    assert [frame.data[:2] for frame in receiver.frames] == [
        number.to_bytes(2, "big") for number in range(count)
    ]
    assert receiver.waits == receiver.deliveries


async def test_many_messages_of_one_read_are_handed_over_by_and_by_the_last_words_too(
    connect: Library,
) -> None:
    messages = [b"%06d" % number for number in range(20_000)]

    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(b"\x81\x06" + data for data in messages) + b"\x88\x02\x03\xe8")
        await writer.drain()

    receiver = Reads(narrow=True)
    async with raw_server(talk) as address:
        patient = pushed(connect, f"ws://{address}", timing=Timing())
        with pytest.raises(Retriable, match="1000"):
            await patient.run(receiver, asyncio.Event())

    assert [frame.data for frame in receiver.frames] == messages
    assert max(map(len, receiver.reads)) == MOST_AT_ONCE


async def test_however_much_the_kernel_has_a_read_brings_a_quarter_of_a_mebibyte_at_most(
    connect: Library,
) -> None:
    size, count = 1000, 8000

    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write((b"\x82\x7e" + size.to_bytes(2, "big") + bytes(size)) * count)
        writer.write(b"\x88\x02\x03\xe8")
        await writer.drain()

    receiver = Reads()
    async with raw_server(talk) as address:
        patient = pushed(connect, f"ws://{address}", timing=Timing())
        with pytest.raises(Retriable, match="1000"):
            await patient.run(receiver, asyncio.Event())

    assert len(receiver.frames) == count
    assert max(map(sum, receiver.reads)) <= (256 << 10) + size


async def test_what_came_before_anybody_read_is_delivered_first_and_the_rest_waits_outside(
    connect: Library,
) -> None:
    large = b"\x82\x7f" + (512 << 10).to_bytes(8, "big") + bytes(512 << 10)
    all_sent = asyncio.Event()

    async def talk(writer: asyncio.StreamWriter) -> None:
        for _ in range(40):  # more than the buffers of two sockets
            writer.write(large)
            await writer.drain()
        all_sent.set()
        await _hello(writer)
        writer.close()

    receiver = Collector()
    async with (
        raw_server(talk, at_once=b"\x81\x05first\x81\x06second") as address,
        connect(f"ws://{address}", CALM) as socket,
    ):
        await asyncio.sleep(0.4)
        assert not all_sent.is_set()
        assert receiver.frames == []
        assert "1000" in await socket.read(receiver, receiver.connected(None), lambda: 7)

    assert [frame.data for frame in receiver.frames[:2]] == [b"first", b"second"]
    assert receiver.frames[-1].data == b"hello"
    assert socket.frames == len(receiver.frames) == 43


async def test_who_leaves_while_there_is_no_room_does_not_wait_for_it_nor_hear_more(
    connect: Library,
) -> None:
    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("1")
        await until(lambda: receiver.waits)
        await socket.send_str("2")
        async for _ in socket:
            pass
        return socket

    receiver = Full()
    async with server(talk) as address:
        async with connect(f"ws://{address}", Timing(close_timeout=20)) as socket:
            read = asyncio.create_task(socket.read(receiver, receiver.connected(None), lambda: 7))
            await until(lambda: receiver.waits)
            read.cancel()
            left = time.monotonic()
        assert time.monotonic() - left < 10

    assert [frame.data for frame in receiver.frames] == [b"1"]


@asynccontextmanager
async def raw_server(
    talk: Callable[[asyncio.StreamWriter], Awaitable[None]],
    context: ssl.SSLContext | None = None,
    at_once: bytes = b"",
) -> AsyncIterator[str]:
    """A server that shakes hands and then writes bytes as it likes, until the client goes.

    `at_once` is in the same packet as the answer to the handshake.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(
            line.partition(": ")[2]
            for line in head.splitlines()
            if line.lower().startswith("sec-websocket-key")
        )
        magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(f"{key}{magic}".encode()).digest()).decode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            + at_once
        )
        with contextlib.suppress(ConnectionError):
            await talk(writer)
            while await reader.read(65_536):
                pass
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (401, Fatal, ""),
        (403, Fatal, ""),
        (404, Fatal, ""),
        (429, Retriable, "rate_limited"),
        (503, Retriable, "refused"),
        (200, Retriable, "refused"),
    ],
)
async def test_a_refused_handshake_says_who_can_mend_it(
    connect: Library, status: int, kind: type[Exception], reason: str
) -> None:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="no")

    async with server(refuse) as address:
        with pytest.raises(kind, match=str(status)) as caught:
            await pushed(connect, f"ws://{address}").run(Collector(), asyncio.Event())

    assert getattr(caught.value, "reason", "") == reason


async def test_a_vendor_that_says_goodbye_or_vanishes_has_disconnected(connect: Library) -> None:
    async def goodbye(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("last")
        await socket.close(code=4001, message=b"too slow")
        return socket

    async def vanish(writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x81\x04last")
        await writer.drain()
        writer.close()

    receiver = Collector()
    async with server(goodbye) as address:
        with pytest.raises(Retriable, match=r"4001 .*too slow") as caught:
            await pushed(connect, f"ws://{address}").run(receiver, asyncio.Event())
    assert caught.value.reason == "disconnected"
    async with raw_server(vanish) as address:
        with pytest.raises(Retriable, match="closed the connection") as caught:
            await pushed(connect, f"ws://{address}").run(receiver, asyncio.Event())
    assert caught.value.reason == "disconnected"
    assert [frame.data for frame in receiver.frames] == [b"last", b"last"]


async def test_what_the_receiver_raises_ends_the_connection(connect: Library) -> None:
    class Refusing(Collector):
        def receive(self, frame: Frame) -> bool:
            super().receive(frame)
            raise Fatal("the key was refused", "check it")

    gone = asyncio.Event()

    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("1")
        await socket.send_str("2")
        async for _ in socket:
            pass
        gone.set()
        return socket

    receiver = Refusing()
    async with server(talk) as address:
        with pytest.raises(Fatal, match="the key was refused"):
            await pushed(connect, f"ws://{address}").run(receiver, asyncio.Event())
        await gone.wait()

    assert [frame.data for frame in receiver.frames] == [b"1"]


async def test_a_ping_is_answered_and_ours_keeps_a_quiet_connection(connect: Library) -> None:
    answered = asyncio.Event()

    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await socket.receive()
        await socket.ping(b"there?")
        pings = 0
        async for message in socket:
            if message.type is WSMsgType.PONG:
                assert message.data == b"there?"
                answered.set()
            if message.type is WSMsgType.PING:
                pings += 1
                await socket.pong(message.data)
                if pings == 2:  # twice as long as a dead peer would live
                    await socket.send_str("alive")
        return socket

    receiver, stopping = Collector(), asyncio.Event()
    async with server(talk) as address:
        run = asyncio.create_task(pushed(connect, f"ws://{address}").run(receiver, stopping))
        await until(lambda: receiver.frames)
        assert answered.is_set()
        stopping.set()
        await run


async def test_a_peer_that_answers_no_ping_is_gone(connect: Library) -> None:
    async def deaf(_writer: asyncio.StreamWriter) -> None:
        pass

    hurried = replace(CURT, ping_timeout=0.3)
    async with raw_server(deaf) as address:
        with pytest.raises(Retriable, match="no pong") as caught:
            await pushed(connect, f"ws://{address}", timing=hurried).run(
                Collector(), asyncio.Event()
            )

    assert caught.value.reason == "half_open"


async def _hello(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x81\x05hello\x88\x02\x03\xe8")
    await writer.drain()


async def test_a_certificate_is_verified_and_so_is_its_name(
    connect: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    ours, others = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    authority.issue_cert("localhost").configure_cert(ours)
    trustme.CA().issue_cert("localhost").configure_cert(others)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))

    receiver = Collector()
    async with raw_server(_hello, ours) as address:
        port = address.rpartition(":")[2]
        with pytest.raises(Retriable) as caught:
            await pushed(connect, f"wss://localhost:{port}", timing=CURT).run(
                receiver, asyncio.Event()
            )
        assert caught.value.reason == "disconnected"
        assert [frame.data for frame in receiver.frames] == [b"hello"]
        with pytest.raises(Retriable, match=r"(?i)certificate.verify.failed") as caught:
            await pushed(connect, f"wss://127.0.0.1:{port}", timing=CURT).run(
                receiver, asyncio.Event()
            )
        assert caught.value.reason == "refused"
    async with raw_server(_hello, others) as address:
        port = address.rpartition(":")[2]
        with pytest.raises(Retriable, match=r"(?i)certificate.verify.failed") as caught:
            await pushed(connect, f"wss://localhost:{port}", timing=CURT).run(
                receiver, asyncio.Event()
            )
        assert caught.value.reason == "refused"
    assert len(receiver.frames) == 1


async def test_a_proxy_of_the_environment_is_used(
    connect: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = head.split()[1]
        asked.append(head.splitlines()[0])
        host, _, port = target.rpartition(":")
        there, here = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65_536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(copy(reader, here), copy(there, writer))

    proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("no_proxy", raising=False)
    receiver = Collector()
    async with raw_server(_hello) as address:
        with pytest.raises(Retriable):
            await pushed(connect, f"ws://{address}", timing=CURT).run(receiver, asyncio.Event())
        assert asked == [f"CONNECT {address} HTTP/1.1"]
    proxy.close()
    assert [frame.data for frame in receiver.frames] == [b"hello"]


def test_a_library_that_is_not_installed_is_the_operators_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "edc.transport.with_picows", raising=False)
    monkeypatch.delattr("edc.transport.with_picows", raising=False)
    monkeypatch.setitem(sys.modules, "picows", None)

    assert library("auto") is with_websockets.connect
    assert library("websockets") is with_websockets.connect
    with pytest.raises(ConfigError, match=r"edc\[fast\]"):
        library("picows")


def _status(code: int) -> exceptions.InvalidStatus:
    return exceptions.InvalidStatus(Response(code, "", Headers()))


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (exceptions.ConnectionClosedError(None, None), Retriable, "disconnected"),
        (exceptions.ConnectionClosedOK(None, None), Retriable, "disconnected"),
        (exceptions.InvalidURI("x", "y"), Fatal, ""),
        (exceptions.InvalidProxy("x", "y"), Retriable, "refused"),
        (exceptions.InvalidHandshake(), Retriable, "refused"),
        (exceptions.SecurityError("x"), Retriable, "refused"),
        (exceptions.ProxyError("x"), Retriable, "refused"),
        (exceptions.NegotiationError("x"), Retriable, "refused"),
        (exceptions.ProtocolError("x"), Retriable, "refused"),
        (_status(401), Fatal, ""),
        (_status(403), Fatal, ""),
        (_status(404), Fatal, ""),
        (_status(429), Retriable, "rate_limited"),
        (_status(503), Retriable, "refused"),
        (ssl.SSLCertVerificationError("x"), Retriable, "refused"),
        (ssl.SSLError("x"), Retriable, "refused"),
        (TimeoutError(), Retriable, "timeout"),
        (ConnectionResetError(), Retriable, "refused"),
    ],
)
def test_every_error_of_the_websocket_library_has_a_class(
    error: Exception, kind: type[Exception], reason: str
) -> None:
    translated = with_websockets.translated(error, "ws://x")

    assert type(translated) is kind
    assert getattr(translated, "reason", "") == reason


def test_every_error_of_the_http_library_has_a_class() -> None:
    """Whatever httpx may raise is listed by httpx; a new one must not escape."""
    kinds = [
        kind
        for name in httpx.__all__
        if isinstance(kind := getattr(httpx, name), type)
        and issubclass(kind, httpx.HTTPError)
        and kind is not httpx.HTTPStatusError
    ]
    assert len(kinds) > 10
    for kind in kinds:
        assert isinstance(fetch_module.translated(kind("x")), Retriable | Fatal)
    assert isinstance(fetch_module.translated(httpx.InvalidURL("x")), Fatal)


def test_a_fault_of_ours_is_not_taken_for_one_of_the_network() -> None:
    for translate in (
        lambda error: with_websockets.translated(error, "ws://x"),
        fetch_module.translated,
    ):
        with pytest.raises(ZeroDivisionError):
            translate(ZeroDivisionError())


class Cooling(Pushed):
    """A vendor that wants ten minutes of peace after a handshake that it has limited."""

    cool_down = 600.0


@pytest.mark.parametrize(("status", "after"), [(429, 600.0), (503, None)])
async def test_a_limited_handshake_is_waited_out_as_long_as_the_vendor_wants(
    connect: Library, status: int, after: float | None
) -> None:
    async def limited(request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(status=status)

    async with server(limited) as address:
        adapter = Cooling(f"ws://{address}", Silence())
        watchdog = Watchdog(adapter.silence)
        transport = WebsocketTransport(adapter, connect, lambda: True, watchdog, CALM)  # type: ignore[arg-type]
        with pytest.raises(Retriable) as caught:
            await transport.run(Collector(), asyncio.Event())

    assert caught.value.after == after


class Beating(Pushed):
    """A vendor that is heard at least every second and a half, in any market."""

    beats_within = 1.5


async def test_a_vendor_with_heartbeats_that_has_none_is_gone_though_it_answers_pings(
    connect: Library,
) -> None:
    async def mute(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for _ in range(5):
            await socket.send_str("beat")
            await asyncio.sleep(0.1)
        async for _ in socket:
            pass
        return socket

    receiver = Collector()
    async with server(mute) as address:
        adapter = Beating(f"ws://{address}", Silence())
        watchdog = Watchdog(adapter.silence)
        transport = WebsocketTransport(adapter, connect, lambda: False, watchdog, CALM)  # type: ignore[arg-type]
        with pytest.raises(Retriable, match=r"not even a heartbeat for 1.5 s") as caught:
            await asyncio.wait_for(transport.run(receiver, asyncio.Event()), 10)

    assert caught.value.reason == "half_open"
    assert len(receiver.frames) == 5


class Paced(Polled):
    """A polling adapter of a vendor that may be asked ten times a second."""

    request_every = 0.1


async def test_the_requests_of_a_round_keep_the_vendors_pace_and_a_stop_does_not_wait() -> None:
    asked: list[float] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        del request
        asked.append(time.monotonic())
        return web.Response(text="[]")

    async with server(answer) as address:
        urls = [f"http://{address}/{number}" for number in range(3)]
        started = time.monotonic()
        await PollTransport(Paced(*urls), once=True).run(Collector(), asyncio.Event())  # type: ignore[arg-type]
        slow, stopping = Paced(*urls), asyncio.Event()
        slow.request_every = 3600.0
        run = asyncio.create_task(
            PollTransport(slow, once=True).run(Collector(), stopping)  # type: ignore[arg-type]
        )
        await until(lambda: len(asked) == 4)
        stopping.set()
        await asyncio.wait_for(run, 5)

    assert asked[2] - started >= 0.2  # two pauses; a request itself may take any time
    assert len(asked) == 4
