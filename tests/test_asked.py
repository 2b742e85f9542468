"""What a polled feed asks for, once its vendor has refused some of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from edc.adapters import FeedOptions, FeedPlan, VendorOptions
from edc.errors import Fatal, Refused, Skippable
from edc.plan import plan_feeds
from edc.rows import Asked
from edc.settings import ServerSettings, Settings, SpoolSettings, StorageSettings
from edc.supervisor import Supervisor
from edc.symbols import Symbols
from tests.harness import FAST, KEY, read, running, until
from tests.test_transport import server

NONE = Fatal("none of it", "correct the symbols")


def asked(*symbols: str, size: int) -> Asked:
    options = FeedOptions(vendor="v", channel="c", symbols={"stock": symbols})
    plan = FeedPlan("v", VendorOptions(), options, "key")
    return Asked(Symbols(plan, lambda symbol, _type, _written: symbol.upper()), size)


def test_a_request_that_is_refused_whole_is_asked_for_in_halves_until_the_bad_name_is_known() -> (
    None
):
    names = asked("a", "b", "c", "d", "e", size=4)
    rounds, error = 0, None
    while any("C" in piece for piece in names.pieces()):
        (bad,) = (piece for piece in names.pieces() if "C" in piece)
        error = names.refuse_whole(bad, NONE)
        rounds += 1

    assert rounds == 3
    assert isinstance(error, Refused)
    assert error.symbols == ["c"]
    assert sorted(name for piece in names.pieces() for name in piece) == ["A", "B", "D", "E"]


def test_a_refused_name_is_asked_for_by_itself_after_sixty_rounds_and_again_after_sixty() -> None:
    names = asked("a", "b", size=10)
    names.refuse({"B": "not found"}, NONE)
    for _ in range(59):
        assert names.pieces() == [["A"]]
    assert names.pieces() == [["A"], ["B"]]
    assert names.pieces() == [["A"], ["B"]]  # it delivers
    names.refuse({"B": "not found"}, NONE)
    assert names.pieces() == [["A"]]


def test_where_everything_is_refused_the_feed_is_told_so() -> None:
    names = asked("a", "b", size=1)

    assert isinstance(names.refuse({"A": "no"}, NONE), Refused)
    assert names.refuse({"B": "no"}, NONE) is NONE


def test_a_name_that_was_not_asked_for_is_not_asked_for_when_it_is_refused() -> None:
    names = asked("a", size=1)

    error = names.refuse({"Z": "no"}, NONE)

    assert isinstance(error, Skippable)
    assert error.reason == "unknown"
    assert names.pieces() == [["A"]]


def test_halves_say_what_was_refused() -> None:
    error = asked("a", "b", size=2).refuse_whole(["A", "B"], NONE)

    assert isinstance(error, Skippable)
    assert not isinstance(error, Refused)
    assert "in halves" in str(error)
    assert "none of it" in str(error)


def test_two_requests_for_the_same_names_refused_in_one_round_part_them_once() -> None:
    names = asked("a", "b", "c", "d", size=4)
    (piece,) = names.pieces()

    names.refuse_whole(piece, NONE)
    error = names.refuse_whole(piece, NONE)

    assert isinstance(error, Skippable)
    assert names.pieces() == [["A", "B"], ["C", "D"]]


FEEDS: dict[str, dict[str, Any]] = {
    "massive": {"channel": "stocks_rest", "take": ["trades"], "history_every": "0s"},
    "finnhub": {"channel": "rest", "request_every": "100ms"},
    "twelvedata": {"channel": "rest"},
    "alpaca": {"channel": "stocks_rest", "take": ["trades"]},
}


def _answer(vendor: str, request: web.Request) -> web.Response:
    """What each vendor says to a request that names ZZZZ, and to the others."""
    path, query = request.path, request.query
    if vendor == "massive":
        if path.endswith("/ZZZZ"):
            missing = {"status": "NOT_FOUND", "message": "Data not found."}
            return web.json_response(missing, status=404)
        return web.json_response({"results": {"p": 1.5, "s": 1, "t": 1651179319310617300}})
    if vendor == "finnhub":
        if query["symbol"] == "ZZZZ":
            denied = {"error": "You don't have access to this resource."}
            return web.json_response(denied, status=403)
        return web.json_response({"c": 1.5, "t": 1636322400})
    names = query.get("symbols" if vendor == "alpaca" else "symbol", "").split(",")
    if "ZZZZ" in names:
        wrong = {"message": "invalid symbol: ZZZZ", "code": 400, "status": "error"}
        return web.json_response(wrong, status=400)
    if vendor == "alpaca":
        trade = {"t": "2021-02-22T15:51:44.208Z", "x": "D", "p": 126.55, "s": 1, "i": 96921}
        return web.json_response({"trades": dict.fromkeys(names, trade)})
    quote = {"close": "1.5", "timestamp": 1592249566}
    body = quote if len(names) == 1 else dict.fromkeys(names, quote)
    return web.Response(text=json.dumps(body))


@pytest.mark.parametrize("vendor", FEEDS)
async def test_one_bad_symbol_of_a_polled_feed_is_named_and_the_others_go_on(
    vendor: str, tmp_path: Path
) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        return _answer(vendor, request)

    options = FEEDS[vendor]
    symbols = {"stock": ["aapl", "msft", "zzzz", "amzn"]}
    secret = {"api_secret": KEY} if vendor == "alpaca" else {}
    async with server(serve) as address:
        settings = Settings(
            storage=StorageSettings(path=tmp_path / "lake"),
            spool=SpoolSettings(interval="50ms"),
            server=ServerSettings(listen=""),
            vendors={vendor: {"rest_url": f"http://{address}", "api_key": KEY, **secret}},
            feeds={
                "it": {"vendor": vendor, "interval": "1s", **options, "symbols": symbols},
            },
        )
        daemon = Supervisor(settings, plan_feeds(settings, tmp_path / "config.toml"), times=FAST)
        async with running(daemon):
            (runner,) = daemon.feeds
            await until(lambda: runner.stats.refused)
            had = runner.stats.event_count
            await until(lambda: runner.stats.event_count >= had + 3)
            refused = dict(runner.stats.refused)
            assert runner.stats.state == "live"

    assert set(refused) == {"zzzz"}
    table = "trade" if options["channel"] == "stocks_rest" else "ref_px"
    assert set(read(tmp_path / "lake", table)["symbol"]) == {"aapl", "msft", "amzn"}
    gaps = read(tmp_path / "lake", "gap").filter(cause="unsubscribed")
    assert set(gaps["symbol"]) == {"zzzz"}
