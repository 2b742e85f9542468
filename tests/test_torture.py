"""The bounded form of `make torture`: the same code, a few faults of each family.

And a look at the harness itself: an oracle that cannot see is worth nothing.
"""

import json
import os
import pkgutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from edc.simulator.market import Sent
from tests.torture import disk, feeds, kills, torn
from tests.torture.__main__ import FAMILIES
from tests.torture.doomed import POINTS
from tests.torture.oracle import (
    SECOND,
    Finding,
    Gap,
    examine,
    excess,
    kill_costs,
    late_losses,
    merged,
    outside,
)
from tests.torture.table import Row, table

SEED = 20260213
NOON = 1_770_984_000 * SECOND
"""2026-02-13T12:00:00Z."""


def held(row: Row) -> None:
    """No promise was broken, and the family was really tried."""
    assert row.problems == []
    assert row.duplicates == 0
    assert row.lost == row.explained
    assert row.found + row.lost == row.sent > 0
    assert row.found > 0


def test_kills_at_random_moments_cost_at_most_what_the_ledger_says(tmp_path: Path) -> None:
    held(row := kills.run_random(8, tmp_path, SEED))
    assert row.lost > 0


async def test_kills_at_named_points_cost_at_most_what_the_ledger_says(tmp_path: Path) -> None:
    """The points between two steps of which only one is done."""
    points = ["file-half", "file-named", "chunk-safe", "batch-of-a-folder-safe", "batch-safe"]
    points += ["chunks-half-removed", "watermarks-named", "compaction-exchanged"]
    held(row := await kills.play_points(len(points), tmp_path, SEED, points))
    assert row.lost > 0


def test_torn_files_cost_what_they_held(tmp_path: Path) -> None:
    held(torn.run_torn(5, tmp_path, SEED))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk to fill")
def test_a_full_disk_costs_what_the_ledger_counts(tmp_path: Path) -> None:
    held(disk.run(3, tmp_path, SEED))


@pytest.mark.usefixtures("carried")
def test_cut_connections_are_in_the_ledger(tmp_path: Path) -> None:
    held(row := feeds.run_disconnects(4, tmp_path, SEED))
    assert row.lost > 0


@pytest.mark.usefixtures("carried")
def test_dead_connections_are_in_the_ledger(tmp_path: Path) -> None:
    held(row := feeds.run_half_open(1, tmp_path, SEED))
    assert row.lost > 0


@pytest.mark.usefixtures("carried")
def test_mute_connections_are_in_the_ledger(tmp_path: Path) -> None:
    held(row := feeds.run_stalls(1, tmp_path, SEED))
    assert row.lost > 0


@pytest.mark.usefixtures("carried")
def test_garbage_in_place_of_events_is_in_the_ledger(tmp_path: Path) -> None:
    held(row := feeds.run_garbage(3, tmp_path, SEED))
    assert 3 <= row.lost <= 15


def test_the_full_form_does_what_was_asked_for() -> None:
    assert FAMILIES["kills"].times + FAMILIES["points"].times >= 200
    assert FAMILIES["torn"].times + FAMILIES["flipped"].times >= 50
    assert FAMILIES["points"].times >= 3 * len(POINTS)
    least = {"disk": 20, "disconnects": 50, "half-open": 20, "stalls": 20, "power": 40}
    assert all(FAMILIES[name].times >= times for name, times in least.items())


@pytest.mark.parametrize("name", POINTS)
def test_a_point_to_die_at_exists(name: str) -> None:
    assert callable(pkgutil.resolve_name(POINTS[name].target))


# The oracle. A trade at NOON plus so many microseconds, for each number.


