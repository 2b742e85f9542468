"""SQL over lake and spool: every row once, whatever writes, flushes and compacts meanwhile."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from edc import events
from edc.audit.verdict import open_lake
from edc.errors import ConfigError, EdcError
from edc.events import Origin, Quote, Trade, to_frame
from edc.lake import Lake
from edc.query import listing, tables
from edc.query.bounds import EVER, condition
from edc.query.holdings import held
from edc.query.statement import answer, explained
from edc.sinks.parquet import ParquetSink
from edc.spool import Spool
from edc.times import SECOND
from edc.upkeep import compaction, offstage, swap
from edc.upkeep.compaction import Compactor
from tests.test_compaction import Killed

NEW_YORK = "America/New_York"
NOON = 1_771_002_000 * SECOND
"""2026-02-13T12:00:00 in New York."""
HOUR = 3600
ORIGIN = Origin("f", "v", "s", 1)


def trade(number: int, *, second: float | None = None, symbol: str = "a", late: int = 5) -> Trade:
    at = NOON + int((number if second is None else second) * SECOND)
    return Trade(
        symbol=symbol,
        asset_type="crypto",
        event_time=at,
        last_price=float(number),
        last_size=None,
        sequence=number,
        created_at=at + late,
        origin=ORIGIN,
    )


def frame(rows: list[Trade]) -> pl.DataFrame:
    return to_frame("trade", rows, NEW_YORK)


class Stage:
    """A lake, and a spool on its way into it, without a daemon."""

    def __init__(self, folder: Path, instance: str = "main") -> None:
        self.path = folder / "lake"
        self.spool = Spool(self.path, instance)
        self.spool.open()
        ticks = count(NOON, 1_000_000)
        self.lake = Lake(self.path, NEW_YORK, "hour", instance, lambda: next(ticks))
        self.lake.claim()
        self.sink = ParquetSink(self.lake)

    def receive(self, *rows: Trade) -> None:
        self.spool.append("trade", frame(list(rows)))

    def write(self) -> None:
        """Bring the chunks into the lake, and let them lie."""
        chunks = self.spool.pending("trade")
        self.sink.write("trade", pl.concat(map(self.spool.read, chunks)), "")

    def write_again_if_moved(self) -> None:
        """As `write`; as the daemon does, again where a compaction moved the folder away."""
        with contextlib.suppress(FileNotFoundError):
            self.write()
            return
        self.write_again_if_moved()

    def flush(self) -> None:
        self.write()
        self.spool.remove(self.spool.pending("trade"))

    def compact(self, **options: Any) -> None:
        later = Compactor(self.path, NEW_YORK, now_ns=lambda: NOON + 99 * HOUR * SECOND, **options)
        assert all(isinstance(done, compaction.Compacted) for done in later.run())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.spool.close()


def ask(path: Path, sql: str, now_ns: int = NOON) -> pl.DataFrame:
    with explained():
        return answer(open_lake(path), sql, lambda: now_ns).collect(engine="streaming")


def numbers(path: Path, where: str = "") -> list[int]:
    return sorted(ask(path, f"select sequence from trade {where}")["sequence"])


def test_rows_of_the_lake_and_of_the_spool_are_one_table(stage: Stage) -> None:
    stage.receive(*map(trade, range(10)))
    stage.flush()
    stage.receive(*map(trade, range(10, 15)))

    found = ask(stage.path, "select * from trade order by sequence")

    assert found.equals(frame([trade(number) for number in range(15)]))


def test_a_row_that_is_in_a_chunk_and_in_the_lake_is_there_once_as_first_received(
    stage: Stage,
) -> None:
    stage.receive(*map(trade, range(10)))
    stage.write()
    stage.receive(trade(3, late=99), trade(10), trade(10, late=7), trade(11))

    found = ask(stage.path, "select sequence, created_at from trade order by sequence")

    assert found["sequence"].to_list() == list(range(12))
    waits = found["created_at"].to_physical() - NOON - found["sequence"] * SECOND
    assert waits.to_list() == [5] * 12


def test_a_condition_on_the_time_of_receipt_does_not_bring_a_second_one_back(stage: Stage) -> None:
    stage.receive(trade(1), trade(2))
    stage.flush()
    stage.receive(trade(1, late=10 * SECOND), trade(3, late=10 * SECOND))

    late = "where created_at >= event_time + interval '9 seconds'"
    assert numbers(stage.path, late) == [3]
    assert numbers(stage.path, f"{late} or sequence = 1") == [1, 3]


def test_chunks_that_become_parquet_while_the_query_looks_are_seen_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.receive(*map(trade, range(10)))
    stage.flush()
    stage.receive(*map(trade, range(10, 20)))
    looked = listing.listed
    moments: list[str] = []

    def after_the_spool_was_read(lake: Path, folder: Path) -> list[listing.OpenFile]:
        if not moments:
            stage.flush()
            moments.append("flushed")
        return looked(lake, folder)

    monkeypatch.setattr(tables, "listed", after_the_spool_was_read)
    assert numbers(stage.path) == list(range(20))
    assert moments


def test_chunks_that_go_between_being_listed_and_being_read_are_found_in_the_lake(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.receive(*map(trade, range(10)))
    listed = list(tables.Spool(stage.path, "trade").chunks())
    assert len(listed) == 1
    stage.flush()
    monkeypatch.setattr(tables.Spool, "chunks", lambda self: iter(listed))

    assert numbers(stage.path) == list(range(10))


def test_a_compaction_while_a_partition_is_listed_is_noticed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for start in range(0, 30, 10):
        stage.receive(*map(trade, range(start, start + 10)))
        stage.flush()
    names = listing._visible
    times: list[int] = []

    def and_then_it_is_compacted(folder: int) -> set[str]:
        found = names(folder)
        if not times:
            stage.compact()
        times.append(len(found))
        return found

    monkeypatch.setattr(listing, "_visible", and_then_it_is_compacted)
    assert numbers(stage.path) == list(range(30))
    assert times == [3, 1], "three files were listed, and then the one that came of them"


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "no exchange"])
@pytest.mark.parametrize("point", ["before", "linked", "after", "half"])
def test_a_compaction_that_was_killed_hides_no_row_and_doubles_none(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str, *, exchange: bool
) -> None:
    """At each point a late file comes as well, which no compaction knows of."""
    for start in range(0, 30, 10):
        stage.receive(*map(trade, range(start, start + 10)))
        stage.flush()

    def late_and_killed(*_arguments: object) -> None:
        stage.receive(*map(trade, range(30, 35)))
        stage.flush()
        raise Killed

    def late_in_the_old_folder(one: Path, other: Path) -> bool:
        stage.receive(*map(trade, range(30, 35)))
        stage.flush()
        return exchanged(one, other) if exchange else False

    def killed(*_arguments: object) -> None:
        raise Killed

    exchanged = swap.exchanged
    if not exchange:
        monkeypatch.setattr(swap, "exchanged", lambda one, other: False)
    with monkeypatch.context() as during:
        if point == "before":
            during.setattr(swap, "link_others", late_and_killed)
        elif point == "linked":
            during.setattr(swap, "exchanged", late_and_killed)
        elif point == "after":
            during.setattr(swap, "exchanged", late_in_the_old_folder)
            during.setattr(swap, "bring_others" if exchange else "publish", killed)
        else:
            during.setattr(swap, "exchanged", late_in_the_old_folder)
            _kill_half_way(during)
        with pytest.raises(Killed):
            stage.compact()
        assert numbers(stage.path) == list(range(35))
    stage.compact()
    assert numbers(stage.path) == list(range(35))


def _kill_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Die at the second file that is moved: a late one, or a source."""
    rename, moved = Path.rename, list[Path]()

    def second_dies(self: Path, target: Path) -> Path:
        if self.suffix == ".parquet":
            moved.append(self)
            if len(moved) > 1:
                raise Killed
        if offstage._REMOVED in Path(target).parts:
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_dies)


