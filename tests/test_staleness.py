"""The data watchdog: its rules look by look, and the whole daemon on real sockets."""

import re
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edc.adapters import Silence
from edc.adapters.tiingo.stream import TiingoStream
from edc.simulator.tiingo import Faults, TiingoSimulator
from edc.staleness import Pace, Pulse, Watchdog
from edc.supervisor import Supervisor
from tests.harness import (
    CRYPTO,
    FAST,
    KEY,
    events_of,
    read,
    running,
    serving,
    supervisor,
    until,
    write_config,
)


class Clock:
    """A watchdog that is looked at once a second, with data or without."""

    def __init__(self, silence: Silence | None = None, pace: Pace | None = None) -> None:
        self.watchdog = Watchdog(silence or Silence(), pace)
        self.now = 1000.0
        self.frames = 7
        self.watchdog.connected(self.now, self.frames)

    def pass_by(
        self,
        seconds: int,
        *,
        data: int = 0,
        is_open: bool = True,
        waiting: bool = False,
        step: float = 1.0,
    ) -> list[tuple[int, str]]:
        """The alarms of so many looks, by their number; `data` frames come before each."""
        alarms = []
        for number in range(1, seconds + 1):
            self.now += step
            self.frames += data
            text = self.watchdog.look(self.now, self.frames, is_open=is_open, waiting=waiting)
            if text is not None:
                alarms.append((number, text))
                self.reconnect()
        return alarms

    def reconnect(self) -> None:
        """Another connection of the same feed."""
        self.watchdog.connected(self.now, self.frames)


def test_the_first_data_of_a_connection_has_a_deadline_of_its_own() -> None:
    clock = Clock()

    assert clock.pass_by(59) == []
    assert clock.pass_by(1) == [(1, "no data within 60 s of subscribing, in an open market")]


def test_the_first_data_after_the_open_has_it_too_and_the_time_before_does_not_count() -> None:
    clock = Clock()
    clock.pass_by(5000, is_open=False)
    clock.pass_by(5000, data=1, is_open=False)  # data before the open is no promise

    assert clock.pass_by(60) == []  # the first look opens the market
    assert clock.pass_by(1) == [(1, "no data within 60 s of the market's open")]


def test_silence_after_the_close_cures_whatever_was_suspected() -> None:
    clock = Clock()
    clock.pass_by(60)  # an alarm, its cure unknown
    clock.pass_by(3600, is_open=False)

    assert clock.pass_by(61) == [(61, "no data within 60 s of the market's open")]


def test_a_busy_feed_teaches_the_floor_and_a_slower_one_five_times_its_longest_gap() -> None:
    clock = Clock()
    clock.pass_by(1000, data=1)
    assert clock.pass_by(30) == [(30, "no data for 30 s in an open market")]

    clock.pass_by(1, data=1)
    clock.pass_by(19)
    clock.pass_by(1, data=1)  # a gap of 20 s
    assert clock.watchdog.limit == 100
    clock.pass_by(29)
    clock.pass_by(1, data=1)  # a gap of 30 s is worth 150, and no gap is worth more
    assert clock.watchdog.limit == 150
    clock.pass_by(99)
    clock.pass_by(1, data=1)
    assert clock.watchdog.limit == 150
    clock.pass_by(1000, data=1)  # a thousand short gaps leave about 1/e of it
    assert clock.watchdog.limit == pytest.approx(150 * 0.999**1000)


def test_what_was_learned_is_still_known_on_the_next_connection() -> None:
    clock = Clock()
    clock.pass_by(1, data=1)
    clock.pass_by(23)
    clock.pass_by(1, data=1)  # a gap of 24 s
    clock.reconnect()

    assert clock.pass_by(119) == []  # longer than 60 s, since the feed is known for it
    clock.pass_by(1, data=1)
    assert clock.watchdog.limit == 120
    assert clock.pass_by(120) == [(120, "no data for 120 s in an open market")]


def test_the_silence_around_a_new_connection_is_no_gap_of_the_feed() -> None:
    clock = Clock()
    clock.pass_by(1000, data=1)
    clock.reconnect()
    clock.pass_by(29)
    clock.pass_by(1, data=1)

    assert clock.watchdog.limit == 30


