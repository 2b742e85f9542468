"""One suite for every vendor that has a simulator, over real sockets: dialogue, data and faults."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import polars as pl
import pytest

from edc import adapters, simulator
from edc.feeds import Times
from edc.plan import plan_feeds
from edc.settings import ServerSettings, Settings, SpoolSettings, StorageSettings, TransportSettings
from edc.simulator.venue import Faults, Line, Topic, Venue
from edc.staleness import Pace
from edc.supervisor import Supervisor
from tests.harness import FAST, KEY, read, running, until
from tests.tiingo_venue import TiingoVenue

SECRET = "canary-secret-77d0"
HURRIED = replace(
    FAST,
    socket=replace(FAST.socket, confirm_within=0.8),
    silence=Pace(floor=0.4, ceiling=2.0, cure=0.1, look=1.0),
)
"""A daemon that finds a mute vendor in less than a second."""
PATIENT = replace(FAST)
"""A daemon that waits as long as the vendors want."""
LIBRARIES = ("picows", "websockets")


VENUES: dict[str, type[Venue]] = {
    "tiingo": TiingoVenue,
    **{name: simulator.load(name) for name in simulator.names()},
}


class Case(NamedTuple):
    """A feed of a vendor, against its simulator."""

    vendor: str
    feed: str

    @property
    def venue(self) -> type[Venue]:
        return VENUES[self.vendor]

    @property
    def section(self) -> dict[str, Any]:
        return {"vendor": self.vendor, **self.venue.feeds[self.feed]}

    @property
    def refused(self) -> list[str]:
        """Those of its symbols that the vendor may refuse."""
        listed = [each for symbols in self.section["symbols"].values() for each in symbols]
        return [name for name in self.venue.refuses if name in listed]

    @property
    def topics(self) -> dict[str, str]:
        """What the vendor acknowledges."""
        return dict(getattr(self.adapter(), "topics", {}))

    def native(self, symbol: str) -> str:
        """The vendor's name of one of its symbols, by the spelling."""
        ((kind, _),) = self.section["symbols"].items()
        section = {**self.section, "symbols": {kind: [symbol]}}
        settings = Settings(vendors={self.vendor: self.venue.required}, feeds={self.feed: section})
        (feed,) = plan_feeds(settings, Path("config.toml"))
        name: str = feed.build()._rows.symbols.names[0]  # type: ignore[attr-defined]
        return name

    def adapter(self, key: str = KEY) -> Any:
        offered = adapters.load(self.vendor)
        options = {**self.section}
        symbols = {kind: tuple(each) for kind, each in options.pop("symbols").items()}
        return offered.build(
            adapters.FeedPlan(
                self.vendor,
                offered.vendor_options(**self.venue.required),
                offered.feed_options(**options, symbols=symbols),
                key,
                SECRET,
                {each.lower(): each for listed in symbols.values() for each in listed},
            )
        )


CASES = [Case(vendor, feed) for vendor in VENUES for feed in VENUES[vendor].feeds]


def _lists(case: "Case") -> bool:
    """The vendor lists what it trades on this channel."""
    source = adapters.load(case.vendor).instruments
    options = adapters.load(case.vendor).vendor_options(**case.venue.required)
    return source is not None and bool(source.requests(options, case.section["channel"]))


WHY_NOT: dict[str, str] = {}
"""Of each test that is not for all vendors, what those lack for which it is not."""
Test = TypeVar("Test", bound=Callable[..., object])


def feeds_where(holds: Callable[[Case], object], lack: str = "") -> Callable[[Test], Test]:
    """The feeds of the vendors that do so; `lack` says what the others have not."""
    cases = [case for case in CASES if holds(case)]
    mark = pytest.mark.parametrize("case", cases, ids=[f"{c.vendor}-{c.feed}" for c in cases])

    def parted(test: Test) -> Test:
        if len(cases) < len(CASES):
            assert lack, test
            WHY_NOT[test.__name__] = lack
        return cast("Test", mark(test))

    return parted


