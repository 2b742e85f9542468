"""Delta Lake as the lake: one table for each event type, partitioned by `date`.

Data files are written as those of a Parquet lake are, and made durable before the commit that adds
them; `deltalake` (the extra `edc[delta]`) keeps the log. A batch is one commit, whatever partitions
it touches. Its chunks are in it as transactions (`edc/<instance>/<run>`, the number of the last
chunk), so that a batch that comes again after a crash is known by that alone; rows that came by
another way are found as in a Parquet lake, by reading the files whose times overlap.

Delta has no nanoseconds. Each time is there twice: cut to microseconds for people and engines, as
`event_time` in UTC, and whole, as `event_time_ns` (Int64, ns since the epoch).
"""

import errno
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.schema import Field, PrimitiveType
from deltalake.transaction import AddAction, RemoveAction

from edc import files, partitions
from edc.claim import Claim
from edc.encoding import serialised
from edc.events import distinct, identity, schema, time_column
from edc.files import Damage
from edc.lake import near, publish, unheld
from edc.seal import UNREADABLE
from edc.sinks import Written
from edc.volumes import LocalVolume, Volume

log = logging.getLogger(__name__)

_LOG = "_delta_log"
_COMMITS = 100
"""Between two checkpoints of a table's log: so many small files are read to open it."""
_AFTER = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
"""We make checkpoints ourselves, since they have to be made durable."""
_SPAN = re.compile(r"(\d+):\d+-(\d+)")
_TYPES = {pl.String(): "string", pl.Float64(): "double", pl.Int64(): "long"}


def delta_schema(event_type: str) -> Schema:
    """The columns of a Delta table: see the module."""
    fields, exact = [], []
    for name, dtype in schema(event_type, "UTC").items():
        if isinstance(dtype, pl.Datetime):
            fields.append(Field(name, PrimitiveType("timestamp")))
            exact.append(Field(f"{name}_ns", PrimitiveType("long")))
        else:
            fields.append(Field(name, PrimitiveType(_TYPES[dtype])))
    return Schema([*fields, *exact, Field("date", PrimitiveType("date"))])


