"""The spool: what was received, safe on disk, on its way to the lake.

`<path>/.spool/<instance>/<event_type>/<run>-<number>-<rows>-<from>-<to>-<crc>.arrow`: one Arrow IPC
file for each interval, published whole (see files.py), in the columns of the table. A column that
has one value throughout is named `vendor=tiingo`, as a folder of the lake is, and one of nulls
`side`; both are of Arrow's type Null, which takes no room. `run` is the
start of the daemon (ns since the epoch), `number` counts up by one within it for each event type,
so names sort in order of receipt; `from` and `to` (ns) enclose all times of the rows, so that the
ledger can say what a damaged chunk held; `crc` is the CRC-32 of the bytes, because Arrow IPC
carries none. Rows in a chunk are final: a second flush of one makes the same rows, which the lake
already has.

A chunk is removed only after its rows are in the lake. `flock` on `<instance>/lock` keeps a second
daemon out; the file holds the first one's pid.
"""

import fcntl
import io
import logging
import os
import re
import time
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from edc import files
from edc.errors import InstanceHeld
from edc.events import COLUMN_TYPES, EVENT_TYPES, identity

log = logging.getLogger(__name__)

_NAME = re.compile(
    r"(?P<run>\d+)-(?P<number>\d+)-(?P<rows>\d+)-(?P<low>\d+)-(?P<high>\d+)-(?P<crc>[0-9a-f]{8})"
    r"\.arrow"
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One file of the spool. Its run and number identify its rows for ever."""

    path: Path
    rows: int

    @property
    def run(self) -> int:
        """The start of the daemon that wrote it."""
        return int(self.path.name.split("-")[0])

    @property
    def number(self) -> int:
        """Its place in that run."""
        return int(self.path.name.split("-")[1])

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last of all times in its rows, ns."""
        low, high = map(int, self.path.name.split("-")[3:5])
        return low, high

    def damage(self, reason: str) -> files.Damage:
        """What is lost with it, as its name says."""
        return files.Damage(self.path, reason, *self.span, self.rows)


def name_chunks(chunks: Iterable[Chunk]) -> str:
    """The ids of chunks as footers list them: `<run>:<first>-<last>`, joined by spaces."""
    spans: list[tuple[int, int, int]] = []
    for chunk in chunks:
        if spans and spans[-1][0] == chunk.run and spans[-1][2] == chunk.number - 1:
            spans[-1] = (chunk.run, spans[-1][1], chunk.number)
        else:
            spans.append((chunk.run, chunk.number, chunk.number))
    return " ".join(f"{run}:{first}-{last}" for run, first, last in spans)


class BadChunkError(Exception):
    """The bytes of a chunk are not those that were written."""


def read_chunk(path: Path) -> pl.DataFrame:
    """The rows of a chunk. Raises BadChunkError where its bytes are not those of its name."""
    return chunk_rows(path.name, path.read_bytes())


def chunk_rows(name: str, data: bytes) -> pl.DataFrame:
    """As `read_chunk`, of bytes that were read before."""
    match = _NAME.fullmatch(name)
    if match is None or int(match["crc"], 16) != zlib.crc32(data):
        raise BadChunkError(f"checksum of {name} does not match")
    return _unpacked(pl.read_ipc(io.BytesIO(data)))


def _packed(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows without what is the same in all of them, but for columns that no table has."""
    if frame.is_empty():
        return frame
    first, last = frame.row(0, named=True), frame.row(-1, named=True)
    likely = [
        name
        for name, value in first.items()
        if name in COLUMN_TYPES
        and value == last[name]
        and (value is None or isinstance(value, str | int))
    ]
    alike = frame.select(pl.col(name).eq_missing(first[name]).all() for name in likely)
    same = {name: first[name] for name in likely if alike[name].item()}
    return frame.select(
        pl.lit(None).alias(name if same[name] is None else f"{name}={same[name]}")
        if name in same
        else name
        for name in frame.columns
    )


def _unpacked(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of which `_packed` made these; a column that no table has is left as it is."""
    columns: list[pl.Expr] = []
    for written, dtype in frame.schema.items():
        name, mark, value = written.partition("=")
        if dtype != pl.Null or name not in COLUMN_TYPES:
            columns.append(pl.col(written))
        else:
            one = pl.lit(value) if mark else pl.lit(None)
            columns.append(one.cast(COLUMN_TYPES[name]).alias(name))
    return frame.select(columns)


def chunk_of(path: Path) -> Chunk | None:
    """The chunk that a path names; None where it names none."""
    match = _NAME.fullmatch(path.name)
    return None if match is None else Chunk(path, int(match["rows"]))


class Spool:
    """The chunks of one instance. `append` and `read` may run in threads, one per event type."""

    def __init__(self, path: Path, instance: str) -> None:
        self.path = path
        self.instance = instance
        self.folder = path / ".spool" / instance
        self._run = time.time_ns()
        self._numbers = dict.fromkeys(EVENT_TYPES, 0)
        self._lock = -1
        self._anchor: files.Anchor | None = None

    def open(self) -> None:
        """Take the instance and clear what a kill left half-written.

        Raises InstanceHeld, or ConfigError where the storage path cannot be written.
        """
        try:
            for event_type in EVENT_TYPES:
                files.make_folder(self.folder / event_type)
            self.folder.chmod(0o700)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise files.unwritable(self.path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            pid = int(holder) if holder.isdigit() else None
            raise InstanceHeld(str(self.path), self.instance, pid) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock
        self._anchor = files.Anchor(self.folder / "lock", lock)
        for folder in (self.folder, *(self.folder / event_type for event_type in EVENT_TYPES)):
            files.sweep(folder)

    def close(self) -> None:
        """Let the instance go."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def check(self) -> None:
        """Raises OSError where the storage path is not what it was at the start: see Anchor."""
        if self._anchor is not None:
            self._anchor.check()

    def append(self, event_type: str, frame: pl.DataFrame) -> Chunk:
        """Write a chunk; when this returns it survives a power loss. Raises OSError, DiskFailed."""
        self.check()
        buffer = io.BytesIO()
        _packed(frame).write_ipc(buffer, compression="uncompressed")
        data = buffer.getbuffer()
        number = self._numbers[event_type] + 1
        low, high = _times(frame)
        name = f"{self._run:019d}-{number:08d}-{frame.height}-{low}-{high}-{zlib.crc32(data):08x}"
        path = self.folder / event_type / f"{name}.arrow"
        files.publish(path, data)
        self._numbers[event_type] = number
        return Chunk(path, frame.height)

    def pending(self, event_type: str) -> list[Chunk]:
        """All chunks on disk, in order of receipt."""
        chunks = []
        for path in sorted((self.folder / event_type).glob("[!.]*")):
            chunk = chunk_of(path)
            if chunk:
                chunks.append(chunk)
            else:
                log.warning("a file in the spool is no chunk", extra={"file": str(path)})
        return chunks

    def read(self, chunk: Chunk) -> pl.DataFrame:
        """The rows of a chunk. Raises BadChunkError, or OSError if the disk does."""
        return read_chunk(chunk.path)

    def remove(self, chunks: Iterable[Chunk]) -> None:
        """Forget chunks whose rows are in the lake."""
        for chunk in chunks:
            chunk.path.unlink(missing_ok=True)

    def set_aside(self, damage: files.Damage) -> Path:
        """Move a chunk that cannot be read to `.quarantine/`, with the reason beside it."""
        return files.set_aside(self.path, damage.path, damage.reason)


def _times(frame: pl.DataFrame) -> tuple[int, int]:
    """The first and last of all times in a frame, ns; before 1970 counts as its beginning."""
    times = [each.to_physical() for each in frame.get_columns() if each.dtype == pl.Datetime]
    lows = [low for each in times if isinstance(low := each.min(), int)]
    highs = [high for each in times if isinstance(high := each.max(), int)]
    return max(0, min(lows, default=0)), max(0, max(highs, default=0))


class Ordinals:
    """Tells apart trades that are equal in every column because the vendor numbers nothing.

    The first of them in a connection epoch has ordinal 0, the next 1, and so on. The same prints
    seen again on another connection get the same ordinals, so that they are the same rows. Counted
    over a window of the last `window` trades, which carries across chunks; trades with a
    `trade_id` have ordinal 0.
    """

    def __init__(self, window: int = 262_144) -> None:
        self._window = window
        self._recent: deque[tuple[int, int, pl.DataFrame]] = deque()
        """With the first and the last time of each, ns."""
        self._held = 0
        self._keys = [name for name in identity("trade") if name != "ordinal"] + ["epoch"]

    def count(self, trades: pl.DataFrame, epochs: pl.Series) -> pl.DataFrame:
        """`trades`, of the given connection epochs, with `ordinal` filled in."""
        if not trades["trade_id"].null_count():
            return trades.with_columns(pl.lit(0, pl.Int64).alias("ordinal"))
        rows = trades.with_columns(epochs.alias("epoch"), pl.lit(0, pl.Int64).alias("ordinal"))
        rows = rows.with_columns(mark=_MARK)
        recent = self._overlapping(rows)
        doubtful = pl.col("mark").is_duplicated()
        if recent:
            marks = pl.concat([old["mark"] for old in recent])
            doubtful |= pl.col("mark").is_in(marks.implode())
        doubtful &= pl.col("trade_id").is_null()
        rows = rows.with_row_index("row").with_columns(doubtful.alias("doubtful"))
        if rows["doubtful"].any():
            rows = self._number(rows, recent)
        rows = rows.drop("row", "doubtful")
        self._remember(rows.filter(pl.col("trade_id").is_null()))
        return rows.select(trades.columns)

    def _number(self, rows: pl.DataFrame, recent: list[pl.DataFrame]) -> pl.DataFrame:
        """Number the doubtful rows exactly: on all their columns, after those of the window."""
        some = rows.filter("doubtful").with_columns(
            pl.int_range(pl.len(), dtype=pl.Int64).over(self._keys).alias("ordinal")
        )
        if recent:
            alike = pl.col("mark").is_in(some["mark"].implode())
            before = pl.concat([old.filter(alike) for old in recent])
            seen = before.group_by(self._keys).agg((pl.col("ordinal").max() + 1).alias("seen"))
            some = some.join(seen, on=self._keys, how="left", nulls_equal=True).with_columns(
                (pl.col("ordinal") + pl.col("seen").fill_null(0)).alias("ordinal")
            )
        return rows.update(some.select("row", "ordinal"), on="row")

    def _overlapping(self, rows: pl.DataFrame) -> list[pl.DataFrame]:
        """Those chunks of the window whose times overlap with those of `rows`: mostly none."""
        low, high = _reach(rows)
        return [old for first, last, old in self._recent if first <= high and last >= low]

    def _remember(self, rows: pl.DataFrame) -> None:
        if rows.height:
            self._recent.append((*_reach(rows), rows.select([*self._keys, "ordinal", "mark"])))
            self._held += rows.height
        while len(self._recent) > 1 and self._held - self._recent[0][2].height >= self._window:
            self._held -= self._recent.popleft()[2].height


_MARK = pl.reduce(
    lambda one, other: one ^ other,
    [
        pl.col(name).hash(seed)
        for seed, name in enumerate(("event_time", "symbol", "last_price", "last_size", "epoch"))
    ],
)
"""Equal for trades that are equal, and for hardly any others."""


def _reach(rows: pl.DataFrame) -> tuple[int, int]:
    """The first and the last time of rows, ns."""
    times = rows["event_time"].to_physical()
    low, high = times.min(), times.max()
    return (low, high) if isinstance(low, int) and isinstance(high, int) else (0, -1)