every_feed = feeds_where(lambda _case: True)


both_libraries = pytest.mark.parametrize("library", LIBRARIES)


@pytest.fixture(autouse=True)
def _open_markets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the hour, silence is no right of the vendor's."""
    monkeypatch.setattr("edc.markets.is_open", lambda _kind, _now: True)


def daemon_of(
    case: Case,
    venue: Venue,
    folder: Path,
    *,
    library: str,
    key: str = KEY,
    times: Times = FAST,
    connections: int = 1,
) -> Supervisor:
    """The daemon of one feed, connected to a venue."""
    settings = Settings(
        storage=StorageSettings(path=folder / "lake"),
        spool=SpoolSettings(interval="50ms"),
        server=ServerSettings(listen=""),
        transport=TransportSettings(websocket=library),
        vendors={case.vendor: {**venue.options(), **_keys(case, key)}},
        feeds={case.feed: {**case.section, "connections": connections}},
    )
    return Supervisor(settings, plan_feeds(settings, folder / "config.toml"), times=times)


def _keys(case: Case, key: str) -> dict[str, str]:
    options = adapters.load(case.vendor).vendor_options
    keys = {"api_key": key}
    if issubclass(options, adapters.SecretVendorOptions):
        keys["api_secret"] = SECRET
    return keys


@asynccontextmanager
async def recording(
    case: Case,
    folder: Path,
    *,
    faults: Faults | None = None,
    key: str = KEY,
    times: Times = FAST,
    library: str = "picows",
    rate: float = 400.0,
    connections: int = 1,
) -> AsyncIterator[tuple[Venue, Supervisor]]:
    """A venue and a daemon that records it, both stopped in order on the way out."""
    venue = case.venue(key=KEY, secret=SECRET, rate=rate, faults=faults)
    await venue.start()
    try:
        daemon = daemon_of(
            *(case, venue, folder), key=key, times=times, library=library, connections=connections
        )
        for runner in daemon.feeds:
            runner.feed = replace(runner.feed, build=partial(_built, runner.feed.build, times))
        async with running(daemon):
            yield venue, daemon
            await settle(venue, daemon)
    finally:
        await venue.stop()


def _built(build: Callable[[], Any], times: Times) -> Any:
    """An adapter, with less patience where the daemon is hurried; what the vendor waits is cut."""
    adapter = build()
    if isinstance(adapter, adapters.HasCoolDown) and times is not PATIENT:
        adapter.cool_down = 0.1
    if isinstance(adapter, adapters.HasHeartbeat) and times is HURRIED:
        adapter.beats_within = 0.5
    if times is HURRIED:
        adapter.silence = adapters.Silence(0.8, 0.8)
    return adapter


async def settle(venue: Venue, daemon: Supervisor) -> None:
    """The venue makes no more events, and what it sent has arrived."""
    venue.faults.mute = True
    before = -1
    while before != events(daemon):
        before = events(daemon)
        await asyncio.sleep(0.15)


def events(daemon: Supervisor) -> int:
    return sum(runner.stats.event_count for runner in daemon.feeds)


def stats(daemon: Supervisor) -> Any:
    (runner,) = daemon.feeds
    return runner.stats


def heard(venue: Venue) -> dict[str, Counter[Any]]:
    """What the venue sent, as the lake should have it."""
    sent: dict[str, Counter[Any]] = {"trade": Counter(), "quote": Counter(), "ref_px": Counter()}
    for tick in venue.heard:
        symbol = venue.ours(tick.name)
        for kind, rows in venue.rows(tick).items():
            for row in rows if isinstance(rows, list) else [rows]:
                sent[kind][symbol, *row] += 1
    return sent


def columns_of(venue: Venue) -> dict[str, Sequence[str]]:
    """By table, what tells whether an event is there."""
    told: dict[str, Sequence[str]] = {"trade": (), "quote": (), "ref_px": ()}
    return told | dict(venue.columns)


