"""The API key comes out nowhere: not in logs, files, answers or metrics, whatever a vendor says."""

import asyncio
import base64
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import quote, quote_plus
from urllib.request import urlopen

import polars as pl
import pytest
from aiohttp import WSMsgType, web

from edc.logs import redact
from edc.simulator.tiingo import TiingoSimulator
from tests import harness

KEY = "cnry+K3y/9f4a7b==c1e8/Zq"
"""Reads otherwise when it is URL-encoded, and half of it is telling."""

FEEDS = """
[feeds.talkative]
vendor = "tiingo"
channel = "crypto"
threshold_level = 2
symbols = { crypto = ["btcusd"] }

[feeds.refused]
vendor = "tiingo"
channel = "fx"
symbols = { fx = ["eurusd"] }

[feeds.handshake]
vendor = "tiingo"
channel = "iex"
symbols = { stock = ["aapl"] }

[feeds.forbidden]
vendor = "tiingo"
channel = "iex_rest"
interval = "1s"
symbols = { stock = ["aapl"] }

[feeds.malformed]
vendor = "tiingo"
channel = "fx_rest"
interval = "1s"
symbols = { fx = ["eurusd"] }

[feeds.redirected]
vendor = "tiingo"
channel = "crypto_rest"
interval = "1s"
symbols = { crypto = ["btcusd"] }

[feeds.unreachable]
vendor = "down"
channel = "crypto"
symbols = { crypto = ["btcusd"] }

[feeds.unreachable_rest]
vendor = "down"
channel = "crypto_rest"
interval = "1s"
symbols = { crypto = ["btcusd"] }
"""


def forms(key: str) -> Iterator[bytes]:
    """The key as it might be written, and every piece of it that would be telling."""
    for text in (key, quote(key, safe=""), quote_plus(key), quote(key, safe="").lower()):
        yield text.encode()
    for start in range(len(key) - 8):
        yield key[start : start + 9].encode()
    for shift in range(3):  # wherever in a longer text it begins
        encoded = base64.b64encode(b"x" * shift + key.encode()).decode()
        yield encoded[4:-4].encode()
    yield key.encode().hex().encode()


FORMS = tuple(forms(KEY))


def tells(data: bytes | str) -> bool:
    """True if the key can be read from `data`."""
    data = data.encode() if isinstance(data, str) else data
    return any(form in data for form in FORMS)


def leaks(folder: Path) -> list[str]:
    """Every file below `folder` that holds the key, in its bytes, its rows or its footer."""
    found = []
    for path in folder.rglob("*"):
        if not path.is_file() or path.name in {"config.toml", ".env", "key"}:
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # a chunk that was flushed meanwhile
            continue
        if path.suffix == ".parquet":
            data += str(pl.read_parquet_metadata(path)).encode()
            data += pl.read_parquet(path, hive_partitioning=False).write_csv().encode()
        if tells(data) or tells(path.name):
            found.append(str(path))
    return found


