"""Damaged files of a partition, found and set aside by whoever is not the daemon.

The daemon tells its own ledger (lake.py); here the row of the gap table is a file of its own,
written before the damaged one goes.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

from edc import files, footers, partitions, seal
from edc.events import Gap, to_frame
from edc.lake import Lake
from edc.seal import UNREADABLE
from edc.upkeep.swap import visible

log = logging.getLogger(__name__)


def damaged(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of a folder that cannot be read to their end, and why."""
    for path in visible(folder):
        try:
            read_through(path)
        except UNREADABLE as error:
            yield path, str(error)


def read_through(path: Path) -> None:
    """Raises what is UNREADABLE where a file is not what was sealed, to its last page."""
    seal.check(path)
    for _ in footers.batches(path):
        pass


def set_aside(lake: Lake, path: Path, reason: str, now_ns: int) -> Path:
    """Tell the ledger of a damaged file, durably, and then move it to `.quarantine/`."""
    damage = partitions.damage(path, ZoneInfo(lake.timezone), reason)
    gap = Gap(
        feed=None,
        vendor=None,
        source=None,
        started_at=damage.started_at,
        ended_at=damage.ended_at,
        cause="damaged",
        rows_lost=damage.rows,
        created_at=now_ns,
    )
    for folder, rows in lake.partitions("gap", to_frame("gap", [gap], lake.timezone)):
        lake.write("gap", folder, rows, "")
    aside = files.set_aside(lake.path, path, reason)
    log.error("unreadable Parquet file set aside: %s", reason, extra={"file": str(aside)})
    return aside