def to_delta(event_type: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of a table in the columns of its Delta table, but for `date`."""
    times = _times(event_type)
    whole = [pl.col(name).to_physical().alias(f"{name}_ns") for name in times]
    cut = pl.col(times).dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    return rows.with_columns(*whole).with_columns(cut)


def from_delta(event_type: str, rows: pl.LazyFrame, timezone: str) -> pl.LazyFrame:
    """The rows of a Delta table, or of one of its files, as those of the table, to the ns."""
    times = _times(event_type)
    columns = [
        pl.col(f"{name}_ns")
        .cast(pl.Datetime("ns", "UTC"))
        .dt.convert_time_zone(timezone)
        .alias(name)
        if name in times
        else pl.col(name)
        for name in schema(event_type, timezone)
    ]
    return rows.select(columns)


def _times(event_type: str) -> list[str]:
    return [
        name for name, dtype in schema(event_type, "UTC").items() if isinstance(dtype, pl.Datetime)
    ]


@dataclass(frozen=True, slots=True)
class _File:
    """A data file that a table has: `path` below the table, the times of its rows in ns."""

    path: str
    day: date
    low: int
    high: int


class DeltaSink:
    """The tables under one URL or folder, as one instance writes them.

    `on_damaged` is told of each file that cannot be read before it is set aside. Not safe for two
    threads on one event type; another instance may write to the same tables.
    """

    def __init__(
        self,
        volume: Volume,
        options: Mapping[str, str],
        timezone: str,
        instance: str,
        now_ns: Callable[[], int],
        on_damaged: Callable[[Damage], None],
    ) -> None:
        self._volume = volume
        self._options = dict(options)
        self._timezone = timezone
        self._zone = ZoneInfo(timezone)
        self._instance = instance
        self._now_ns = now_ns
        self._on_damaged = on_damaged
        self._claim = Claim(volume, timezone, "date", "delta")
        self._tables: dict[str, DeltaTable] = {}

    def begin(self) -> None:
        """See `Claim.begin`; of a table on a disk, what a power cut left torn is set aside."""
        self._claim.begin()
        if isinstance(self._volume, LocalVolume):
            for folder in sorted(self._volume.root.glob(f"*/{_LOG}")):
                _mend(self._volume, folder)

    def write(self, event_type: str, rows: pl.DataFrame, chunks: str) -> Written:
        """See `Sink`."""
        self._claim.ensure()
        self._volume.check_room()
        with _translated():
            table = self._table(event_type)
            done = _transactions(self._instance, chunks)
            if done and all((table.transaction_version(name) or 0) >= last for name, last in done):
                return Written(duplicates=rows.height)
        written = Written()
        actions = []
        for day, part in _by_day(event_type, distinct(event_type, rows), self._timezone):
            new = self._unseen(event_type, table, day, part)
            if not new.is_empty():
                actions.append(self._publish(event_type, day, new, chunks, written))
        if actions or done:
            self._commit(event_type, actions, done, chunks)
        written.duplicates = rows.height - written.rows
        return written

    def files_of(self, event_type: str, start: int, end: int) -> Iterator[pl.LazyFrame]:
        """See `Past`."""
        with _translated():
            table = self._table(event_type)
            found = [file for file in _files(event_type, table) if file.high >= start]
        for file in found:
            if file.low <= end:
                source = self._volume.source(self._volume.root / event_type / file.path)
                rows = pl.scan_parquet(source, hive_partitioning=False)
                yield from_delta(event_type, rows, self._timezone)

    def _uri(self, event_type: str) -> str:
        return f"{self._volume}/{event_type}"

    def _table(self, event_type: str) -> DeltaTable:
        """The table as it is now; made where there is none."""
        known = self._tables.get(event_type)
        if known is not None:
            known.update_incremental()
            return known
        uri, options = self._uri(event_type), self._options or None
        try:
            table = DeltaTable(uri, storage_options=options)
        except TableNotFoundError:
            table = DeltaTable.create(
                uri,
                delta_schema(event_type),
                mode="ignore",
                partition_by=["date"],
                name=event_type,
                configuration={"delta.setTransactionRetentionDuration": "interval 365 days"},
                storage_options=options,
            )
            self._make_durable(event_type, table)
        self._tables[event_type] = table
        return table

    def _unseen(
        self, event_type: str, table: DeltaTable, day: date, rows: pl.DataFrame
    ) -> pl.DataFrame:
        """The rows of one day that the table does not have."""
        ranges = {
            file.path: (file.low, file.high)
            for file in _files(event_type, table)
            if file.day == day
        }
        return unheld(
            event_type, rows, ranges, lambda path, some: self._read(event_type, path, some)
        )

    def _read(self, event_type: str, name: str, some: pl.DataFrame) -> pl.DataFrame | None:
        """The rows of a file at the times of `some`, by their identity."""
        path = self._volume.root / event_type / name
        source = self._volume.source(path)
        column = time_column(event_type)
        wanted = near(f"{column}_ns", some[column].to_physical(), some["symbol"])
        try:
            rows = pl.scan_parquet(source, hive_partitioning=False).filter(wanted)
            held = from_delta(event_type, rows, self._timezone).select(identity(event_type))
            return held.collect()
        except UNREADABLE as error:
            self._lose(event_type, path, name, error)
            return None

    def _lose(self, event_type: str, path: Path, name: str, error: Exception) -> None:
        """Take a file that cannot be read out of its table; of an intact one the error is ours."""
        source = self._volume.source(path)
        try:
            self._volume.check(path)
            pl.read_parquet(source, hive_partitioning=False)
        except UNREADABLE:
            self._on_damaged(partitions.damage(path, self._zone, str(error), source))
            now = self._now_ns() // 1_000_000
            self._commit(event_type, [RemoveAction(name, data_change=True, deletion_timestamp=now)])
            aside = self._volume.set_aside(path, str(error))
            log.error("unreadable Parquet file set aside: %s", error, extra={"file": str(aside)})
        else:
            raise error

    def _publish(
        self, event_type: str, day: date, rows: pl.DataFrame, chunks: str, written: Written
    ) -> AddAction:
        """Make a data file, durable; it is in the table once it is committed."""
        made = serialised(
            event_type, rows, self._instance, chunks, lambda each: to_delta(event_type, each)
        )
        self._volume.check_room(len(made.data))
        folder = self._volume.root / event_type / f"date={day}"
        self._volume.prepare(folder)
        now_ns = self._now_ns()
        path = publish(self._volume, event_type, folder, made.data, now_ns, self._zone)
        written.rows += rows.height
        written.size += len(made.data)
        written.files.append(path)
        column = f"{time_column(event_type)}_ns"
        stats = {
            "numRecords": rows.height,
            "minValues": {column: made.low},
            "maxValues": {column: made.high},
            "nullCount": {column: 0},
        }
        return AddAction(
            f"date={day}/{path.name}",
            len(made.data),
            {"date": str(day)},
            now_ns // 1_000_000,
            data_change=True,
            stats=json.dumps(stats),
        )

    def _commit(
        self,
        event_type: str,
        actions: Sequence[AddAction | RemoveAction],
        done: Sequence[tuple[str, int]] = (),
        chunks: str = "",
    ) -> None:
        """One commit, durable when this returns."""
        properties = CommitProperties(
            custom_metadata={"edc.chunks": chunks, "edc.instance": self._instance},
            app_transactions=[Transaction(name, last) for name, last in done],
        )
        with _translated():
            table = self._table(event_type)
            table.create_write_transaction(
                list(actions),
                "append",
                table.schema(),
                ["date"],
                commit_properties=properties,
                post_commithook_properties=_AFTER,
            )
            table.update_incremental()
            if table.version() % _COMMITS == 0:
                table.create_checkpoint()
        self._make_durable(event_type, table)

    def _make_durable(self, event_type: str, table: DeltaTable) -> None:
        """The library writes its log without fsync. A store elsewhere needs none."""
        if isinstance(self._volume, LocalVolume):
            make_log_durable(self._volume.root / event_type, table.version())


def _transactions(instance: str, chunks: str) -> list[tuple[str, int]]:
    """From the chunks of a batch (see `name_chunks`) to the name and the last chunk of each run.

    None where they are not all whole chunks of our own spool: of a bus, say, which parts them.
    """
    last: dict[str, int] = {}
    for span in chunks.split():
        found = _SPAN.fullmatch(span)
        if found is None:
            return []
        last[found[1]] = max(last.get(found[1], 0), int(found[2]))
    return [(f"edc/{instance}/{run}", number) for run, number in last.items()]


def _by_day(
    event_type: str, rows: pl.DataFrame, timezone: str
) -> Iterator[tuple[date, pl.DataFrame]]:
    """The rows of each day of the zone, in their order."""
    day = pl.col(time_column(event_type)).dt.convert_time_zone(timezone).dt.date().alias("date")
    for (found,), part in rows.with_columns(day).group_by("date", maintain_order=True):
        assert isinstance(found, date)
        yield found, part.drop("date")


def _files(event_type: str, table: DeltaTable) -> Iterator[_File]:
    """The files of a table as its log has them, whoever wrote them."""
    column = f"{time_column(event_type)}_ns"
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    if actions.is_empty():
        return
    columns = ("path", "partition.date", f"min.{column}", f"max.{column}")
    for path, day, low, high in actions.select(columns).iter_rows():
        yield _File(unquote(path), day, low, high)


@contextmanager
def _translated() -> Iterator[None]:
    """The library's errors as those of files: its table may answer again."""
    try:
        yield
    except DeltaError as error:
        raise OSError(errno.EIO, str(error).partition("\n")[0]) from error


def make_log_durable(table: Path, version: int) -> None:
    """Sync what the library wrote for a version of a table on a disk. Raises DiskFailed."""
    folder = table / _LOG
    written = [folder / f"{version:020}.json", *folder.glob(f"{version:020}.checkpoint*.parquet")]
    if len(written) > 1:
        written.append(folder / "_last_checkpoint")
    for path in written:
        files.sync_file(path)
    for each in (folder, table, table.parent):
        files.sync_folder(each)


def _mend(volume: LocalVolume, folder: Path) -> None:
    """Set aside the last commit and checkpoint of a log where a power cut has torn them.

    Neither was durable, so that the chunks of that batch are still in the spool.
    """
    for path in sorted(folder.glob("*.checkpoint*.parquet"))[-1:]:
        try:
            pl.read_parquet(path)
        except UNREADABLE as error:
            (folder / "_last_checkpoint").unlink(missing_ok=True)
            log.error("torn checkpoint set aside: %s", volume.set_aside(path, str(error)))
    for path in sorted(folder.glob("[0-9]*.json"))[-1:]:
        try:
            actions = [json.loads(line) for line in path.read_text().splitlines()]
            torn = "" if actions else "it is empty"
        except ValueError as error:
            torn = str(error)
        if torn:
            log.error("torn commit set aside: %s", volume.set_aside(path, torn))
