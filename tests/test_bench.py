"""The short forms of what is measured: the same code, and what it must find."""

import json
from pathlib import Path

import pytest

from tests.bench.overload import BOUND, Result, overload
from tests.bench.vendor import Vendor, frames_of_a_second


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


def test_the_vendor_of_the_bench_sends_distinct_frames_of_one_second() -> None:
    frames = frames_of_a_second(1000, ["btcusd"])

    payloads = [json.loads(frame[frame.index(b'{"') :]) for frame in frames]
    stamps = [each["data"][2] for each in payloads]
    assert len(set(stamps)) == 1000
    assert {stamp[:20] for stamp in stamps} == {"2026-02-13T18:00:00."}
    assert [each["data"][0] for each in payloads[:4]] == ["T", "Q", "T", "Q"]
    assert Vendor(1000, ["btcusd"]).sent == 0