def test_what_two_instances_recorded_is_there_once(tmp_path: Path, stage: Stage) -> None:
    west = Stage(tmp_path, "west")
    stage.receive(*map(trade, range(10)))
    stage.flush()
    west.receive(*(trade(number, late=3) for number in range(5, 12)))
    west.flush()
    west.receive(trade(11, late=99), trade(12))
    west.spool.close()

    found = ask(stage.path, "select * from trade order by sequence")

    assert found["sequence"].to_list() == list(range(13))
    waits = found["created_at"].to_physical() - found["event_time"].to_physical()
    assert waits.to_list() == [5] * 5 + [3] * 7 + [5]
    assert ask(stage.path, "select count(*) n from trade where symbol = 'a'")["n"].item() == 13


class Repeating(threading.Thread):
    """Does something again and again, beside a test, until it is told to end."""

    def __init__(self, step: Callable[[int], None]) -> None:
        super().__init__()
        self._step = step
        self._ending = threading.Event()
        self._problem: BaseException | None = None

    def run(self) -> None:
        number = 0
        try:
            while not self._ending.is_set():
                self._step(number)
                number += 1
        except BaseException as error:  # noqa: BLE001 - told by `end`
            self._problem = error

    def end(self) -> None:
        """Let it come to an end, and raise what it has raised."""
        self._ending.set()
        self.join()
        if self._problem:
            raise self._problem