class Indiscreet:
    """A vendor that repeats the key wherever it can."""

    def __init__(self) -> None:
        self.connections = 0
        self.polls = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes(
            [
                web.get("/crypto", self._talkative),
                web.get("/fx", self._refused),
                web.get("/iex", self._handshake),
                web.get("/iex/", self._forbidden),
                web.get("/tiingo/fx/top", self._malformed),
                web.get("/tiingo/crypto/top", self._redirected),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    async def _open(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        asked = await socket.receive()
        assert asked.type is WSMsgType.TEXT
        assert json.loads(asked.data)["authorization"] == KEY
        return socket

    async def _talkative(self, request: web.Request) -> web.WebSocketResponse:
        """Data, frames of every bad kind, and a goodbye with the key in its reason."""
        socket = await self._open(request)
        self.connections += 1
        stamp = f"2026-02-13T13:09:22.{self.connections:06d}+00:00"
        row = ["T", "btcusd", stamp, "gdax", 0.5, 100.0]
        head = {"service": "crypto_data", "messageType": "A"}
        await socket.send_json({"messageType": "I", "response": {"code": 200, "message": KEY}})
        await socket.send_json({**head, "data": row})
        await socket.send_str(f"no JSON but {KEY}")
        await socket.send_str(f"cut in the middle {KEY[:12]}")
        await socket.send_json({"messageType": f"?{KEY}"})
        await socket.send_json({**head, "service": KEY, "data": row})
        await socket.send_json({**head, "data": ["T", "btcusd", KEY, "gdax", 0.5, 100.0]})
        await socket.send_json({**head, "data": ["T", "btcusd", stamp, "gdax", KEY, 100.0]})
        await socket.send_json({**head, "data": ["Z", quote(KEY, safe="")]})
        for padding in (b"\xff", b"\xff ", b"\xff  "):  # not text, at each offset of base64
            await socket.send_bytes(padding + KEY.encode())
        await socket.close(code=1008, message=f"token {KEY} was seen twice".encode())
        return socket

    async def _refused(self, request: web.Request) -> web.WebSocketResponse:
        socket = await self._open(request)
        text = f"Invalid token {KEY} ({quote_plus(KEY)})\nTry again"
        await socket.send_json({"messageType": "E", "response": {"code": 401, "message": text}})
        await socket.close()
        return socket

    async def _handshake(self, request: web.Request) -> web.Response:
        return web.Response(status=401, text=f"token {KEY}", headers={"X-Token": KEY}, reason=KEY)

    async def _forbidden(self, request: web.Request) -> web.Response:
        assert KEY in request.headers["Authorization"]
        return web.json_response({"detail": f"Invalid token {KEY}"}, status=403)

    async def _malformed(self, request: web.Request) -> web.Response:
        self.polls += 1
        match self.polls % 4:
            case 1:
                rows = [{"ticker": "EURUSD", "quoteTimestamp": KEY}, {"ticker": 7, "token": KEY}]
                return web.json_response(rows)
            case 2:
                return web.Response(text=f"<html>Token {KEY}</html>")
            case 3:
                return web.Response(body=b"\xff" + KEY.encode())
        return web.Response(status=500, text="x" * 290 + KEY)

    async def _redirected(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(f"/elsewhere?token={quote_plus(KEY)}")


def give(folder: Path, config: Path, source: str) -> dict[str, str]:
    """Put the key where `source` says; the environment that goes with it."""
    text = config.read_text()
    match source:
        case "config":
            config.write_text(text.replace(harness.KEY, KEY))
            return {}
        case "environment":
            config.write_text(text.replace(f'api_key = "{harness.KEY}"\n', ""))
            return {"TIINGO_API_KEY": KEY, "DOWN_API_KEY": KEY}
        case ".env":
            config.write_text(text.replace(f'api_key = "{harness.KEY}"\n', ""))
            (folder / ".env").write_text(f"TIINGO_API_KEY='{KEY}'\nDOWN_API_KEY='{KEY}'\n")
            return {}
    (folder / "key").write_text(f"{KEY}\n")
    file = f'api_key_file = "{folder / "key"}"\n'
    config.write_text(text.replace(f'api_key = "{harness.KEY}"\n', file))
    return {}


async def told(folder: Path, *arguments: str) -> str:
    """What a command prints, in an environment that does not know the key."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edc", *arguments),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


@pytest.mark.parametrize(
    ("log_format", "source"), [("text", "environment"), ("json", "config"), ("text", "key file")]
)
async def test_a_vendor_that_repeats_the_key_does_not_bring_it_out(
    log_format: str, source: str, tmp_path: Path
) -> None:
    async with Indiscreet() as vendor:
        down = f'[vendors.down]\nadapter = "tiingo"\nurl = "ws://127.0.0.1:1/{quote(KEY)}"\n'
        down += f'rest_url = "http://127.0.0.1:1"\napi_key = "{harness.KEY}"\n'
        path = harness.write_config(
            tmp_path, f"ws://{vendor.url}", f"http://{vendor.url}", feeds=down + FEEDS
        )
        path.write_text(path.read_text().replace('listen = ""', 'listen = "127.0.0.1:0"'))
        env = give(tmp_path, path, source)
        process = harness.Process(
            *("--debug", "run", "--log-format", log_format), cwd=tmp_path, env=env
        )
        await harness.until(lambda: vendor.connections >= 2 and vendor.polls >= 1, 40)
        await harness.until(
            lambda: all(
                f"feed {name}" in process.output
                for name in re.findall(r"\[feeds\.(\w+)\]", FEEDS)
                if name != "malformed"  # whose frames are kept, and no more
            ),
            40,
        )
        url = re.search(r"http://127\.0\.0\.1:\d+", process.output)
        assert url is not None
        assert leaks(tmp_path) == []  # the spool among them
        metrics = await asyncio.to_thread(lambda: urlopen(f"{url[0]}/metrics").read())
        assert b"edc_feed_skipped_frames_total" in metrics
        assert not tells(metrics)
        commands = [["status"], ["status", "--json"], ["flush", "--json"]]
        commands += [["inspect", "lake", "--json"], ["--debug", "check"]]
        for arguments in commands:
            output = await told(tmp_path, *arguments)
            assert not tells(output), arguments
        process.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) in {0, 2}
    assert harness.read(tmp_path / "lake", "trade").height
    for feed in ("talkative", "malformed"):
        assert (tmp_path / f"lake/.dead/{feed}.jsonl").stat().st_size
    assert "***" in process.output
    assert leaks(tmp_path) == []


@pytest.mark.parametrize("source", [".env", "key file"])
async def test_a_good_run_logged_to_the_last_detail_does_not_tell_the_key(
    source: str, tmp_path: Path
) -> None:
    async with harness.serving(TiingoSimulator(key=KEY)) as vendor:
        path = harness.write_config(tmp_path, vendor.url, vendor.rest_url)
        env = give(tmp_path, path, source)
        process = harness.Process("--debug", "run", "--duration", "1s", cwd=tmp_path, env=env)
        assert await asyncio.to_thread(process.wait) == 0
    assert harness.read(tmp_path / "lake", "trade").height
    assert leaks(tmp_path) == []


def test_the_search_for_leaks_would_find_one(tmp_path: Path) -> None:
    for number, form in enumerate((*FORMS, base64.b64encode(b"token: " + KEY.encode()))):
        path = tmp_path / str(number)
        path.write_bytes(b"before " + form + b" after")
        assert leaks(tmp_path) == [str(path)]
        path.unlink()
    path = tmp_path / "one.parquet"
    pl.DataFrame({"exchange": [KEY]}).write_parquet(path, compression="zstd")
    assert leaks(tmp_path) == [str(path)]
    pl.DataFrame({"exchange": ["gdax"]}).write_parquet(path, metadata={"edc.key": KEY})
    assert leaks(tmp_path) == [str(path)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"token {KEY}.", "token ***."),
        (f"token={quote(KEY, safe='')}&a=b", "token=***&a=b"),
        (json.dumps({"a": KEY}), '{"a": "***"}'),
        (f"{KEY}{KEY} {KEY}", "****** ***"),
        (f"cut short: {KEY[:12]}", "cut short: ***"),
        (f"cut short: {KEY[:12]}...", "cut short: ***..."),
        (f"{KEY[:9]} and {KEY[:9]}", "*** and ***"),
        (f"too little to tell: {KEY[:5]}", f"too little to tell: {KEY[:5]}"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_the_redactor_knows_a_key_whole_encoded_and_cut_short(text: str, expected: str) -> None:
    redact.add([KEY])
    assert redact(text) == expected


def test_two_keys_that_begin_alike_are_both_hidden_whole() -> None:
    redact.add(["account-1234567", "account-abcdefgh"])
    assert redact("account-1234567 account-abcdefgh account-") == "*** *** ***"
