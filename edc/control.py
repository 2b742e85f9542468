"""The control socket: how `edc flush`, `edc reload` and `edc status` reach the daemon.

A Unix socket (mode 0600, in a folder of mode 0700) beside the spool. One JSON object a line each
way: `{"command": "flush"}`, answered by `{"ok": {…}}` or `{"error": "…"}`. The socket belongs to
whoever holds the instance's lock, so a stale one is simply replaced.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from edc.errors import Declined, EdcError, NoDaemon
from edc.logs import redact

_LONGEST_LINE = 64 * 1024
_LONGEST_NAME = 100  # sun_path holds 108 bytes on Linux, 104 elsewhere
_REQUEST_WITHIN = 5.0

log = logging.getLogger(__name__)

Command = Callable[[], Awaitable[Mapping[str, object]]]


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    command: str


class _Answer(msgspec.Struct):
    ok: dict[str, object] = {}
    error: str = ""
    exit_code: int = 1


class ControlServer:
    """Answers commands on a Unix socket while the daemon lives."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._silent: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen. Call only while holding the instance's lock."""
        self._path.unlink(missing_ok=True)
        with _short(self._path) as name:
            self._server = await asyncio.start_unix_server(self._serve, name, limit=_LONGEST_LINE)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            for writer in self._silent:  # from Python 3.12 on, wait_closed waits for these
                writer.close()
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self._silent.add(writer)
            async with asyncio.timeout(_REQUEST_WITHIN):
                line = await reader.readline()
            self._silent.discard(writer)
            answer = msgspec.json.encode(await self._answer(line)).decode()
            writer.write(redact(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            log.debug("control connection: %s", error)
        finally:
            self._silent.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            command = msgspec.json.decode(line, type=_Request).command
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return {"error": f"not a command: {error}"}
        if command not in self._commands:
            return {"error": f"unknown command {command!r}; known: {', '.join(self._commands)}"}
        try:
            return {"ok": await self._commands[command]()}
        except EdcError as error:
            return {"error": str(error), "exit_code": error.exit_code}
        except OSError as error:
            return {"error": str(error)}


def ask(path: Path, command: str, timeout: float = 60.0) -> dict[str, object]:
    """Send one command to the daemon whose socket is `path`; its answer.

    Raises NoDaemon if none listens, EdcError if it answers with an error, Declined where the
    operator can mend it.
    """
    try:
        with _short(path) as name, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(name)
            connection.sendall(msgspec.json.encode({"command": command}) + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NoDaemon(str(path.parent)) from None
    except OSError as error:
        raise EdcError(f"the daemon on {path.parent} does not answer: {error}") from None
    if not line:
        raise EdcError(f"the daemon on {path.parent} closed the connection")
    try:
        answer = msgspec.json.decode(line, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EdcError(f"the daemon on {path.parent} answers nonsense: {error}") from None
    if answer.error:
        raise (Declined if answer.exit_code == Declined.exit_code else EdcError)(answer.error)
    return answer.ok


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for the socket that fits sun_path, by way of its folder's descriptor if need be."""
    if len(os.fsencode(path)) <= _LONGEST_NAME:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
