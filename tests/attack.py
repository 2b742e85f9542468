"""`python -m tests.attack`: a daemon with webhooks, in a process of its own, under attack.

Each attack is what somebody without the secret can do to an open port, or somebody who has heard an
honest request. After each one an honest sender must be served, and at the end nothing but what the
honest ones have sent may be on disk. Prints a line for each, with the answers that came; exits 1
where one was not refused as it should be, or the daemon was harmed.
"""

import contextlib
import hashlib
import hmac
import json
import os
import re
import socket
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.harness import KEY, Process, read

CONFIG = """
[storage]
path = "{lake}"

[spool]
interval = "50ms"

[server]
listen = "127.0.0.1:0"

[vendors.webhook]
api_key = "{key}"
[vendors.tradingview]
api_key = "{key}"
[vendors.finnhub]
api_key = "{key}"

[feeds.relay]
vendor = "webhook"
channel = "events"
event_type = "trade"
time_format = "ms"
fields = {{ symbol = "s", event_time = "t", last_price = "p", trade_id = "id" }}
symbols = {{ stock = ["*"] }}

[feeds.alerts]
vendor = "tradingview"
channel = "alerts"
allow = ["127.0.0.0/8"]
symbols = {{ stock = ["aapl"] }}

[feeds.elsewhere]
vendor = "tradingview"
channel = "alerts"
proxies = ["10.0.0.0/8"]
symbols = {{ stock = ["aapl"] }}

[feeds.news]
vendor = "finnhub"
channel = "webhook"
symbols = {{ stock = ["*"] }}
"""
WITHIN = 12.0
CONNECTIONS = 600
MOST_GROWTH = 96 << 20
"""Bytes of memory that the attacks may cost."""
CUT = 0
"""The answer of a server that hangs up."""


def body(number: int) -> bytes:
    return json.dumps({"s": "AAPL", "t": 1_788_676_200_123, "p": 227.5, "id": str(number)}).encode()


def sign(data: bytes, told: str | None = None, key: str = KEY) -> str:
    at = str(int(time.time())) if told is None else told
    signature = hmac.new(key.encode(), at.encode() + b"." + data, hashlib.sha256).hexdigest()
    return f"t={at},v1={signature}"


def request(
    data: bytes,
    *headers: str,
    path: str = "/hooks/relay",
    length: int | None = None,
    kind: str = "application/json",
    method: str = "POST",
) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: edc", f"Content-Type: {kind}", *headers]
    if length != -1:
        lines.append(f"Content-Length: {len(data) if length is None else length}")
    return "\r\n".join(lines).encode(errors="surrogateescape") + b"\r\n\r\n" + data


def signed(data: bytes, *headers: str, told: str | None = None, key: str = KEY) -> bytes:
    return request(data, f"X-Edc-Signature: {sign(data, told, key)}", *headers)


