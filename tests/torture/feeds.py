"""A vendor that misbehaves: it drops connections, goes dead or mute, and sends garbage.

Each family lets one daemon after another live through several faults. Every fault begins while data
flows and ends once data flows again, on whatever connection that is.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.harness import Process, until
from tests.torture.proxy import Proxy
from tests.torture.stage import RATE, Stage, play_all, stage
from tests.torture.table import Row

_MOST = 10
"""Faults that one daemon lives through."""
_STALE_AFTER = 1.0
_GARBAGE = (
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[1,2,3]",
    b'{"messageType":"A","service":"crypto_data","data":["T","btcusd"]}',
    b'{"messageType":"A","service":"crypto_data","data":["Z",1,2,3,4,5]}',
    b'{"messageType":"A","service":"crypto_data","data":["T","btcusd","no time","gdax",1,2]}',
    b'{"messageType":"A","service":"crypto_data","data":["T","btcusd","2026-02-13","gdax",NaN,1]}',
    b'{"messageType":"X","data":' + b"[" * 5000,
)

Fault = Callable[[Stage, Process, Proxy], Awaitable[None]]


def run_disconnects(times: int, folder: Path, seed: int) -> Row:
    """The row of connections that are cut without a goodbye."""
    return asyncio.run(_family("disconnect", times, folder, seed, _cut))


def run_half_open(times: int, folder: Path, seed: int) -> Row:
    """The row of connections that go dead: nothing comes, and nobody says so."""
    return asyncio.run(_family("half-open socket", times, folder, seed, _freeze))


def run_stalls(times: int, folder: Path, seed: int) -> Row:
    """The row of connections that stay, answer pings and send heartbeats, but no data."""
    return asyncio.run(_family("stalled feed", times, folder, seed, _mute))


def run_garbage(times: int, folder: Path, seed: int) -> Row:
    """The row of frames that cannot be read, in place of events."""
    return asyncio.run(_family("garbage frames", times, folder, seed, _spoil))


async def _family(name: str, times: int, folder: Path, seed: int, fault: Fault) -> Row:
    row = Row(name, times)
    await play_all(
        _scene(row, folder / f"{first}", f"{seed} {name} {first}", min(_MOST, times - first), fault)
        for first in range(0, times, _MOST)
    )
    return row


async def _scene(row: Row, folder: Path, seed: str, times: int, fault: Fault) -> None:
    feed = f'stale_after = "{_STALE_AFTER}s"' if fault is _mute else ""
    rng = random.Random(seed)
    async with stage(folder, rng, feed=feed) as it, Proxy(it.simulator.port) as proxy:
        it.configure(proxy.url, feed=feed)
        daemon = await it.daemon(module="tests.torture.hurried", receives=RATE // 4)
        for _ in range(times):
            await fault(it, daemon, proxy)
            await it.until_heard(it.market.heard + rng.randrange(RATE // 2), daemon)
        await it.stop(daemon)
        finding = await it.examine()
        _hold_to_cause(row, finding.causes(), _CAUSES[row.fault], times)
        it.judge(row, finding, times)


_CAUSES = {
    "disconnect": "disconnected",
    "half-open socket": "half_open",
    "stalled feed": "stale",
    "garbage frames": "undecodable",
}


def _hold_to_cause(row: Row, causes: dict[str, int], cause: str, least: int) -> None:
    """Each fault is in the ledger under its name; garbage that came together, together."""
    least = 1 if cause == "undecodable" else least
    if causes.get(cause, 0) < least:
        row.problems.append(f"{least} faults are {cause}, the ledger says {causes}")


async def _cut(it: Stage, daemon: Process, _proxy: Proxy) -> None:
    heard = it.market.heard
    assert it.simulator.cut() == 1
    if it.rng.random() < 0.3:  # and the next one at its first breath
        connections = it.simulator.connections
        await until(lambda: it.simulator.connections > connections)
        it.simulator.cut()
    await it.until_heard(heard + 1, daemon)


async def _freeze(it: Stage, daemon: Process, proxy: Proxy) -> None:
    began, connections = time.time_ns(), it.simulator.connections
    assert proxy.freeze() == 1
    await until(lambda: it.simulator.connections > connections)
    proxy.bury()
    await it.until_heard(it.market.heard + 1, daemon)
    it.hidden.append((began, time.time_ns()))


async def _mute(it: Stage, daemon: Process, _proxy: Proxy) -> None:
    connections = it.simulator.connections
    it.market.mute = True
    await until(lambda: it.simulator.connections > connections)
    await asyncio.sleep(it.rng.uniform(0, 0.3))  # what comes at once, and what comes late
    it.market.mute = False
    await it.until_heard(it.market.heard + 1, daemon)


async def _spoil(it: Stage, daemon: Process, _proxy: Proxy) -> None:
    it.market.garbage.extend(it.rng.choices(_GARBAGE, k=it.rng.randint(1, 5)))
    await until(lambda: not it.market.garbage)
    await it.until_heard(it.market.heard + 1, daemon)
