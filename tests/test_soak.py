"""The bounded form of `make soak`."""

from pathlib import Path

from tests.soak import soak


def test_every_event_of_a_run_at_20_000_a_second_is_in_the_lake(tmp_path: Path) -> None:
    result = soak(tmp_path, seconds=10, rate=20_000)

    assert result.rows == result.sent
    assert result.sent > 100_000
    assert max(result.depth) < result.capacity
    assert max(result.memory) < 400