def test_queries_beside_a_writer_and_a_compactor_see_every_row_once(stage: Stage) -> None:
    """Rows are numbered in order of receipt, so what a query finds must have no hole."""
    safe = [0]

    def write(step: int) -> None:
        stage.receive(*(trade(step * 50 + each, second=each) for each in range(50)))
        safe[0] = (step + 1) * 50
        if step % 3 == 2:
            stage.write_again_if_moved()
            stage.spool.remove(stage.spool.pending("trade"))

    def compact(_step: int) -> None:
        long_after = time.time_ns() + 10**17
        for _ in Compactor(stage.path, NEW_YORK, now_ns=lambda: long_after, closed_after=0).run():
            pass

    beside = [Repeating(write), Repeating(compact)]
    for thread in beside:
        thread.start()
    for _ in range(25):
        certain = safe[0]
        sql = "select count(*) n, count(distinct sequence) d, max(sequence) m from trade"
        rows, distinct, highest = ask(stage.path, sql).row(0)
        assert rows == distinct == (0 if highest is None else highest + 1)
        assert rows >= certain
    for thread in beside:
        thread.end()
    assert safe[0] > 500


SPANS = {
    "event_time >= '2026-02-13 14:00'": ["14", "15"],
    "event_time > '2026-02-13T19:00:00Z'": ["14", "15"],
    "event_time between '2026-02-13 13:10' and '2026-02-13 13:20'": ["13"],
    "event_time < '2026-02-13 13:00:01' and symbol = 'a'": ["12", "13"],
    "event_time = '2026-02-13 12:00:00'": ["12"],
    "'2026-02-13 12:30' > event_time": ["12"],
    "event_time::date = '2026-02-13'": ["12", "13", "14", "15"],
    "event_time::date > '2026-02-13'": [],
    "event_time::date <= '2026-02-12'": [],
    "event_time >= timestamp '2026-02-13 15:00:00'": ["15"],
    "event_time > now() - interval '30 minutes'": ["15"],
    "event_time < '2026-02-13 12:10' or event_time > '2026-02-13 14:59'": ["12", "13", "14", "15"],
    "not event_time < '2026-02-13 14:00'": ["14", "15"],
    "symbol = 'a'": ["12", "13", "14", "15"],
    "event_time in ('2026-02-13 12:00:00')": ["12"],
}


