"""The short forms of what is measured: the same code, and what it must find."""

import json
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from edc import __version__
from edc.events import Quote, Trade
from edc.times import SECOND
from edc.transport import Frame
from tests.bench.frames import BEGIN, WORKLOADS, Workload
from tests.bench.latency import _latency
from tests.bench.machine import machine, pauses, revision
from tests.bench.measured import Load, calibration, edc
from tests.bench.overload import BOUND, Result, overload
from tests.test_adapters import build
from tests.test_wire import Feed


def test_memory_is_bounded_while_the_sink_stands_still_and_all_is_recovered(tmp_path: Path) -> None:
    result = overload(tmp_path, 4, 20_000)

    assert result.problems() == []
    assert result.pending > 30_000
    assert result.recovered >= result.pending
    assert result.sent >= result.recovered
    assert result.cpu > 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"memory": [100.0, BOUND + 1]}, "MiB is more than"),
        ({"dropped": 1}, "1 events were dropped"),
        ({"recovered": 9}, "10 rows were spooled, 9 are in the lake"),
        ({"distinct": 9}, "10 rows in the lake, 9 different ones"),
    ],
)
def test_an_overload_fails_for_what_it_promises(change: dict[str, object], problem: str) -> None:
    result = Result(sent=10, memory=[100.0], pending=10, recovered=10, distinct=10)
    assert result.problems() == []
    for name, value in change.items():
        setattr(result, name, value)

    assert any(problem in each for each in result.problems())


def events_of(frame: bytes) -> list[Any]:
    """What a websocket frame of the bench says: its payload, or each of the list that it is."""
    said = json.loads(payload(frame))
    return said if isinstance(said, list) else [said]


def payload(frame: bytes) -> bytes:
    """What follows the two bytes of a short frame, or the four of a longer one."""
    return frame[4 if frame[1] == 126 else 2 :]


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_a_second_of_frames_is_distinct_but_for_the_duplicates_asked_for(
    workload: Workload,
) -> None:
    frames = [frame for _, frame in workload.frames(1000, 50, duplicates=0.02)]
    assert len(frames) == 1000 // workload.per_frame
    events = [event for frame in frames for event in events_of(frame)]

    twice = [number for number, event in enumerate(events) if event in events[:number]]
    assert twice == list(workload.repeated(1000, 0.02))
    assert len(twice) == 18  # of 20, the first two have nothing to repeat
    assert all(workload.stamp(BEGIN).decode() in json.dumps(event) for event in events)


def test_what_the_vendor_of_the_bench_sends_becomes_the_events_that_it_says() -> None:
    """Written by hand from the vendor's pages: the arrays of crypto `T` and `Q`."""
    adapter = build("tiingo", {"channel": "crypto", "symbols": {"crypto": ["*"]}})
    payloads = [json.loads(payload(frame)) for _, frame in WORKLOADS["tiingo"].frames(4, 1)]

    trade, quote = (
        adapter.decode(Frame(json.dumps(payload).encode(), 0, 1))[0] for payload in payloads[:2]
    )
    assert isinstance(trade, Trade)
    assert isinstance(quote, Quote)
    assert (trade.symbol, trade.event_time) == ("sym00000usd", BEGIN * SECOND)
    assert [trade.last_size, trade.last_price] == payloads[0]["data"][4:]
    assert quote.event_time == BEGIN * SECOND + SECOND // 4
    assert [quote.bid_size, quote.bid, quote.mid, quote.ask_size, quote.ask] == payloads[1]["data"][
        4:
    ]


@pytest.mark.parametrize("name", ["binance", "binance_trade"])
def test_the_trades_of_each_symbol_are_numbered_without_a_jump_from_cycle_to_cycle(
    name: str,
) -> None:
    workload = WORKLOADS[name]
    cycle = workload.cycle(400_000, 30)
    made = b"\n".join(payload(frame) for _, frame in workload.frames(cycle, 30, 0.01))
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for second in (BEGIN, BEGIN + 1):
        for line in made.replace(workload.stamp(BEGIN), workload.stamp(second)).splitlines():
            data = json.loads(line)["data"]
            if "e" in data:
                numbers[data["s"]].add(data.get("t", data.get("a")))

    assert len(numbers) == 30
    for some in numbers.values():
        assert len(some) == cycle // 30
        assert max(some) - min(some) == len(some) - 1


