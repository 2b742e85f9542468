"""The control socket: who may speak, what is answered, and what a bad client cannot do."""

import asyncio
import json
import socket
import stat
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edc import control, logs
from edc.control import ControlServer
from edc.errors import EdcError, NoDaemon
from edc.simulator.tiingo import TiingoSimulator
from tests import harness


@asynccontextmanager
async def serving(path: Path, **commands: control.Command) -> AsyncIterator[ControlServer]:
    """A server on `path` while inside."""
    server = ControlServer(path, commands)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def pong() -> Mapping[str, object]:
    return {"pong": True}


async def ask(path: Path, command: str = "ping") -> dict[str, object]:
    """What the command line does, from beside the event loop."""
    return await asyncio.to_thread(control.ask, path, command, 10.0)


async def say(path: Path, line: bytes) -> bytes:
    """Send bytes as they are; the answer until the server closes."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(line)
        return await reader.read()
    finally:
        writer.close()


async def test_a_command_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serving(path, ping=pong):
        assert await ask(path) == {"pong": True}


async def test_only_the_owner_may_speak(tmp_path: Path) -> None:
    async with harness.serving(TiingoSimulator(key=harness.KEY)) as simulator:
        daemon = harness.supervisor(harness.write_config(tmp_path, simulator.url))
        async with harness.running(daemon):
            path = daemon.spool.folder / "control.sock"
            await harness.until(path.exists)
            assert await ask(path, "status")
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_the_socket_is_gone_when_the_daemon_is(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serving(path, ping=pong):
        assert path.is_socket()
    assert not path.exists()
    with pytest.raises(NoDaemon) as caught:
        control.ask(path, "ping")
    assert str(caught.value) == f"no daemon is running on {tmp_path}; start one with `edc run`"


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NoDaemon):  # nobody listens on what a kill left behind
        control.ask(path, "ping")
    async with serving(path, ping=pong):
        assert await ask(path) == {"pong": True}


async def test_an_unknown_command_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serving(path, flush=pong, status=pong):
        with pytest.raises(EdcError, match=r"^unknown command 'flsh'; known: flush, status$"):
            await ask(path, "flsh")


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"garbage\n",
        b"\xff\xfe\x00\n",
        b"[]\n",
        b"{}\n",
        b'{"command": 7}\n',
        b'{"command": "ping", "force": true}\n',
        b'{"command": "ping"',
    ],
    ids=repr,
)
async def test_garbage_is_answered_with_an_error(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serving(path, ping=pong):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(line)
        writer.write_eof()
        answer = json.loads(await reader.read())
        writer.close()
        assert list(answer) == ["error"]
        assert answer["error"].startswith("not a command: ")
        assert await ask(path) == {"pong": True}


async def test_an_oversized_line_costs_only_its_own_connection(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serving(path, ping=pong):
        try:
            answer = await say(path, b"x" * 1_000_000 + b"\n")
        except ConnectionError:
            answer = b""
        assert answer == b""
        assert await ask(path) == {"pong": True}


async def test_half_a_line_held_open_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_REQUEST_WITHIN", 3600.0)
    path = tmp_path / "control.sock"
    async with serving(path, ping=pong):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"command"')
        await writer.drain()
        assert await ask(path) == {"pong": True}
        assert not reader.at_eof()
        writer.write(b': "ping"}\n')
        assert json.loads(await reader.readline()) == {"ok": {"pong": True}}
        writer.close()


async def test_half_a_line_is_cut_off_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_REQUEST_WITHIN", 0.1)
    path = tmp_path / "control.sock"
    async with serving(path, ping=pong):
        assert await say(path, b'{"command"') == b""


async def test_the_daemon_stops_while_a_client_holds_a_connection(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with asyncio.timeout(10):
        async with serving(path, ping=pong):
            _, writer = await asyncio.open_unix_connection(path)
            assert await ask(path) == {"pong": True}
        writer.close()
    assert not path.exists()


async def test_a_client_that_leaves_without_waiting_harms_nobody(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow() -> Mapping[str, object]:
        begun.set()
        await release.wait()
        return {"much": "x" * 1_000_000}

    async with serving(path, ping=pong, slow=slow):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"command": "slow"}\n')
        await begun.wait()
        writer.transport.abort()
        release.set()
        assert await ask(path) == {"pong": True}


async def test_a_path_longer_than_the_kernel_allows_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("longer" * 30)
    folder.mkdir(parents=True)
    path = folder / "control.sock"
    assert len(str(path)) > 108
    async with serving(path, ping=pong):
        assert path.is_socket()
        assert await ask(path) == {"pong": True}
    assert not path.exists()
    with pytest.raises(NoDaemon):
        control.ask(path, "ping")
    with pytest.raises(NoDaemon):
        control.ask(folder / "nowhere" / "control.sock", "ping")


async def test_an_error_of_a_command_reaches_the_client(tmp_path: Path) -> None:
    async def failing() -> Mapping[str, object]:
        raise OSError(28, "No space left on device")

    path = tmp_path / "control.sock"
    async with serving(path, flush=failing):
        with pytest.raises(EdcError, match="No space left on device"):
            await ask(path, "flush")


async def test_no_answer_carries_a_secret(tmp_path: Path) -> None:
    async def failing() -> Mapping[str, object]:
        raise EdcError("the vendor said: Invalid token very-secret")

    async def telling() -> Mapping[str, object]:
        return {"problem": "the vendor said: Invalid token very-secret"}

    logs.redact.add(["very-secret"])
    path = tmp_path / "control.sock"
    async with serving(path, failing=failing, telling=telling):
        for command in (b"failing", b"telling", b"very-secret"):
            answer = await say(path, b'{"command": "%s"}\n' % command)
            assert b"very-secret" not in answer
            assert b"***" in answer


def test_a_daemon_that_hangs_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(path))
        hanging.listen()
        with pytest.raises(EdcError) as caught:
            control.ask(path, "status", timeout=0.1)
        assert str(caught.value) == f"the daemon on {tmp_path} does not answer: timed out"


@pytest.mark.parametrize("answer", [b"", b"not json\n", b"[]\n", b'{"ok": 1}\n', b'{"ok": {"half"'])
def test_a_daemon_that_answers_nonsense_is_an_error_and_no_traceback(
    answer: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answering() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        helper = threading.Thread(target=answering)
        helper.start()
        with pytest.raises(EdcError, match=r"^the daemon on \S+ "):
            control.ask(path, "status", timeout=10.0)
        helper.join()
