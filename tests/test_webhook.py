"""Webhooks from outside: honest senders, and an attack table. Each refused as it should be."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from edc.adapters.webhook import WebhookFeedOptions
from edc.errors import ConfigError
from edc.plan import plan_feeds
from edc.settings import ServerSettings, Settings, SpoolSettings, StorageSettings
from edc.spool import read_chunk
from edc.supervisor import Supervisor
from edc.transport.webhook import Bucket, Guard, Post
from tests.harness import FAST, KEY, read, running, until

FIELDS = {
    "symbol": "s",
    "event_time": "t",
    "last_price": "p",
    "last_size": "v",
    "trade_id": "id",
}
RELAY = {
    "vendor": "webhook",
    "channel": "events",
    "event_type": "trade",
    "time_format": "ms",
    "fields": FIELDS,
    "symbols": {"stock": ["*"]},
}
ALERTS = {
    "vendor": "tradingview",
    "channel": "alerts",
    "allow": ["127.0.0.0/8"],
    "symbols": {"stock": ["aapl"]},
}
TRADE = {"s": "AAPL", "t": 1_788_676_200_123, "p": 227.51, "v": 100, "id": "1"}


def signed(body: bytes, *, key: str = KEY, at: float | None = None) -> dict[str, str]:
    told = str(int(time.time() if at is None else at))
    signature = hmac.new(key.encode(), told.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Edc-Signature": f"t={told},v1={signature}", "Content-Type": "application/json"}


class Endpoint:
    """A daemon with webhooks, and a client that posts to it."""

    def __init__(self, daemon: Supervisor, client: httpx.AsyncClient, folder: Path) -> None:
        self.daemon = daemon
        self.client = client
        self.lake = folder / "lake"

    @property
    def port(self) -> int:
        assert self.daemon.http is not None
        return self.daemon.http.port

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        return await self.client.post(path, content=body, headers=headers)

    def spooled(self, kind: str) -> int:
        """Rows that are on disk at this moment, in chunks or files."""
        chunks = (self.lake / ".spool/main" / kind).glob("*.arrow")
        return sum(read_chunk(path).height for path in chunks) + read(self.lake, kind).height

    def kept(self) -> list[str]:
        """Whatever there is of dead letters."""
        return [path.name for path in (self.lake / ".dead").glob("*")]


@asynccontextmanager
async def listening(folder: Path, **feeds: Mapping[str, Any]) -> AsyncIterator[Endpoint]:
    settings = Settings(
        storage=StorageSettings(path=folder / "lake"),
        spool=SpoolSettings(interval="50ms"),
        server=ServerSettings(listen="127.0.0.1:0"),
        vendors={"webhook": {"api_key": KEY}, "tradingview": {"api_key": KEY}},
        feeds={name: dict(feed) for name, feed in (feeds or {"relay": RELAY}).items()},
    )
    daemon = Supervisor(settings, plan_feeds(settings, folder / "config.toml"), times=FAST)
    async with running(daemon):
        await until(lambda: daemon.http is not None and daemon.http.port)
        await until(lambda: all(runner.stats.state == "listening" for runner in daemon.feeds))
        assert daemon.http is not None
        base = f"http://127.0.0.1:{daemon.http.port}"
        async with httpx.AsyncClient(base_url=base, timeout=20) as client:
            yield Endpoint(daemon, client, folder)


async def test_an_event_is_on_disk_before_its_sender_is_told_so(tmp_path: Path) -> None:
    async with listening(tmp_path) as endpoint:
        body = json.dumps(TRADE).encode()
        answer = await endpoint.post("/hooks/relay", body, signed(body))

        assert (answer.status_code, answer.text) == (200, "1 events\n")
        assert endpoint.spooled("trade") == 1
        assert endpoint.daemon.feeds[0].stats.state == "live"

    (row,) = read(tmp_path / "lake", "trade").iter_rows(named=True)
    assert (row["symbol"], row["last_price"], row["last_size"]) == ("aapl", 227.51, 100.0)
    assert (row["vendor"], row["source"], row["trade_id"]) == ("webhook", "webhook_events", "1")


async def test_a_retry_with_a_new_signature_is_one_row(tmp_path: Path) -> None:
    async with listening(tmp_path) as endpoint:
        body, now = json.dumps(TRADE).encode(), int(time.time())
        for seconds in (0, 1, 2):
            headers = signed(body, at=now - seconds)
            assert (await endpoint.post("/hooks/relay", body, headers)).status_code == 200

    assert read(tmp_path / "lake", "trade").height == 1


async def test_tradingview_posts_json_and_text_to_a_secret_path(tmp_path: Path) -> None:
    async with listening(tmp_path, alerts=ALERTS) as endpoint:
        alert = b'{"symbol":"AAPL","exchange":"NASDAQ","price":227.5,"time":"2026-09-06T06:30:00Z"}'
        as_json = await endpoint.post(
            f"/hooks/alerts/{KEY}", alert, {"Content-Type": "application/json; charset=utf-8"}
        )
        as_text = await endpoint.post(
            f"/hooks/alerts/{KEY}",
            b"NASDAQ:AAPL 227.6 2026-09-06T06:30:01Z",
            {"Content-Type": "text/plain"},
        )
        wrong = await endpoint.post("/hooks/alerts/not-it", alert)
        none = await endpoint.post("/hooks/alerts", alert)

    assert [each.status_code for each in (as_json, as_text, wrong, none)] == [200, 200, 401, 401]
    assert sorted(read(tmp_path / "lake", "ref_px")["price"]) == [227.5, 227.6]


async def test_a_secret_in_a_header_is_enough_where_the_feed_says_so(tmp_path: Path) -> None:
    feed = {**RELAY, "auth": "header", "header": "X-Finnhub-Secret"}
    async with listening(tmp_path, relay=feed) as endpoint:
        body = json.dumps(TRADE).encode()
        right = await endpoint.post("/hooks/relay", body, {"X-Finnhub-Secret": KEY})
        wrong = await endpoint.post("/hooks/relay", body, {"X-Finnhub-Secret": KEY[:-1]})
        none = await endpoint.post("/hooks/relay", body)

    assert [each.status_code for each in (right, wrong, none)] == [200, 401, 401]


BODY = json.dumps(TRADE).encode()


def attacks() -> dict[str, tuple[str, bytes, Mapping[str, Any], set[int]]]:
    """Path, body and headers as of now, and what may be answered."""
    return {
        "no signature": ("/hooks/relay", BODY, {}, {401}),
        "a wrong signature": ("/hooks/relay", BODY, signed(BODY, key="another"), {401}),
        "a signature of another body": ("/hooks/relay", BODY, signed(b"{}"), {401}),
        "a stale timestamp": ("/hooks/relay", BODY, signed(BODY, at=time.time() - 900), {401}),
        "a timestamp of the future": (
            "/hooks/relay",
            BODY,
            signed(BODY, at=time.time() + 900),
            {401},
        ),
        "a timestamp that is none": ("/hooks/relay", BODY, {"X-Edc-Signature": "t=x,v1=00"}, {401}),
        "a signature that is not ASCII": (
            "/hooks/relay",
            BODY,
            {"X-Edc-Signature": b"t=1,v1=\xfc"},
            {400, 401},
        ),
        "ten megabytes": ("/hooks/relay", b"x" * (10 << 20), signed(b""), {413}),
        "a wrong content type": (
            "/hooks/relay",
            BODY,
            {**signed(BODY), "Content-Type": "application/xml"},
            {415},
        ),
        "a feed that there is not": ("/hooks/other", BODY, signed(BODY), {404}),
        "a path inside the feed": ("/hooks/relay/more", BODY, signed(BODY), {404}),
        "a path above the hooks": ("/hooks/../metrics", BODY, signed(BODY), {404, 405}),
        "a path in disguise": ("/hooks/%2e%2e%2fmetrics", BODY, signed(BODY), {404}),
        "a path with a null byte": ("/hooks/relay%00", BODY, signed(BODY), {404}),
        "a flood of headers": (
            "/hooks/relay",
            BODY,
            {**signed(BODY), **{f"X-{n}": "y" * 8000 for n in range(2000)}},
            {400, 431},
        ),
        "a header of a megabyte": (
            "/hooks/relay",
            BODY,
            {"X-Edc-Signature": "a" * (1 << 20)},
            {400},
        ),
    }


@pytest.mark.parametrize("attack", attacks())
async def test_an_attack_is_refused_and_leaves_nothing(attack: str, tmp_path: Path) -> None:
    path, body, headers, expected = attacks()[attack]
    async with listening(tmp_path) as endpoint:
        try:
            status = (await endpoint.post(path, body, headers)).status_code
        except httpx.TransportError:  # cut off while it was still sending
            status = min(expected)
        assert status in expected
        honest = await endpoint.post("/hooks/relay", BODY, signed(BODY))
        assert honest.status_code == 200
        assert endpoint.kept() == []
        assert endpoint.daemon.feeds[0].stats.frames == 1

    assert read(tmp_path / "lake", "trade").height == 1


DEEP = b"[" * 30_000 + b"]" * 30_000


@pytest.mark.parametrize(
    "body",
    [b"", b"{", DEEP, b'{"s":' + DEEP + b"}", b"\xff\xfe", b'{"s": "AAPL"}', b"12", b'"text"'],
    ids=["empty", "torn", "deep", "deep inside", "no UTF-8", "fields missing", "number", "text"],
)
async def test_a_signed_body_that_cannot_be_read_is_422_and_a_dead_letter(
    body: bytes, tmp_path: Path
) -> None:
    async with listening(tmp_path) as endpoint:
        answer = await endpoint.post("/hooks/relay", body, signed(body))
        assert answer.status_code == 422
        honest = await endpoint.post("/hooks/relay", BODY, signed(BODY))
        assert honest.status_code == 200
        assert endpoint.kept() == ["relay.jsonl"]

    assert read(tmp_path / "lake", "trade").height == 1


async def test_a_replayed_request_is_refused(tmp_path: Path) -> None:
    async with listening(tmp_path) as endpoint:
        headers = signed(BODY)
        first = await endpoint.post("/hooks/relay", BODY, headers)
        again = await endpoint.post("/hooks/relay", BODY, headers)

        assert (first.status_code, again.status_code) == (200, 409)
        assert endpoint.daemon.feeds[0].stats.frames == 1


async def test_a_slow_sender_is_cut_off_and_costs_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edc.server._BODY_WITHIN", 0.3)
    async with listening(tmp_path) as endpoint:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        head = b"POST /hooks/relay HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(head + b"Content-Length: 1000\r\n\r\n{")
        await writer.drain()
        honest = await endpoint.post("/hooks/relay", BODY, signed(BODY))
        assert honest.status_code == 200
        answer = await asyncio.wait_for(reader.readline(), 5)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 408")


async def test_too_many_at_once_are_told_to_wait(tmp_path: Path) -> None:
    async with listening(tmp_path, relay={**RELAY, "most_per_second": 2.0}) as endpoint:
        bodies = [json.dumps({**TRADE, "id": str(number)}).encode() for number in range(8)]
        posts = [endpoint.post("/hooks/relay", body, signed(body)) for body in bodies]
        answers = await asyncio.gather(*posts)

    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) >= 4  # what may come at once
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[0].headers["Retry-After"] == "1"
    assert read(tmp_path / "lake", "trade").height == statuses.count(200)


async def test_what_cannot_be_stored_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes nothing for a while: 503, and the retry of the sender is one row."""
    monkeypatch.setattr("edc.transport.webhook._SAFE_WITHIN", 0.3)
    async with listening(tmp_path) as endpoint:
        append = endpoint.daemon.spool.append

        def full(event_type: str, frame: pl.DataFrame) -> Any:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(endpoint.daemon.spool, "append", full)
        refused = await endpoint.post("/hooks/relay", BODY, signed(BODY))
        monkeypatch.setattr(endpoint.daemon.spool, "append", append)
        retries, now = [refused], int(time.time())
        while retries[-1].status_code == 503:
            headers = signed(BODY, at=now - len(retries))
            retries.append(await endpoint.post("/hooks/relay", BODY, headers))

    assert refused.status_code == 503
    assert retries[-1].status_code == 200
    assert read(tmp_path / "lake", "trade").height == 1


