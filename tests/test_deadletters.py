"""Dead letters: every refused frame is kept as it came, bounded, and without secrets."""

import json
import logging
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc import logs
from edc.deadletters import DeadLetters
from edc.errors import Skippable
from edc.events import Origin
from edc.transport import Frame

PROPERTY = settings(max_examples=50, deadline=None, derandomize=True)
STOCKS = Origin("stocks", "tiingo", "tiingo_iex", 3)
FX = Origin("fx", "tiingo", "tiingo_fx", 3)
MALFORMED = Skippable("malformed", "no price")


def frame(data: bytes) -> Frame:
    """A frame of the third connection."""
    return Frame(data, 1_771_006_162_668_051_234, 3)


def entries(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_a_frame_is_kept_with_the_reason_in_the_form_that_replay_reads(tmp_path: Path) -> None:
    DeadLetters(tmp_path).keep(STOCKS, frame(b'{"a": 1}\n'), MALFORMED)

    assert entries(tmp_path / ".dead" / "stocks.jsonl") == [
        {
            "received_ns": 1_771_006_162_668_051_234,
            "epoch": 3,
            "text": '{"a": 1}\n',
            "reason": "malformed",
            "problem": "no price",
        }
    ]


def test_bytes_that_are_no_text_are_kept_as_base64(tmp_path: Path) -> None:
    DeadLetters(tmp_path).keep(STOCKS, frame(b"\xff\xfe\x00"), MALFORMED)

    [entry] = entries(tmp_path / ".dead" / "stocks.jsonl")

    assert entry["b64"] == "//4A"
    assert "text" not in entry


def test_each_feed_has_a_file_that_grows(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.keep(STOCKS, frame(b"one"), MALFORMED)
    letters.keep(FX, frame(b"two"), MALFORMED)
    DeadLetters(tmp_path).keep(STOCKS, frame(b"three"), MALFORMED)

    folder = tmp_path / ".dead"

    assert [entry["text"] for entry in entries(folder / "stocks.jsonl")] == ["one", "three"]
    assert [entry["text"] for entry in entries(folder / "fx.jsonl")] == ["two"]


def test_a_secret_is_kept_neither_in_the_frame_nor_in_the_problem(tmp_path: Path) -> None:
    logs.redact.add(["abcd1234"])

    DeadLetters(tmp_path).keep(
        STOCKS, frame(b'{"token": "abcd1234"}'), Skippable("unknown", "token abcd1234")
    )

    [entry] = entries(tmp_path / ".dead" / "stocks.jsonl")
    assert entry["text"] == '{"token": "***"}'
    assert entry["problem"] == "token ***"


def test_a_secret_among_bytes_that_are_no_text_is_not_kept_either(tmp_path: Path) -> None:
    logs.redact.add(["abcd1234"])

    DeadLetters(tmp_path).keep(STOCKS, frame(b"\xff abcd1234"), MALFORMED)

    [entry] = entries(tmp_path / ".dead" / "stocks.jsonl")
    assert b64decode(entry["b64"]) == b"\xff ***"


def test_a_full_file_makes_room_for_a_new_one_and_one_old_one_is_kept(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, limit=300)
    for number in range(9):
        letters.keep(STOCKS, frame(b"%d" % number), MALFORMED)
    folder = tmp_path / ".dead"

    kept = [
        int(entry["text"])
        for name in ("stocks.1.jsonl", "stocks.jsonl")
        for entry in entries(folder / name)
    ]

    assert kept == list(range(9 - len(kept), 9))
    assert 3 <= len(kept) < 9
    assert sorted(path.name for path in folder.iterdir()) == ["stocks.1.jsonl", "stocks.jsonl"]
    assert all(path.stat().st_size <= 300 for path in folder.iterdir())


def test_a_frame_over_the_limit_is_kept_whole(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, limit=10)

    letters.keep(STOCKS, frame(b"x" * 100), MALFORMED)

    assert entries(tmp_path / ".dead" / "stocks.jsonl")[0]["text"] == "x" * 100


def test_a_refusing_disk_is_told_once_until_it_takes_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = tmp_path / ".dead"
    blocker.write_text("a file where the folder should be")
    letters = DeadLetters(tmp_path)

    with caplog.at_level(logging.ERROR):
        letters.keep(STOCKS, frame(b"one"), MALFORMED)
        letters.keep(STOCKS, frame(b"two"), MALFORMED)
        [told] = caplog.records
        assert (vars(told)["feed"], vars(told)["vendor"], vars(told)["epoch"]) == (
            *("stocks", "tiingo", 3),
        )
        blocker.unlink()
        letters.keep(STOCKS, frame(b"three"), MALFORMED)
        (tmp_path / ".dead" / "stocks.jsonl").unlink()
        blocker.rmdir()
        blocker.write_text("again")
        letters.keep(STOCKS, frame(b"four"), MALFORMED)

    assert len(caplog.records) == 2
    assert caplog.messages[0].startswith("dead letters cannot be kept: ")


@PROPERTY
@given(data=st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
def test_any_frame_comes_back_byte_for_byte(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("letters")

    DeadLetters(folder).keep(STOCKS, frame(data), MALFORMED)

    [line] = (folder / ".dead" / "stocks.jsonl").read_bytes().split(b"\n")[:-1]
    entry = json.loads(line)
    kept = entry["text"].encode() if "text" in entry else b64decode(entry["b64"])
    assert kept == data


def test_a_line_torn_by_a_kill_costs_itself_alone(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.keep(STOCKS, frame(b"one"), MALFORMED)
    path = tmp_path / ".dead" / "stocks.jsonl"
    path.write_bytes(path.read_bytes() + b'{"received_ns": 1, "te')

    letters.keep(STOCKS, frame(b"two"), MALFORMED)

    first, torn, second = path.read_text().splitlines()
    assert [json.loads(line)["text"] for line in (first, second)] == ["one", "two"]
    assert torn == '{"received_ns": 1, "te'
