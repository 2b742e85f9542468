"""From what a queue held to the rows of a chunk, in the columns of their table."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from edc.events import Gap, Row, epochs, to_frame
from edc.wire import Batch, wire_rows


@dataclass(slots=True)
class MadeChunk:
    """Rows, the connection epoch of each, and what became none.

    `refused` are rows whose values fit no column, `unread` frames that have no row.
    """

    frame: pl.DataFrame
    epochs: pl.Series
    refused: list[Row] = field(default_factory=list)
    unread: list[Batch] = field(default_factory=list)


def make_chunk(event_type: str, queued: Iterable[Row | Batch], timezone: str) -> MadeChunk:
    """The rows of what was queued, in the order of receipt. Whatever one raises costs it alone."""
    rows: list[Row] = []
    batches: defaultdict[Hashable, list[Batch]] = defaultdict(list)
    for each in queued:
        if isinstance(each, Batch):
            batches[each.wire.alike].append(each)
        else:
            rows.append(each)
    parts = [_of_batches(event_type, some, timezone) for some in batches.values()]
    if rows or not parts:
        parts.append(_of_rows(event_type, rows, timezone))
    return parts[0] if len(parts) == 1 else _in_order_of_receipt(_joined(parts))


def _of_rows(event_type: str, rows: list[Row], timezone: str) -> MadeChunk:
    try:
        frame = to_frame(event_type, rows, timezone)
        return MadeChunk(frame, _epochs(rows))
    except Exception:  # noqa: BLE001 - whatever one row raises, the others must not pay for it
        fit: list[Row] = []
        refused: list[Row] = []
        for row in rows:
            try:
                to_frame(event_type, [row], timezone)
            except Exception:  # noqa: BLE001 - as above
                refused.append(row)
            else:
                fit.append(row)
        return MadeChunk(to_frame(event_type, fit, timezone), _epochs(fit), refused)


def _epochs(rows: Sequence[Row]) -> pl.Series:
    """The connection epochs; gaps have none."""
    if not rows or isinstance(rows[0], Gap):
        return pl.Series("epoch", [0] * len(rows), dtype=pl.Int64)
    return epochs(rows)


def _of_batches(event_type: str, batches: Sequence[Batch], timezone: str) -> MadeChunk:
    """The rows of batches of wires that are alike. A frame without a row is found by halving."""
    try:
        frame, epochs, unread = wire_rows(batches, timezone)
        return MadeChunk(frame, epochs, unread=unread)
    except Exception:  # noqa: BLE001 - as above
        halves = _halves(batches)
        if halves is None:
            return MadeChunk(to_frame(event_type, [], timezone), _epochs([]), unread=[*batches])
        return _joined([_of_batches(event_type, half, timezone) for half in halves])


def _halves(batches: Sequence[Batch]) -> tuple[Sequence[Batch], Sequence[Batch]] | None:
    """Half of the batches, or of the frames of the only one; None for a single frame."""
    if len(batches) > 1:
        return batches[: len(batches) // 2], batches[len(batches) // 2 :]
    middle = batches[0].size // 2
    if not middle:
        return None
    frames = batches[0].frames
    return [batches[0].of(frames[:middle])], [batches[0].of(frames[middle:])]


def _joined(parts: Sequence[MadeChunk]) -> MadeChunk:
    return MadeChunk(
        pl.concat([part.frame for part in parts]),
        pl.concat([part.epochs for part in parts]),
        [row for part in parts for row in part.refused],
        [batch for part in parts for batch in part.unread],
    )


def _in_order_of_receipt(chunk: MadeChunk) -> MadeChunk:
    """Parts of which each is in order, put in order as a whole; the rows of one moment stay."""
    if chunk.frame["created_at"].is_sorted():
        return chunk
    order = chunk.frame["created_at"].to_frame().with_row_index("row")
    rows = order.sort("created_at", maintain_order=True)["row"]
    return replace(chunk, frame=chunk.frame[rows], epochs=chunk.epochs.gather(rows))