NOW = 1_788_676_200 * 10**9


def guard(**options: Any) -> Guard:
    made = WebhookFeedOptions(
        vendor="webhook",
        channel="events",
        symbols={"stock": ("*",)},
        event_type="trade",
        fields=FIELDS,
        **options,
    )
    return Guard(made, KEY, "X-Edc-Signature", lambda: NOW)


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        ("52.89.214.238", "", None),
        ("52.89.214.239", "", 403),
        ("10.1.2.3", "52.89.214.238", None),  # the proxy's word
        ("10.1.2.3", "52.89.214.238, 6.6.6.6", 403),  # the sender's own, and what the proxy saw
        ("10.1.2.3", "6.6.6.6, 52.89.214.238", None),
        ("6.6.6.6", "52.89.214.238", 403),  # no proxy of ours
        ("10.1.2.3", "", 403),
        ("", "", 403),
        ("10.1.2.3", "nonsense", 403),
    ],
)
def test_only_the_addresses_that_may_send_do(peer: str, forwarded: str, status: int | None) -> None:
    at = NOW / 1e9
    headers = {name.lower(): value for name, value in signed(BODY, at=at).items()}
    headers |= {"x-forwarded-for": forwarded} if forwarded else {}

    refusal = guard(allow=("52.89.214.238",), proxies=("10.0.0.0/8",)).refusal(
        Post("", headers, BODY, peer)
    )

    assert (refusal.status if refusal else None) == status


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    bucket = Bucket(10.0, lambda: now[0])

    assert [bucket.take() for _ in range(25)].count(True) == 20
    now[0] += 0.5
    assert [bucket.take() for _ in range(25)].count(True) == 5


