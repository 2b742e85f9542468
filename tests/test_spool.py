"""The spool holds what it was given, in order, through restarts and damage; ordinals are exact."""

import errno
import os
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from edc.errors import ConfigError, DiskFailed, InstanceHeld
from edc.events import Origin, Trade, epochs, to_frame
from edc.spool import BadChunkError, Chunk, Ordinals, Spool, name_chunks

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)
TIME = 1_771_006_162_668_051_234


def trade(price: float = 1.0, *, epoch: int = 1, **fields: Any) -> Trade:
    """A trade of a connection."""
    given_fields: dict[str, Any] = {
        "symbol": "btcusd",
        "asset_type": "crypto",
        "event_time": TIME,
        "created_at": TIME + 7,
        "origin": Origin("crypto", "tiingo", "tiingo_crypto", epoch),
        "last_price": price,
        "last_size": 0.5,
    }
    return Trade(**(given_fields | fields))


def frame(*prices: float) -> pl.DataFrame:
    """Trades at these prices."""
    return to_frame("trade", [trade(price) for price in prices], "America/New_York")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An open spool."""
    made = Spool(tmp_path, "main")
    made.open()
    return made


def names(folder: Path) -> list[str]:
    """What is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_what_is_appended_is_read_back(spool: Spool) -> None:
    chunk = spool.append("trade", frame(1.0, 2.0))

    assert chunk.rows == 2
    assert_frame_equal(spool.read(chunk), frame(1.0, 2.0))


def test_a_chunk_lies_in_the_folder_of_its_instance_and_type(spool: Spool, tmp_path: Path) -> None:
    spool._run = 1_771_006_162_668_051_234

    chunk = spool.append("trade", frame(1.0, 2.0, 3.0))

    assert chunk.path.parent == tmp_path / ".spool" / "main" / "trade"
    run, number, rows, low, high, crc = chunk.path.stem.split("-")
    assert (run, number, rows) == ("1771006162668051234", "00000001", "3")
    times = frame(1.0, 2.0, 3.0).select(pl.col(pl.Datetime).to_physical()).rows()
    assert int(low) == min(map(min, times))
    assert int(high) == max(map(max, times))
    assert int(crc, 16) == zlib.crc32(chunk.path.read_bytes())
    assert names(chunk.path.parent) == [chunk.path.name]


def test_any_arrow_reader_reads_a_chunk(spool: Spool) -> None:
    chunk = spool.append("trade", frame(1.5))

    assert pl.read_ipc(chunk.path)["last_price"].to_list() == [1.5]


def test_what_all_rows_have_is_kept_once_in_the_name_of_its_column(spool: Spool) -> None:
    rows = frame(*(float(price) for price in range(500))).with_columns(
        exchange=pl.lit("a=b"), side=pl.lit(None, dtype=pl.String), sequence=pl.lit(7, pl.Int64)
    )

    chunk = spool.append("trade", rows)

    written = pl.read_ipc_schema(chunk.path)
    assert {"exchange=a=b", "side", "sequence=7", "ordinal=0"} <= written.keys()
    assert {written[name] for name in ("exchange=a=b", "side", "sequence=7")} == {pl.Null()}
    assert_frame_equal(spool.read(chunk), rows)


def test_a_column_of_no_table_is_kept_as_it_is(spool: Spool) -> None:
    rows = frame(1.0, 2.0).with_columns(later=pl.lit("same"), nothing=pl.lit(None, pl.String))

    assert_frame_equal(spool.read(spool.append("trade", rows)), rows)


def test_a_column_that_differs_in_one_row_is_kept_whole(spool: Spool) -> None:
    rows = frame(1.0, 2.0, 3.0).with_columns(
        side=pl.Series([None, "buy", None]), exchange=pl.Series(["x", None, "x"])
    )

    chunk = spool.append("trade", rows)

    assert {"side", "exchange"} <= pl.read_ipc_schema(chunk.path).keys()
    assert_frame_equal(spool.read(chunk), rows)


def test_pending_chunks_are_in_order_of_receipt(spool: Spool) -> None:
    chunks = [spool.append("trade", frame(float(price))) for price in range(12)]

    assert spool.pending("trade") == chunks
    assert spool.pending("quote") == []


def test_a_later_run_comes_after_an_earlier_one(tmp_path: Path) -> None:
    chunks = []
    for run in (999, 1_000, 1_771_006_162_668_051_234):
        spool = Spool(tmp_path, "main")
        spool._run = run
        spool.open()
        chunks += [spool.append("trade", frame(1.0)), spool.append("trade", frame(1.0))]
        spool.close()

    assert Spool(tmp_path, "main").pending("trade") == chunks