def recorded(venue: Venue, folder: Path) -> dict[str, Counter[Any]]:
    """What the lake has."""
    return {
        kind: Counter(read(folder / "lake", kind).select("symbol", *columns).rows())
        if (folder / "lake" / kind).exists()
        else Counter()
        for kind, columns in columns_of(venue).items()
    }


def gaps(folder: Path) -> pl.DataFrame:
    return read(folder / "lake", "gap")


def made(venue: Venue) -> Counter[Any]:
    """All trades of the venue, sent or not: what a back-fill may bring."""
    rows: Counter[Any] = Counter()
    for ticks in venue.market.history.values():
        rows.update(
            (venue.ours(tick.name), *cast("tuple[Any, ...]", venue.rows(tick)["trade"]))
            for tick in ticks
        )
    return rows


def assert_recorded(venue: Venue, folder: Path, *, lost: int = 0) -> None:
    """Everything that was sent is in the lake, once, and beside it only what was filled in."""
    sent, found = heard(venue), recorded(venue, folder)
    for kind, rows in sent.items():
        extra = found[kind] - rows
        assert extra <= made(venue) if kind == "trade" else not extra, f"{kind}: too many"
        assert (rows - found[kind]).total() <= lost, f"{kind}: missing"
    assert venue.heard


@every_feed
@both_libraries
async def test_what_a_vendor_sends_is_recorded(case: Case, library: str, tmp_path: Path) -> None:
    async with recording(case, tmp_path, library=library) as (venue, daemon):
        await until(lambda: len(venue.heard) > 60)

    assert_recorded(venue, tmp_path)
    assert stats(daemon).skipped == {}
    assert stats(daemon).refused == {}
    assert stats(daemon).state == "stopped"


@feeds_where(lambda case: adapters.load(case.vendor).needs_key, "it needs no key")
async def test_a_wrong_key_ends_the_feed_with_the_mend(case: Case, tmp_path: Path) -> None:
    async with recording(case, tmp_path, key="not-the-key-9c1b") as (venue, daemon):
        await until(lambda: stats(daemon).state == "failed")

    assert venue.heard == []
    assert "key" in stats(daemon).problem
    assert "not-the-key-9c1b" not in stats(daemon).problem
    assert daemon.feeds[0].exit_code == 2


@feeds_where(lambda case: case.venue.entitles, "its pages tell of no plan that it would refuse")
async def test_what_a_plan_does_not_include_ends_the_feed(case: Case, tmp_path: Path) -> None:
    async with recording(case, tmp_path, faults=Faults(entitled=False)) as (_venue, daemon):
        await until(lambda: stats(daemon).state == "failed")

    assert daemon.feeds[0].exit_code == 2


@feeds_where(lambda case: case.refused, "nothing is said about a symbol that it does not carry")
async def test_a_symbol_that_is_refused_is_named_and_in_the_ledger(
    case: Case, tmp_path: Path
) -> None:
    faults = Faults(refuse=case.refused)
    async with recording(case, tmp_path, faults=faults) as (venue, daemon):
        await until(lambda: stats(daemon).refused)
        await until(lambda: len(venue.heard) > 20)
        refused = dict(stats(daemon).refused)

    ours = {venue.ours(name) for name in case.refused}
    assert set(refused) == ours
    rows = gaps(tmp_path).filter(cause="unsubscribed")
    assert set(rows["symbol"]) == ours
    assert_recorded(venue, tmp_path)


@feeds_where(lambda case: case.venue.limits, "no limit of symbols is told on a connection")
async def test_of_too_many_symbols_those_that_fit_go_on(case: Case, tmp_path: Path) -> None:
    topics = list(case.topics)
    fit = len(topics) - 1
    async with recording(case, tmp_path, faults=Faults(most=fit)) as (venue, daemon):
        await until(lambda: stats(daemon).refused)
        await until(lambda: len(venue.heard) > 20)
        refused = dict(stats(daemon).refused)
        assert stats(daemon).state == "live"

    assert set(refused) == {venue.ours(case.topics[topic]) for topic in topics[fit:]}
    assert set(gaps(tmp_path).filter(cause="unsubscribed")["symbol"]) == set(refused)
    assert_recorded(venue, tmp_path)


