"""Alerts: what is wrong, what of it is told, and to receivers that fail, hang or are absent."""

import asyncio
import json
import logging
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from edc import config
from edc.adapters import WebhookOptions
from edc.alerts import Alert, FeedLook, Look, Watch, of_gap, wrong
from edc.errors import ConfigError
from edc.events import Gap
from edc.plan import plan_feeds
from edc.retry import Backoff
from edc.simulator.tiingo import Faults, TiingoSimulator
from edc.supervisor import Supervisor
from edc.transport import posting
from edc.transport.posting import Poster
from edc.transport.webhook import Guard, Post
from tests.harness import CRYPTO, FAST, KEY, events_of, running, serving, until, write_config

SECRET = "alert-secret-71c0ffee"
TOKEN = "/hooks/T0ken-in-the-path"
LIVE = FeedLook("crypto", "tiingo", "live", "", market_open=True, frames=1000, skipped=0)
GAP = Gap(
    feed="crypto",
    vendor="tiingo",
    source="tiingo_crypto",
    started_at=1,
    ended_at=5,
    cause="queue_full",
    rows_lost=7,
    created_at=6,
)


def _look(feed: FeedLook) -> Look:
    return Look({feed.feed: feed})


def _keys(before: Look, now: Look) -> list[str]:
    return list(wrong(before, now))


@pytest.mark.parametrize(
    ("feed", "expected"),
    [
        (LIVE, []),
        (replace(LIVE, state="listening"), []),
        (replace(LIVE, state="stopped"), []),
        (replace(LIVE, state="stale"), ["stale/crypto"]),
        (replace(LIVE, state="failed"), ["stale/crypto"]),
        (replace(LIVE, state="stale", market_open=False), []),
        (replace(LIVE, skipped=1), ["dead_letters/crypto"]),
        (replace(LIVE, frames=5, skipped=5), ["dead_letters/crypto"]),
        (replace(LIVE, skipped=10), ["dead_letters/crypto"]),
        (replace(LIVE, skipped=11), ["dead_letters/crypto", "dead_letters/crypto/share"]),
    ],
)
def test_what_is_wrong_with_a_feed(feed: FeedLook, expected: list[str]) -> None:
    assert _keys(Look(), _look(feed)) == expected


def test_skipped_frames_count_since_the_look_before() -> None:
    before = _look(replace(LIVE, frames=100_000, skipped=50))

    assert _keys(before, _look(replace(LIVE, frames=100_100, skipped=50))) == []
    assert _keys(before, _look(replace(LIVE, frames=100_100, skipped=61))) == [
        "dead_letters/crypto",
        "dead_letters/crypto/share",
    ]
    begun_anew = _look(replace(LIVE, frames=10, skipped=1))
    assert _keys(before, begun_anew) == ["dead_letters/crypto"]


def test_what_is_wrong_with_the_machine() -> None:
    found = wrong(Look(), Look({}, {"lake trade": "disk full"}, 99_000_000, 100_000_000))

    assert {key: alert.message for key, alert in found.items()} == {
        "degraded/lake trade": "lake trade: disk full",
        "disk": "99 MB are free, storage.reserve is 100 MB: batches wait in the spool",
    }
    assert wrong(Look(), Look({}, {}, 0, 100)) == {}
    assert wrong(Look(), Look({}, {}, 100, 100)) == {}


def test_rows_of_the_gap_table() -> None:
    def key(**changes: Any) -> str | None:
        fields = {name: getattr(GAP, name) for name in Gap.__struct_fields__}
        alert = of_gap(Gap(**{**fields, **changes}))
        return alert.key if alert else None

    alert = of_gap(GAP)
    assert alert is not None
    assert alert.message == "feed crypto: queue_full; 7 rows"
    assert key() == "gap/crypto/queue_full"
    assert key(cause="killed", rows_lost=None) == "gap/crypto/killed"
    assert key(cause="sequence", state="unfillable") == "gap/crypto/sequence/unfillable"
    assert key(feed=None, vendor=None, source=None, cause="damaged") == "gap//damaged"
    assert key(state="filled") is None
    assert key(cause="stopped") is None


ILL = {"stale/a": Alert("stale", "stale/a", "a is ill", lasting=True)}
FULL = {"disk": Alert("disk", "disk", "full")}


def _watch(**changes: Any) -> Watch:
    watch = Watch()
    watch.events, watch.repeat_after, watch.lasts = ("stale", "disk", "gap"), 100.0, 0.0
    for name, value in changes.items():
        setattr(watch, name, value)
    return watch


def _said(watch: Watch, found: dict[str, Alert], now: float) -> list[tuple[str, float, int]]:
    return [(told.status, told.since, told.repeats) for told in watch.look(found, now)]


