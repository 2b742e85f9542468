"""Who sees the page and the metrics, and what it costs if somebody looks for long."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from edc import config, page
from edc.errors import ConfigError
from edc.logs import redact
from edc.page import Page
from edc.server import HttpServer
from tests.harness import until
from tests.test_server import One

TOKEN = "a-token-of-24-characters"


async def look() -> dict[str, object]:
    """Something to see; a line break in it must not end a message."""
    return {"said": "one\n\nevent: forged\ndata: x"}


@asynccontextmanager
async def serving(
    token: str = "", body: Page | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, HttpServer]]:
    """A server with a page, and a client that follows nothing by itself."""
    page_ = body or Page(look, lambda: {"t": 1}, every=0.02)
    checks = {"feed a": False}
    http = HttpServer("127.0.0.1:0", One(), lambda: checks, page=page_, token=token)
    await http.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http.port}") as client:
            yield client, http
    finally:
        await http.stop()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8480", 200),
        ("localhost", 200),
        ("LOCALHOST:8480", 200),
        ("[::1]:8480", 200),
        ("192.168.0.7", 200),
        ("edc.example.com:8480", 403),
        ("127.0.0.1.example.com", 403),
        ("localhost.example.com", 403),
        ("", 403),
    ],
)
async def test_a_name_that_was_made_to_mean_this_machine_is_refused(host: str, status: int) -> None:
    async with serving() as (client, _):
        for path in ("/", "/metrics"):
            assert (await client.get(path, headers={"Host": host})).status_code == status
        assert (await client.get("/livez", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_gets_nothing_into_its_page(site: str) -> None:
    async with serving() as (client, _):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors"}
        for path in ("/", "/metrics", "/events"):
            assert (await client.get(path, headers=headers)).status_code == 403
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        assert (await client.get("/", headers=link)).status_code == 200


async def test_a_token_is_asked_for_by_all_but_health() -> None:
    async with serving(TOKEN) as (client, _):
        for path in ("/", "/metrics", "/events"):
            answer = await client.get(path)
            assert answer.status_code == 401
            assert TOKEN not in answer.text
            for wrong in ("", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
                got = await client.get(path, headers={"Authorization": wrong})
                assert got.status_code == 401
        assert (await client.get("/metrics")).headers["WWW-Authenticate"] == "Bearer"
        assert (await client.get("/livez")).status_code == 200
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"ready": False})
        own = {"Authorization": f"Bearer {TOKEN}"}
        assert (await client.get("/metrics", headers=own)).status_code == 200
        told = await client.get("/readyz", headers=own)
        assert told.json() == {"ready": False, "checks": {"feed a": False}}
        assert (await client.post("/hooks/none")).status_code == 404  # not the gate's matter


@pytest.mark.parametrize("way", ["address", "form"])
async def test_the_way_in_leaves_a_cookie_and_no_token_in_the_address(way: str) -> None:
    async with serving(TOKEN) as (client, _):
        if way == "address":
            answer = await client.get("/", params={"token": TOKEN})
        else:
            answer = await client.post("/login", data={"token": TOKEN})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Secure" not in cookie
        assert TOKEN not in cookie
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        for path in ("/?token=wrong", "/?token="):
            client.cookies.clear()
            assert (await client.get(path)).status_code == 401
        secure = {"X-Forwarded-Proto": "https"}
        answer = await client.get("/", params={"token": TOKEN}, headers=secure)
        assert "Secure" in answer.headers["Set-Cookie"]
    client.cookies.clear()
    async with serving("another-token-altogether") as (client, _):
        session = cookie.split(";")[0].partition("=")
        client.cookies.set(session[0], session[2])
        assert (await client.get("/metrics")).status_code == 401


async def test_the_page_allows_nothing_but_itself() -> None:
    async with serving() as (client, _):
        answer = await client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "{{" not in answer.text
    assert " on" + "click" not in answer.text
    assert "style=" not in answer.text
    assert "innerHTML" not in answer.text


async def test_the_stream_greets_and_goes_on_in_whole_messages() -> None:
    async with serving() as (client, _), client.stream("GET", "/events") as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        names: list[str] = []
        async for line in stream.aiter_lines():
            name, _, data = line.partition(": ")
            if name == "event":
                names.append(data)
            elif name == "data":
                json.loads(data)
            if "point" in names:
                break
    assert names[:2] == ["history", "status"]
    assert set(names) == {"history", "status", "point"}  # and nothing forged


async def test_so_many_may_look_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_MOST_CLIENTS", 2)
    async with serving() as (client, http):
        assert http._page is not None
        async with client.stream("GET", "/events"), client.stream("GET", "/events"):
            refused = await client.get("/events")
            assert refused.status_code == 503
            assert refused.headers["Retry-After"] == "5"
        await until(lambda: http._page is not None and http._page.clients == 0)
        async with client.stream("GET", "/events") as again:
            assert again.status_code == 200


async def test_a_browser_that_is_stuck_costs_one_buffer_and_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page, "_STUCK", 0.5)
    made = 0

    async def much() -> dict[str, object]:
        nonlocal made
        made += 1
        return {"much": "x" * 200_000}

    async with serving(body=Page(much, dict, every=0.02)) as (client, http):
        assert http._page is not None
        stuck = socket.create_connection(("127.0.0.1", http.port))
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: http._page is not None and http._page.clients == 1)
        await until(lambda: http._page is not None and http._page.clients == 0)
        before = made
        await asyncio.sleep(0.2)
        assert made == before  # nobody looks, so nothing is made
        assert (await client.get("/livez")).status_code == 200
        stuck.close()


async def test_a_page_that_cannot_be_made_does_not_end_the_daemon(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = True

    async def broken() -> dict[str, object]:
        if failing:
            raise RuntimeError("no")
        return {"fine": True}

    async with serving(body=Page(broken, dict, every=0.02)) as (client, http):
        assert http._page is not None
        http._page.clients += 1
        await until(lambda: "the status page cannot be made" in caplog.text)
        failing = False
        async with client.stream("GET", "/events") as stream:
            async for line in stream.aiter_lines():
                if line == 'data: {"fine":true}':
                    break


async def test_the_server_stops_while_somebody_looks() -> None:
    async with asyncio.timeout(10):
        async with serving() as (client, _):
            stream = await client.send(client.build_request("GET", "/events"), stream=True)
        await stream.aclose()


def written(folder: Path, server: str) -> Path:
    """A config with nothing but a server."""
    path = folder / "config.toml"
    path.write_text(f"[server]\n{server}\n")
    return path


@pytest.mark.parametrize("listen", ["0.0.0.0:8480", "[::]:8480", "192.168.0.7:1", "myhost:8480"])
def test_to_be_reached_from_elsewhere_a_token_is_needed(tmp_path: Path, listen: str) -> None:
    path = written(tmp_path, f'listen = "{listen}"')

    with pytest.raises(ConfigError) as caught:
        config.load(path)

    assert str(caught.value) == (
        f"{path}: [server] listen: {listen} can be reached from other machines, and there is no "
        "token; set EDC_SERVER__TOKEN to what `openssl rand -hex 24` says, or listen on 127.0.0.1"
    )
    path.write_text(path.read_text() + f'token = "{TOKEN}"\n')
    assert config.load(path).server.secret == TOKEN
    assert TOKEN not in redact(f"x {TOKEN} x")


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.8.8:1", "[::1]:8480", "localhost:1", ""])
def test_on_this_machine_none_is_needed(tmp_path: Path, listen: str) -> None:
    assert config.load(written(tmp_path, f'listen = "{listen}"')).server.secret == ""


def test_the_token_comes_from_the_environment_or_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, 'listen = "0.0.0.0:8480"')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "edc_server_token").write_text(f"{TOKEN}\n")
    assert config.load(path).server.secret == TOKEN
    monkeypatch.setenv("EDC_SERVER__TOKEN", "another-token-altogether")
    assert config.load(path).server.secret == "another-token-altogether"
    assert "another" not in repr(config.load(path))


@pytest.mark.parametrize("where", ["file", "credential"])
def test_a_short_token_is_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = written(tmp_path, 'token = "short-one"' if where == "file" else "")
    if where == "credential":
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        (tmp_path / "edc_server_token").write_text("short-one")

    with pytest.raises(ConfigError, match="the token is too short; write 16 characters") as caught:
        config.load(path)

    assert "short-one" not in str(caught.value)
