"""Watermarks: what a run leaves to the next, and what comes of them when they are damaged."""

import errno
import os
from pathlib import Path

import pytest

from edc.times import SECOND
from edc.watermarks import Watermark, Watermarks

FRESH = Watermark("tiingo", "tiingo_fx", 5_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """That of an instance's spool."""
    made = tmp_path / ".spool" / "main"
    made.mkdir(parents=True)
    return made


def watermarks(folder: Path) -> Watermarks:
    """Those of a process that has just started."""
    return Watermarks(folder.parent.parent, folder)


def test_a_feed_that_has_not_run_before_begins_as_given(folder: Path) -> None:
    assert watermarks(folder).begin({"fx": FRESH}) == {"fx": FRESH}


def test_the_first_run_is_on_disk_before_it_has_saved_anything(folder: Path) -> None:
    watermarks(folder).begin({"fx": FRESH})
    later = Watermark("tiingo", "tiingo_fx", 9_000)

    assert watermarks(folder).begin({"fx": later}) == {"fx": FRESH}


def test_what_was_saved_is_what_the_next_run_begins_with(folder: Path) -> None:
    first = watermarks(folder)
    first.begin({"fx": FRESH})
    stopped = Watermark("tiingo", "tiingo_fx", 7_000, "stopped")
    first.save({"fx": stopped})

    assert watermarks(folder).begin({"fx": FRESH}) == {"fx": stopped}


def test_a_feed_that_does_not_run_now_keeps_its_mark(folder: Path) -> None:
    first = watermarks(folder)
    first.begin({"fx": FRESH, "stocks": Watermark("tiingo", "tiingo_iex", 6_000)})
    second = watermarks(folder)
    second.begin({"fx": FRESH})
    second.save({"fx": Watermark("tiingo", "tiingo_fx", 8_000)})

    third = watermarks(folder).begin({"stocks": Watermark("tiingo", "tiingo_iex", 9_000)})

    assert third == {"stocks": Watermark("tiingo", "tiingo_iex", 6_000)}


@pytest.mark.parametrize("content", [b"", b"{", b'{"feeds": 3}', b"\xff\xfe", b'{"feeds"'])
def test_a_damaged_file_is_set_aside_and_costs_a_minute(
    folder: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "watermarks.json"
    path.write_bytes(content)
    os.utime(path, ns=(0, 1_000 * SECOND))
    now = Watermark("tiingo", "tiingo_fx", 2_000 * SECOND)

    found = watermarks(folder).begin({"fx": now})

    assert found == {"fx": Watermark("tiingo", "tiingo_fx", 940 * SECOND)}
    aside = folder.parent.parent / ".quarantine" / "watermarks.json"
    assert aside.read_bytes() == content
    assert "the watermarks cannot be read" in caplog.text


def test_a_disk_that_refuses_leaves_the_last_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = watermarks(folder)
    marks.begin({"fx": FRESH})

    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            marks.save({"fx": Watermark("tiingo", "tiingo_fx", 9_000)})

    assert watermarks(folder).begin({"fx": FRESH}) == {"fx": FRESH}
    assert [path.name for path in folder.iterdir()] == ["watermarks.json"]
