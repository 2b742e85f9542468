"""Ingest: which spans the ledger is told, on both clocks; sequences and notices."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from edc.deadletters import DeadLetters
from edc.errors import Refused, Skippable
from edc.events import Event, Gap, Trade
from edc.ingest import Ingest
from edc.ledger import Ledger
from edc.metrics import FeedStats
from edc.queues import Queue, WhenFull
from edc.times import SECOND
from edc.transport import Frame
from edc.watermarks import Watermark

START = 1_000 * SECOND
TYPES = ("trade", "quote", "ref_px")


class Scripted:
    """An adapter that decodes the next answer of a test, whatever the frame."""

    def __init__(self) -> None:
        self.answers: deque[Sequence[Event] | Exception] = deque()

    def decode(self, frame: Frame) -> Sequence[Event]:
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Bench:
    """A feed whose clock and frames are the test's."""

    def __init__(
        self,
        folder: Path,
        *,
        capacity: int = 100,
        policy: WhenFull = WhenFull.BLOCK,
        sequenced: tuple[str, ...] = (),
    ) -> None:
        self.now = START
        self.adapter = Scripted()
        self.gaps = Queue("gap", 100, WhenFull.BLOCK)
        self.queues = {kind: Queue(kind, capacity, policy) for kind in TYPES}
        self.ledger = Ledger(self.gaps, lambda: self.now)
        self.ingest = Ingest(
            FeedStats("crypto", "tiingo", "tiingo_crypto"),
            self.queues,
            DeadLetters(folder),
            self.ledger,
            lambda: self.now,
            sequenced=sequenced,
        )

    def connect(self) -> None:
        """A connection stands."""
        self.ingest.connected(self.adapter)
        self.ingest.stats.state = "connected"

    def frame(self, received: float, answer: Sequence[Event] | Exception) -> None:
        """A frame that came `received` seconds after the start."""
        self.now = START + int(received * SECOND)
        self.adapter.answers.append(answer)
        self.ingest.receive(Frame(b"{}", self.now, self.ingest.stats.epoch))

    def trades(self, received: float, *made: float, sequence: int | None = None) -> None:
        """A frame with trades made so many seconds after the start."""
        self.frame(received, [trade(each, sequence) for each in made])

    def told(self) -> list[tuple[str, float, float, int | None]]:
        """Cause, start, end (seconds after the start) and rows of what the ledger was told."""
        self.ledger.settle()
        return [
            (row.cause, since(row.started_at), since(row.ended_at), row.rows_lost)
            for row in self.gaps.drain()
            if isinstance(row, Gap)
        ]


def trade(made: float, sequence: int | None = None) -> Trade:
    """A trade made so many seconds after the start."""
    return Trade(
        symbol="btcusd",
        asset_type="crypto",
        event_time=START + int(made * SECOND),
        last_price=1.0,
        last_size=1.0,
        sequence=sequence,
    )


def since(moment: int) -> float:
    """Seconds after the start."""
    return (moment - START) / SECOND


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_silence_begins_with_the_making_of_the_last_event_and_ends_with_receipt(
    bench: Bench,
) -> None:
    """What was made between, and was on its way at either end, may be lost."""
    bench.connect()
    bench.trades(10.0, 9.5)
    bench.now = START + 11 * SECOND
    bench.ingest.silent("disconnected")
    bench.connect()
    bench.trades(20.0, 19.5)

    assert bench.told() == [("disconnected", 9.5, 20.0, None)]


def test_a_vendor_whose_clock_is_ahead_ends_the_silence_by_its_own(bench: Bench) -> None:
    bench.connect()
    bench.trades(10.0, 12.0)
    bench.ingest.silent("disconnected")
    bench.connect()
    bench.trades(20.0, 22.0)

    assert bench.told() == [("disconnected", 10.0, 22.0, None)]


def test_a_price_of_yesterday_does_not_stretch_a_silence_by_more_than_a_minute(
    bench: Bench,
) -> None:
    bench.connect()
    bench.trades(100.0, -80_000.0)
    bench.ingest.silent("stale")
    bench.connect()
    bench.trades(200.0, 80_000.0)

    assert bench.told() == [("stale", 40.0, 260.0, None)]


def test_a_feed_that_never_spoke_is_silent_from_its_beginning(bench: Bench) -> None:
    bench.now = START + 3 * SECOND
    bench.ingest.silent("refused")
    bench.connect()
    bench.trades(7.0, 6.9)

    assert bench.told() == [("refused", 0.0, 7.0, None)]


def test_a_second_failure_in_one_silence_adds_no_row(bench: Bench) -> None:
    bench.connect()
    bench.trades(1.0, 1.0)
    bench.ingest.silent("half_open")
    bench.ingest.silent("refused")
    bench.connect()
    bench.trades(9.0, 9.0)

    assert bench.told() == [("half_open", 1.0, 9.0, None)]


@pytest.mark.parametrize("cause", ["stopped", "killed"])
def test_the_next_run_begins_in_the_gap_of_the_last(bench: Bench, cause: str) -> None:
    bench.ingest.resume(Watermark("tiingo", "tiingo_crypto", START - 50 * SECOND, cause))
    assert bench.ingest.reach() == START - 50 * SECOND
    bench.connect()
    bench.trades(2.0, 1.5)

    assert bench.told() == [(cause, -50.0, 2.0, None)]
    assert since(bench.ingest.reach()) == 2.0


def test_what_edc_missed_and_what_the_vendor_refused_are_two_rows(bench: Bench) -> None:
    bench.ingest.resume(Watermark("tiingo", "tiingo_crypto", START - 50 * SECOND, "stopped"))
    bench.now = START + SECOND
    bench.ingest.silent("refused")
    bench.connect()
    bench.trades(30.0, 30.0)

    assert bench.told() == [("stopped", -50.0, 1.0, None), ("refused", 1.0, 30.0, None)]