@pytest.mark.parametrize("where", SPANS)
def test_a_condition_on_the_time_opens_only_the_partitions_that_it_may_concern(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    stage.receive(*(trade(number, second=number * HOUR / 4) for number in range(16)))
    stage.flush()
    opened: list[str] = []
    looked = listing.listed

    def told(lake: Path, folder: Path) -> list[listing.OpenFile]:
        opened.append(folder.name.removeprefix("hour="))
        return looked(lake, folder)

    monkeypatch.setattr(tables, "listed", told)
    now = NOON + int(3.75 * HOUR) * SECOND + 1

    found = ask(stage.path, f"select sequence from trade where {where}", now)

    if where.startswith(
        ("event_time in", "not ")
    ):  # forms of which a day is read rather than guessed
        assert set(SPANS[where]) <= set(opened)
    else:
        assert opened == SPANS[where]
    with pl.SQLContext(trade=ask(stage.path, "select * from trade"), eager=True) as plain:
        asked = where.replace("now()", "timestamp '2026-02-13 15:45'")
        if "timestamp" in asked:  # which plain Polars compares with no zone
            asked = asked.replace("event_time", "event_time::timestamp - interval '5 hours'")
        wanted = plain.execute(f"select sequence from trade where {asked}")
    assert sorted(found["sequence"]) == sorted(wanted["sequence"])


def test_a_span_of_time_is_read_from_a_condition_in_its_zone() -> None:
    seen: list[pl.Expr | None] = []

    def source(_columns: Any, where: Any, _most: Any, _size: Any) -> Iterator[pl.DataFrame]:
        seen.append(where)
        yield frame([])

    rows = pl.io.plugins.register_io_source(source, schema=events.schema("trade", NEW_YORK))
    pl.SQLContext(trade=rows).execute(
        "select symbol from trade where event_time::date = '2026-03-08'"
    ).collect()

    day = condition(seen[0], "event_time", NEW_YORK).span
    assert day[1] - day[0] == 23 * HOUR * SECOND, "the day on which the clocks go forward"
    assert condition(seen[0], "created_at", NEW_YORK).span == EVER
    assert condition(None, "event_time", NEW_YORK).span == EVER


def test_a_limit_reads_no_more_than_it_must(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.receive(*(trade(number, second=number * HOUR) for number in range(4)))
    stage.flush()

    assert ask(stage.path, "select * from trade limit 3").height == 3
    assert ask(stage.path, "select * from trade limit 99").height == 4


def test_tables_without_a_file_are_empty_and_have_their_columns(stage: Stage) -> None:
    for kind in events.EVENT_TYPES:
        found = ask(stage.path, f"select * from {kind}")
        assert found.schema == events.schema(kind, NEW_YORK)
        assert found.is_empty()


def test_tables_are_joined(stage: Stage) -> None:
    stage.receive(trade(1), trade(2))
    quote = Quote(
        symbol="a",
        asset_type="crypto",
        event_time=NOON + SECOND,
        bid=1.0,
        ask=2.0,
        mid=1.5,
        created_at=NOON,
        origin=ORIGIN,
    )
    stage.spool.append("quote", to_frame("quote", [quote], NEW_YORK))

    sql = "select t.sequence, q.mid from trade t left join quote q on t.event_time = q.event_time"
    assert sorted(ask(stage.path, sql).rows()) == [(1, 1.5), (2, None)]


def test_files_of_an_older_schema_are_read_and_their_new_columns_are_null(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.receive(trade(1))
    stage.flush()
    with monkeypatch.context() as later:
        later.setitem(events._COLUMNS["trade"], "venue", pl.String())
        later.setattr(events, "SINCE", {"trade": {"venue": 2}})
        later.setattr(events, "SCHEMA_VERSION", 2)
        later.setattr(tables, "SCHEMA_VERSION", 2)
        found = ask(stage.path, "select sequence, venue from trade")
    assert found.rows() == [(1, None)]


def test_files_of_others_are_not_rows_of_ours(stage: Stage) -> None:
    stage.receive(trade(1))
    stage.flush()
    (file,) = (stage.path / "trade").rglob("*.parquet")
    pl.DataFrame({"x": [1]}).write_parquet(file.with_name("theirs.parquet"))

    assert numbers(stage.path) == [1]


def test_files_in_another_time_zone_are_rows_of_this_one(stage: Stage) -> None:
    stage.receive(trade(1))
    stage.flush()
    (file,) = (stage.path / "trade").rglob("*.parquet")
    footer = pl.read_parquet_metadata(file)
    rows = pl.read_parquet(file, hive_partitioning=False)
    utc = rows.with_columns(pl.col(pl.Datetime).dt.convert_time_zone("UTC"))
    utc.write_parquet(file, metadata={k: v for k, v in footer.items() if k.startswith("edc.")})

    found = ask(stage.path, "select * from trade where event_time < '2026-02-13 12:00:02'")
    assert found.equals(frame([trade(1)]))


@pytest.mark.parametrize("harm", ["torn", "flipped"])
def test_a_damaged_file_is_named_where_it_is_needed_and_only_there(stage: Stage, harm: str) -> None:
    stage.receive(*map(trade, range(100)), trade(100, second=2 * HOUR))
    stage.flush()
    (file,) = (stage.path / "trade").rglob("hour=12/*.parquet")
    data = bytearray(file.read_bytes())
    if harm == "flipped":
        data[40:-600] = bytes(len(data) - 640)
    file.write_bytes(data if harm == "flipped" else data[:-100])

    with pytest.raises(EdcError, match=f"{file.name} is damaged.*edc audit --set-aside"):
        numbers(stage.path)
    assert numbers(stage.path, "where event_time > '2026-02-13 13:00'") == [100]


def test_a_damaged_chunk_is_named(stage: Stage) -> None:
    stage.receive(trade(1))
    (chunk,) = stage.spool.pending("trade")
    chunk.path.write_bytes(b"torn")

    with pytest.raises(EdcError, match=r"\.arrow is damaged: checksum .*`edc flush`"):
        numbers(stage.path)


def test_a_file_of_a_newer_edc_is_refused(stage: Stage) -> None:
    stage.receive(trade(1))
    stage.flush()
    (file,) = (stage.path / "trade").rglob("*.parquet")
    rows = pl.read_parquet(file, hive_partitioning=False)
    rows.write_parquet(file, metadata={"edc.schema_version": "9", "edc.event_type": "trade"})

    with pytest.raises(ConfigError, match=r"schema version 9.*upgrade edc"):
        numbers(stage.path)


WRONG = {
    "select symbl from trade": "query: there is no column 'symbl'; did you mean 'symbol'?",
    "select t.symbl from trade t join quote q on t.symbol = q.symbol": (
        "query: there is no column 'symbl'; did you mean 'symbol'?"
    ),
    "select * from trad": "query: there is no table 'trad'; did you mean 'trade'?",
    "describe quotes": "query: there is no table 'quotes'; did you mean 'quote'?",
    "select * frm trade": ("query: Expected: end of statement, found: frm at Line: 1, Column: 10"),
    "selec * from trade": (
        "query: 'selec' is not done here: a lake is only read; did you mean 'select'?"
    ),
    "delete from trade": (
        "query: 'delete' is not done here: a lake is only read; did you mean 'select'?"
    ),
    "-- nothing": 'query: there is no statement; write one, like "select * from trade"',
    "select 1; select 2": "query: one (and only one) statement can be parsed at a time",
    "select vwap(last_price) from trade": (
        "query: there is no function 'vwap'; Polars' SQL has those of its documentation"
    ),
    "select * from trade where event_time > 'noon'": (
        "query: cannot compare 'date/datetime/time' to a string value (create native python "
        "{ 'date', 'datetime', 'time' } or compare to a temporal column); times are compared "
        "with text, like event_time >= '2026-02-13 09:30'"
    ),
}


@pytest.mark.parametrize("sql", WRONG)
def test_what_is_wrong_with_a_statement_is_said_in_one_sentence(stage: Stage, sql: str) -> None:
    stage.receive(trade(1))
    with pytest.raises(ConfigError) as caught:
        ask(stage.path, sql)
    assert str(caught.value) == WRONG[sql]


@pytest.mark.parametrize(
    "sql", ["drop table trade", "truncate trade", "create table a as select 1"]
)
def test_no_statement_changes_anything(stage: Stage, sql: str) -> None:
    stage.receive(trade(1))
    stage.flush()
    before = sorted(stage.path.rglob("*"))
    with pytest.raises(ConfigError, match="a lake is only read"):
        ask(stage.path, sql)
    assert numbers(stage.path) == [1]
    assert sorted(stage.path.rglob("*")) == before


def test_text_is_no_present(stage: Stage) -> None:
    assert ask(stage.path, "select 'it''s now()' as said").item() == "it's now()"


def test_a_table_describes_itself(stage: Stage) -> None:
    described = ask(stage.path, "describe gap;")
    assert described["column"].to_list() == list(events.schema("gap", NEW_YORK))
    assert described["type"][-1] == f"Datetime(ns, {NEW_YORK})"
    assert ask(stage.path, "show tables")["name"].to_list() == sorted(events.EVENT_TYPES)


def test_what_the_tables_hold_is_told_without_reading_them(stage: Stage) -> None:
    stage.receive(trade(1), trade(2, second=3 * HOUR))
    stage.flush()
    stage.receive(trade(3))

    found = {each.table: each for each in held(open_lake(stage.path))}

    (trades, quotes) = found["trade"], found["quote"]
    assert (trades.files, trades.spooled_rows) == (2, 1)
    assert trades.bytes == sum(path.stat().st_size for path in stage.path.rglob("*.parquet"))
    assert (trades.first, trades.last) == ("date=2026-02-13/hour=12", "date=2026-02-13/hour=15")
    assert (quotes.files, quotes.first, quotes.spooled_rows) == (0, None, 0)


def test_a_spool_that_may_not_be_read_is_not_passed_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.receive(trade(1))
    listed = Path.iterdir

    def refused(self: Path) -> Iterator[Path]:
        if self.name == "trade" and ".spool" in self.parts:
            raise PermissionError(13, "Permission denied", str(self))
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(PermissionError):
        numbers(stage.path)


def test_no_file_stays_open(stage: Stage) -> None:
    stage.receive(*map(trade, range(10)))
    stage.flush()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        numbers(stage.path)
        ask(stage.path, "select * from trade limit 1")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