@feeds_where(lambda case: case.venue.crowds, "nothing is said about a connection too many")
async def test_after_a_connection_too_many_the_vendors_own_time_is_waited_each_time(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times in a row, though the connection was accepted, subscribed, or had data."""
    waits: list[float | None] = []

    async def pause(stopping: asyncio.Event, seconds: float | None) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr("edc.feeds.pause", pause)
    async with recording(case, tmp_path, faults=Faults(crowded=3), times=PATIENT) as (
        venue,
        daemon,
    ):
        await until(lambda: len(venue.heard) > 60 and venue.frames > 60)
        assert stats(daemon).state == "live"

    assert waits == [case.venue.crowds] * 3
    assert_recorded(venue, tmp_path)


@feeds_where(lambda case: case.venue.beats, "it has no heartbeat that is sure to come")
async def test_a_vendor_whose_heartbeats_stop_is_connected_anew_in_a_closed_market(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edc.markets.is_open", lambda _kind, _now: False)
    faults = Faults(mute=True)
    async with recording(case, tmp_path, faults=faults, times=HURRIED) as (venue, daemon):
        await until(lambda: venue.connections)
        await asyncio.sleep(1.0)  # twice what is allowed without a heartbeat
        assert venue.connections == 1
        faults.beats = False
        await until(lambda: stats(daemon).disconnects["half_open"] > 0)
        faults.beats, faults.mute = True, False
        await until(lambda: len(venue.heard) > 20)

    assert_recorded(venue, tmp_path)
    assert set(stats(daemon).disconnects) == {"half_open"}


@feeds_where(_lists, "it lists no instruments")
async def test_a_symbol_that_is_not_listed_is_named_and_in_the_ledger(
    case: Case, tmp_path: Path
) -> None:
    """It is never asked for; the others are recorded."""
    symbols = [each for listed in case.section["symbols"].values() for each in listed]
    gone = case.venue().ours(case.native(symbols[0]))
    async with recording(case, tmp_path, faults=Faults(unlisted={gone})) as (venue, daemon):
        await until(lambda: len(venue.heard) > 20)
        told = dict(stats(daemon).refused)

    assert list(told) == [gone]
    assert told[gone].startswith(f"{gone} is not traded on {case.vendor}")
    assert gone not in {venue.ours(tick.name) for tick in venue.heard}
    assert gaps(tmp_path).filter(cause="unsubscribed")["symbol"].unique().to_list() == [gone]
    assert_recorded(venue, tmp_path)


@feeds_where(lambda case: case.topics, "it acknowledges nothing")
async def test_a_vendor_that_acknowledges_nothing_is_tried_again(
    case: Case, tmp_path: Path
) -> None:
    faults = Faults(deaf=True)
    async with recording(case, tmp_path, faults=faults, times=HURRIED) as (venue, daemon):
        await until(lambda: sum(stats(daemon).disconnects.values()) > 0)
        assert set(stats(daemon).disconnects) <= {"unconfirmed", "stale"}
        faults.deaf = False
        await until(lambda: len(venue.heard) > 20)

    assert_recorded(venue, tmp_path)


@every_feed
async def test_a_mute_vendor_is_connected_anew(case: Case, tmp_path: Path) -> None:
    faults = Faults(mute=True)
    async with recording(case, tmp_path, faults=faults, times=HURRIED) as (venue, daemon):
        await until(lambda: stats(daemon).disconnects["stale"] > 0)
        faults.mute = False
        await until(lambda: len(venue.heard) > 20)

    assert_recorded(venue, tmp_path)


@every_feed
@both_libraries
async def test_a_connection_that_breaks_in_the_middle_of_a_frame_costs_that_frame(
    case: Case, library: str, tmp_path: Path
) -> None:
    faults = Faults(cut_after={40})
    async with recording(case, tmp_path, faults=faults, library=library) as (venue, daemon):
        await until(lambda: venue.connections >= 2 and venue.frames > 80)
        await until(lambda: stats(daemon).state == "live")

    assert_recorded(venue, tmp_path)
    assert stats(daemon).disconnects["disconnected"] == 1
    assert "disconnected" in gaps(tmp_path)["cause"].to_list()
    assert stats(daemon).skipped == {}


@every_feed
async def test_a_handshake_that_is_limited_is_tried_again(case: Case, tmp_path: Path) -> None:
    faults = Faults(handshakes=[429, 503])
    async with recording(case, tmp_path, faults=faults) as (venue, daemon):
        await until(lambda: len(venue.heard) > 20)

    assert stats(daemon).disconnects["rate_limited"] == 1
    assert stats(daemon).disconnects["refused"] == 1
    assert_recorded(venue, tmp_path)


@every_feed
async def test_garbage_costs_one_frame(case: Case, tmp_path: Path) -> None:
    faults = Faults(insert={30: b'\xff\x00{"', 40: b"null", 50: b'{"surprise": [1, 2]}'})
    async with recording(case, tmp_path, faults=faults) as (venue, daemon):
        await until(lambda: venue.frames > 80)

    assert_recorded(venue, tmp_path)
    assert stats(daemon).connects == 1
    assert sum(stats(daemon).skipped.values()) >= 2
    assert "undecodable" in gaps(tmp_path)["cause"].to_list()


@every_feed
async def test_fields_that_are_new_change_nothing(case: Case, tmp_path: Path) -> None:
    faults = Faults(unknown_fields=True)
    async with recording(case, tmp_path, faults=faults) as (venue, daemon):
        await until(lambda: venue.frames > 60)

    assert_recorded(venue, tmp_path)
    assert stats(daemon).skipped == {}


@every_feed
@both_libraries
async def test_a_frame_that_is_too_large_costs_the_connection_and_no_more(
    case: Case, library: str, tmp_path: Path
) -> None:
    faults = Faults(insert={30: b" " * (20 << 20)})
    async with recording(case, tmp_path, faults=faults, library=library) as (venue, daemon):
        await until(lambda: venue.connections >= 2)
        started = len(venue.heard)
        await until(lambda: len(venue.heard) > started + 20)

    assert_recorded(venue, tmp_path, lost=started)  # what came behind it may be gone with it
    assert stats(daemon).disconnects["disconnected"] == 1


def _channel(case: Case) -> adapters.Channel:
    return adapters.load(case.vendor).channels[case.section["channel"]]


def _numbered(case: Case) -> bool:
    adapter = case.adapter()
    by_time = getattr(adapter, "spans", ())
    return (
        bool(_channel(case).sequenced and isinstance(adapter, adapters.HasHistory)) and not by_time
    )


def _shared(case: Case) -> bool:
    """The vendor allows more connections than one."""
    return _channel(case).kind == "websocket" and not _channel(case).one_connection


def assert_nothing_lost(venue: Venue, folder: Path) -> None:
    """As `assert_recorded`, but for prices without a time: each connection sees its own."""
    sent, found = heard(venue), recorded(venue, folder)
    for kind, rows in sent.items():
        assert rows - found[kind] == Counter(), f"{kind}: missing"
        if kind != "ref_px":
            assert found[kind] - rows <= (made(venue) if kind == "trade" else Counter()), kind


@feeds_where(_numbered, "its trades have no numbers without holes, or there is no history")
async def test_a_jump_in_the_numbers_is_healed(case: Case, tmp_path: Path) -> None:
    """Of ticks 100 to 115 nobody gets any; those that are trades are fetched."""
    faults = Faults(skip=range(100, 116))
    async with recording(case, tmp_path, faults=faults) as (venue, daemon):
        (runner,) = daemon.feeds
        assert runner.healer is not None
        await until(lambda: venue.market.made > 250 and stats(daemon).filled > 0)
        await until(lambda: not runner.healing)
        started = len(venue.heard)
        await until(lambda: len(venue.heard) > started + 20)
        filled = stats(daemon).filled

    assert_recorded(venue, tmp_path)
    trades = read(tmp_path / "lake", "trade")
    for _symbol, rows in trades.group_by("symbol"):
        numbers = sorted(rows["sequence"])
        assert numbers == list(range(numbers[0], numbers[-1] + 1))
    holes = gaps(tmp_path).filter(cause="sequence", state="filled")
    assert holes["rows_filled"].sum() == filled > 0
    assert holes["rows_filled"].to_list() == holes["rows_lost"].to_list()


def _timed(case: Case) -> bool:
    adapter = case.adapter()
    return isinstance(adapter, adapters.HasOverlap) and bool(adapter.spans)


@feeds_where(_timed, "its trades are numbered, or it has no history by time")
async def test_what_a_silence_has_missed_is_filled_by_time(case: Case, tmp_path: Path) -> None:
    """The connection is cut, and the venue away for a while: afterwards no trade is missing."""
    times = replace(FAST, history=2.5)  # what is on its way arrives meanwhile, on any machine
    rate = 15.0 if case.venue.forgets else 40.0
    async with recording(case, tmp_path, rate=rate, times=times) as (venue, daemon):
        (runner,) = daemon.feeds
        await until(lambda: len(venue.heard) > 60)
        told = len(venue.heard)
        venue.faults.handshakes = [503, 503, 503]
        venue.cut()
        await until(lambda: not venue.faults.handshakes and len(venue.heard) > told + 60)
        await until(lambda: venue.requests > 0 and not runner.healing)
        filled = stats(daemon).filled

    assert_recorded(venue, tmp_path)
    trades = read(tmp_path / "lake", "trade")
    assert not trades.select("symbol", "trade_id").is_duplicated().any()
    first = {tick.name: tick.number for tick in reversed(venue.heard) if tick.kind == "trade"}
    last = {tick.name: tick.number for tick in venue.heard if tick.kind == "trade"}
    for name, ticks in venue.market.history.items():
        between = [tick for tick in ticks if first[name] <= tick.number <= last[name]]
        assert trades.filter(symbol=venue.ours(name)).height >= len(between), name
    closed = gaps(tmp_path).filter(pl.col("state") != "open")
    assert closed["state"].to_list() == ["filled"]
    assert closed["rows_filled"].to_list() == [filled]


@feeds_where(lambda case: case.feed in case.venue.counted, "its messages are not numbered")
async def test_messages_that_a_connection_lost_are_told_and_their_trades_filled(
    case: Case, tmp_path: Path
) -> None:
    """Frames 60 to 79 are numbered and never come; books are asked for anew, and go on."""
    times = replace(FAST, history=2.5)
    faults = Faults(swallow=range(60, 80))
    async with recording(case, tmp_path, rate=60.0, faults=faults, times=times) as (venue, daemon):
        (runner,) = daemon.feeds
        await until(lambda: venue.frames > 160)
        await until(lambda: venue.requests > 0 and not runner.healing)
        filled = stats(daemon).filled
        told = len(venue.heard)
        await until(lambda: {"quote", "trade"} <= {each.kind for each in venue.heard[told:]})

    assert stats(daemon).skipped == {"sequence": 1}
    assert stats(daemon).disconnects == {}
    trades = recorded(venue, tmp_path)["trade"]
    assert not read(tmp_path / "lake", "trade").select("symbol", "trade_id").is_duplicated().any()
    assert made(venue) - trades == Counter() or (heard(venue)["trade"] - trades) == Counter()
    quotes, sent = recorded(venue, tmp_path)["quote"], heard(venue)["quote"]
    assert quotes <= sent
    assert (sent - quotes).total() < 20  # between the jump and the books that came anew
    closed = gaps(tmp_path).filter(pl.col("state") != "open")
    assert closed.select("cause", "state", "rows_filled").rows() == [("sequence", "filled", filled)]


@feeds_where(lambda case: case.venue.sums_up, "it sends no checksums of what is taken")
async def test_a_book_whose_checksum_is_wrong_is_told_and_comes_anew(
    case: Case, tmp_path: Path
) -> None:
    async with recording(case, tmp_path, rate=60.0, faults=Faults(missum={6})) as (venue, daemon):
        await until(lambda: "book" in gaps_told(daemon))
        told = len(venue.heard)
        await until(lambda: len(venue.heard) > told + 60)

    rows = gaps(tmp_path).filter(cause="book")
    (symbol,) = rows["symbol"].unique()
    assert rows["rows_lost"].to_list() == [None] * rows.height
    assert (stats(daemon).disconnects, stats(daemon).skipped) == ({}, {})
    quotes, sent = recorded(venue, tmp_path)["quote"], heard(venue)["quote"]
    assert quotes <= sent
    assert {each[0] for each in sent - quotes} <= {symbol}
    assert (sent - quotes).total() < 20  # until the book came anew
    later = rows["ended_at"].max()
    of_it = read(tmp_path / "lake", "quote").filter(pl.col("event_time") > later, symbol=symbol)
    assert of_it.height > 5
    assert recorded(venue, tmp_path)["trade"] == heard(venue)["trade"]


def gaps_told(daemon: Supervisor) -> set[str]:
    """The causes that the ledger has rows of."""
    return {cause for _, _, cause in daemon.stats.gaps}


@feeds_where(lambda case: case.feed in case.venue.forgets, "its history reaches back for days")
async def test_what_a_list_of_the_last_trades_has_no_more_is_told(
    case: Case, tmp_path: Path
) -> None:
    """The venue is away for longer than the list reaches back: some is filled, some is gone."""
    async with recording(case, tmp_path, rate=800.0) as (venue, daemon):
        (runner,) = daemon.feeds
        await until(lambda: len(venue.heard) > 100)
        listed = case.venue.forgets[case.feed]
        before = {name: len(trades) for name, trades in venue.market.history.items()}
        venue.faults.handshakes = [503] * 10_000
        venue.cut()
        await until(lambda: _has_traded(venue, before, 1.5 * listed))
        venue.faults.handshakes.clear()
        await until(lambda: stats(daemon).state == "live")
        await until(lambda: not runner.healing)
        filled = stats(daemon).filled

    assert_recorded(venue, tmp_path)
    trades = read(tmp_path / "lake", "trade")
    assert not trades.select("symbol", "trade_id").is_duplicated().any()
    closed = gaps(tmp_path).filter(pl.col("state") != "open")
    assert closed["state"].to_list() == ["unfillable"]
    assert closed["rows_filled"].to_list() == [filled]


def _has_traded(venue: Venue, before: Mapping[str, int], most: float) -> bool:
    """Of every name there were so many more trades."""
    return all(len(venue.market.history[name]) > had + most for name, had in before.items())


@feeds_where(_shared, "it allows one connection, or is no websocket")
async def test_a_handover_loses_nothing(case: Case, tmp_path: Path) -> None:
    """Every connection grows old in a second; the next one delivers before it is closed."""
    async with recording(case, tmp_path) as (venue, daemon):
        runner = daemon.feeds[0]
        runner.feed = replace(runner.feed, build=partial(_short_lived, runner.feed.build))
        venue.cut()  # the one that does not grow old
        await until(lambda: venue.connections >= 5)
        # from here on it stays, so that its last events arrive
        runner.feed = replace(runner.feed, build=partial(_long_lived, runner.feed.build))
        before = venue.connections
        await until(lambda: venue.connections > before)
        await until(lambda: len(venue.lines) == 1)

    assert_nothing_lost(venue, tmp_path)
    assert sum(stats(daemon).disconnects.values()) <= 1
    assert stats(daemon).skipped == {}


def _short_lived(build: Callable[[], Any]) -> Any:
    adapter = build()
    adapter.lifetime = 1.0
    return adapter


def _long_lived(build: Callable[[], Any]) -> Any:
    adapter = build()
    adapter.lifetime = 3600.0
    return adapter


class _Ends(set[Line]):
    """The connections of a venue, which notes what the others had got when one ended.

    That is how many frames with data, and of which topics.
    """

    def __init__(self, lines: Iterable[Line]) -> None:
        super().__init__(lines)
        self.others: list[list[tuple[int, set[Topic]]]] = []

    def discard(self, line: object, /) -> None:
        self.others.append([(each.frames, set(each.topics)) for each in self if each is not line])
        super().discard(line)


@feeds_where(lambda case: case.venue.farewell, "it ends no connection with notice")
async def test_a_notice_of_the_end_is_a_handover(case: Case, tmp_path: Path) -> None:
    """Before the connection that was given notice is closed, another one delivers."""
    async with recording(case, tmp_path) as (venue, daemon):
        await until(lambda: len(venue.heard) > 60)
        (old,) = venue.lines
        topics = set(old.topics)
        venue.lines = ends = _Ends(venue.lines)
        await old.say(venue.farewell)
        await until(lambda: old not in ends)
        started = len(venue.heard)
        await until(partial(_has_heard, venue, started + 40))
        assert stats(daemon).state == "live"

    (((frames, taken_over),), *_) = ends.others
    assert frames > 0
    assert topics <= taken_over
    assert venue.connections == 2
    assert_nothing_lost(venue, tmp_path)
    assert stats(daemon).disconnects == {}
    assert stats(daemon).skipped == {}
    assert gaps(tmp_path).is_empty() or "disconnected" not in gaps(tmp_path)["cause"].to_list()


@feeds_where(_shared, "it allows one connection, or is no websocket")
async def test_two_connections_cut_in_turn_lose_nothing(case: Case, tmp_path: Path) -> None:
    async with recording(case, tmp_path, connections=2) as (venue, daemon):
        await until(lambda: _listening(venue, 2))
        for turn in range(2):
            started = len(venue.heard)
            await until(partial(_has_heard, venue, started + 40))
            lines = sorted(venue.lines, key=lambda line: line.transport.get_extra_info("peername"))
            before = venue.connections
            lines[turn].transport.close()
            await until(partial(_has_connected, venue, before))
            await until(lambda: _listening(venue, 2))
            assert stats(daemon).state == "live"

    assert_nothing_lost(venue, tmp_path)
    assert stats(daemon).disconnects == {"disconnected": 2}
    told = gaps(tmp_path)
    assert told.is_empty() or "disconnected" not in told["cause"].to_list()


def _untimed(case: Case) -> Sequence[str]:
    return adapters.load(case.vendor).channels[case.section["channel"]].untimed


@feeds_where(_untimed, "all that it sends has a time or a number")
async def test_of_two_connections_one_of_each_value_is_kept(case: Case, tmp_path: Path) -> None:
    async with recording(case, tmp_path, connections=2) as (venue, daemon):
        await until(lambda: _listening(venue, 2))
        await until(partial(_has_heard, venue, len(venue.heard) + 120))
        assert stats(daemon).state == "live"

    sent, found = heard(venue), recorded(venue, tmp_path)
    for kind in ("quote", "ref_px"):
        assert not found[kind] - sent[kind], kind
        assert not sent[kind] - found[kind], kind


def _listening(venue: Venue, number: int) -> bool:
    """So many connections get all that there is."""
    counts = [len(line.topics) for line in venue.lines]
    return len(counts) == number and min(counts) == max(counts) > 0


def _has_heard(venue: Venue, number: int) -> bool:
    return len(venue.heard) > number


def _has_connected(venue: Venue, before: int) -> bool:
    return venue.connections > before
