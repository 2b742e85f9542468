"""Merging: the rows of many files in few, sorted, each row once, in bounded memory.

    plan     the rows of each symbol are counted; groups are parts of the result, in its order
    split    one pass over the sources: each row goes to the piece of its group, on disk
    merge    a group at a time: sorted, of equal rows the first received, streamed into a file
    verify   sources and results are read once more, and their checksums compared

A group has about `group_rows` rows, whatever the partition's size: some symbols, or a span of time
of one that has more. Memory holds a few groups at a time; rows of one symbol and one second are
never parted. Sources are read a row group at a time, so theirs should be of ordinary size.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from edc import __version__, files, seal
from edc.errors import NotVerified
from edc.events import SCHEMA_VERSION, conform, distinct, identity, schema, time_column
from edc.footers import Footer
from edc.times import SECOND

_ROW_GROUP = 122_880
_LOW = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Checksum:
    """Of rows in any order, equal ones counted: how many they are, and the sum of their hashes."""

    rows: int = 0
    total: int = 0

    def __add__(self, other: "Checksum") -> "Checksum":
        return Checksum(self.rows + other.rows, self.total + other.total)


def checksum(rows: pl.DataFrame) -> Checksum:
    """The checksum of all columns; of two parts of a frame it is the sum of theirs."""
    hashes = rows.hash_rows()
    high, low = (hashes // (1 << 32)).sum(), (hashes & _LOW).sum()  # a sum of 64 bits would wrap
    return Checksum(rows.height, (int(high) << 32) + int(low))


@dataclass(slots=True)
class _Group:
    """A part of the result: how many rows it is made of, their times, and where its piece is."""

    path: Path
    rows: int
    low: int
    high: int
    segments: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The groups in order, and to which one a row belongs: by its symbol, or symbol and second."""

    groups: list[_Group]
    by_symbol: pl.DataFrame
    by_second: pl.DataFrame


