"""`edc query` as its users meet it: forms, files, terminals, pipes and exit codes."""

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest
from rich.console import Console

from edc.cli import results
from tests.test_cli import edc
from tests.test_query import NOON, Stage, trade

ALL = "select * from trade order by sequence"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten trades, of which the last two are still in the spool."""
    stage = Stage(tmp_path_factory.mktemp("query"))
    stage.receive(*map(trade, range(8)))
    stage.flush()
    stage.receive(*map(trade, range(8, 10)))
    stage.spool.close()
    return stage.path


def query(lake: Path, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return edc("query", "--path", str(lake), *arguments, cwd=cwd)


def printed(lake: Path, *arguments: str, cwd: Path) -> str:
    done = query(lake, *arguments, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_table_names_nulls_and_the_zone_and_says_where_it_ends(
    lake: Path, tmp_path: Path
) -> None:
    sql = "select sequence, last_size, event_time from trade order by sequence"
    lines = printed(lake, sql, "--rows", "2", cwd=tmp_path).splitlines()

    assert lines[1].split() == ["sequence", "last_size", "event_time"]
    assert lines[3].split() == ["0", "null", "2026-02-13", "12:00:00.000000000"]
    assert lines[4].split() == ["1", "null", "2026-02-13", "12:00:01.000000000"]
    assert lines[-1] == (
        "the first 2 rows; --rows 0 shows all, --output FILE writes them; times in America/New_York"
    )
    assert printed(lake, sql, "--rows", "0", cwd=tmp_path).splitlines()[-1].startswith("10 rows;")


def test_json_is_one_document_of_columns_and_rows(lake: Path, tmp_path: Path) -> None:
    sql = (
        "select symbol, last_size, event_time, last_price / last_price as ratio "
        "from trade order by event_time"
    )

    document = json.loads(printed(lake, sql, "--json", cwd=tmp_path))

    assert document["columns"]["event_time"] == "Datetime(ns, America/New_York)"
    assert document["rows"][0] == {
        "symbol": "a",
        "last_size": None,
        "event_time": "2026-02-13T12:00:00.000000000-05:00",
        "ratio": None,
    }
    assert document["rows"][1]["ratio"] == 1.0
    empty = json.loads(printed(lake, "select symbol from quote", "--json", cwd=tmp_path))
    assert empty == {"columns": {"symbol": "String"}, "rows": []}


def test_csv_and_json_lines_hold_every_row(lake: Path, tmp_path: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(printed(lake, ALL, "-f", "csv", cwd=tmp_path))))
    objects = list(map(json.loads, printed(lake, ALL, "-f", "jsonl", cwd=tmp_path).splitlines()))

    assert [int(line["sequence"]) for line in lines] == list(range(10))
    assert [each["sequence"] for each in objects] == list(range(10))
    assert lines[3]["event_time"] == objects[3]["event_time"]
    assert lines[0]["last_size"] == ""
    assert printed(lake, "select symbol from quote", "-f", "csv", cwd=tmp_path) == "symbol\n"


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_files_hold_the_rows_as_the_lake_does(lake: Path, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"out.{form}"
    assert printed(lake, ALL, "--output", str(path), cwd=tmp_path) == ""

    found = pl.read_parquet(path) if form == "parquet" else pl.read_ipc(path)
    assert found["sequence"].to_list() == list(range(10))
    assert found["event_time"].to_physical()[0] == NOON
    assert found.schema["event_time"] == pl.Datetime("ns", "America/New_York")
    if form == "parquet":
        read = duckdb.connect().execute(f"select count(*), max(sequence) from '{path}'")
        assert read.fetchone() == (10, 9)


def test_a_file_that_is_there_is_not_written_over(lake: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("mine")

    done = query(lake, ALL, "-o", "out.csv", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr == "edc: out.csv: exists already; name another with --output\n"
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert query(lake, "select symbl from trade", "-o", "new.csv", cwd=tmp_path).returncode == 2
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".log"] == ["out.csv"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["select symbl from trade"],
            "query: there is no column 'symbl'; did you mean 'symbol'?",
        ),
        ([], 'query: there is no statement; write one, like "select * from trade", or --tables'),
        (["select 1", "-o", "x.xls"], "--output: x.xls does not say its form; name one with"),
        (["select 1", "--json", "-f", "csv"], "--json: is not csv; say one of them"),
        (["select 1", "-f", "table", "-o", "x"], "--output: a table is for people; choose another"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_ends_with_2(
    lake: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = query(lake, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"edc: {said}")
    assert done.stderr.count("\n") == 1


def test_without_a_lake_it_says_so(tmp_path: Path) -> None:
    done = query(tmp_path / "none", "select 1", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no lake" in done.stderr


def test_a_delta_lake_is_left_to_those_who_know_which_of_its_files_count(tmp_path: Path) -> None:
    (tmp_path / "trade" / "_delta_log").mkdir(parents=True)
    (tmp_path / ".lake.json").write_text(
        '{"schema_version": 1, "timezone": "UTC", "partition": "hour"}'
    )
    done = query(tmp_path, "select 1", cwd=tmp_path)
    assert done.returncode == 2
    assert "is a Delta lake" in done.stderr


def test_the_statement_may_come_from_standard_input(lake: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edc", "query", "--path", str(lake), "-", "-f", "csv"],
        input="select count(*) as n\nfrom trade -- all of them\n",
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout == "n\n10\n"


def test_the_tables_are_listed(lake: Path, tmp_path: Path) -> None:
    found = json.loads(printed(lake, "--tables", "--json", cwd=tmp_path))
    assert [each["table"] for each in found] == ["trade", "quote", "ref_px", "gap"]
    assert (found[0]["files"], found[0]["spooled_rows"]) == (1, 2)
    assert "date=2026-02-13/hour=12" in printed(lake, "--tables", cwd=tmp_path)


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_who_reads_the_output_may_leave(lake: Path, tmp_path: Path, form: str) -> None:
    """There are ten thousand rows, more than a pipe holds."""
    sql = "select a.* from trade a, trade b, trade c, trade d"
    process = subprocess.Popen(
        [sys.executable, "-m", "edc", "query", "--path", str(lake), sql, "-f", form],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 141


def on_terminal(*arguments: str, columns: int, cwd: Path) -> str:
    """What a terminal of some width is sent, without its colours."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edc", *arguments],
        stdout=follower,
        stderr=follower,
        cwd=cwd,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            data = os.read(leader, 65_536)
        except OSError:  # how a pseudo-terminal says that nobody writes to it any more
            break
        if not data:
            break
        shown += data
    os.close(leader)
    assert process.wait(60) == 0, shown
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r\n", "\n")


def test_a_table_on_a_terminal_keeps_to_its_width_and_names_what_it_leaves_out(
    lake: Path, tmp_path: Path
) -> None:
    shown = on_terminal("query", "--path", str(lake), ALL, columns=70, cwd=tmp_path)

    lines = shown.splitlines()
    assert max(map(len, lines)) <= 70
    assert lines[1].split() == ["symbol", "last_price", "event_time", "vendor", "sequence"]
    assert lines[3].split() == ["a", "0.0", "2026-02-13", "12:00:00.000000000", "v", "0"]
    left = shown[shown.index("no room for:") :]
    for name in ("exchange", "created_at", "trade_id"):
        assert name in left


def test_binary_forms_are_not_for_terminals(lake: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="parquet is not for a terminal"):
        on_terminal("query", "--path", str(lake), ALL, "-f", "parquet", columns=80, cwd=tmp_path)


def test_what_a_vendor_sent_does_not_steer_the_terminal() -> None:
    rows = pl.DataFrame({"symbol": ["\x1b[2Jevil\n"], "n": [1]})
    text = io.StringIO()
    Console(file=text, width=80).print(results.table(rows, 80))
    assert "\x1b" not in text.getvalue()
    assert "\\x1b[2Jevil\\n" in text.getvalue()
