"""Errors: each one's sentence, facts and exit code."""

import pytest

from edc.errors import (
    BusDown,
    ConfigError,
    Declined,
    DiskFailed,
    EdcError,
    Fatal,
    InstanceHeld,
    NoDaemon,
    NotVerified,
    Retriable,
    Skippable,
    Unsound,
    Unwritten,
)

SENTENCES: list[tuple[EdcError, int, str]] = [
    (
        ConfigError("config.toml: [batch] max_rows", "0 is too small", "write 1 or more"),
        2,
        "config.toml: [batch] max_rows: 0 is too small; write 1 or more",
    ),
    (ConfigError("config.toml", "is empty"), 2, "config.toml: is empty"),
    (
        Fatal("the key was refused", "set TIINGO_API_KEY"),
        2,
        "the key was refused; set TIINGO_API_KEY",
    ),
    (Retriable("stale", "no data for 30 s"), 1, "no data for 30 s"),
    (Skippable("malformed", "no price"), 1, "malformed: no price"),
    (
        Unwritten(OSError(28, "No space left on device"), 12),
        1,
        (
            "the last flush failed: [Errno 28] No space left on device; 12 events were lost, the"
            " others are in the spool: make room on the disk, then `edc flush` brings them in"
        ),
    ),
    (
        DiskFailed("data/x", "Input/output error"),
        74,
        (
            "fsync of data/x failed: Input/output error; check the disk (dmesg, SMART), then start"
            " edc again: it recovers from the spool"
        ),
    ),
    (
        NotVerified("data/trade/date=2026-02-13", "rows of ('aapl',) are missing"),
        1,
        (
            "data/trade/date=2026-02-13 was not compacted, its files stay as they were: rows of"
            " ('aapl',) are missing"
        ),
    ),
    (
        NoDaemon("data/.spool/main"),
        1,
        "no daemon is running on data/.spool/main; start one with `edc run`",
    ),
    (
        InstanceHeld("data", "main", 4711),
        75,
        (
            "data: instance 'main' is held by process 4711; stop it, or give this one a"
            " storage.instance of its own"
        ),
    ),
    (Declined("config.toml: no such feed"), 2, "config.toml: no such feed"),
    (
        BusDown("redis://127.0.0.1:6379", "connection refused"),
        1,
        "the bus redis://127.0.0.1:6379: connection refused",
    ),
    (
        InstanceHeld("data", "main", None),
        75,
        (
            "data: instance 'main' is held by another process; stop it, or give this one a"
            " storage.instance of its own"
        ),
    ),
]


@pytest.mark.parametrize(("error", "exit_code", "sentence"), SENTENCES)
def test_an_error_says_what_is_wrong_and_the_mend(
    error: EdcError, exit_code: int, sentence: str
) -> None:
    assert str(error) == sentence
    assert error.exit_code == exit_code


def test_every_error_has_its_sentence_held_here() -> None:
    kinds = {kind for kind in EdcError.__subclasses__() if kind.__module__ == EdcError.__module__}

    assert {type(error) for error, _, _ in SENTENCES} == kinds


def test_errors_carry_their_facts() -> None:
    config = ConfigError("place", "problem", "mend")
    fatal = Fatal("problem", "mend")
    retriable = Retriable("rate_limited", "slow down", after=2.5)
    skippable = Skippable("unknown", "problem", ["event"])
    disk = DiskFailed("path", "problem")
    held = InstanceHeld("path", "main", 1)

    assert (config.place, config.problem, config.mend) == ("place", "problem", "mend")
    assert (fatal.problem, fatal.mend) == ("problem", "mend")
    assert (retriable.reason, retriable.problem, retriable.after) == (
        "rate_limited",
        "slow down",
        2.5,
    )
    assert (skippable.reason, skippable.problem, skippable.events) == (
        "unknown",
        "problem",
        ["event"],
    )
    assert (disk.path, disk.problem) == ("path", "problem")
    assert (held.path, held.instance, held.pid) == ("path", "main", 1)
    unsound = Unsound("btcusd", 5, "its book sums up to 1, the venue's to 2", ["event"])
    assert (unsound.reason, unsound.symbol, unsound.since_ns) == ("book", "btcusd", 5)
    assert str(unsound) == "btcusd: its book sums up to 1, the venue's to 2"


def test_what_is_not_said_is_unknown() -> None:
    assert Retriable("stale", "problem").after is None
    assert list(Skippable("unknown", "problem").events) == []
