"""The streaming transport against a real server that sends what a test wrote."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from edc.adapters import Silence
from edc.errors import Fatal, Retriable
from edc.staleness import Watchdog
from edc.transport import Request
from edc.transport.sockets import MOST_BYTES
from edc.transport.stream import StreamTransport
from tests.harness import until
from tests.test_transport import CALM, Collector


class Streamed:
    """A streaming adapter for one address."""

    def __init__(self, url: str, silence: Silence | None = None) -> None:
        self.silence = silence or Silence()
        self._url = url

    def request(self) -> Request:
        return Request(self._url, {"instruments": "EUR_USD"}, {"Authorization": "Bearer k"})

    def refusal(self, status: int, body: str) -> Retriable:
        return Retriable("refused", f"{status}: {body}", 9.0)

    def decode(self, frame: object) -> list[object]:
        return [frame]


class Beating(Streamed):
    """The same, of a vendor that is heard at least every second and a half."""

    beats_within = 1.5


@asynccontextmanager
async def sending(*parts: bytes, status: int = 200, endless: bool = False) -> AsyncIterator[str]:
    """A server that answers with these chunks, and then ends the answer, or does not."""

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer k"
        assert request.query["instruments"] == "EUR_USD"
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await asyncio.sleep(0.01)
        if endless:
            await asyncio.Event().wait()  # until the server is told to stop
        return response

    app = web.Application()
    app.add_routes([web.get("/", answer)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def transport(url: str, silence: Silence | None = None) -> StreamTransport:
    adapter = Streamed(url, silence)
    watchdog = Watchdog(adapter.silence)
    return StreamTransport(adapter, lambda: True, watchdog, CALM, lambda: 7)  # type: ignore[arg-type]


async def ended(url: str, collector: Collector, silence: Silence | None = None) -> Exception:
    with pytest.raises((Retriable, Fatal)) as caught:
        await transport(url, silence).run(collector, asyncio.Event())
    return caught.value


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ([b"one\ntwo\n"], [b"one", b"two"]),
        ([b"on", b"e\ntw", b"o", b"\n"], [b"one", b"two"]),
        ([b"one\r\n\r\n\n", b"two\r", b"\n"], [b"one", b"two"]),
        (["\u00fc".encode()[:1], "\u00fc".encode()[1:] + b"\n"], ["\u00fc".encode()]),
        ([b"one\n", b"torn"], [b"one"]),
        ([b"\n", b" \n"], []),
    ],
)
async def test_lines_are_put_together_from_chunks(
    parts: Sequence[bytes], lines: list[bytes]
) -> None:
    collector = Collector()
    async with sending(*parts) as url:
        error = await ended(url, collector)

    assert [frame.data for frame in collector.frames] == lines
    assert all((frame.received_ns, frame.epoch) == (7, 1) for frame in collector.frames)
    assert isinstance(error, Retriable)
    assert error.reason == "disconnected"


async def test_a_line_without_end_is_cut_off() -> None:
    async with sending(*[b"x" * 200_000] * 8, endless=True) as url:
        error = await ended(url, Collector())

    assert f"a line is over {MOST_BYTES} bytes" in str(error)


async def test_what_a_refusal_means_is_the_adapters_to_say() -> None:
    async with sending(b"no", status=403) as url:
        error = await ended(url, Collector())

    assert isinstance(error, Retriable)
    assert (str(error), error.after) == ("403: no", 9.0)


async def test_a_vendor_with_heartbeats_that_has_none_is_gone_even_in_a_closed_market() -> None:
    collector = Collector()
    async with sending(b"one\n", endless=True) as url:
        adapter = Beating(url)
        watchdog = Watchdog(adapter.silence)
        streamed = StreamTransport(adapter, lambda: False, watchdog, CALM)  # type: ignore[arg-type]
        with pytest.raises(Retriable, match=r"not even a heartbeat for 1.5 s") as caught:
            await asyncio.wait_for(streamed.run(collector, asyncio.Event()), 10)

    assert caught.value.reason == "half_open"
    assert len(collector.frames) == 1


async def test_heartbeats_keep_a_stream_alive_in_a_closed_market() -> None:
    stopping = asyncio.Event()
    async with sending(*[b"\n"] * 10_000) as url:  # a line in a hundredth of a second
        adapter = Beating(url)
        watchdog = Watchdog(adapter.silence)
        streamed = StreamTransport(adapter, lambda: False, watchdog, CALM)  # type: ignore[arg-type]
        run = asyncio.create_task(streamed.run(Collector(), stopping))
        await asyncio.sleep(3.2)  # twice as long as one without them would live
        assert not run.done()
        stopping.set()
        await run


async def test_a_mute_stream_is_found() -> None:
    silence = Silence(stale_after=0.3, first_data_within=0.3)
    async with sending(endless=True) as url:
        error = await ended(url, Collector(), silence)

    assert isinstance(error, Retriable)
    assert error.reason == "stale"


async def test_it_stops_when_it_is_told_to() -> None:
    collector, stopping = Collector(), asyncio.Event()
    async with sending(b"one\n", endless=True) as url:
        task = asyncio.create_task(transport(url).run(collector, stopping))
        await until(lambda: collector.frames)
        stopping.set()
        await asyncio.wait_for(task, 10)


async def test_without_room_nothing_more_is_read() -> None:
    collector = Collector(narrow=True)
    async with sending(b"one\n", b"two\n") as url:
        await ended(url, collector)

    assert collector.waits == collector.deliveries >= 1


async def test_a_server_that_is_not_there_is_tried_again() -> None:
    error = await ended("http://127.0.0.1:1/", Collector())

    assert isinstance(error, Retriable)