def test_an_alert_is_told_once_and_its_end_once() -> None:
    watch = _watch()

    assert _said(watch, FULL, 1) == [("firing", 1, 0)]
    assert _said(watch, FULL, 50) == []
    assert _said(watch, {}, 60) == [("resolved", 1, 0)]
    assert _said(watch, {}, 61) == []
    # within repeat_after of being told, the same is not told again: neither is its end
    assert _said(watch, FULL, 70) == []
    assert _said(watch, {}, 80) == []
    assert _said(watch, FULL, 102) == [("firing", 102, 1)]


def test_what_goes_on_is_told_again_after_repeat_after() -> None:
    watch = _watch()

    assert [_said(watch, FULL, now) for now in (0, 99, 100, 150, 200)] == [
        [("firing", 0, 0)],
        [],
        [("firing", 0, 0)],
        [],
        [("firing", 0, 0)],
    ]


def test_a_feed_that_is_back_soon_is_not_told() -> None:
    watch = _watch(lasts=30.0)

    assert _said(watch, ILL, 0) == _said(watch, ILL, 29) == _said(watch, {}, 30) == []
    assert _said(watch, ILL, 40) == _said(watch, ILL, 69) == []
    assert _said(watch, ILL, 70) == [("firing", 40, 0)]
    assert _said(watch, {}, 71) == [("resolved", 40, 0)]


def test_a_flood_of_gaps_is_one_alert_and_a_number() -> None:
    watch = _watch()
    alert = of_gap(GAP)
    assert alert is not None
    told = [watch.happened(alert, now) for now in range(101)]

    assert [each.repeats for each in told if each] == [0, 99]


def test_events_that_are_not_asked_for_are_not_told() -> None:
    watch = _watch(events=("stale",))
    alert = of_gap(GAP)
    assert alert is not None

    assert _said(watch, FULL, 0) == []
    assert watch.happened(alert, 0) is None