def test_a_removed_chunk_is_forgotten_and_may_be_removed_again(spool: Spool) -> None:
    chunks = [spool.append("trade", frame(float(price))) for price in range(3)]

    spool.remove(chunks[:2])
    spool.remove(chunks[:2])

    assert spool.pending("trade") == chunks[2:]


def test_a_chunk_survives_the_daemon(tmp_path: Path, spool: Spool) -> None:
    chunk = spool.append("trade", frame(1.0, 2.0))
    spool.close()
    again = Spool(tmp_path, "main")

    again.open()

    assert again.pending("trade") == [chunk]
    assert_frame_equal(again.read(chunk), frame(1.0, 2.0))


def test_instances_do_not_see_each_other(tmp_path: Path, spool: Spool) -> None:
    spool.append("trade", frame(1.0))
    other = Spool(tmp_path, "other")

    other.open()

    assert other.pending("trade") == []


def test_a_second_daemon_is_refused_with_the_first_ones_pid(tmp_path: Path, spool: Spool) -> None:
    with pytest.raises(InstanceHeld) as caught:
        Spool(tmp_path, "main").open()

    assert caught.value.pid == os.getpid()
    assert caught.value.instance == "main"
    assert caught.value.exit_code == 75
    assert f"process {os.getpid()}" in str(caught.value)


def test_a_refused_daemon_does_not_disturb_the_first(tmp_path: Path, spool: Spool) -> None:
    leftover = spool.folder / "trade" / ".half.arrow.1.tmp"
    leftover.write_bytes(b"being written")

    for _ in range(2):
        with pytest.raises(InstanceHeld):
            Spool(tmp_path, "main").open()

    assert leftover.exists()


def test_a_lock_without_a_pid_is_still_held(tmp_path: Path, spool: Spool) -> None:
    os.truncate(spool.folder / "lock", 0)

    with pytest.raises(InstanceHeld) as caught:
        Spool(tmp_path, "main").open()

    assert caught.value.pid is None


def test_a_closed_spool_can_be_opened_by_another(tmp_path: Path, spool: Spool) -> None:
    spool.close()
    spool.close()

    Spool(tmp_path, "main").open()


def test_a_path_under_a_file_is_the_operators_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ConfigError) as caught:
        Spool(tmp_path / "file" / "lake", "main").open()

    assert caught.value.place == "[storage] path"
    assert str(tmp_path / "file" / "lake") in caught.value.problem


def test_the_spool_is_for_its_user_alone(spool: Spool) -> None:
    assert spool.folder.stat().st_mode & 0o777 == 0o700


def test_what_a_kill_left_half_written_is_swept(tmp_path: Path, spool: Spool) -> None:
    chunk = spool.append("trade", frame(1.0))
    spool.close()
    (spool.folder / "trade" / ".0001-00000001-1-00000000.arrow.77.tmp").write_bytes(b"half")

    Spool(tmp_path, "main").open()

    assert names(spool.folder / "trade") == [chunk.path.name]


def test_footers_name_chunks_by_run_and_span() -> None:
    numbers = [(5, 1), (5, 2), (5, 3), (5, 7), (6, 8), (6, 1)]
    chunks = [Chunk(Path(f"{run:019d}-{at:08d}-10-0123abcd.arrow"), 10) for run, at in numbers]

    assert name_chunks(chunks) == "5:1-3 5:7-7 6:8-8 6:1-1"
    assert name_chunks([]) == ""


def test_numbers_rise_by_one_within_a_type(spool: Spool) -> None:
    spool._run = 5
    chunks = [spool.append("trade", frame(1.0)) for _ in range(3)]
    spool.append("quote", to_frame("quote", [], "UTC"))
    chunks.append(spool.append("trade", frame(1.0)))

    assert [(chunk.run, chunk.number) for chunk in chunks] == [(5, 1), (5, 2), (5, 3), (5, 4)]


def test_other_files_in_the_folder_are_no_chunks(spool: Spool) -> None:
    (spool.folder / "trade" / "notes.txt").write_bytes(b"")
    (spool.folder / "trade" / "1-1-1-zzzzzzzz.arrow").write_bytes(b"")

    assert spool.pending("trade") == []


def test_a_chunk_cut_at_any_byte_is_refused(spool: Spool) -> None:
    chunk = spool.append("trade", frame(1.0, 2.0))
    whole = chunk.path.read_bytes()

    for size in range(len(whole)):
        chunk.path.write_bytes(whole[:size])
        with pytest.raises(BadChunkError, match="checksum"):
            spool.read(chunk)


