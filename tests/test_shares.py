"""Stores of one lake: who reads what, and what becomes of it when one dies."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from edc.bus import Share
from edc.bus.shares import Shares
from edc.events import EVENT_TYPES

ALL = {Share(kind, partition) for kind in EVENT_TYPES for partition in range(4)}


def opened(path: Path, name: str) -> Shares:
    shares = Shares(path, name, 4)
    shares.open()
    return shares


def test_a_store_alone_reads_everything(tmp_path: Path) -> None:
    assert opened(tmp_path, "one").due() == ALL


def test_stores_deal_out_every_share_once_and_half_of_each_table_to_two(tmp_path: Path) -> None:
    stores = [opened(tmp_path, name) for name in ("one", "other")]
    parts = [each.due() for each in stores]

    assert parts[0] | parts[1] == ALL
    assert not parts[0] & parts[1]
    for kind in EVENT_TYPES:
        assert [sum(share.event_type == kind for share in part) for part in parts] == [2, 2]


def test_a_share_is_held_by_one_until_it_lets_go(tmp_path: Path) -> None:
    one, other, share = opened(tmp_path, "one"), opened(tmp_path, "other"), Share("trade", 0)

    assert one.take(share)
    assert not other.take(share)
    one.release(share)
    assert other.take(share)


def test_what_a_killed_store_held_is_free_at_once(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from edc.bus import Share
from edc.bus.shares import Shares
shares = Shares(Path({str(tmp_path)!r}), "doomed", 4)
shares.open()
assert shares.take(Share("trade", 0))
print("held", flush=True)
time.sleep(60)
"""
    survivor = opened(tmp_path, "survivor")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as doomed:
        assert doomed.stdout is not None
        assert doomed.stdout.readline() == b"held\n"
        assert survivor.stores() == ["doomed", "survivor"]
        assert not survivor.take(Share("trade", 0))
        os.kill(doomed.pid, signal.SIGKILL)
        doomed.wait()

        assert survivor.take(Share("trade", 0))
        assert survivor.stores() == ["survivor"]
        assert survivor.due() == ALL
