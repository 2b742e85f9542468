"""The simulated vendor's market: it goes on by itself, and can be made to misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from edc.simulator.market import Market
from edc.simulator.tiingo import TiingoSimulator
from tests.harness import KEY, serving, until


@asynccontextmanager
async def subscribed(
    simulator: TiingoSimulator, *tickers: str, level: int = 2
) -> AsyncIterator[ClientConnection]:
    """A connection to the crypto channel, after the two frames that come first."""
    data = {"thresholdLevel": level, "tickers": tickers or ["*"]}
    message = {"eventName": "subscribe", "authorization": KEY, "eventData": data}
    async with connect(f"{simulator.url}/crypto", max_size=None) as socket:
        await socket.send(json.dumps(message))
        yield socket
        socket.transport.abort()  # a goodbye would wait behind what was not read


async def payloads(socket: ClientConnection, number: int) -> list[bytes]:
    """The next data frames."""
    frames: list[bytes] = []
    while len(frames) < number:
        frame = await socket.recv(decode=False)
        if json.loads(frame)["messageType"] == "A":
            frames.append(frame)
    return frames


def trading(**options: float) -> TiingoSimulator:
    return TiingoSimulator(key=KEY, market={"crypto_data": 2}, heartbeat=0.05, **options)  # type: ignore[arg-type]


def crypto(simulator: TiingoSimulator) -> Market:
    return simulator.markets["crypto_data"]


async def test_a_market_goes_on_while_nobody_listens() -> None:
    async with serving(trading(rate=2000)) as simulator:
        market = crypto(simulator)
        await until(lambda: len(market.record) >= 50)
        async with subscribed(simulator) as socket:
            first = (await payloads(socket, 1))[0]

    sent = [each.payload for each in market.record]
    unheard = sent.index(first)
    assert unheard >= 50
    assert [each.listeners for each in market.record[: unheard + 1]] == [0] * unheard + [1]
    assert market.heard == sum(each.listeners > 0 for each in market.record)


async def test_everybody_gets_every_event_once() -> None:
    async with (
        serving(trading(rate=2000)) as simulator,
        subscribed(simulator) as one,
        subscribed(simulator) as other,
    ):
        got = [await payloads(one, 300), await payloads(other, 300)]

    sent = [each.payload for each in crypto(simulator).record]
    for frames in got:
        start = sent.index(frames[0])
        assert frames == sent[start : start + 300]


async def test_a_subscription_gets_its_tickers_only() -> None:
    async with serving(trading(rate=2000)) as simulator, subscribed(simulator, "ethusd") as socket:
        frames = await payloads(socket, 100)

    assert {json.loads(frame)["data"][1] for frame in frames} == {"ethusd"}
    heard = [each.payload for each in crypto(simulator).record if each.listeners]
    assert heard[:100] == frames


async def test_a_market_has_one_level() -> None:
    async with serving(trading()) as simulator, subscribed(simulator, level=5) as socket:
        answer = json.loads(await socket.recv())

    assert (answer["messageType"], answer["response"]["code"]) == ("E", 400)


async def test_a_mute_market_beats_and_answers_and_says_nothing() -> None:
    async with serving(trading(rate=2000)) as simulator, subscribed(simulator) as socket:
        await payloads(socket, 1)
        market = crypto(simulator)
        market.mute = True
        made, heard = len(market.record), market.heard
        await until(lambda: len(market.record) > made + 100)
        pong, beats = asyncio.ensure_future(await socket.ping()), 0
        async with asyncio.timeout(5):
            while beats < 2 or not pong.done():
                beats += json.loads(await socket.recv())["messageType"] == "H"
        assert market.heard == heard
        market.mute = False
        await until(lambda: market.heard > heard)


async def test_garbage_takes_the_place_of_events() -> None:
    async with serving(trading(rate=2000)) as simulator, subscribed(simulator) as socket:
        market = crypto(simulator)
        before = (await payloads(socket, 1))[0]
        market.garbage.extend([b"{", b"}"])
        frames = [before]
        while frames[-1] != b"}":
            frames.append(await socket.recv(decode=False))
        after = (await payloads(socket, 1))[0]

    sent = [each.payload for each in market.record]
    first, last = sent.index(before), sent.index(after)
    assert [each.listeners for each in market.record[last - 2 : last]] == [0, 0]
    said = [frame for frame in frames if json_type(frame) != "H"]
    assert said == [*sent[first : last - 2], b"{", b"}"]


def json_type(frame: bytes) -> str:
    try:
        return str(json.loads(frame)["messageType"])
    except ValueError:
        return ""


async def test_connections_are_cut_without_goodbye() -> None:
    async with serving(trading(rate=1000)) as simulator, subscribed(simulator) as socket:
        await payloads(socket, 1)
        assert simulator.cut() == 1
        with pytest.raises(ConnectionClosed) as caught:
            await payloads(socket, 1_000_000)
        assert simulator.cut() == 0

    assert caught.value.rcvd is None


async def test_who_reads_too_slowly_is_dropped() -> None:
    """The client stops reading; what the kernel takes is not counted, so the rate is high."""
    async with (
        serving(trading(rate=100_000, patience=1000)) as simulator,
        subscribed(simulator) as socket,
    ):
        await payloads(socket, 1)
        socket.transport.pause_reading()
        await until(lambda: crypto(simulator).dropped == 1)
