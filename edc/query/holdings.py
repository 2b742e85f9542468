"""What the tables of a lake hold, by their folders and names alone."""

import msgspec

from edc import partitions
from edc.events import EVENT_TYPES, schema
from edc.footers import name_of
from edc.lake import Lake
from edc.query.tables import Spool


class Held(msgspec.Struct):
    """A table: its files, its first and last partition, and the rows in the chunks of its spools.

    Rows in chunks may be in the lake already: those are counted here, and not there twice.
    """

    table: str
    files: int
    bytes: int
    first: str | None
    last: str | None
    spooled_rows: int
    columns: dict[str, str]


def held(lake: Lake) -> list[Held]:
    """What each table holds."""
    return [_held(lake, event_type) for event_type in EVENT_TYPES]


def _held(lake: Lake, event_type: str) -> Held:
    table = lake.path / event_type
    folders = [
        (str(folder.relative_to(table)), sizes)
        for folder in partitions.of_table(table)
        if (sizes := [path.stat().st_size for path in folder.glob("[!._]*.parquet")])
    ]
    return Held(
        table=event_type,
        files=sum(len(sizes) for _, sizes in folders),
        bytes=sum(sum(sizes) for _, sizes in folders),
        first=folders[0][0] if folders else None,
        last=folders[-1][0] if folders else None,
        spooled_rows=sum(chunk.rows for chunk in Spool(lake.path, event_type).chunks()),
        columns={name: name_of(dtype) for name, dtype in schema(event_type, lake.timezone).items()},
    )