def test_a_chunk_with_any_byte_altered_is_refused(spool: Spool) -> None:
    chunk = spool.append("trade", frame(1.0, 2.0))
    whole = chunk.path.read_bytes()

    for at in range(len(whole)):
        chunk.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises(BadChunkError, match="checksum"):
            spool.read(chunk)


def test_a_chunk_under_a_strange_name_is_refused(spool: Spool) -> None:
    chunk = spool.append("trade", frame(1.0))
    moved = Chunk(chunk.path.rename(chunk.path.with_name("copy.arrow")), 1)

    with pytest.raises(BadChunkError):
        spool.read(moved)


def test_a_chunk_that_is_gone_is_the_disks_fault(spool: Spool) -> None:
    chunk = spool.append("trade", frame(1.0))
    chunk.path.unlink()

    with pytest.raises(FileNotFoundError):
        spool.read(chunk)


def test_a_damaged_chunk_is_set_aside_with_the_reason(spool: Spool, tmp_path: Path) -> None:
    bad, good = spool.append("trade", frame(1.0)), spool.append("trade", frame(2.0))
    bad.path.write_bytes(b"garbage")

    aside = spool.set_aside(bad.damage("checksum does not match"))

    assert spool.pending("trade") == [good]
    assert aside == tmp_path / ".quarantine" / bad.path.name
    assert aside.read_bytes() == b"garbage"
    assert "checksum does not match" in aside.with_name(f"{aside.name}.reason").read_text()