class Target:
    """The daemon."""

    def __init__(self, folder: Path) -> None:
        self.lake = folder / "lake"
        config = folder / "config.toml"
        config.write_text(CONFIG.format(lake=self.lake, key=KEY))
        self.daemon = Process("run", "--log-format", "text", "--config", str(config), cwd=folder)
        self.daemon.wait_for("http://127.0.0.1:")
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.daemon.output)
        assert found is not None
        self.port = int(found[1])
        self.honest = 0

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), WITHIN)
        made.settimeout(WITHIN)
        return made

    def answers(self, *parts: bytes, pause: float = 0.0, number: int = 1) -> list[int]:
        """The statuses that come back for what is sent; `CUT` where the server hangs up."""
        with self.connect() as made:
            data = b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                for part in parts:
                    made.sendall(part)
                    time.sleep(pause)
            with contextlib.suppress(ConnectionError, TimeoutError):
                while len(re.findall(rb"HTTP/1\.1 (?!100)\d{3}", data)) < number:
                    more = made.recv(65536)
                    if not more:
                        break
                    data += more
            told = [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3})", data) if each != b"100"]
            return told or [CUT]

    def serves(self) -> bool:
        """An honest sender gets its event onto the disk."""
        self.honest += 1
        end = time.monotonic() + WITHIN
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if self.answers(signed(body(self.honest))) == [200]:
                    return True
            time.sleep(0.2)
        return False

    @property
    def memory(self) -> int:
        """Bytes that the process has."""
        pages = int(Path(f"/proc/{self.daemon.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def replayed(target: Target) -> list[int]:
    """An honest request, heard by somebody, and sent again; also dressed up."""
    target.honest += 1
    data = body(target.honest)
    told = sign(data)
    first = target.answers(request(data, f"X-Edc-Signature: {told}"))
    assert first == [200]
    dressed = (told, f"{told},xv1=0", f"a=b, {told}", f"{told},v1=0", f"{told}, {told}")
    return [
        status
        for header in dressed
        for status in target.answers(request(data, f"X-Edc-Signature: {header}"))
    ]


def crowd(target: Target) -> list[int]:
    """Many connections at once that say nothing, half a request, or a body that never ends."""
    half = signed(body(0))[:-5]
    made = []
    for number in range(CONNECTIONS):
        with contextlib.suppress(OSError):
            one = target.connect()
            made.append(one)
            one.sendall((b"", b"POST /hooks/relay HT", half)[number % 3])
    time.sleep(7.0)
    open_ = 0
    for one in made:
        one.setblocking(False)
        try:
            open_ += one.recv(4096, socket.MSG_PEEK) != b""
        except BlockingIOError:
            open_ += 1
        except OSError:
            pass
        one.close()
    return [CUT if open_ < CONNECTIONS else 200]


def bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(b" " * (64 << 20)) + packer.flush()


class Attack(NamedTuple):
    """What is done, and the answers of which each has to be one."""

    name: str
    make: Callable[[Target], list[int]]
    expected: set[int]
    slow: bool = False


def attacks() -> Iterator[Attack]:
    data = body(0)
    deep = b'{"s":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    old, ahead = str(int(time.time()) - 900), str(int(time.time()) + 900)
    flood = [f"X-{number}: {'y' * 4000}" for number in range(500)]
    chunk = b"%x\r\n" % 50_000 + b"x" * 50_000 + b"\r\n"
    chunked = request(
        b"", f"X-Edc-Signature: {sign(data)}", "Transfer-Encoding: chunked", length=-1
    )

    def plain(name: str, expected: set[int], *parts: bytes, pause: float = 0.0) -> Attack:
        return Attack(
            name, lambda target: target.answers(*parts, pause=pause), expected, bool(pause)
        )

    yield plain("no signature", {401}, request(data))
    yield plain("signed with another key", {401}, signed(data, key="another"))
    yield plain("signed with an empty key", {401}, signed(data, key=""))
    yield plain(
        "signature of another body", {401}, request(data, f"X-Edc-Signature: {sign(b'{}')}")
    )
    yield plain("stale", {401}, signed(data, told=old))
    yield plain("of the future", {401}, signed(data, told=ahead))
    yield plain("time in Arabic digits", {400, 401}, signed(data, told="\u0661\u0662\u0663"))
    yield plain("time without end", {401}, signed(data, told="9" * 4000))
    yield plain(
        "signature twice, the right one last",
        {401},
        request(data, "X-Edc-Signature: t=1,v1=00", f"X-Edc-Signature: {sign(data)}"),
    )
    yield Attack("replayed, plain and dressed up", replayed, {401, 409})
    yield plain("ten megabytes", {413, CUT}, request(b"x" * (10 << 20)))
    yield plain("ten megabytes in chunks", {413, CUT}, chunked, *[chunk] * 200, b"0\r\n\r\n")
    yield plain(
        "gzip, 64 MB of blanks", {400, 401, 413, CUT}, request(bomb(), "Content-Encoding: gzip")
    )
    yield plain("slow body", {408, CUT}, request(b"{", length=1000), *[b" "] * 8, pause=1.0)
    yield plain(
        "slow headers", {408, CUT}, b"POST /hooks/relay HTTP/1.1\r\n", *[b"X: y\r\n"] * 8, pause=1.0
    )
    yield plain("deep JSON, unsigned", {401}, request(deep))
    yield plain("wrong content type", {415}, request(data, kind="application/xml"))
    yield plain("form", {415}, request(data, kind="application/x-www-form-urlencoded"))
    yield plain("GET", {405}, request(b"", method="GET"))
    yield plain("PUT", {405}, request(data, method="PUT"))
    for path in (
        "/hooks/relay/more",
        "/hooks/relay/more/still",
        "/hooks/other",
        "/hooks/",
        "/hooks/%2e%2e%2fmetrics",
        "/hooks/relay%00",
        "/hooks//relay",
        "/hooks/../hooks/other",
        "/HOOKS/relay",
    ):
        yield plain(
            f"path {path}", {404, 405}, request(data, f"X-Edc-Signature: {sign(data)}", path=path)
        )
    for path in (
        "/hooks/alerts",
        "/hooks/alerts/",
        "/hooks/alerts/wrong",
        f"/hooks/alerts/{KEY}x",
        f"/hooks/alerts/{KEY[:-1]}",
    ):
        yield plain(
            f"secret path {path.replace(KEY, 'KEY').replace(KEY[:-1], 'KE')}",
            {401, 404},
            request(data, path=path),
        )
    yield plain(
        "from an address that may not send", {403}, request(data, path=f"/hooks/elsewhere/{KEY}")
    )
    yield plain(
        "forged X-Forwarded-For",
        {403},
        request(data, "X-Forwarded-For: 52.89.214.238", path=f"/hooks/elsewhere/{KEY}"),
    )
    yield plain(
        "Finnhub's header, wrong", {401}, request(data, "X-Finnhub-Secret: no", path="/hooks/news")
    )
    yield plain(
        "Finnhub's header, twice",
        {401},
        request(data, f"X-Finnhub-Secret: {KEY}", "X-Finnhub-Secret: no", path="/hooks/news"),
    )
    yield plain("Finnhub's header, missing", {401}, request(data, path="/hooks/news"))
    yield plain("flood of headers", {400, 431, CUT}, request(data, *flood))
    yield plain(
        "header of a megabyte",
        {400, 431, CUT},
        request(data, f"X-Edc-Signature: {'a' * (1 << 20)}"),
    )
    yield plain("length and chunks", {400, CUT}, request(data, "Transfer-Encoding: chunked"))
    yield plain("two lengths", {400, CUT}, request(data, "Content-Length: 3"))
    yield plain("negative length", {400, CUT}, request(data, length=-7))
    yield plain("no HTTP at all", {400, CUT}, os.urandom(4096) + b"\r\n\r\n")
    yield plain(
        "TLS hello", {400, CUT}, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500)
    )
    yield Attack(
        "pipelined: fifty wrong ones",
        lambda target: target.answers(*[request(data)] * 50, number=50),
        {401},
    )
    yield plain(
        "signature that is no text",
        {400, 401},
        request(data, "X-Edc-Signature: t=1,v1=\udcff\udcfe"),
    )
    yield Attack(f"{CONNECTIONS} connections that say nothing more", crowd, {CUT}, slow=True)


def judged(target: Target, todo: Iterable[Attack]) -> list[str]:
    """What has gone wrong, one line each; tells of every attack as it goes."""
    wrong = []
    assert target.serves()
    before = target.memory
    for name, make, expected, _ in todo:
        started = time.monotonic()
        answers = make(target)
        served = target.serves()
        alive = target.daemon.process.poll() is None
        fine = bool(answers) and set(answers) <= expected and served and alive
        told = ", ".join(
            "hung up" if status == CUT else str(status) for status in sorted(set(answers))
        )
        mark = "ok  " if fine else "BAD "
        sys.stdout.write(f"{mark}{name:52} {told:12} {time.monotonic() - started:5.1f} s\n")
        sys.stdout.flush()
        if not fine:
            wrong.append(f"{name}: answered {answers}, served {served}, alive {alive}")
    growth = target.memory - before
    sys.stdout.write(f"memory: {growth / (1 << 20):+.0f} MiB\n")
    if growth > MOST_GROWTH:
        wrong.append(f"memory has grown by {growth} bytes")
    return wrong


def left(target: Target) -> list[str]:
    """What is on disk that should not be, once the daemon has stopped."""
    wrong = []
    rows = read(target.lake, "trade")
    if sorted(map(int, rows["trade_id"])) != list(range(1, target.honest + 1)):
        wrong.append(f"{rows.height} trades for {target.honest} honest requests")
    if not read(target.lake, "ref_px").is_empty():
        wrong.append("alerts were recorded")
    letters = [path.name for path in (target.lake / ".dead").glob("*")]
    if letters:
        wrong.append(f"dead letters: {letters}")
    if "Traceback" in target.daemon.output:
        wrong.append("a traceback in the log")
    if KEY in target.daemon.output:
        wrong.append("the secret is in the log")
    return wrong


def main() -> int:
    """Run it from the command line."""
    with tempfile.TemporaryDirectory() as folder:
        target = Target(Path(folder))
        try:
            wrong = judged(target, attacks())
        finally:
            target.daemon.process.terminate()
            code = target.daemon.wait()
        wrong += left(target)
        if code:
            wrong.append(f"the daemon ended with {code}")
    sys.stdout.write("\n".join(wrong or [f"{target.honest} honest requests, all on disk"]) + "\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