class Merger:
    """Makes the rows of `sources` into new files in `folder`, which is nobody else's.

    `name` gives the path of each new file; one takes about `file_rows` rows.
    """

    def __init__(
        self,
        event_type: str,
        timezone: str,
        sources: Sequence[Footer],
        folder: Path,
        name: Callable[[], Path],
        *,
        file_rows: int,
        group_rows: int,
    ) -> None:
        self._event_type = event_type
        self._timezone = timezone
        self._sources = sources
        self._folder = folder
        self._name = name
        self._file_rows = file_rows
        self._group_rows = group_rows
        self._time = time_column(event_type)
        self._second = (pl.col(self._time).to_physical() // SECOND).alias("second")
        self._put = Checksum()
        self._taken = Checksum()

    def run(self) -> list[Path]:
        """The new files, durable and verified. Raises NotVerified, OSError, or a PolarsError."""
        plan = self._plan()
        self._split(plan)
        merged = []
        for groups in self._runs(plan.groups):
            path = self._name()
            self._write(path, groups)
            merged.append(path)
        self._verify(merged)
        return merged

    # plan

    def _plan(self) -> _Plan:
        symbols = self._count(["symbol"], None)
        many = symbols.filter(pl.col("rows") > self._group_rows)["symbol"]
        seconds = self._count(["symbol", "second"], many)
        few = symbols.filter(~pl.col("symbol").is_in(many.implode(), nulls_equal=True))
        few = few.with_columns(pl.lit(None, pl.Int64).alias("second")).select(seconds.columns)
        cells = pl.concat([few, seconds]).sort("symbol", "second", nulls_last=True)
        groups: list[_Group] = []
        numbers: list[int] = []
        for rows, low, high in cells.select("rows", "low", "high").iter_rows():
            last = groups[-1] if groups else None
            if last is None or last.rows + rows > self._group_rows:
                last = _Group(self._folder / f".piece-{len(groups):06d}", 0, low, high)
                groups.append(last)
            last.rows += rows
            last.low, last.high = min(last.low, low), max(last.high, high)
            numbers.append(len(groups) - 1)
        numbered = cells.select("symbol", "second", pl.Series("group", numbers, pl.UInt32))
        whole = numbered.filter(pl.col("second").is_null()).drop("second")
        return _Plan(groups, whole, numbered.filter(pl.col("second").is_not_null()))

    def _count(self, keys: list[str], of: pl.Series | None) -> pl.DataFrame:
        """For each of `keys`: rows, first and last time; of all symbols, or only of some."""
        times = pl.col(self._time).to_physical()
        first = (
            pl.len().cast(pl.UInt32).alias("rows"),
            times.min().alias("low"),
            times.max().alias("high"),
        )
        again = pl.col("rows").sum(), pl.col("low").min(), pl.col("high").max()
        types = {"symbol": pl.String, "second": pl.Int64}
        held = pl.DataFrame(
            schema=[(key, types[key]) for key in keys]
            + [("rows", pl.UInt32), ("low", pl.Int64), ("high", pl.Int64)]
        )
        waiting, height = [held], 0
        for part in () if of is not None and of.is_empty() else self._read(["symbol", self._time]):
            some = part
            if of is not None:
                some = part.filter(pl.col("symbol").is_in(of.implode(), nulls_equal=True))
            counted = some.with_columns(self._second).group_by(keys).agg(first)
            waiting.append(counted)
            height += counted.height
            if height > self._group_rows:
                waiting, height = [pl.concat(waiting).group_by(keys).agg(again)], 0
        return pl.concat(waiting).group_by(keys).agg(again)

    # split

    def _split(self, plan: _Plan) -> None:
        """Write each row of the sources to the piece of its group."""
        waiting: list[pl.DataFrame] = []
        for part in self._read():
            waiting.append(part)
            if sum(each.height for each in waiting) >= self._group_rows:
                self._spill(plan, pl.concat(waiting))
                waiting = []
        if waiting:
            self._spill(plan, pl.concat(waiting))

    def _spill(self, plan: _Plan, rows: pl.DataFrame) -> None:
        numbered = (
            rows.with_columns(self._second)
            .join(plan.by_symbol, on="symbol", how="left", nulls_equal=True)
            .join(plan.by_second, on=["symbol", "second"], how="left", nulls_equal=True)
            .with_columns(pl.coalesce("group", "group_right"))
            .drop("second", "group_right")
        )
        for (number,), part in numbered.group_by("group"):
            group = plan.groups[int(number)]
            buffer = io.BytesIO()
            part.drop("group").write_ipc_stream(buffer, compression="zstd")
            group.segments.append(len(buffer.getbuffer()))
            with group.path.open("ab") as file:
                file.write(buffer.getbuffer())

    # merge

    def _runs(self, groups: list[_Group]) -> Iterator[list[_Group]]:
        """The groups of each file."""
        run: list[_Group] = []
        for group in groups:
            if run and sum(each.rows for each in run) + group.rows > self._file_rows:
                yield run
                run = []
            run.append(group)
        if run:
            yield run

    def _write(self, path: Path, groups: list[_Group]) -> None:
        """One file, with a footer like that of every file of the lake."""

        def source(*_asked: object) -> Iterator[pl.DataFrame]:
            for group in groups:
                yield from self._merged(group).iter_slices(_ROW_GROUP)

        register_io_source(source, schema=schema(self._event_type, self._timezone)).sink_parquet(
            path,
            compression="zstd",
            statistics=True,
            row_group_size=_ROW_GROUP,
            maintain_order=True,
            metadata=self._footer(groups),
        )
        seal.seal_file(path)
        files.sync_file(path)

    def _footer(self, groups: list[_Group]) -> dict[str, str]:
        low, high = min(each.low for each in groups), max(each.high for each in groups)
        instances = {name for each in self._sources for name in each.instance.split(",") if name}
        return {
            "edc.schema_version": str(SCHEMA_VERSION),
            "edc.version": __version__,
            "edc.instance": ",".join(sorted(instances)),
            "edc.event_type": self._event_type,
            "edc.time_range": f"{low} {high}",
            "edc.compacted": "true",
        }

    def _merged(self, group: _Group) -> pl.DataFrame:
        """The rows of a group as they go into the result. Raises NotVerified where one is not."""
        data = memoryview(group.path.read_bytes())
        parts, start = [], 0
        for size in group.segments:
            parts.append(pl.read_ipc_stream(io.BytesIO(data[start : start + size])))
            start += size
        rows = pl.concat(parts)
        merged = ordered(self._event_type, rows)
        keys = identity(self._event_type)
        wanted = rows.select(keys).hash_rows().unique().sort()
        if not merged.select(keys).hash_rows().sort().equals(wanted):
            raise NotVerified(str(self._folder), "rows are missing, or there twice")
        self._taken += checksum(rows)
        self._put += checksum(merged)
        group.path.unlink()
        return merged

    # verify

    def _verify(self, merged: list[Path]) -> None:
        """Read the result back: it holds what was made of all rows of the sources.

        Each group was held to its own rows as it was merged (see `_merged`).
        """
        sources, results = Checksum(), Checksum()
        for part in self._read():
            sources += checksum(part)
        for path in merged:
            for part in read_parts(path, self._event_type, self._timezone):
                results += checksum(part)
        for kind, found, wanted in (
            ("sources", self._taken, sources),
            ("results", results, self._put),
        ):
            if found != wanted:
                raise NotVerified(
                    str(self._folder),
                    f"the {kind} have {wanted.rows} rows, {found.rows} were read back, or others",
                )

    def _read(self, columns: list[str] | None = None) -> Iterator[pl.DataFrame]:
        for source in self._sources:
            yield from read_parts(
                source.path, self._event_type, self._timezone, source.version, columns
            )


def read_parts(
    path: Path,
    event_type: str,
    timezone: str,
    version: int | None = None,
    columns: list[str] | None = None,
) -> Iterator[pl.DataFrame]:
    """The rows of a file in the present columns (or some of them), a row group at a time."""
    scan = pl.scan_parquet(path, hive_partitioning=False, glob=False)
    rows = int(scan.select(pl.len()).collect().item())
    wanted = conform(scan, event_type, timezone, version).select(columns or pl.all())
    for start in range(0, rows, _ROW_GROUP):
        yield wanted.slice(start, _ROW_GROUP).collect(engine="in-memory")


def ordered(event_type: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows sorted by symbol and time; of equal ones the first received."""
    rows = rows.sort(
        "symbol", time_column(event_type), "created_at", nulls_last=True, maintain_order=True
    )
    return distinct(event_type, rows)
