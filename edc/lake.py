"""The lake: where a file lives, what it says about itself, and which rows are there already.

`<path>/<event_type>/date=2026-02-13/hour=13/consol_feeds_<event_type>_20260213_130922_668051.parquet`:
the folder from the time of the event, the name from the time of writing, both in the storage time
zone. The footer carries schema version, edc version, instance, chunk ids and the time range of the
rows, under keys that begin with `edc.`; before it lies the seal (seal.py). Where these files are is
the business of a volume (volumes.py).
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from edc import files, partitions
from edc.claim import Claim
from edc.encoding import serialised
from edc.events import conform, identity, span, time_column, version_of, without
from edc.seal import UNREADABLE
from edc.times import SECOND
from edc.volumes import LocalVolume, Volume

_QUARTER = 900 * SECOND  # every time zone's offset is a multiple of a quarter of an hour
_FOLDERS_KEPT = 256
_TRIES = 100
_NO_TIMES = (0, -1)  # a range that holds no time: such a file is never read

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A Parquet file that was just published."""

    path: Path
    rows: int
    size: int


class Lake:
    """The Parquet files under a storage path, as one instance writes them.

    Nothing is written that would leave less than `reserve` bytes free, or where `check` raises.
    With `whole`, what other instances have written counts as written: the stores of a bus take over
    from each other.
    With a `volume` the files are there, and `path`, `reserve` and `check` are not asked.
    `on_damaged` is told of each file that cannot be read before it is set aside, from whichever
    thread found it. Not safe for two threads on one event type.
    """

    def __init__(
        self,
        path: Path,
        timezone: str,
        partition: str,
        instance: str,
        now_ns: Callable[[], int],
        *,
        reserve: int = 0,
        whole: bool = False,
        check: Callable[[], None] = lambda: None,
        on_damaged: Callable[[files.Damage], None] = lambda _damage: None,
        volume: Volume | None = None,
    ) -> None:
        self._volume = volume or LocalVolume(path, reserve, check)
        self._claim = Claim(self._volume, timezone, partition, "parquet")
        self.path = self._volume.root
        self.timezone = timezone
        self.instance = instance
        self._zone = ZoneInfo(timezone)
        self._layout = "date=%Y-%m-%d/hour=%H" if partition == "hour" else "date=%Y-%m-%d"
        self._now_ns = now_ns
        self._whole = whole
        self._on_damaged = on_damaged
        self._ranges: dict[Path, dict[str, tuple[int, int]]] = {}

    def begin(self) -> None:
        """See `Claim.begin`."""
        self._claim.begin()

    def claim(self) -> None:
        """See `Claim.take`."""
        self._claim.take()

    def partitions(
        self, event_type: str, rows: pl.DataFrame
    ) -> Iterator[tuple[Path, pl.DataFrame]]:
        """The folders that `rows` belong in, each with its rows in their order."""
        quarters = (rows[time_column(event_type)].to_physical() // _QUARTER).alias("quarter")
        folders = {number: self._folder(event_type, number) for number in quarters.unique()}
        if len(set(folders.values())) == 1:
            yield self.path / next(iter(folders.values())), rows
            return
        numbered = rows.with_columns(quarters.replace_strict(folders, return_dtype=pl.String))
        for folder, part in numbered.group_by("quarter", maintain_order=True):
            yield self.path / str(folder[0]), part.drop("quarter")

    def unseen(self, event_type: str, folder: Path, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of one folder that this instance has not written, equal in all but `created_at`.

        With `whole`, that no instance has.
        Only files whose time range holds the time of one of the rows are read, one at a time.
        Raises OSError where the folder does not hold still.
        """
        for _ in range(_TRIES):
            try:
                return self._unseen(event_type, folder, rows)
            except FileNotFoundError:  # compacted since the folder was listed: its rows are there
                continue
        raise OSError(f"files keep vanishing from {folder}")

    def _unseen(self, event_type: str, folder: Path, rows: pl.DataFrame) -> pl.DataFrame:
        ranges = self._time_ranges(event_type, folder)
        return unheld(
            event_type,
            rows,
            ranges,
            lambda name, some: self._read_near(event_type, folder / name, some),
        )

    def files_of(self, event_type: str, start: int, end: int) -> Iterator[pl.LazyFrame]:
        """What each file of the partitions between two moments (ns) holds, not read yet."""
        for folder in self._volume.partitions(self.path / event_type):
            try:
                first, until = partitions.span(folder, self._zone)
            except ValueError:
                continue
            if first > end or until <= start:
                continue
            for name in sorted(self._volume.names(folder)):
                yield pl.scan_parquet(self._volume.source(folder / name), hive_partitioning=False)

    def check_room(self, needed: int = 0) -> None:
        """Raises OSError where the storage path is gone, or would have too little room."""
        self._claim.ensure()
        self._volume.check_room(needed)

    def write(self, event_type: str, folder: Path, rows: pl.DataFrame, chunks: str) -> WrittenFile:
        """Publish rows of one folder as one file. Raises OSError (with errno) or DiskFailed."""
        made = serialised(event_type, rows, self.instance, chunks)
        self.check_room(len(made.data))
        self._volume.prepare(folder)
        path = publish(self._volume, event_type, folder, made.data, self._now_ns(), self._zone)
        self._time_ranges(event_type, folder)[path.name] = (made.low, made.high)
        return WrittenFile(path, rows.height, len(made.data))

    def _folder(self, event_type: str, quarter: int) -> str:
        moment = datetime.fromtimestamp(quarter * _QUARTER // SECOND, self._zone)
        return f"{event_type}/{moment.strftime(self._layout)}"

    def _time_ranges(self, event_type: str, folder: Path) -> dict[str, tuple[int, int]]:
        """The time range of each file in a folder; footers are read once.

        Files of other instances hold no time: each instance keeps a record of its own until
        compaction makes one of all, so that one can make good what another loses.
        """
        known = self._ranges.pop(folder, {})
        present = self._volume.names(folder)
        ranges = {name: known[name] for name in known if name in present}
        for name in present:
            if name not in ranges:
                found = self._time_range(event_type, folder / name)
                if found is not None:
                    ranges[name] = found
        self._ranges[folder] = ranges  # last used, last evicted
        while len(self._ranges) > _FOLDERS_KEPT:
            del self._ranges[next(iter(self._ranges))]
        return ranges

    def _time_range(self, event_type: str, path: Path) -> tuple[int, int] | None:
        """The times of the first and last row; None for a damaged file.

        Files of others, without our columns, are ignored.
        """
        source = self._volume.source(path)
        try:
            footer = pl.read_parquet_metadata(source)
            if not _is_table(event_type, pl.read_parquet_schema(source), footer):
                log.warning("a Parquet file of others is ignored", extra={"file": str(path)})
                return _NO_TIMES
            instances = footer.get("edc.instance", self.instance).split(",")
            if not self._whole and self.instance not in instances:
                return _NO_TIMES
            self._volume.check(path)
            if said := footer.get("edc.time_range"):
                low, high = said.split()
                return int(low), int(high)
            scan = pl.scan_parquet(source, hive_partitioning=False)
            column = pl.col(time_column(event_type)).cast(pl.Datetime("ns", "UTC")).to_physical()
            low, high = scan.select(low=column.min(), high=column.max()).collect().row(0)
        except UNREADABLE as error:
            self._set_aside_if_damaged(path, error)
            return None
        return _NO_TIMES if low is None else (int(low), int(high))

    def _read_near(self, event_type: str, path: Path, rows: pl.DataFrame) -> pl.DataFrame | None:
        """What a file holds at the times of `rows`, in the columns of identity."""
        column = time_column(event_type)
        source = self._volume.source(path)
        scan = pl.scan_parquet(source, hive_partitioning=False)
        try:
            zoned = scan.collect_schema()[column]  # a literal in the file's own zone prunes groups
            times = rows[column].cast(pl.Datetime("ns", "UTC")).cast(zoned)
            held = scan.filter(near(column, times, rows["symbol"])).collect()
            version = version_of(pl.read_parquet_metadata(source))
        except UNREADABLE as error:
            self._set_aside_if_damaged(path, error)
            return None
        return conform(held, event_type, self.timezone, version).select(identity(event_type))

    def _set_aside_if_damaged(self, path: Path, error: BaseException) -> None:
        """Move a file that cannot be read at all; for an intact one the error is ours: raise it."""
        source = self._volume.source(path)
        try:
            self._volume.check(path)
            pl.read_parquet(source, hive_partitioning=False)
        except UNREADABLE:
            self._on_damaged(partitions.damage(path, self._zone, str(error), source))
            aside = self._volume.set_aside(path, str(error))
            log.error("unreadable Parquet file set aside: %s", error, extra={"file": str(aside)})
        else:
            raise error


def publish(
    volume: Volume, event_type: str, folder: Path, data: bytes, now_ns: int, zone: ZoneInfo
) -> Path:
    """Write under the name of this microsecond, or the next that is free."""
    while True:
        stamp = datetime.fromtimestamp(now_ns // 1000 / 1e6, zone)
        path = folder / f"consol_feeds_{event_type}_{stamp:%Y%m%d_%H%M%S_%f}.parquet"
        try:
            volume.publish(path, data)
        except FileExistsError:
            now_ns += 1000
        else:
            return path


def unheld(
    event_type: str,
    rows: pl.DataFrame,
    ranges: Mapping[str, tuple[int, int]],
    read: Callable[[str, pl.DataFrame], pl.DataFrame | None],
) -> pl.DataFrame:
    """The rows that none of some files has, equal in all but `created_at`.

    `ranges` are the first and last time (ns) of each; only those that hold the time of one of the
    rows are read, one at a time. `read` gives what a file holds at the times of some rows, in the
    columns of identity, or None; see `near`.
    """
    time = pl.col(time_column(event_type)).to_physical()
    first, last = span(event_type, rows)
    for name, (low, high) in ranges.items():
        if high < first or low > last:
            continue
        some = rows.with_row_index("row").filter(time.is_between(low, high))
        held = None if some.is_empty() else read(name, some.drop("row"))
        if held is None or held.is_empty():
            continue
        again = some.join(held, on=identity(event_type), how="semi", nulls_equal=True)["row"]
        rows = without(rows, again)
        if rows.is_empty():
            break
    return rows


def near(column: str, times: pl.Series, symbols: pl.Series) -> pl.Expr:
    """True for the rows of a file that may be equal to one of some, by their times and symbols.

    Compacted files are sorted by symbol, and late rows are often of a few: row groups of other
    symbols and other times are passed over, and of the rest only the rows at those very times are
    read whole. `times` are of the type of `column`.
    """
    found = pl.col(column).is_in(times.unique().implode())
    ends = [(column, times.to_physical(), times.dtype)]
    if not symbols.has_nulls():  # null is the whole feed, in the ledger
        ends.append(("symbol", symbols, pl.String()))
    for name, values, dtype in ends:
        low, high = (pl.lit(end).cast(dtype) for end in (values.min(), values.max()))
        found &= pl.col(name).is_between(low, high)
    return found


def _is_table(
    event_type: str, columns: Mapping[str, pl.DataType], footer: Mapping[str, str]
) -> bool:
    """True where rows in these columns can be read as rows of the table."""
    try:
        conform(pl.DataFrame(schema=columns), event_type, "UTC", version_of(footer))
    except (pl.exceptions.PolarsError, ValueError):
        return False
    return True