def test_a_full_disk_leaves_no_chunk_and_the_next_append_succeeds(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            spool.append("trade", frame(1.0))
    assert names(spool.folder / "trade") == []

    chunk = spool.append("trade", frame(1.0))

    assert spool.pending("trade") == [chunk]


def test_a_failed_fsync_is_raised(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", lost)

    with pytest.raises(DiskFailed):
        spool.append("trade", frame(1.0))


STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 4), st.just(0)),
    st.tuples(st.just("remove"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    st.tuples(st.just("truncate"), st.integers(0, 9), st.integers(0, 10**6)),
    st.tuples(st.just("flip"), st.integers(0, 9), st.integers(0, 10**6)),
    st.tuples(st.just("flush"), st.just(0), st.just(0)),
)


@PROPERTY
@given(st.lists(STEP, max_size=14))
def test_a_spool_behaves_as_a_list_of_chunks(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("spool")
    spool = Spool(path, "main")
    spool._run = run = 1
    spool.open()
    held: list[tuple[Chunk, list[float] | None]] = []  # None: damaged
    price, aside = 0.0, 0
    for what, at, detail in steps:
        if what == "append":
            prices = [price + step for step in range(at)]
            price += at
            held.append((spool.append("trade", frame(*prices)), prices))
        elif what == "reopen":
            spool.close()
            run += 1
            spool = Spool(path, "main")
            spool._run = run
            spool.open()
        elif what == "remove":
            spool.remove(chunk for chunk, _ in held[:at])
            del held[:at]
        elif what == "flush":
            for chunk, prices_held in held:
                if prices_held is not None:
                    assert spool.read(chunk)["last_price"].to_list() == prices_held
                    spool.remove([chunk])
                    continue
                with pytest.raises(BadChunkError):
                    spool.read(chunk)
                assert spool.set_aside(chunk.damage("damaged")).exists()
                aside += 1
            held.clear()
        elif at < len(held) and held[at][1] is not None:
            chunk = held[at][0]
            data = bytearray(chunk.path.read_bytes())
            if what == "truncate":
                del data[detail % len(data) :]
            else:
                data[detail // 8 % len(data)] ^= 1 << detail % 8
            chunk.path.write_bytes(data)
            held[at] = (chunk, None)

        assert spool.pending("trade") == [chunk for chunk, _ in held]

    quarantine = path / ".quarantine"
    reasons = list(quarantine.glob("*.reason")) if quarantine.exists() else []
    assert len(reasons) == aside
    spool.close()


def counted(ordinals: Ordinals, trades: list[Trade]) -> list[int]:
    """The ordinals of a chunk of trades."""
    rows = ordinals.count(to_frame("trade", trades, "UTC"), epochs(trades))
    return rows["ordinal"].to_list()


def test_equal_prints_of_one_connection_are_numbered() -> None:
    assert counted(Ordinals(), [trade(), trade(), trade(2.0), trade()]) == [0, 1, 0, 2]


def test_counting_carries_across_chunks() -> None:
    ordinals = Ordinals()

    assert counted(ordinals, [trade(), trade()]) == [0, 1]
    assert counted(ordinals, [trade(2.0)]) == [0]
    assert counted(ordinals, [trade(), trade(2.0), trade()]) == [2, 1, 3]


def test_another_connection_counts_anew_and_gives_the_same_ordinals() -> None:
    ordinals = Ordinals()

    first = counted(ordinals, [trade(), trade(), trade()])
    again = counted(ordinals, [trade(epoch=2), trade(epoch=2), trade(epoch=2)])

    assert first == again == [0, 1, 2]


def test_connections_that_overlap_are_counted_apart() -> None:
    trades = [trade(epoch=1), trade(epoch=2), trade(epoch=1), trade(epoch=2)]

    assert counted(Ordinals(), trades) == [0, 0, 1, 1]


def test_a_trade_with_an_id_needs_no_ordinal() -> None:
    trades = [trade(trade_id="1"), trade(trade_id="1"), trade(), trade(trade_id="1"), trade()]

    assert counted(Ordinals(), trades) == [0, 0, 0, 0, 1]


def test_when_it_was_received_does_not_tell_trades_apart() -> None:
    assert counted(Ordinals(), [trade(created_at=1), trade(created_at=2)]) == [0, 1]


@pytest.mark.parametrize(
    "difference",
    [
        {"event_time": TIME + 1},
        {"symbol": "ethusd"},
        {"last_size": None},
        {"side": "buy"},
        {"action": "cancel"},
        {"exchange": "KRAKEN"},
        {"conditions": "@"},
        {"sequence": 1},
    ],
)
def test_trades_that_differ_anywhere_are_not_counted_together(difference: dict[str, Any]) -> None:
    assert counted(Ordinals(), [trade(), trade(**difference)]) == [0, 0]


def test_rows_keep_their_order_and_all_else_they_hold() -> None:
    trades = [trade(3.0, trade_id="x"), trade(1.0), trade(2.0), trade(1.0), trade(3.0)]
    rows = to_frame("trade", trades, "UTC")

    done = Ordinals().count(rows, epochs(trades))

    assert_frame_equal(done.drop("ordinal"), rows.drop("ordinal"))
    assert done.schema == rows.schema
    assert done["ordinal"].to_list() == [0, 0, 0, 1, 0]


def test_a_chunk_without_rows_is_counted_too() -> None:
    ordinals = Ordinals()
    counted(ordinals, [trade()])

    assert counted(ordinals, []) == []
    assert counted(ordinals, [trade()]) == [1]


def test_the_window_holds_as_many_trades_as_it_says_and_forgets_older_ones() -> None:
    others = [trade(2.0), trade(3.0)]
    remembering, forgetting = Ordinals(window=3), Ordinals(window=2)
    for ordinals in (remembering, forgetting):
        for one in [trade(), *others]:
            counted(ordinals, [one])

    assert counted(remembering, [trade()]) == [1]
    assert counted(forgetting, [trade()]) == [0]


def test_the_window_is_bounded_by_its_size_and_one_chunk() -> None:
    ordinals = Ordinals(window=10)
    for start in range(0, 400, 4):
        counted(ordinals, [trade(float(price)) for price in range(start, start + 4)])

        assert sum(rows.height for _, _, rows in ordinals._recent) < 10 + 4


PRINT = st.tuples(
    st.integers(1, 3),  # connection
    st.integers(0, 2),  # time
    st.sampled_from([1.0, 2.0]),
    st.sampled_from([None, 0.5]),
    st.sampled_from([None, None, None, "id"]),
    st.sampled_from(["btcusd", "ethusd"]),
)


@settings(PROPERTY, max_examples=80)
@given(st.lists(st.lists(PRINT, max_size=12), max_size=6))
def test_ordinals_are_those_of_a_plain_count(chunks: list[list[tuple[Any, ...]]]) -> None:
    ordinals = Ordinals()
    seen: Counter[tuple[Any, ...]] = Counter()
    for prints in chunks:
        expected = []
        for one in prints:
            expected.append(0 if one[4] else seen[one])
            seen[one] += 1
        trades = [
            trade(
                price,
                epoch=epoch,
                event_time=TIME + time,
                last_size=size,
                trade_id=trade_id,
                symbol=symbol,
            )
            for epoch, time, price, size, trade_id, symbol in prints
        ]

        assert counted(ordinals, trades) == expected
