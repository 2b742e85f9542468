"""What a Parquet file of the lake says of itself, held to the schema that it was written in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from edc.events import SCHEMA_VERSION, SINCE, conform, schema, version_of

_BATCH = 131_072


@dataclass(slots=True)
class Footer:
    """What a file says of itself.

    `rows` and `time_range` are to be held to its rows. `version` is None where this edc cannot
    read it. `readable`: its rows can be read as rows of its table. `drift` says in what its columns
    are not those of its version.
    """

    path: Path
    version: int | None
    rows: int
    event_type: str
    instance: str
    time_range: str
    readable: bool
    drift: list[str] = field(default_factory=list)

    @property
    def foreign(self) -> bool:
        """True for a file of others: neither a footer nor columns of ours. The lake ignores it."""
        return not self.readable and not self.time_range


def read(path: Path, event_type: str, timezone: str) -> Footer:
    """What a file in the folder of `event_type` says. Raises what is UNREADABLE, or OSError."""
    said, columns = pl.read_parquet_metadata(path), pl.read_parquet_schema(path)
    rows = pl.scan_parquet(path, hive_partitioning=False, glob=False).select(pl.len()).collect()
    footer = Footer(
        path,
        None,
        int(rows.item()),
        said.get("edc.event_type", event_type),
        said.get("edc.instance", ""),
        said.get("edc.time_range", ""),
        readable=False,
    )
    try:
        version = version_of(said)
    except ValueError:
        footer.drift = [f"schema version {said['edc.schema_version']!r} is none"]
        return footer
    if version > SCHEMA_VERSION:
        known = f"this edc knows up to {SCHEMA_VERSION}: upgrade edc"
        footer.drift = [f"written in schema version {version}, {known}"]
        return footer
    footer.version = version
    footer.readable = (
        conformed(pl.DataFrame(schema=columns), footer, event_type, timezone) is not None
    )
    footer.drift = _drift(columns, event_type, timezone, version)
    return footer


def batches(path: Path) -> Iterator[pl.DataFrame]:
    """All rows of a file, in all its columns, to its last page, some at a time."""
    scan = pl.scan_parquet(path, hive_partitioning=False, glob=False)
    yield from scan.collect_batches(chunk_size=_BATCH, maintain_order=False)


def conformed(
    rows: pl.DataFrame, footer: Footer, event_type: str, timezone: str
) -> pl.DataFrame | None:
    """Rows of a file in the present columns; None where they do not fit."""
    try:
        return conform(rows, event_type, timezone, footer.version)
    except pl.exceptions.PolarsError:
        return None


def _drift(
    columns: Mapping[str, pl.DataType], event_type: str, timezone: str, version: int
) -> list[str]:
    """In what the columns of a file are not those of its schema version."""
    since = SINCE.get(event_type, {})
    wanted = {
        name: dtype
        for name, dtype in schema(event_type, timezone).items()
        if since.get(name, 1) <= version
    }
    found = [f"{name} is missing" for name in wanted if name not in columns]
    found += [f"{name} is unknown" for name in columns if name not in wanted]
    found += [
        f"{name} is {name_of(columns[name])}, not {name_of(dtype)}"
        for name, dtype in wanted.items()
        if name in columns and columns[name] != dtype
    ]
    if not found and list(columns) != list(wanted):
        found.append("the columns are in another order")
    return found


def name_of(dtype: pl.DataType) -> str:
    """The name of a column's type, in short."""
    if isinstance(dtype, pl.Datetime):
        return f"Datetime({dtype.time_unit}, {dtype.time_zone})"
    return str(dtype)
