"""Logs: the two forms, one record a line, and no secret in either."""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from types import TracebackType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc import logs
from edc.events import Origin
from edc.logs import JsonFormatter, Redactor, TextFormatter, about, configure
from edc.metrics import FeedStats
from edc.repeats import Repeats

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True)
SECRET = "k3y/with+odd=signs"
ENCODED = "k3y%2Fwith%2Bodd%3Dsigns"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    names = ("", "edc", "websockets")
    levels = {name: logging.getLogger(name).level for name in names}
    logger = logging.getLogger()
    handlers = logger.handlers[:]
    yield logger
    logger.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def record(
    message: str = "feed connected",
    *,
    level: int = logging.INFO,
    exc_info: ExcInfo | None = None,
    **fields: object,
) -> logging.LogRecord:
    """A record of 2026-02-13 18:09:22.5 UTC."""
    made = logging.LogRecord("edc.ingest", level, "ingest.py", 1, message, (), exc_info)
    made.created = 1_771_006_162.5
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def raised(message: str) -> ExcInfo:
    """What a logger is given for an error that was caught."""
    try:
        raise ValueError(message)
    except ValueError:
        kind, error, trace = sys.exc_info()
        assert kind is not None
        assert error is not None
        return kind, error, trace


def test_text_has_time_level_message_and_fields() -> None:
    line = TextFormatter().format(record(feed="stocks", epoch=3))

    assert line == "2026-02-13T18:09:22Z INFO    feed connected  feed=stocks  epoch=3"


def test_json_has_time_level_event_logger_and_fields() -> None:
    line = JsonFormatter().format(record(level=logging.WARNING, feed="stocks", epoch=3))

    assert json.loads(line) == {
        "ts": "2026-02-13T18:09:22.500000000+00:00",
        "level": "warning",
        "event": "feed connected",
        "logger": "edc.ingest",
        "feed": "stocks",
        "epoch": 3,
    }


def test_arguments_of_a_message_are_filled_in() -> None:
    made = record("%d rows in %s")
    made.args = (12, "trade")

    assert TextFormatter().format(made).endswith("12 rows in trade")
    assert json.loads(JsonFormatter().format(made))["event"] == "12 rows in trade"


def test_json_takes_values_that_json_does_not_know() -> None:
    entry = json.loads(JsonFormatter().format(record(problem=ValueError("no price"))))

    assert entry["problem"] == "no price"


@pytest.mark.parametrize("mark", ["\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028"])
def test_a_line_break_cannot_begin_another_record(mark: str) -> None:
    forged = f"hello{mark}2026-02-13T18:09:22Z ERROR   forged"
    made = record(forged, symbol=forged)

    text, in_json = TextFormatter().format(made), JsonFormatter().format(made)

    assert len(text.splitlines()) == 1
    assert "\n" not in in_json
    assert "\r" not in in_json
    assert json.loads(in_json)["event"] == forged


def test_a_traceback_is_told_and_cannot_begin_another_record() -> None:
    made = record("feed crashed", exc_info=raised("bad\n2026-02-13T18:09:22Z ERROR   forged"))

    lines = TextFormatter().format(made).splitlines()
    in_json = JsonFormatter().format(made)

    assert lines[0] == "2026-02-13T18:09:22Z INFO    feed crashed"
    assert lines[1] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in lines[1:])
    assert "    ValueError: bad" in lines
    assert "\n" not in in_json
    assert "ValueError: bad" in json.loads(in_json)["traceback"]


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
@pytest.mark.parametrize("form", [SECRET, ENCODED])
def test_a_secret_is_nowhere(formatter: logging.Formatter, form: str) -> None:
    logs.redact.add([SECRET])
    made = record(
        f"GET /iex?token={form}",
        exc_info=raised(f"refused {form}"),
        url=f"wss://host/?token={form}",
        problem=ValueError(form),
    )

    line = formatter.format(made)

    assert form not in line
    assert line.count("***") >= 4


def test_a_secret_that_json_escapes_is_redacted_in_json() -> None:
    logs.redact.add(['quo"te\\d'])

    line = JsonFormatter().format(record('key quo"te\\d refused'))

    assert json.loads(line)["event"] == "key *** refused"


def test_a_redactor_knows_only_what_it_was_told() -> None:
    redact = Redactor()
    assert redact("key abcd1234") == "key abcd1234"

    redact.add(["abcd1234"])

    assert redact("key abcd1234, again abcd1234") == "key ***, again ***"


def test_the_longer_of_two_secrets_is_redacted_whole() -> None:
    redact = Redactor()
    redact.add(["abcd", "abcdefgh"])

    assert redact("abcdefgh abcd") == "*** ***"


def test_the_first_part_of_a_secret_that_was_cut_off_is_redacted() -> None:
    redact = Redactor()
    redact.add(["abcdefghijklmnop"])

    assert redact("token=abcdefghijk... and abcdefghijklmnoX") == "token=***... and ***X"
    assert redact("abc is prose") == "abc is prose"


