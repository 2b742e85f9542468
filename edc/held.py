"""What the lake and the spool hold of a source, asked when a run begins or a gap is filled.

Read from the files as they lie there, in a thread; a file that goes away or cannot be read
meanwhile holds nothing.
"""

import logging
from collections.abc import Iterator, Sequence

import polars as pl

from edc.events import Event, Gap
from edc.seal import UNREADABLE
from edc.sinks import LakeSink
from edc.spool import BadChunkError, Spool, read_chunk

log = logging.getLogger(__name__)

_IDS = {"trade": ("trade_id", "exchange"), "quote": ("sequence", "bid_exchange")}
"""An id, and whose it is."""
_FACTS = {"trade": ("event_time", "last_price", "last_size"), "quote": ("event_time", "bid", "ask")}
"""What stands for it where there is none."""
_GAP_KEYS = ("feed", "vendor", "source", "symbol", "started_at", "ended_at", "cause", "rows_lost")
_TIMES = ("started_at", "ended_at", "event_time", "created_at")


def mark_of(event: Event, *, numbered: bool = False) -> tuple[object, ...]:
    """What tells an event from the others of its symbol: an id, else its time and prices.

    `numbered` says that a trade's id is one only together with its `sequence`.
    """
    columns = _columns(event.event_type, numbered=numbered)
    return _mark([getattr(event, name) for name in columns])


def _columns(event_type: str, *, numbered: bool) -> tuple[str, ...]:
    more = ("sequence",) if numbered and event_type == "trade" else ()
    return (*_IDS[event_type], *more, *_FACTS[event_type])


def _mark(values: Sequence[object]) -> tuple[object, ...]:
    """The ids of `_columns`, or the facts, of which there are always three."""
    return tuple(values[:-3] if values[0] is not None else values[-3:])


class Held:
    """The rows of one lake and of one instance's spool."""

    def __init__(self, past: LakeSink, spool: Spool) -> None:
        self._past = past
        self._spool = spool

    def last(self, source: str, since: int) -> dict[str, int]:
        """The highest `sequence` of each symbol's trades since a moment (ns)."""
        found: dict[str, int] = {}
        for rows in self._rows("trade", since, 1 << 62, ("symbol", "sequence"), source):
            highest = rows.drop_nulls().group_by("symbol").agg(pl.col("sequence").max())
            for symbol, sequence in highest.iter_rows():
                found[symbol] = max(sequence, found.get(symbol, sequence))
        return found

    def numbers(self, source: str, symbol: str, start: int, end: int) -> list[int]:
        """The numbers of a symbol's trades of a time, ascending, each once."""
        numbers: set[int] = set()
        for rows in self._rows("trade", start, end, ("symbol", "sequence"), source):
            numbers.update(rows.filter(symbol=symbol)["sequence"].drop_nulls())
        return sorted(numbers)

    def marks(
        self,
        event_type: str,
        source: str,
        symbol: str,
        span: tuple[int, int],
        *,
        numbered: bool = False,
    ) -> set[tuple[object, ...]]:
        """What tells the events of a symbol and a time from each other: see `mark_of`."""
        columns = _columns(event_type, numbered=numbered)
        start, end = span
        marks: set[tuple[object, ...]] = set()
        for rows in self._rows(event_type, start, end, ("symbol", *columns), source):
            marks.update(_mark(row) for row in rows.filter(symbol=symbol).select(columns).rows())
        return marks

    def open_holes(self, source: str, since: int) -> list[Gap]:
        """The counted gaps of single symbols since a moment that no second row has closed."""
        return self._open(source, since, pl.col("symbol").is_not_null(), cause="sequence")

    def open_spans(self, source: str, feed: str, since: int) -> list[Gap]:
        """The silences of a feed since a moment that no second row has closed."""
        whole = pl.col("symbol").is_null() & pl.col("rows_lost").is_null()
        return self._open(source, since, whole, feed=feed)

    def _open(self, source: str, since: int, which: pl.Expr, **equal: str) -> list[Gap]:
        columns = (*_GAP_KEYS, "state")
        rows = list(self._rows("gap", since, 1 << 62, columns, source))
        if not rows:
            return []
        gaps = pl.concat(rows).filter(which, **equal).unique()
        closed = gaps.filter(pl.col("state") != "open")
        left = gaps.filter(state="open").join(closed, _GAP_KEYS, "anti", nulls_equal=True)
        return [Gap(**row, created_at=0) for row in left.sort("started_at").iter_rows(named=True)]

    def _rows(
        self, event_type: str, start: int, end: int, columns: Sequence[str], source: str
    ) -> Iterator[pl.DataFrame]:
        """The rows of a source whose time may lie between two moments, with times as ns."""
        files = self._past.files_of(event_type, start, end)
        try:
            for scan in files:
                try:
                    yield _plain(scan.filter(source=source).select(columns).collect())
                except (*UNREADABLE, FileNotFoundError) as error:
                    log.debug("a file of %s cannot be read: %s", event_type, error)
        except OSError as error:  # what it would have told is not known: see the ledger's own row
            log.warning("the lake does not say what it has: %s", error, extra={"source": source})
        for chunk in self._spool.pending(event_type):
            try:
                yield _plain(read_chunk(chunk.path).filter(source=source).select(columns))
            except (BadChunkError, OSError, pl.exceptions.PolarsError) as error:
                log.debug("%s cannot be read: %s", chunk.path, error)


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    times = [name for name in rows.columns if name in _TIMES]
    return rows.with_columns(pl.col(times).to_physical()) if times else rows
