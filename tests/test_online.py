"""`edc check --online` against every simulator, over real sockets."""

import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import trustme
from aiohttp import web
from rich.console import Console

from edc import adapters, live, online
from edc.online import Found, Report
from edc.plan import plan_feeds
from edc.settings import Settings
from edc.simulator.tiingo import TiingoSimulator
from edc.simulator.venue import Faults, Venue
from edc.transport.libraries import library as carrier
from tests import harness
from tests.test_cli import edc
from tests.test_conformance import CASES, SECRET, Case, _keys, both_libraries, feeds_where

WITHIN = 20.0
FIRST = {case.vendor: case for case in reversed(CASES)}
"""One feed of each vendor; what feeds of one vendor do differently is the conformance suite's."""


@pytest.fixture(autouse=True)
def _open_markets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edc.markets.is_open", lambda _kind, _now: True)


async def asked(
    vendors: Mapping[str, Any],
    feeds: Mapping[str, Any],
    *,
    carried: Literal["picows", "websockets"] = "picows",
    within: float = WITHIN,
) -> Report:
    settings = Settings(vendors=dict(vendors), feeds=dict(feeds))
    planned = plan_feeds(settings, Path("config.toml"))
    return await online.ask(planned, carrier(carried), within=within, times=harness.FAST)


async def of_venue(
    case: Case, *, faults: Faults | None = None, key: str = harness.KEY, **options: Any
) -> Found:
    """What is found of a feed at its simulator."""
    venue: Venue = case.venue(key=harness.KEY, secret=SECRET, rate=400.0, faults=faults)
    await venue.start()
    try:
        vendors = {case.vendor: {**venue.options(), **_keys(case, key)}}
        report = await asked(vendors, {case.feed: case.section}, **options)
    finally:
        await venue.stop()
    (found,) = report.feeds
    return found


@pytest.mark.parametrize("vendor", FIRST)
async def test_a_feed_that_delivers_is_fine_and_leaves_nothing_behind(
    vendor: str, tmp_path: Path
) -> None:
    found = await of_venue(FIRST[vendor])

    assert (found.state, found.problem, found.refused) == ("ok", "", {})
    assert found.exit_code == 0
    assert sum(found.events.values()) > 0
    assert found.host == "127.0.0.1"
    for took in (found.resolved_ms, found.reached_ms, found.connected_ms, found.first_data_ms):
        assert took is not None
        assert 0 <= took < WITHIN * 1000
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - the loop has nothing else to do


KEYED = [vendor for vendor, case in FIRST.items() if adapters.load(case.vendor).needs_key]


@pytest.mark.parametrize("vendor", KEYED)
async def test_a_wrong_key_is_refused_with_the_mend(vendor: str) -> None:
    found = await of_venue(FIRST[vendor], key="wrong")

    assert found.state == "refused"
    assert found.exit_code == 2
    assert "key" in found.problem.lower()


@feeds_where(lambda case: case.refused, "a symbol that its simulator refuses")
async def test_each_refused_symbol_is_named(case: Case) -> None:
    refused = case.refused[0]
    found = await of_venue(case, faults=Faults(refuse=[refused]), within=4.0)

    assert found.exit_code == 2
    if len([each for listed in case.section["symbols"].values() for each in listed]) > 1:
        assert found.state == "partial"
        assert len(found.refused) == 1
    else:
        assert found.state == "refused"


async def test_a_symbol_that_the_venue_does_not_list_is_named_with_the_nearest() -> None:
    case = FIRST["binance"]
    section = {**case.section, "symbols": {"crypto": ["btcusdt", "ethusdx"]}}
    venue: Venue = case.venue(
        key=harness.KEY, secret=SECRET, rate=400.0, faults=Faults(unlisted=["ethusdx"])
    )
    venue.market.list("ethusdt")
    await venue.start()
    try:
        report = await asked({"binance": venue.options()}, {"spot": section})
    finally:
        await venue.stop()
    (found,) = report.feeds
    assert found.state == "partial"
    assert list(found.refused) == ["ethusdx"]


async def test_a_key_without_the_right_is_told_from_a_wrong_one() -> None:
    found = await of_venue(FIRST["alpaca"], faults=Faults(entitled=False))

    assert (found.state, found.exit_code) == ("refused", 2)
    assert "subscription" in found.problem or "plan" in found.problem


