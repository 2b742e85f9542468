"""The data watchdog on a simulated clock, through a year of markets.

The markets keep a calendar written here by hand, not the one under test.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest

from edc.adapters import Silence
from edc.markets import is_open
from edc.staleness import Watchdog
from edc.times import SECOND

DAY = 86_400
HOLIDAYS_2026 = {
    *("2026-01-01", "2026-01-19", "2026-02-16", "2026-04-03", "2026-05-25", "2026-06-19"),
    *("2026-07-03", "2026-09-07", "2026-11-26", "2026-12-25"),
}
HALF_DAYS_2026 = {"2026-11-27", "2026-12-24"}


def utc(day: date, hour: float) -> int:
    """Seconds since the epoch."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + hour * 3600)


def behind_utc(day: date) -> int:
    """Hours, in New York in 2026, after two in the morning of a day."""
    return 4 if date(2026, 3, 8) <= day < date(2026, 11, 1) else 5


def stock_sessions() -> Iterator[tuple[int, int]]:
    """Every session of the NYSE in 2026, in seconds."""
    for number in range(365):
        day = date(2026, 1, 1) + timedelta(days=number)
        if day.weekday() < 5 and day.isoformat() not in HOLIDAYS_2026:
            closes = 13 if day.isoformat() in HALF_DAYS_2026 else 16
            yield utc(day, 9.5 + behind_utc(day)), utc(day, closes + behind_utc(day))


def fx_weeks(*sundays: date) -> Iterator[tuple[int, int]]:
    """Weeks of FX, in seconds."""
    for sunday in sundays:
        friday = sunday + timedelta(days=5)
        yield utc(sunday, 17 + behind_utc(sunday)), utc(friday, 17 + behind_utc(friday))


@dataclass(frozen=True)
class Alarm:
    """When the watchdog barked, how long it had been silent, and the limit of that moment."""

    at: int
    silent: int
    limit: float
    text: str


class Simulation:
    """A feed in simulated time: sessions, gaps between data, connections that go mute.

    `gap` draws the seconds to the next data, given how much of the session has passed (0 to 1). The
    watchdog looks each second, or after up to five without data. A mute lasts until the connection
    is made anew, which takes two seconds. Times are whole seconds since the epoch.
    """

    def __init__(self, kind: str, gap: Callable[[float], float], mutes: Sequence[int] = ()) -> None:
        self.alarms: list[Alarm] = []
        self.watchdog = Watchdog(Silence())
        self.frames = 0
        self._kind, self._gap = kind, gap
        self._mutes = list(reversed(mutes))
        self._mute = False
        self._last = 0

    def run(self, sessions: Iterable[tuple[int, int]]) -> None:
        """Through the sessions and the time between them, the clock starting with the first."""
        now = -1
        for begin, end in sessions:
            if now < 0:
                now = begin
                self.watchdog.connected(now, self.frames)
            while now < begin:  # closed, with a close look at the open
                now = min(now + (300 if begin - now > 600 else 1), begin)
                self._look(now)
            self._last = begin
            now = self._session(begin, end)

    def _session(self, begin: int, end: int) -> int:
        now, due = begin, begin + self._gap(0.0)
        while now < end:
            now = min(max(now + 1, math.ceil(min(now + 5, due))), end)
            while self._mutes and self._mutes[-1] <= now:
                self._mutes.pop()
                self._mute = True
            if due <= now < end:
                due = now + self._gap((now - begin) / (end - begin))
                if not self._mute:
                    self.frames += 1
                    self._last = now
            if self._look(now):
                self._mute, now = False, now + 2
                self._last = now
                self.watchdog.connected(now, self.frames)
        return now

    def _look(self, now: int) -> bool:
        open_ = is_open(self._kind, now * SECOND)
        limit = self.watchdog.limit
        text = self.watchdog.look(now, self.frames, is_open=open_, waiting=False)
        if text is not None:
            self.alarms.append(Alarm(now, now - self._last, limit, text))
        return text is not None


def liquid(seed: int) -> Callable[[float], float]:
    """Gaps of a few busy symbols: 0.3 s at the open and the close, 2 s at noon."""
    rng = random.Random(seed)
    return lambda passed: rng.expovariate(1 / (0.3 + 1.7 * math.sin(math.pi * passed)))


def calm(seed: int) -> Callable[[float], float]:
    """Gaps of one symbol: 5 s at the open and the close, 15 s at noon, never over 40 s."""
    rng = random.Random(seed)
    return lambda passed: min(40, rng.expovariate(1 / (5 + 10 * math.sin(math.pi * passed))))


def steady(seed: int, mean: float) -> Callable[[float], float]:
    """Gaps of a symbol whose trades know nothing of each other."""
    rng = random.Random(seed)
    return lambda _passed: rng.expovariate(1 / mean)


def held(simulation: Simulation, sessions: Sequence[tuple[int, int]]) -> None:
    """Every alarm is in an open market, and not a second late but for the pause between looks."""
    for alarm in simulation.alarms:
        assert any(begin < alarm.at <= end for begin, end in sessions), alarm
        assert alarm.limit <= alarm.silent < alarm.limit + 5, alarm


