"""Two daemons on one lake: each keeps its own record, and compaction makes one of both."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import polars as pl
import pytest
from aiohttp import web

from edc import control
from edc.errors import InstanceHeld
from edc.events import identity
from edc.supervisor import Supervisor
from edc.upkeep.compaction import Compacted, Compactor
from tests.harness import (
    Process,
    Script,
    read,
    running,
    supervisor,
    until,
    until_events,
    write_config,
)

NEW_YORK = "America/New_York"
LATER = 1_771_100_000_000_000_000
"""A day after the events; their partitions are closed."""

KEYS = identity("trade")


def trade(number: int, *, price: float | None = None) -> bytes:
    """The trade of a number, one a second from 13:50 in New York on: two partitions."""
    minute, second = divmod(50 * 60 + number, 60)
    stamp = f"2026-02-13T{18 + minute // 60}:{minute % 60:02d}:{second:02d}.000001+00:00"
    price = float(number) if price is None else price
    data = ["T", "btcusd", stamp, "gdax", 1.0, price]
    return json.dumps({"service": "crypto_data", "messageType": "A", "data": data}).encode()


PRINT = trade(0, price=0.5)
"""One that the vendor sends several times: equal trades, told apart by their ordinal."""


class Broadcast:
    """A vendor that sends each frame to all who are connected, and none again."""

    def __init__(self) -> None:
        self.url = ""
        self.sockets: list[web.WebSocketResponse] = []
        self.sent: Counter[bytes] = Counter()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.get("/{channel:.*}", self._talk)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.receive()
        self.sockets.append(socket)
        async for _ in socket:
            pass
        self.sockets.remove(socket)
        return socket

    async def send(self, frames: Sequence[bytes]) -> None:
        """The same to everybody, in order."""
        self.sent.update(frames)
        for frame in frames:
            for socket in list(self.sockets):
                await socket.send_frame(frame, 1)  # type: ignore[arg-type]


def configured(path: Path, instance: str, url: str, more: str = "") -> Path:
    """The config of an instance; both write to `path/lake`."""
    folder = path / instance
    folder.mkdir()
    file = write_config(folder, url, more=more)
    own = f'path = "{folder / "lake"}"'
    assert own in file.read_text()
    both = f'path = "{path / "lake"}"\ninstance = "{instance}"'
    file.write_text(file.read_text().replace(own, both))
    return file


def daemon(path: Path, instance: str, url: str, more: str = "") -> Supervisor:
    return supervisor(configured(path, instance, url, more))


def expected(sent: Counter[bytes]) -> Counter[tuple[Any, ...]]:
    """Price and ordinal of each trade that was sent."""
    prices = {frame: json.loads(frame)["data"][5] for frame in sent}
    return Counter(
        (prices[frame], ordinal) for frame, times in sent.items() for ordinal in range(times)
    )


def rows(files: Sequence[Path]) -> pl.DataFrame:
    """All rows of some files."""
    return pl.concat(pl.read_parquet(file, hive_partitioning=False) for file in files)


def found(table: pl.DataFrame) -> Counter[tuple[Any, ...]]:
    """What `expected` speaks of, as often as it is there."""
    return Counter(table.select("last_price", "ordinal").iter_rows())


def by_instance(lake: Path) -> dict[str, list[Path]]:
    """The trade files of a lake by what their footers say."""
    files: dict[str, list[Path]] = {}
    for file in sorted((lake / "trade").rglob("*.parquet")):
        files.setdefault(pl.read_parquet_metadata(file)["edc.instance"], []).append(file)
    return files


def compact(lake: Path) -> list[Compacted]:
    """Merge what is closed; nothing may be amiss."""
    done = list(Compactor(lake, NEW_YORK, now_ns=lambda: LATER).run())
    merged = [each for each in done if isinstance(each, Compacted)]
    assert merged == done  # as it would say what is amiss
    return merged


async def test_each_keeps_all_that_it_received_and_compaction_keeps_what_came_first(
    tmp_path: Path,
) -> None:
    frames = [*(trade(number) for number in range(1200)), PRINT, PRINT, PRINT]
    sent = Counter(frames)
    async with Script(frames) as script:
        both = [daemon(tmp_path, name, script.url) for name in ("east", "west")]
        async with running(both[0]), running(both[1]):
            for one in both:
                await until_events(one, len(frames))
    lake = tmp_path / "lake"
    files = by_instance(lake)
    assert set(files) == {"east", "west"}
    for name in files:
        assert found(rows(files[name])) == expected(sent)
    first = rows(files["east"] + files["west"]).group_by(KEYS).agg(pl.col("created_at").min())

    done = compact(lake)

    merged = read(lake, "trade")
    assert [
        (each.rows_before, each.rows_after) for each in done if "trade" in str(each.folder)
    ] == [
        (1206, 603),
        (1200, 600),
    ]
    assert found(merged) == expected(sent)
    assert merged.sort(KEYS).equals(first.select(merged.columns).sort(KEYS))
    assert set(by_instance(lake)) == {"east,west"}


async def test_what_one_misses_while_it_is_dead_the_other_has(tmp_path: Path) -> None:
    """Killed without a word, started again: its record has a hole, the merged one has none."""
    lake = tmp_path / "lake"
    async with Broadcast() as vendor:
        configs = {name: configured(tmp_path, name, vendor.url) for name in ("east", "west")}
        processes = {name: start(tmp_path, file) for name, file in configs.items()}
        await until(lambda: len(vendor.sockets) == 2)
        await vendor.send([PRINT, *(trade(number) for number in range(1, 100))])
        for name in configs:
            await until_received(lake, name, 100)
        processes["west"].process.kill()
        assert await asyncio.to_thread(processes["west"].wait) == -signal.SIGKILL
        await until(lambda: len(vendor.sockets) == 1)
        await vendor.send([PRINT, *(trade(number) for number in range(100, 800))])
        await until_received(lake, "east", 801)
        processes["west"] = start(tmp_path, configs["west"])
        await until(lambda: len(vendor.sockets) == 2)
        await vendor.send([PRINT, *(trade(number) for number in range(800, 900))])
        await until_received(lake, "east", 902)
        await until_received(lake, "west", 101)
        for process in processes.values():
            process.process.terminate()
            assert await asyncio.to_thread(process.wait) == 0
        sent = vendor.sent

    files = by_instance(lake)
    assert found(rows(files["east"])) == expected(sent)
    of_west = found(rows(files["west"]))
    assert of_west <= expected(sent)
    assert {(float(number), 0) for number in range(800, 900)} <= set(of_west)
    assert not {(float(number), 0) for number in range(100, 800)} & set(of_west)

    compact(lake)

    assert found(read(lake, "trade")) == expected(sent)
    assert read(lake, "gap").filter(cause="killed").height == 1


def start(path: Path, file: Path) -> Process:
    """A daemon in a process of its own."""
    return Process("run", "--config", str(file), cwd=path)


async def until_received(lake: Path, instance: str, events: int) -> None:
    """Wait until a daemon says that it has received so many."""
    socket = lake / ".spool" / instance / "control.sock"
    async with asyncio.timeout(60):
        while True:
            answer: dict[str, Any] = await asyncio.to_thread(control.ask, socket, "status")
            if sum(sum(feed["events"].values()) for feed in answer["feeds"]) == events:
                return


async def until_written(one: Supervisor, trades: int) -> None:
    """Wait until a daemon has written so many to the lake."""
    await until(lambda: one.lanes["trade"].stats.rows_written == trades)


async def test_the_same_instance_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    frames = [trade(number) for number in range(50)]
    async with Script(frames) as script:
        file = configured(tmp_path, "east", script.url)
        first, second = supervisor(file), supervisor(file)
        async with running(first):
            await until(lambda: first.feeds[0].stats.connects)
            with pytest.raises(InstanceHeld) as caught:
                await second.run()
            await until_events(first, 50)

    assert caught.value.exit_code == 75
    assert found(read(tmp_path / "lake", "trade")) == expected(Counter(frames))


async def test_compaction_while_both_write_loses_nothing_and_keeps_nothing_twice(
    tmp_path: Path,
) -> None:
    """All rows are late ones: their partitions are closed, and compacted again and again."""
    lake = tmp_path / "lake"
    often = '[batch]\nmax_rows = 7\nmax_age = "50ms"\n'
    merged = 0
    async with Broadcast() as vendor:
        both = [daemon(tmp_path, name, vendor.url, often) for name in ("east", "west")]
        async with running(both[0]), running(both[1]):
            await until(lambda: len(vendor.sockets) == 2)
            for turn in range(12):
                numbers = range(turn * 70, turn * 70 + 70)
                sending = asyncio.create_task(vendor.send([PRINT, *map(trade, numbers)]))
                merged += len(await asyncio.to_thread(compact, lake))
                await sending
                for one in both:
                    await until_written(one, (turn + 1) * 71)
        sent = vendor.sent

    compact(lake)

    assert merged >= 11
    assert found(read(lake, "trade")) == expected(sent)
    [first, second] = sorted((lake / "trade").rglob("*.parquet"))
    assert first.parent != second.parent
    assert [path for path in lake.rglob("*.parquet") if ".quarantine" in path.parts] == []