def test_an_alarm_that_was_cured_changes_nothing_and_one_that_was_not_doubles_the_threshold() -> (
    None
):
    clock = Clock()
    clock.pass_by(1000, data=1)
    for _ in range(3):
        assert [at for at, _ in clock.pass_by(30)] == [30]
        assert clock.pass_by(9) == []  # data comes within 10 s of the cure
        clock.pass_by(1, data=1)
        assert clock.watchdog.limit == 30

    assert [at for at, _ in clock.pass_by(30)] == [30]
    clock.pass_by(10)
    clock.pass_by(1, data=1)
    assert clock.watchdog.limit == 60
    assert [at for at, _ in clock.pass_by(60 + 120 + 240 + 480)] == [60, 180, 420, 900]
    clock.pass_by(3, data=1)
    assert 470 < clock.watchdog.limit < 480  # data brings it down again
    clock.pass_by(3000, data=1)
    assert clock.watchdog.limit == 30


def test_what_the_operator_sets_holds_exactly_whatever_the_feed_does() -> None:
    clock = Clock(Silence(stale_after=20.0))
    assert [at for at, _ in clock.pass_by(100)] == [20, 40, 60, 80, 100]
    clock.pass_by(1, data=1)
    clock.pass_by(19)
    clock.pass_by(1, data=1)
    assert clock.pass_by(100)[:2] == [
        (20, "no data for 20 s in an open market"),
        (40, "no data within 20 s of subscribing, in an open market"),
    ]

    both = Clock(Silence(stale_after=600.0, first_data_within=5.0))
    assert [at for at, _ in both.pass_by(10)] == [5, 10]
    both.pass_by(1, data=1)
    assert [at for at, _ in both.pass_by(600)] == [600]

    first = Clock(Silence(first_data_within=5.0))
    assert [at for at, _ in first.pass_by(20)] == [5, 10, 15, 20]
    first.pass_by(1, data=1)
    assert first.watchdog.limit == 240  # learned: 30 at first, and three alarms were not cured


def test_the_adapter_says_between_which_bounds_is_learned() -> None:
    """A vendor that is never silent for longer than ten seconds."""
    clock = Clock(Silence(longest=10.0, first=4.0))

    assert clock.watchdog.limit == 10  # and no alarm sooner than that for the first data
    assert [at for at, _ in clock.pass_by(10)] == [10]
    clock.pass_by(9)
    clock.pass_by(2, data=1)
    clock.pass_by(8)
    clock.pass_by(1, data=1)  # a gap of 9 s
    assert clock.watchdog.limit == 10


def test_waiting_for_room_in_our_own_queues_is_not_silence() -> None:
    clock = Clock()
    clock.pass_by(1000, data=1)
    clock.pass_by(29)

    assert clock.pass_by(10_000, waiting=True) == []
    assert clock.pass_by(29) == []
    clock.pass_by(1, data=1)
    assert clock.watchdog.limit == 30  # nor a gap
    clock.pass_by(1, waiting=True)
    assert clock.pass_by(30) == [(30, "no data for 30 s in an open market, with room for it")]


def test_time_in_which_nobody_looked_is_not_silence() -> None:
    """The machine was suspended: what came is still unread."""
    clock = Clock()
    clock.pass_by(1000, data=1)

    assert clock.pass_by(1, step=7200.0) == []
    assert clock.pass_by(24) == []
    clock.pass_by(1, data=1, step=7200.0)
    assert clock.watchdog.limit == 150  # 34 s, and not two hours


LOOKS = st.lists(
    st.tuples(
        st.integers(1, 400),
        st.integers(0, 2),
        st.sampled_from(["open", "open", "open", "wait", "closed"]),
    ),
    max_size=40,
)


@given(LOOKS)
@settings(deadline=None)
def test_the_limit_stays_between_its_bounds_and_no_alarm_comes_before_it(
    looks: list[tuple[int, int, str]],
) -> None:
    """Whatever happens: an open market, silence throughout, and exactly as long as was allowed."""
    clock, silent = Clock(), 0
    for seconds, data, state in looks:
        for _ in range(seconds):
            is_open, limit = state != "closed", clock.watchdog.limit
            alarms = clock.pass_by(1, data=data, is_open=is_open, waiting=state == "wait")
            silent = 0 if data or state != "open" else silent + 1
            assert 30 <= clock.watchdog.limit <= 3600
            assert not alarms or (state == "open" and not data and limit <= silent)
            silent = 0 if alarms else silent
            assert silent <= clock.watchdog.limit + 1


# On real sockets, everything some thirty times faster.

FASTER = Pace(floor=1.0, ceiling=2.0, cure=0.3, look=0.1, gaps=10)
QUICK = replace(FAST, silence=FASTER)


def _learned(daemon: Supervisor) -> float:
    (runner,) = daemon.feeds
    assert runner._watchdogs
    return runner._watchdogs[0].limit