def test_a_year_of_stocks_has_no_alarm_at_night_at_weekends_on_holidays_and_after_half_days() -> (
    None
):
    sessions = list(stock_sessions())
    simulation = Simulation("stock", calm(1))
    simulation.run(sessions)

    assert len(sessions) == 251
    assert simulation.frames > 400_000
    assert simulation.alarms == []


def test_a_mute_connection_is_found_in_every_session() -> None:
    """Four months, two half days. If the close comes before the alarm, after the next open."""
    sessions = [each for each in stock_sessions() if each[0] >= utc(date(2026, 9, 1), 0)]
    rng = random.Random(2)
    mutes = [rng.randrange(begin, end) for begin, end in sessions]
    mutes[40] = sessions[40][1] - 5  # surely too late for that day
    mutes[80] = sessions[80][0]  # not a word after the open
    simulation = Simulation("stock", calm(2), mutes)
    simulation.run(sessions)

    held(simulation, sessions)
    limits = sorted(alarm.limit for alarm in simulation.alarms)
    assert limits[65] <= 150  # doubled where the first data after the cure took over ten seconds
    assert limits[-1] <= 300
    found = [alarm.at for alarm in simulation.alarms]
    assert len(found) == len(sessions) == 85  # each mute once, and nothing else
    for number, mute in enumerate(mutes):
        (_, end), at, limit = sessions[number], found[number], simulation.alarms[number].limit
        assert mute < at
        since = mute if at <= end else sessions[number + 1][0]
        assert at - since <= limit + 5
        assert at <= end or end - mute <= limit + 5
    assert found[40] > sessions[41][0]
    assert "of the market's open" in simulation.alarms[40].text
    assert sessions[80][0] < found[80] <= sessions[80][1]


def test_the_threshold_of_a_busy_feed_comes_down_to_half_a_minute() -> None:
    """Ten days around Thanksgiving, and a mute on each."""
    sessions = [each for each in stock_sessions() if each[0] >= utc(date(2026, 11, 20), 0)][:10]
    rng = random.Random(3)
    mutes = [rng.randrange(begin + 900, end - 300) for begin, end in sessions]
    simulation = Simulation("stock", liquid(3), mutes)
    simulation.run(sessions)

    held(simulation, sessions)
    assert len(simulation.alarms) == 10
    assert all(
        0 < alarm.at - mute <= 155 for alarm, mute in zip(simulation.alarms, mutes, strict=True)
    )
    assert sorted(alarm.limit for alarm in simulation.alarms)[5] < 60
    assert simulation.watchdog.limit == 60  # for the first data after the next open


def test_fx_is_silent_at_weekends_and_found_mute_in_the_week_whatever_the_clocks_do() -> None:
    march = [date(2026, 3, 1), date(2026, 3, 8)]
    november = [date(2026, 10, 25), date(2026, 11, 1)]
    for sundays in (march, november):
        weeks = list(fx_weeks(*sundays))
        assert {end - begin for begin, end in weeks} == {120 * 3600}
        assert weeks[1][0] - weeks[0][1] in {47 * 3600, 49 * 3600}
        mutes = [weeks[0][0], weeks[0][1] - 200, weeks[1][0] + 1, weeks[1][0] + 50 * 3600]
        simulation = Simulation("fx", calm(4), mutes)
        simulation.run(weeks)

        held(simulation, weeks)
        assert len(simulation.alarms) == 4
        for alarm, mute in zip(simulation.alarms, mutes, strict=True):
            assert 0 < alarm.at - mute <= 155


def test_crypto_has_no_weekend() -> None:
    monday = date(2026, 2, 9)
    span = (utc(monday, 0), utc(monday, 14 * 24))
    mutes = [utc(monday, hour) for hour in (3, 5 * 24 + 12, 6 * 24 + 23, 12 * 24)]
    simulation = Simulation("crypto", calm(5), mutes)
    simulation.run([span])

    held(simulation, [span])
    assert len(simulation.alarms) == 4
    for alarm, mute in zip(simulation.alarms, mutes, strict=True):
        assert 0 < alarm.at - mute <= 155


@pytest.mark.parametrize("mean", [30, 60, 120, 300, 600])
def test_a_thin_symbol_is_connected_anew_a_few_times_a_day_at_most(mean: float) -> None:
    """Two weeks. On the first day it is still to be learned."""
    start = utc(date(2026, 2, 9), 0)
    simulation = Simulation("crypto", steady(6, mean))
    simulation.run([(start, start + 14 * DAY)])

    held(simulation, [(start, start + 14 * DAY)])
    days = [
        sum(alarm.at // DAY == start // DAY + day for alarm in simulation.alarms)
        for day in range(14)
    ]
    assert days[0] <= 8
    assert sum(days[1:]) / 13 <= 5
    assert simulation.watchdog.limit <= 3600


def test_a_symbol_that_does_not_trade_at_all_costs_eleven_connections_a_day() -> None:
    """1, 2, 4 … 32 minutes after each other, then an hour: a closing that nobody knew of."""
    session = next(stock_sessions())
    simulation = Simulation("stock", lambda _passed: math.inf)
    simulation.run([session])

    limits = [alarm.limit for alarm in simulation.alarms]
    assert limits == [60, 120, 240, 480, 960, 1920, *[3600] * 5]