def test_a_clock_that_was_set_back_does_not_hide_the_gap(bench: Bench) -> None:
    bench.ingest.resume(Watermark("tiingo", "tiingo_crypto", START + 900 * SECOND, "killed"))
    bench.connect()
    bench.trades(2.0, 2.0)

    assert bench.told() == [("killed", 0.0, 2.0, None)]


def test_a_watermark_keeps_the_cause_until_data_comes(bench: Bench) -> None:
    """Killed again before it has received anything: it is still the stop's gap."""
    stopped = Watermark("tiingo", "tiingo_crypto", START - 50 * SECOND, "stopped")
    bench.ingest.resume(stopped)
    assert bench.ingest.watermark() == stopped
    bench.connect()
    bench.trades(2.0, 1.5)

    assert bench.ingest.watermark().cause == "killed"


def test_a_watermark_stays_at_the_start_of_an_open_silence(bench: Bench) -> None:
    bench.connect()
    bench.trades(10.0, 9.5)
    bench.ingest.silent("disconnected")
    bench.now = START + 500 * SECOND

    assert since(bench.ingest.watermark().until) == 9.5
    bench.ingest.finish()
    assert since(bench.ingest.watermark().until) == 500.0
    assert bench.told() == [("disconnected", 9.5, 500.0, None)]


def test_an_unreadable_frame_covers_what_it_may_have_told(bench: Bench) -> None:
    bench.connect()
    bench.trades(10.0, 9.5)
    bench.frame(12.0, Skippable("malformed", "no JSON"))

    assert bench.told() == [("undecodable", 9.5, 12.0, None)]


def test_a_notice_of_the_vendor_is_a_row_with_its_count(bench: Bench) -> None:
    bench.connect()
    bench.trades(10.0, 9.5)
    bench.frame(12.0, Skippable("notice", "slow client: 17 messages dropped", rows_lost=17))

    assert bench.told() == [("notice", 9.5, 12.0, 17)]
    assert bench.ingest.stats.skipped == {"notice": 1}


def test_a_dropped_event_is_covered_from_its_making_to_its_receipt(tmp_path: Path) -> None:
    bench = Bench(tmp_path, capacity=2, policy=WhenFull.DROP_OLDEST)
    bench.connect()
    bench.trades(1.0, 0.5)
    bench.trades(2.0, 1.5)
    bench.trades(3.0, 2.5)
    bench.trades(4.0, 3.5)

    assert bench.told() == [("queue_full", 0.5, 2.0, 2)]


def test_drops_of_one_frame_told_apart_are_two_different_rows(tmp_path: Path) -> None:
    """Equal rows would be one in the lake, and one of two losses forgotten."""
    bench = Bench(tmp_path, capacity=2, policy=WhenFull.DROP_OLDEST)
    bench.connect()
    bench.trades(1.0, 0.5, 0.5)
    bench.trades(2.0, 1.5)
    first = bench.told()
    bench.trades(3.0, 2.5)

    assert first == [("queue_full", 0.5, 1.0, 1)]
    bench.ledger.settle()
    (second,) = bench.gaps.drain()
    assert isinstance(second, Gap)
    assert (second.started_at, second.ended_at) == (START + SECOND // 2, START + SECOND + 1)
    assert second.rows_lost == 1


def test_a_jump_in_the_sequence_is_a_row_of_that_symbol(tmp_path: Path) -> None:
    bench = Bench(tmp_path, sequenced=("trade",))
    bench.connect()
    bench.trades(1.0, 0.9, sequence=41)
    bench.trades(2.0, 1.9, sequence=45)
    bench.ledger.settle()

    (row,) = bench.gaps.drain()
    assert isinstance(row, Gap)
    assert (row.cause, row.symbol, row.rows_lost) == ("sequence", "btcusd", 3)
    assert (since(row.started_at), since(row.ended_at)) == (0.9, 2.0)


def unsubscribed(bench: Bench) -> list[tuple[str | None, float, float]]:
    """Symbol, start and end of the rows about symbols that do not come."""
    bench.ledger.settle()
    return [
        (row.symbol, since(row.started_at), since(row.ended_at))
        for row in bench.gaps.drain()
        if isinstance(row, Gap) and row.cause == "unsubscribed"
    ]


def test_a_symbol_that_a_polled_vendor_refuses_is_missing_until_it_comes(bench: Bench) -> None:
    bench.connect()
    bench.trades(1.0, 1.0)
    bench.frame(2.0, Refused(["ethusd"], "not found", [trade(2.0)]))
    assert bench.ingest.stats.refused == {"ethusd": "not found"}
    assert unsubscribed(bench) == [("ethusd", 1.0, 2.0)]

    bench.frame(3.0, Refused(["ethusd"], "not found"))  # asked for again, in vain
    assert unsubscribed(bench) == []

    bench.frame(9.0, [msgspec.structs.replace(trade(9.0), symbol="ethusd")])
    assert unsubscribed(bench) == [("ethusd", 2.0, 9.0)]
    assert bench.ingest.stats.refused == {}
    assert bench.ingest.stats.skipped == {}
    assert len(bench.queues["trade"].drain()) == 3


def test_what_is_left_out_is_missing_until_the_feed_begins_anew(bench: Bench) -> None:
    bench.connect()
    bench.trades(1.0, 1.0)
    bench.frame(2.0, Refused(["ethusd"], "not found"))
    bench.now = START + 5 * SECOND
    bench.ingest.silent("disconnected")

    assert ("ethusd", 1.0, 5.0) in unsubscribed(bench)
    assert bench.ingest.stats.refused == {}