def trade(number: int, listeners: int = 1) -> Sent:
    moment = datetime.fromtimestamp(NOON // SECOND, UTC).replace(microsecond=number)
    data = ["T", "btcusd", moment.isoformat(timespec="microseconds"), "gdax", 0.5, 100.0 + number]
    message = {"service": "crypto_data", "messageType": "A", "data": data}
    return Sent(json.dumps(message).encode(), listeners)


def at(number: int) -> int:
    return NOON + number * 1000


def lay(lake: Path, numbers: Sequence[int], gaps: Sequence[Gap] = (), price: float = 100.0) -> None:
    """A lake with these trades and these rows of the ledger."""
    times = pl.Datetime("ns", "America/New_York")
    trades = pl.DataFrame(
        {
            "symbol": ["btcusd"] * len(numbers),
            "exchange": ["gdax"] * len(numbers),
            "last_size": [0.5] * len(numbers),
            "last_price": [price + number for number in numbers],
            "event_time": pl.Series([at(number) for number in numbers], dtype=pl.Int64).cast(times),
        }
    )
    ledger = pl.DataFrame(
        {
            "started_at": pl.Series([gap.span[0] for gap in gaps], dtype=pl.Int64).cast(times),
            "ended_at": pl.Series([gap.span[1] for gap in gaps], dtype=pl.Int64).cast(times),
            "cause": pl.Series([gap.cause for gap in gaps], dtype=pl.String),
            "rows_lost": pl.Series([gap.rows_lost for gap in gaps], dtype=pl.Int64),
        }
    )
    for kind, rows in (("trade", trades), ("gap", ledger)):
        folder = lake / kind / "date=2026-02-13" / "hour=07"
        folder.mkdir(parents=True)
        rows.write_parquet(folder / "a.parquet")


def looked_at(lake: Path, sent: Sequence[Sent], until: int = 100) -> Finding:
    return examine(lake, sent, (at(0), at(until)))


def test_the_oracle_finds_a_whole_lake_whole(tmp_path: Path) -> None:
    lay(tmp_path, [1, 2, 3])

    finding = looked_at(tmp_path, [trade(1), trade(2), trade(3)])

    assert (len(finding.sent), finding.lost, finding.duplicates) == (3, [], 0)
    assert finding.problems == []


def test_the_oracle_sees_what_is_lost_and_what_the_ledger_does_not_know(tmp_path: Path) -> None:
    lay(tmp_path, [1, 5], [Gap((at(2), at(3)), "killed", None)])

    finding = looked_at(tmp_path, [trade(number) for number in (1, 2, 3, 4, 5)])

    assert finding.lost == [at(2), at(3), at(4)]
    assert finding.unexplained == [at(4)]
    assert len(finding.problems) == 1


def test_the_oracle_counts_only_what_was_sent_within_its_window(tmp_path: Path) -> None:
    lay(tmp_path, [1, 2])

    finding = looked_at(tmp_path, [trade(1), trade(2), trade(8)], until=7)

    assert (list(finding.sent), finding.lost) == ([at(1), at(2)], [])


def test_the_oracle_sees_doubles(tmp_path: Path) -> None:
    lay(tmp_path, [1, 2, 2])

    assert looked_at(tmp_path, [trade(1), trade(2)]).duplicates == 1


def test_the_oracle_sees_rows_that_nobody_sent_and_rows_that_were_altered(tmp_path: Path) -> None:
    lay(tmp_path / "more", [1, 2])
    lay(tmp_path / "other", [1, 2], price=100.5)

    invented = looked_at(tmp_path / "more", [trade(1)])
    altered = looked_at(tmp_path / "other", [trade(1), trade(2)])

    assert invented.problems == [f"1 rows were never sent, one at {at(2)}"]
    assert altered.problems[0].startswith("2 rows are not what was sent")


def test_a_ledger_that_claims_everything_is_seen() -> None:
    real = [(10 * SECOND, 12 * SECOND), (20 * SECOND, 21 * SECOND)]
    honest = [Gap((9 * SECOND, 12 * SECOND), "killed", None)]
    greedy = [Gap((0, 100 * SECOND), "killed", None)]

    assert excess(honest, real) == 1.0
    assert excess(greedy, real) == 97.0
    assert excess([replace(greedy[0], cause="damaged")], real) == 0.0


def test_what_nobody_got_is_known_by_its_span() -> None:
    finding = Finding({1: 1, 2: 1, 3: 0, 4: 0, 5: 2, 6: 1, 7: 0})

    assert finding.unheard() == [(2, 5), (6, 7)]


def test_a_loss_long_before_a_kill_is_no_loss_of_the_kill() -> None:
    kill = 100 * SECOND
    times = [97 * SECOND, 99 * SECOND + SECOND // 2, 99 * SECOND + SECOND // 4 * 3]
    finding = Finding(dict.fromkeys(times, 1), lost=times)

    assert late_losses(finding, [kill], interval=0.5, slack=0.5) == [97 * SECOND]
    assert kill_costs(finding, [kill], 1.0) == [0.5]
    assert kill_costs(finding, [kill, 99 * SECOND + SECOND // 5 * 3], 1.0) == [0.1, 0.25]
    assert late_losses(finding, [], 0.5, 0.5, others=[(96 * SECOND, kill)]) == []


def test_spans_are_merged_and_their_ends_belong_to_them() -> None:
    assert merged([(5, 6), (1, 3), (2, 4)]) == [(1, 4), (5, 6)]
    assert outside([0, 1, 4, 5, 7], [(1, 4), (5, 6)]) == [0, 7]


def test_the_table_says_what_failed_and_what_was_skipped() -> None:
    fine = Row("kill -9", 200, 1000, 900, 100, 100, 0, "two cores")
    broken = Row("torn file", 5, 10, 8, 2, 1)

    lines = table([fine, broken, Row("power loss", skipped="no loop devices")]).splitlines()

    assert lines[0].split()[:4] == ["fault", "times", "sent", "found"]
    assert lines[0].split()[4:] == ["lost", "explained", "duplicates", "note"]
    assert lines[1].endswith("two cores")
    assert lines[2].endswith("FAILED")
    assert lines[3].endswith("skipped: no loop devices")
    assert not fine.failed