@pytest.mark.usefixtures("carried")
async def test_a_connection_that_never_speaks_is_made_anew_after_its_deadline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = TiingoSimulator(key=KEY, faults=Faults(mute=True), heartbeat=60.0)
    feeds = CRYPTO + 'first_data_within = "300ms"\n'
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, feeds=feeds), times=QUICK)
        async with running(daemon):
            stats = daemon.feeds[0].stats
            await until(lambda: stats.disconnects["stale"] >= 2)
            assert events_of(daemon) == 0
            simulator.faults.mute = False
            await until(lambda: events_of(daemon) > 10)

    assert simulator.connections >= 3
    assert set(stats.disconnects) == {"stale"}
    assert "no data within 0.3 s of subscribing, in an open market" in caplog.text


@pytest.mark.usefixtures("carried")
async def test_heartbeats_are_not_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Data first, then twenty heartbeats a second and nothing else."""
    simulator = TiingoSimulator(key=KEY, rate=200, events=100, heartbeat=0.05)
    feeds = CRYPTO + 'stale_after = "400ms"\n'
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url, feeds=feeds), times=QUICK)
        async with running(daemon):
            stats = daemon.feeds[0].stats
            await until(lambda: stats.disconnects["stale"] >= 1)
            assert events_of(daemon) == 100
            assert stats.frames >= 104

    assert "no data for 0.4 s in an open market" in caplog.text
    gaps = read(tmp_path / "lake", "gap")
    assert "stale" in gaps["cause"].to_list()


@pytest.mark.usefixtures("carried")
async def test_what_a_feed_has_taught_is_kept_when_the_connection_is_lost(tmp_path: Path) -> None:
    """The adapter's 60 s come down to the floor; the next connection is mute and found at once."""
    simulator = TiingoSimulator(key=KEY, rate=500, heartbeat=0.05)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url), times=QUICK)
        async with running(daemon):
            (runner,) = daemon.feeds
            await until(lambda: events_of(daemon) > 0)
            await until(lambda: _learned(daemon) == 1.0)
            watchdog = runner._watchdogs[0]
            simulator.faults.cut_after = (simulator.sent["crypto_data"] + 100,)
            await until(lambda: runner.stats.disconnects["disconnected"] == 1)
            seen = events_of(daemon)
            await until(lambda: events_of(daemon) > seen)
            assert runner._watchdogs[0] is watchdog
            await until(lambda: _learned(daemon) == 1.0)  # from the first look at the data on
            simulator.faults.mute = True
            await until(lambda: runner.stats.disconnects["stale"] == 1)


async def test_a_feed_that_is_just_quiet_is_connected_anew_less_and_less(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Four hundred events, and no more: each useless alarm doubles the time to the next."""
    simulator = TiingoSimulator(key=KEY, rate=2000, events=400, heartbeat=0.05)
    async with serving(simulator):
        daemon = supervisor(write_config(tmp_path, simulator.url), times=QUICK)
        runner = daemon.feeds[0]
        adapter = cast("TiingoStream", runner.feed.build())
        adapter.silence = Silence(longest=0.4, first=0.4)
        runner.feed = replace(runner.feed, build=lambda: adapter)
        async with running(daemon):
            stats = daemon.feeds[0].stats
            await until(lambda: stats.disconnects["stale"] == 4)

    said = re.findall(r"no data (?:for|within) ([0-9.]+) s", caplog.text)
    assert said == ["0.4", "0.8", "1.6", "2"]
    assert events_of(daemon) == 400
    assert read(tmp_path / "lake", "trade").height + read(tmp_path / "lake", "quote").height == 400


class Beats:
    """A vendor that is heard every ten seconds."""

    beats_within = 10.0


def test_a_pulse_is_missed_after_the_vendors_time_and_not_while_nobody_looked() -> None:
    pulse = Pulse(Beats(), 0.0)
    assert pulse.look(3.0, spoke=False) is None
    assert pulse.look(1000.0, spoke=False) is None  # the machine was asleep
    assert pulse.look(1001.5, spoke=False) is None
    assert pulse.look(1002.0, spoke=False) is None  # ten seconds, to the dot
    assert pulse.look(1002.5, spoke=False) == "not even a heartbeat for 10 s"
    assert pulse.look(1003.0, spoke=True) is None
    assert pulse.look(1004.0, spoke=False) is None


def test_a_vendor_without_heartbeats_has_no_pulse_to_miss() -> None:
    pulse = Pulse(object(), 0.0)
    assert all(pulse.look(second * 5.0, spoke=False) is None for second in range(1, 10_000))