class Receiver:
    """Answers with the statuses it is given, the last for ever; 0 hangs."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.url = ""
        self.came = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.posts.append((request.path, dict(request.headers), body))
        self.came.set()
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if not status:
            await asyncio.Event().wait()
        return web.Response(status=status)

    @property
    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.posts]

    def told(self, key: str) -> list[str]:
        return [each["status"] for each in self.alerts if each["key"] == key]


@asynccontextmanager
async def receiving(receiver: Receiver, port: int = 0) -> AsyncIterator[Receiver]:
    app = web.Application()
    app.add_routes([web.post("/{path:.*}", receiver.take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}{TOKEN}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def posting_to(url: str) -> AsyncIterator[tuple[Poster, Counter[tuple[str, str]]]]:
    counts: Counter[tuple[str, str]] = Counter()
    poster = Poster(counts, lambda: Backoff(0.01, 0.05))
    poster.url, poster.secret = url, SECRET
    task = asyncio.create_task(poster.run())
    try:
        yield poster, counts
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((200,), {"delivered": 2}),
        ((500, 200), {"failed": 1, "delivered": 2}),
        ((429, 503, 204), {"failed": 2, "delivered": 2}),
        ((404, 200), {"refused": 1, "delivered": 1}),
        ((302, 200), {"refused": 1, "delivered": 1}),
    ],
)
async def test_a_post_is_tried_until_it_is_taken_or_refused(
    statuses: Sequence[int], expected: dict[str, int]
) -> None:
    async with receiving(Receiver(*statuses)) as receiver, posting_to(receiver.url) as (to, counts):
        to.put("gap", b'{"n": 1}')
        to.put("gap", b'{"n": 2}')
        done = sum(number for outcome, number in expected.items() if outcome != "failed")
        await until(lambda: counts["gap", "delivered"] + counts["gap", "refused"] == done)

    assert {outcome: number for (_, outcome), number in counts.items()} == expected
    bodies = [body for _, _, body in receiver.posts]
    assert sorted(set(bodies)) == [b'{"n": 1}', b'{"n": 2}']
    assert bodies == sorted(bodies)  # in order


async def test_a_receiver_that_is_absent_at_first_gets_it_all(
    unused: Callable[[], int],
) -> None:
    port = unused()
    async with posting_to(f"http://127.0.0.1:{port}/x") as (to, counts):
        to.put("gap", b"{}")
        await until(lambda: counts["gap", "failed"] > 1)
        async with receiving(Receiver(200), port) as receiver:
            await until(lambda: counts["gap", "delivered"] == 1)
            assert len(receiver.posts) == 1


@pytest.fixture
def unused() -> Callable[[], int]:
    """A port on which nobody listens."""

    def find() -> int:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            return int(one.getsockname()[1])

    return find


async def test_a_receiver_that_hangs_is_left_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(posting, "_ANSWERS_WITHIN", 0.2)
    async with receiving(Receiver(0, 200)) as receiver, posting_to(receiver.url) as (to, counts):
        to.put("gap", b"{}")
        await until(lambda: counts["gap", "delivered"] == 1)

    assert counts == {("gap", "failed"): 1, ("gap", "delivered"): 1}


async def test_a_full_queue_drops_the_oldest_that_is_not_on_its_way() -> None:
    async with receiving(Receiver(0)) as receiver, posting_to(receiver.url) as (to, counts):
        to.put("gap", b"0")
        await receiver.came.wait()
        for number in range(1, 150):
            to.put("stale", str(number).encode())
        receiver.statuses = [200]

    assert counts == {("stale", "dropped"): 50}
    async with receiving(Receiver(200)) as receiver:
        to.url = receiver.url
        task = asyncio.create_task(to.run())
        await until(lambda: counts["stale", "delivered"] == 99)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [int(body) for _, _, body in receiver.posts] == [0, *range(51, 150)]


async def test_the_end_waits_less_than_a_second_for_a_receiver_that_hangs() -> None:
    async with receiving(Receiver(0)) as receiver:
        async with posting_to(receiver.url) as (to, counts):
            to.put("gap", b"{}")
            await receiver.came.wait()
        began = time.monotonic()
        await to.close()
        assert time.monotonic() - began < 4  # 0.8 s, and what a busy machine adds
        assert len(receiver.posts) == 2

    assert counts == {("gap", "dropped"): 1}


async def test_the_signature_is_one_that_our_own_webhooks_let_in() -> None:
    async with receiving(Receiver(200)) as receiver, posting_to(receiver.url) as (to, counts):
        to.put("gap", b'{"a": 1}')
        await until(lambda: counts["gap", "delivered"])
    _, headers, body = receiver.posts[0]

    def refusal(secret: str, body: bytes) -> object:
        named = {"x-edc-signature": headers["X-Edc-Signature"]}
        guard = Guard(WebhookOptions(**OPTIONS), secret, "x-edc-signature", time.time_ns)
        return guard.refusal(Post(headers=named, body=body, peer="127.0.0.1", token=""))

    assert refusal(SECRET, body) is None
    assert refusal("another secret", body) is not None
    assert refusal(SECRET, b'{"a": 2}') is not None


OPTIONS: dict[str, Any] = {"vendor": "webhook", "channel": "events", "symbols": {"stock": ["*"]}}


def _alerts(url: str, more: str = "", stale_after: str = "100ms") -> str:
    keys = {"url": url, "secret": SECRET, "stale_after": stale_after}
    return "\n".join(["[alerts]", *(f'{key} = "{value}"' for key, value in keys.items()), more, ""])


def _daemon(path: Path) -> Supervisor:
    def read() -> Any:
        settings = config.load(path)
        return settings, plan_feeds(settings, path)

    return Supervisor(*read(), times=FAST, reread=read)


def _shown_in_the_readme() -> dict[str, Any]:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    section = readme.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    shown: dict[str, Any] = json.loads(section.partition("```json\n")[2].partition("```")[0])
    return shown


def _form(alert: dict[str, Any]) -> list[tuple[str, object]]:
    """The fields of an alert in their order; of what differs each time only the form."""
    time_of_day = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(r"[0-9a-f]{32}", alert["id"])
    assert re.fullmatch(time_of_day, alert["since"])
    assert re.fullmatch(time_of_day, alert["at"])
    assert re.match(r"feed crypto is \w+ while its market is open", alert["message"])
    differs = dict.fromkeys(("id", "since", "at", "message"), "…") | {"details": ["state"]}
    assert list(alert["details"]) == differs["details"]
    return [(name, differs.get(name, value)) for name, value in alert.items()]


def test_the_readme_shows_what_is_said_of_a_silent_feed() -> None:
    shown = _shown_in_the_readme()
    why = "no data within 30 s of subscribing, in an open market"
    [told] = wrong(Look(), _look(replace(LIVE, state="waiting", problem=why))).values()

    assert (shown["event"], shown["key"]) == (told.event, told.key)
    assert (shown["message"], shown["details"]) == (told.message, told.details)


async def test_a_feed_that_falls_silent_is_told_and_its_recovery_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = TiingoSimulator(key=KEY, faults=Faults(), heartbeat=0.05)
    feeds = CRYPTO + 'stale_after = "300ms"\n'
    caplog.set_level(logging.DEBUG, "edc")
    async with serving(simulator), receiving(Receiver(200)) as receiver:
        more = _alerts(receiver.url, stale_after="2s")  # longer than a busy machine's start
        daemon = _daemon(write_config(tmp_path, simulator.url, feeds=feeds, more=more))
        async with running(daemon):
            await until(lambda: events_of(daemon) > 10)
            simulator.faults.mute = True
            await until(lambda: receiver.told("stale/crypto"))
            simulator.faults.mute = False
            await until(lambda: receiver.told("stale/crypto") == ["firing", "resolved"])
            await until(lambda: receiver.told("gap/crypto/stale"))

    assert receiver.told("stale/crypto") == ["firing", "resolved"]  # the stop is no alert
    firing = next(each for each in receiver.alerts if each["key"] == "stale/crypto")
    assert (firing["instance"], firing["feed"], firing["vendor"]) == ("main", "crypto", "tiingo")
    assert firing["message"].startswith("feed crypto is ")
    assert firing["since"] < firing["at"]
    assert _form(firing) == _form(_shown_in_the_readme())
    assert len({each["id"] for each in receiver.alerts}) == len(receiver.alerts)
    assert {path for path, _, _ in receiver.posts} == {TOKEN}
    assert daemon.stats.alerts["stale", "delivered"] == 2
    told = caplog.text + "".join(str(alert) for alert in receiver.alerts)
    assert not any(secret in told for secret in (SECRET, TOKEN, KEY))


async def test_dropped_events_are_told_and_the_receiver_holds_nothing_up(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, rate=2000)
    policy = '[queue]\ncapacity = 1\nwhen_full = "drop_oldest"\n'
    async with serving(simulator), receiving(Receiver(0)) as receiver:
        more = (
            _alerts(receiver.url, 'events = ["gap"]') + policy
        )  # not of silence, on a busy machine
        daemon = _daemon(write_config(tmp_path, simulator.url, more=more))
        async with running(daemon):
            await until(lambda: receiver.told("gap/crypto/queue_full"))
            before = events_of(daemon)
            await until(lambda: events_of(daemon) > before + 500)

    alert = receiver.alerts[0]
    assert (alert["event"], alert["status"]) == ("gap", "firing")
    assert alert["details"]["cause"] == "queue_full"
    assert alert["details"]["rows_lost"] > 0
    assert receiver.told("gap/crypto/queue_full") == ["firing"] * 2  # once more at the end
    assert daemon.stats.alerts["gap", "dropped"] == 1


async def test_frames_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    odd = dict.fromkeys((5, 6), b'{"messageType": "A", "service": "crypto_data", "data": 1}')
    simulator = TiingoSimulator(key=KEY, faults=Faults(insert=odd))
    async with serving(simulator), receiving(Receiver(200)) as receiver:
        more = _alerts(receiver.url, 'events = ["dead_letters"]')
        daemon = _daemon(write_config(tmp_path, simulator.url, more=more))
        async with running(daemon):
            await until(lambda: receiver.told("dead_letters/crypto"))

    assert {each["event"] for each in receiver.alerts} == {"dead_letters"}
    assert receiver.alerts[0]["details"]["skipped"] in (1, 2)


async def test_a_reload_changes_where_alerts_go(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=KEY, faults=Faults(mute=True), heartbeat=0.05)
    feeds = CRYPTO + 'stale_after = "200ms"\n'
    async with serving(simulator), receiving(Receiver(200)) as receiver:
        path = write_config(tmp_path, simulator.url, feeds=feeds)
        daemon = _daemon(path)
        async with running(daemon):
            await until(lambda: daemon.feeds[0].stats.disconnects["stale"] > 1)
            assert not receiver.posts
            more = _alerts(receiver.url)
            write_config(tmp_path, simulator.url, feeds=feeds, more=more)
            answer = await daemon.reload()
            await until(lambda: receiver.told("stale/crypto"))

    names = ["alerts.secret", "alerts.stale_after", "alerts.url"]
    assert (answer["settings"], answer["at_the_next_start"]) == (names, [])
    assert answer["changed"] == {}


@pytest.mark.parametrize("url", ["example.org/x", "ftp://example.org", "http://", "http://[x"])
def test_a_url_that_is_none_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[alerts]\nurl = "{url}"\n')
    with pytest.raises(ConfigError) as caught:
        config.load(path)

    assert str(caught.value).startswith(f"{path}: [alerts] url: ")
    assert url not in str(caught.value)


def test_secret_and_url_come_from_the_environment_or_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDC_ALERTS__URL", "https://example.org/alerts")
    monkeypatch.setenv("EDC_ALERTS__EVENTS", "gap, disk")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "edc_alerts_secret").write_text(f"{SECRET}\n")
    alerts = config.load(None).alerts

    assert (alerts.address, alerts.signs_with) == ("https://example.org/alerts", SECRET)
    assert alerts.events == ("gap", "disk")
    assert SECRET not in repr(alerts)
    monkeypatch.setenv("EDC_ALERTS__SECRET", "from the environment")
    assert config.load(None).alerts.signs_with == "from the environment"