def test_a_webhook_without_a_server_is_the_operators_to_mend(tmp_path: Path) -> None:
    settings = Settings(
        storage=StorageSettings(path=tmp_path),
        server=ServerSettings(listen=""),
        vendors={"webhook": {"api_key": KEY}},
        feeds={"relay": RELAY},
    )

    with pytest.raises(ConfigError, match="a webhook needs the HTTP server, which is off"):
        plan_feeds(settings, tmp_path / "config.toml")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fields": {**FIELDS, "colour": "c"}}, "a trade has no column 'colour'"),
        ({"fields": {"symbol": "s"}}, "fields lacks event_time, last_price"),
        ({"allow": ["here"]}, "'here' is no address"),
        ({"auth": "none"}, "auth"),
        ({"time_format": "days"}, "time_format"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    settings = Settings(
        storage=StorageSettings(path=tmp_path),
        vendors={"webhook": {"api_key": KEY}},
        feeds={"relay": {**RELAY, **change}},
    )

    with pytest.raises(ConfigError, match=says):
        plan_feeds(settings, tmp_path / "config.toml")


def post(header: str) -> Post:
    return Post("", {"x-edc-signature": header}, BODY, "127.0.0.1")


@pytest.mark.parametrize(
    "change",
    [
        lambda told: f"{told},xv1=0",
        lambda told: f"v1=0,{told}",
        lambda told: f"{told},v1=0",
        lambda told: f"t=1,{told}",
        lambda told: f"{told}, {told}",
    ],
)
def test_a_signature_that_is_dressed_up_is_taken_once_at_most(change: Any) -> None:
    """Whatever stands beside it: it is remembered as itself, and what is told twice is nothing."""
    told = signed(BODY, at=NOW / 1e9)["X-Edc-Signature"]
    door = guard()

    first = door.refusal(post(change(told)))
    again = [door.refusal(post(header)) for header in (told, told, change(told))]

    taken = [first, *again].count(None)
    assert taken == 1
    assert all(reply is None or reply.status in (401, 409) for reply in [first, *again])


def test_what_is_being_taken_is_not_taken_beside_it_but_again_where_it_failed() -> None:
    told = signed(BODY, at=NOW / 1e9)["X-Edc-Signature"]
    door = guard()

    assert door.refusal(post(told)) is None
    beside = door.refusal(post(told))
    door.again(post(told))

    assert beside is not None
    assert beside.status == 409
    assert door.refusal(post(told)) is None


@pytest.mark.parametrize("auth", ["hmac", "header", "path"])
def test_without_a_secret_nobody_is_let_in(auth: str) -> None:
    options = guard(auth=auth)._options
    door = Guard(options, "", "X-Edc-Signature", lambda: NOW)
    told = signed(BODY, key="", at=NOW / 1e9)["X-Edc-Signature"]

    for sent in (post(told), post(""), Post("", {}, BODY, "127.0.0.1")):
        refusal = door.refusal(sent)
        assert refusal is not None
        assert refusal.status == 401


@pytest.mark.parametrize(
    "digits", ["\u0661\u0662\u0663", "1\u00b2", " 1", "+1", "1_0", "1e9", "-1", ""]
)
def test_a_time_in_other_digits_is_none(digits: str) -> None:
    """It is signed by who knows the secret, and still refused."""
    at = f"{digits}"
    signature = hmac.new(KEY.encode(), at.encode() + b"." + BODY, hashlib.sha256).hexdigest()

    refusal = guard().refusal(post(f"t={at},v1={signature}"))

    assert refusal is not None
    assert refusal.status == 401
