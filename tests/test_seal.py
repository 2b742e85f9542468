"""The seal: whatever bit of a Parquet file flips, somebody knows, and readers see none of it."""

import struct
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc import partitions, seal
from edc.events import Origin, Trade, to_frame
from edc.files import Damage
from edc.lake import Lake
from edc.seal import UNREADABLE, BrokenSealError

NEW_YORK = "America/New_York"
SECOND = 1_000_000_000
TIME = 1_771_006_162_668_051_234  # 2026-02-13 18:09:22.668051234 UTC, 13:09:22 in New York
HOUR = (1_771_005_600 * SECOND, 1_771_009_200 * SECOND - 1)
ORIGIN = Origin(feed="crypto", vendor="tiingo", source="tiingo_crypto", epoch=1)
MAGIC = 8
"""Bytes at the beginning of a seal that say what it is."""
SIZE = 16
"""Bytes of a seal."""


def trade(number: int) -> Trade:
    """One of trades that follow each other by a nanosecond."""
    return Trade(
        symbol="btcusd",
        asset_type="crypto",
        event_time=TIME + number,
        created_at=TIME + 7,
        origin=ORIGIN,
        last_price=62.8807 + number,
        last_size=0.5,
    )


def written(path: Path) -> Path:
    """A file of the lake, with a hundred trades."""
    lake = Lake(path, NEW_YORK, "hour", "main", lambda: TIME)
    rows = to_frame("trade", [trade(number) for number in range(100)], NEW_YORK)
    ((folder, part),) = lake.partitions("trade", rows)
    return lake.write("trade", folder, part, "").path


def place(data: bytes) -> int:
    """Where the seal is, by its first bytes."""
    assert data.count(b"edc\x00crc\x01") == 1
    return data.index(b"edc\x00crc\x01")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a file."""
    return written(tmp_path_factory.mktemp("lake")).read_bytes()


@settings(max_examples=400, deadline=None, derandomize=True)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_whichever_bit_flips_the_file_is_refused_or_its_rows_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, position: float, bit: int
) -> None:
    data = bytearray(whole)
    at = int(position * len(data))
    data[at] ^= 1 << bit
    path = tmp_path_factory.mktemp("flipped") / "a.parquet"
    path.write_bytes(data)

    try:
        sealed = seal.check(path)
        rows = pl.read_parquet(path)
    except UNREADABLE:
        return
    assert not sealed
    start = place(whole)
    in_magic = start <= at < start + MAGIC
    in_ends = at >= len(data) - 8  # the seal is not found, and no reader reads such a file
    assert in_magic or in_ends
    assert rows["event_time"].to_physical().to_list() == [TIME + number for number in range(100)]


def test_every_reader_passes_over_the_seal(tmp_path: Path) -> None:
    path = written(tmp_path)
    prices = [62.8807 + number for number in range(100)]

    assert seal.check(path) is True
    assert pl.read_parquet(path)["last_price"].to_list() == prices
    lazy = pl.scan_parquet(path).filter(pl.col("last_price") > 100).select("last_price")
    assert lazy.collect()["last_price"].to_list() == [price for price in prices if price > 100]
    with duckdb.connect() as connection:
        found = connection.execute("SELECT last_price FROM read_parquet(?)", [str(path)]).fetchall()
    assert [price for (price,) in found] == prices


def test_a_file_that_was_streamed_gets_the_same_seal(tmp_path: Path, whole: bytes) -> None:
    start = place(whole)
    path = tmp_path / "a.parquet"
    path.write_bytes(whole[:start] + whole[start + SIZE :])
    assert seal.check(path) is False

    seal.seal_file(path)

    assert path.read_bytes() == whole


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"x" * 7, b"x" * 100, bytes(24)])
def test_what_is_no_parquet_file_has_no_seal(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(data)

    assert seal.check(path) is False


def test_what_is_lost_is_as_the_footer_says_where_that_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()

    def damaged(at: int) -> Damage:
        data = bytearray(whole)
        data[at] ^= 1
        path.write_bytes(data)
        with pytest.raises(BrokenSealError, match="not those that were written"):
            seal.check(path)
        return partitions.damage(path, ZoneInfo(NEW_YORK), "why")

    in_a_page = damaged(100)
    assert (in_a_page.started_at, in_a_page.ended_at, in_a_page.rows) == (TIME, TIME + 99, 100)
    digit = whole.index(f"{TIME} {TIME + 99}".encode()) + 5
    in_the_footer = damaged(digit)  # it can be read, and says another time
    assert (in_the_footer.started_at, in_the_footer.ended_at) == HOUR
    assert in_the_footer.rows is None


def test_a_daemon_sets_aside_what_it_finds_altered(tmp_path: Path) -> None:
    """A price that became another within its page, in a file that any reader reads."""
    path = written(tmp_path)
    table = pl.read_parquet(path)
    said = pl.read_parquet_metadata(path)
    del said["ARROW:schema"]
    table.write_parquet(path, compression="uncompressed", metadata=said)
    seal.seal_file(path)
    price = struct.pack("<d", table["last_price"][50])
    other = bytes([price[0] ^ 1, *price[1:]])
    path.write_bytes(path.read_bytes().replace(price, other))
    altered = pl.read_parquet(path)["last_price"][50]
    assert altered != table["last_price"][50]
    assert abs(altered - table["last_price"][50]) < 1e-9
    damages: list[Damage] = []
    lake = Lake(tmp_path, NEW_YORK, "hour", "main", lambda: TIME, on_damaged=damages.append)
    rows = to_frame("trade", [trade(3)], NEW_YORK)

    assert lake.unseen("trade", path.parent, rows).height == 1

    assert not path.exists()
    assert [(each.path, each.rows) for each in damages] == [(path, 100)]
    (aside,) = (tmp_path / ".quarantine").glob("*.parquet")
    assert "not those that were written" in aside.with_name(f"{aside.name}.reason").read_text()