@pytest.mark.parametrize(
    ("name", "library", "distinct"),
    [
        ("tiingo", "picows", 30_000 - 198 - 98),
        ("tiingo", "websockets", 30_000 - 198 - 98),
        ("binance_trade", "picows", 30_000 - 298),  # one cycle of 15 symbols
        ("alpaca", "picows", 30_000 - 198 - 98),
    ],
)
def test_a_run_of_the_bench_measures_a_lake_that_holds_what_was_sent(
    tmp_path: Path, name: str, library: str, distinct: int
) -> None:
    symbols = 15 if name == "binance_trade" else 500
    load = Load(workload=name, events=30_000, symbols=symbols, rate=20_000).whole()

    reading = edc(load, tmp_path / "run", library)

    assert load.distinct() == distinct
    assert 0 < reading.events < load.events
    assert reading.cpu > 0
    assert reading.peak > 50
    assert all(5 < size < 200 for size in reading.row_bytes.values())
    assert reading.row_bytes.keys() == {"trade", "quote"}


def test_how_long_events_wait_is_told_from_the_vendors_own_write() -> None:
    told = _latency("tiingo", 0.5, 4000, 2.0, 50, "picows")

    assert (told.workload, told.rate) == ("tiingo", 4000)
    assert 0 < told.p50 <= told.p90 <= told.p99 <= told.p999 <= told.greatest
    assert told.p50 < 1000  # a wrong clock, or the write of another millisecond


def test_what_the_machine_takes_is_told_of_each_core() -> None:
    found = pauses(0.1)

    assert set(found) == os.sched_getaffinity(0)
    assert all(0 <= at_once <= in_all for in_all, at_once in found.values())


def test_figures_say_where_they_come_from() -> None:
    told = machine()
    assert told["processor"]
    assert isinstance(told["cores"], int)
    assert isinstance(told["memory_mib"], int)
    assert told["memory_mib"] > 256
    assert revision().startswith(__version__)


def test_a_bench_of_a_lake_that_is_wrong_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Load, "distinct", lambda self: self.events)

    with pytest.raises(RuntimeError, match=r"has 9,902 rows, 9,902 of them"):
        edc(Load(events=10_000, symbols=50, rate=10_000), tmp_path / "run", "picows")


def steps_of(folder: Path, workload: str, feed: str, *, short: bool = True) -> float:
    """What an event costs from its frame to its chunk, in steps of a plain loop on this core.

    The least of five: what else the machine does makes it slower, and nothing makes it faster.
    """
    frames = [payload(frame) for _, frame in WORKLOADS[workload].frames(60_000, 500)]
    at_once = 500 // WORKLOADS[workload].per_frame
    receiver = Feed(folder, feed, short=short)
    ratios = []
    for _ in range(5):
        step = calibration()
        started = time.process_time()
        for first in range(0, len(frames), at_once):
            receiver.receive(frames[first : first + at_once])
        rows = sum(receiver.chunk(kind).height for kind in ("trade", "quote"))
        spent = (time.process_time() - started) / rows * 1e9
        assert rows == 60_000
        ratios.append(spent / step)
    return min(ratios)


MOST_STEPS = {("tiingo", "crypto"): 22, ("alpaca", "sip all"): 30}
"""An event takes 8 to 12 of them, and without the extension 27 to 31, and 48 to 53."""


@pytest.mark.parametrize(("workload", "feed"), MOST_STEPS)
def test_the_way_from_frame_to_chunk_has_not_become_slower(
    tmp_path: Path, workload: str, feed: str
) -> None:
    most = MOST_STEPS[workload, feed]
    assert steps_of(tmp_path / "short", workload, feed) < most
    assert steps_of(tmp_path / "long", workload, feed, short=False) > most  # it would be noticed