async def test_silence_is_told_as_right_or_wrong_by_the_market(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = FIRST["binance"]
    found = await of_venue(case, faults=Faults(mute=True), within=3.0)
    assert (found.state, found.exit_code) == ("silent", 1)

    monkeypatch.setattr("edc.markets.is_open", lambda _kind, _now: False)
    found = await of_venue(case, faults=Faults(mute=True), within=WITHIN)
    assert (found.state, found.exit_code, found.market_open) == ("closed", 0, False)


@both_libraries
async def test_a_vendor_that_is_not_there_is_not_reached(
    library: Literal["picows", "websockets"],
) -> None:
    venue: Venue = FIRST["binance"].venue(key=harness.KEY, secret=SECRET, rate=1.0)
    await venue.start()
    options = venue.options()
    await venue.stop()  # from here on nobody listens there

    report = await asked({"binance": options}, {"spot": FIRST["binance"].section}, carried=library)

    (found,) = report.feeds
    assert (found.state, found.exit_code) == ("unreachable", 1)
    assert found.resolved_ms is not None
    assert found.reached_ms is None
    assert found.problem


@both_libraries
async def test_a_certificate_that_nobody_vouches_for_is_told(
    library: Literal["picows", "websockets"],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        url = f"wss://127.0.0.1:{runner.addresses[0][1]}"
        rest = url.replace("wss", "https")
        options = {"url": url, "rest_url": rest, "api_key": harness.KEY}
        feed = {"vendor": "tiingo", "channel": "fx", "threshold_level": 5}
        report = await asked(
            {"tiingo": options}, {"fx": {**feed, "symbols": {"fx": ["eurusd"]}}}, carried=library
        )
    finally:
        await runner.cleanup()
    (found,) = report.feeds
    assert found.state in ("unreachable", "refused")
    assert "certificate" in found.problem.lower()
    assert found.reached_ms is not None, "the host itself was there"


async def test_the_budget_says_what_a_configuration_takes() -> None:
    simulator = TiingoSimulator(key=harness.KEY, rate=100)
    async with harness.serving(simulator):
        vendors = {
            "tiingo": {
                "url": simulator.url,
                "rest_url": simulator.rest_url,
                "api_key": harness.KEY,
            }
        }
        polled = {
            "vendor": "tiingo",
            "channel": "iex_rest",
            "symbols": {"stock": ["aapl", "msft"]},
        }
        pushed = {
            "vendor": "tiingo",
            "channel": "fx",
            "threshold_level": 5,
            "symbols": {"fx": ["eurusd"]},
        }
        report = await asked(vendors, {"polled": polled, "pushed": pushed})

    found = {each.feed: each for each in report.feeds}
    assert report.connections == {"tiingo": 1}
    assert found["polled"].requests_per_minute == pytest.approx(12, rel=1)
    assert found["pushed"].requests_per_minute is None
    assert found["pushed"].symbols == 1


@asynccontextmanager
async def _of_another_time(url: str, seconds: float) -> AsyncIterator[str]:
    """What passes requests on to `url`, and dates the answers by a clock that is so far ahead."""

    async def passed_on(request: web.Request) -> web.Response:
        async with httpx.AsyncClient() as client:
            headers = {"Authorization": request.headers.get("Authorization", "")}
            answer = await client.get(url + request.path_qs, headers=headers)
        dated = formatdate(time.time() + seconds, usegmt=True)
        headers = {"Date": dated, "Content-Type": answer.headers["Content-Type"]}
        return web.Response(body=answer.content, status=answer.status_code, headers=headers)

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", passed_on)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (3600, r"our clock is 3,(59\d|60\d) s behind the vendor"),
        (-600, r"our clock is (59\d|60\d) s ahead of the vendor"),
        (0, None),
    ],
)
async def test_a_clock_that_is_wrong_is_told_by_the_date_of_an_answer(
    ahead: int, said: str | None
) -> None:
    simulator = TiingoSimulator(key=harness.KEY, rate=100)
    polled = {"vendor": "tiingo", "channel": "iex_rest", "symbols": {"stock": ["aapl"]}}
    async with (
        harness.serving(simulator),
        _of_another_time(simulator.rest_url, ahead) as url,
    ):
        vendor = {"url": simulator.url, "rest_url": url, "api_key": harness.KEY}
        report = await asked({"tiingo": vendor}, {"polled": polled})

    (found,) = report.feeds
    assert found.state == "ok", found.problem
    assert found.clock_ahead_ms is not None
    assert abs(found.clock_ahead_ms + ahead * 1000) < 2000  # a second, and the way of the answer
    shown = _printed(live.asked(report))
    assert ("by the date" in shown) == (said is not None)
    assert said is None or re.search(said, shown)


def test_answers_are_shown_with_what_is_to_be_done() -> None:
    found = Found("f", "v", "v_c", "partial", refused={"abc": "not listed; near: abd"}, symbols=2)
    gone = Found("g", "v", "v_d", "unreachable", problem="no route", symbols=3, symbols_limit=9)
    shown = _printed(live.asked(Report([found, gone], {"v": 2})))

    assert "data, but not of all symbols" in shown
    assert "f: abc: not listed; near: abd" in shown
    assert "g: no route" in shown
    assert "3 of 9 symbols, 2 connections" in shown


def _printed(renderable: Any) -> str:
    text = StringIO()
    Console(file=text, width=160).print(renderable)
    return text.getvalue()


def test_the_command_asks_and_ends_with_what_the_operator_must_know(tmp_path: Path) -> None:
    simulator = harness.SimulatorProcess(tmp_path, rate=200)
    try:
        harness.write_config(tmp_path, simulator.url, simulator.rest_url)
        done = edc("check", "--online", "--json", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        (found,) = json.loads(done.stdout)["feeds"]
        assert found["state"] == "ok"
        assert not (tmp_path / "lake").exists()
        text = (tmp_path / "config.toml").read_text()
        (tmp_path / "config.toml").write_text(text.replace(harness.KEY, "another"))
        refused = edc("check", "--online", cwd=tmp_path)
        assert refused.returncode == 2
        assert "refused" in refused.stdout
        assert "TIINGO_API_KEY" in refused.stdout
    finally:
        simulator.end()