def test_words_under_four_characters_are_not_secrets() -> None:
    redact = Redactor()
    redact.add(["", "abc"])

    assert redact("abc and prose") == "abc and prose"


@PROPERTY
@given(
    st.text("ab/+=% é", min_size=4, max_size=12),
    st.text("ab/+=% é", max_size=20),
    st.text("ab/+=% é", max_size=20),
)
def test_whatever_surrounds_a_secret_it_is_redacted(secret: str, before: str, after: str) -> None:
    redact = Redactor()
    redact.add([secret])

    assert secret not in redact(before + secret + after).replace("***", "|")


def test_configured_lines_go_to_the_writer(root: logging.Logger) -> None:
    lines: list[str] = []
    configure("text", lines.append)

    logging.getLogger("edc.lake").info("written", extra={"rows": 3})
    logging.getLogger("edc.lake").debug("not asked for")
    logging.getLogger("httpx").info("libraries are quiet")
    logging.getLogger("httpx").warning("but may warn")

    assert [line[21:] for line in lines] == ["INFO    written  rows=3", "WARNING but may warn"]


def test_configured_json_lines_are_json(root: logging.Logger) -> None:
    lines: list[str] = []
    configure("json", lines.append)

    logging.getLogger("edc.lake").error("failed")

    assert [json.loads(line)["event"] for line in lines] == ["failed"]


def test_configuring_again_replaces_the_writer(root: logging.Logger) -> None:
    first: list[str] = []
    second: list[str] = []
    configure("text", first.append)
    configure("text", second.append)

    logging.getLogger("edc").info("once")

    assert (len(first), len(second)) == (0, 1)


def test_debug_is_heard_where_asked_for_but_not_from_the_websocket(root: logging.Logger) -> None:
    lines: list[str] = []
    configure("text", lines.append, level="debug")

    logging.getLogger("edc.lake").debug("ours")
    logging.getLogger("httpx").debug("theirs")
    logging.getLogger("websockets.client").debug("half a frame")

    assert [line[29:] for line in lines] == ["ours", "theirs"]


def test_a_line_about_a_feed_says_whose_it_is_and_of_which_connection() -> None:
    expected = {"feed": "fx", "vendor": "tiingo", "epoch": 3}

    assert about(FeedStats("fx", "tiingo", "tiingo_fx", epoch=3)) == expected
    assert about(Origin("fx", "tiingo", "tiingo_fx", 3)) == expected


def test_for_a_journal_a_text_has_no_time_and_each_of_its_lines_a_priority(
    root: logging.Logger,
) -> None:
    lines: list[str] = []
    configure("text", lines.append, journal=True)

    logging.getLogger("edc.lake").error("failed", exc_info=raised("bad"))

    first, *rest = lines[0].split("\n")
    assert first == "<3>ERROR   failed"
    assert rest[0] == "<3>    Traceback (most recent call last):"
    assert all(line.startswith("<3>    ") for line in rest)


def test_lines_are_counted_by_level_also_those_that_are_held_back(root: logging.Logger) -> None:
    lines: list[str] = []
    configure("text", lines.append)
    before = dict(logs.counted)

    for number in range(15):
        logging.getLogger("edc.lake").warning("try %d", number)
    logging.getLogger("edc.lake").debug("not asked for")
    logs.close()

    assert {level: count - before[level] for level, count in logs.counted.items()} == {
        "debug": 0,
        "info": 0,
        "warning": 15,
        "error": 0,
    }
    assert [line[29:] for line in lines[:10]] == [f"try {number}" for number in range(10)]
    assert [line[29:] for line in lines[10:]] == ["try 14 … and 5 more like it in the last 1 s"]


def test_lines_of_a_worker_are_passed_on_as_they_come_and_counted_by_itself(
    root: logging.Logger,
) -> None:
    lines: list[str] = []
    configure("json", lines.append)
    before = dict(logs.counted)
    line = b'{"ts": "then", "level": "error", "event": "lost", "logger": "edc.feeds", "feed": "fx"}'

    for _ in range(15):
        assert logs.repeat(line, worker=2) == "lost"
    logs.close()

    assert len(lines) == 15
    told = json.loads(lines[0])
    del told["ts"]
    assert told == {
        "level": "error",
        "event": "lost",
        "logger": "edc.feeds",
        "feed": "fx",
        "worker": 2,
    }
    assert logs.counted == before


def test_what_is_held_back_is_told_in_time_though_nothing_else_is_said(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    told = threading.Event()

    def write(line: str) -> None:
        lines.append(line)
        if "more like it" in line:
            told.set()

    monkeypatch.setattr(logs, "Repeats", lambda: Repeats(1, 0.2))
    configure("text", write)
    for _ in range(3):
        logging.getLogger("edc.lake").warning("again")

    assert told.wait(10)
    assert lines[-1][29:] == "again … and 2 more like it in the last 1 s"
