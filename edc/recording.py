"""`edc record`: the frames of a feed as they came, in a file; and such a file read again.

JSON lines, plain, `.gz` or `.zst`, one frame a line: `{"received_ns": 1771957307903000000, "epoch":
1, "text": "…"}`, or `"b64"` for bytes that are not UTF-8. Polled answers have their HTTP `status`,
and what the request was `about`. The files of dead letters have this form too.
"""

import asyncio
import base64
import contextlib
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import msgspec
import zstandard

from edc.deadletters import DeadLetters
from edc.errors import ConfigError
from edc.feeds import FeedRunner, Times
from edc.ingest import Ingest
from edc.instruments import Catalog
from edc.ledger import Ledger
from edc.logs import redact
from edc.metrics import FeedStats
from edc.plan import Feed
from edc.queues import Queue, WhenFull
from edc.retry import pause
from edc.transport import Frame
from edc.transport.sockets import Library

_EVERY = 0.2
_ROOM = 65_536


class _Line(msgspec.Struct, omit_defaults=True):
    received_ns: int
    epoch: int
    text: str | None = None
    b64: str | None = None
    status: int = 0
    about: str = ""


def line_of(frame: Frame) -> bytes:
    """A frame as a line of the file. A key in it, which no vendor echoes, would be blacked out."""
    line = _Line(frame.received_ns, frame.epoch, status=frame.status, about=frame.about)
    try:
        line.text = redact(frame.data.decode())
    except UnicodeDecodeError:
        line.b64 = base64.b64encode(frame.data).decode()
    return msgspec.json.encode(line) + b"\n"


def frames_of(path: Path) -> Iterator[Frame]:
    """The frames of a file. Raises ConfigError where it is none, naming the line; and OSError.

    A last line that was cut off, by a kill while it was written, is left out.
    """
    torn = ""
    with _opened(path) as file:
        for number, text in enumerate(file, 1):
            if torn:
                raise ConfigError(f"{path}:{number - 1}", torn, "name a file of `edc record`")
            try:
                yield _frame(msgspec.json.decode(text, type=_Line))
            except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
                torn = f"is no recorded frame: {error}"
                if text.endswith(b"\n"):
                    raise ConfigError(
                        f"{path}:{number}", torn, "name a file of `edc record`"
                    ) from None


def _frame(line: _Line) -> Frame:
    if line.text is not None:
        data = line.text.encode()
    elif line.b64 is not None:
        data = base64.b64decode(line.b64, validate=True)
    else:
        raise ValueError("it has neither text nor b64")
    return Frame(data, line.received_ns, line.epoch, line.status, line.about)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file to read, decompressed by its name. Its end may be missing."""
    try:
        with contextlib.ExitStack() as stack:
            if path.suffix == ".gz":
                yield cast("IO[bytes]", stack.enter_context(gzip.open(path)))
            elif path.suffix == ".zst":
                file = stack.enter_context(path.open("rb"))
                reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
                yield io.BufferedReader(reader)
            else:
                yield stack.enter_context(path.open("rb"))
    except FileNotFoundError:
        raise ConfigError(
            str(path), "there is no such file", "name a file of `edc record`"
        ) from None
    except EOFError:  # of a gzip file that a kill has torn: all whole lines were read
        return
    except (gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise ConfigError(str(path), f"cannot be read: {error}", "name an intact file") from None


class Recorder:
    """Writes the frames of one feed to a file; everything else is as in the daemon.

    Nothing comes into the lake: events are counted and forgotten. The file is flushed five times a
    second, and compressed by its name.
    """

    def __init__(
        self,
        feed: Feed,
        path: Path,
        connect: Library,
        times: Times | None = None,
        catalog: Catalog | None = None,
    ) -> None:
        self._queues = {
            kind: Queue(kind, _ROOM, WhenFull.BLOCK) for kind in ("trade", "quote", "ref_px", "gap")
        }
        self.stats = FeedStats(feed.name, feed.vendor, feed.source)
        self._path = path
        self._stack = contextlib.ExitStack()
        self._file: IO[bytes]
        ingest = Ingest(
            self.stats,
            {kind: queue for kind, queue in self._queues.items() if kind != "gap"},
            DeadLetters(Path()),
            Ledger(self._queues["gap"]),
            tap=self._keep,
        )
        self.runner = FeedRunner(
            *(feed, ingest, connect, times or Times()), once=False, catalog=catalog
        )

    def _keep(self, frame: Frame) -> None:
        self._file.write(line_of(frame))

    async def run(self, stopping: asyncio.Event, duration: float | None = None) -> None:
        """Record until stopped, or for `duration` seconds. Raises OSError."""
        with self._stack:
            self._file = self._written()
            feed = asyncio.create_task(self.runner.run(stopping), name="feed")
            drain = asyncio.create_task(self._drain(), name="drain")
            timer = asyncio.create_task(pause(stopping, duration), name="timer")
            try:
                await asyncio.wait((feed, drain, timer), return_when=asyncio.FIRST_COMPLETED)
                stopping.set()
                if drain.done():
                    drain.result()  # the disk
                await feed
            finally:
                for task in (feed, drain, timer):
                    task.cancel()
                await asyncio.gather(feed, drain, timer, return_exceptions=True)

    async def _drain(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            for queue in self._queues.values():
                queue.drain()
            self._file.flush()

    def _written(self) -> IO[bytes]:
        """The file to write; one that is there already is not overwritten."""
        enter = self._stack.enter_context
        try:
            plain = enter(self._path.open("xb"))
        except FileExistsError:
            raise ConfigError(
                str(self._path), "exists already", "name another file with --output"
            ) from None
        if self._path.suffix == ".gz":
            return cast("IO[bytes]", enter(gzip.GzipFile(fileobj=plain, mode="wb")))
        if self._path.suffix == ".zst":
            return enter(zstandard.ZstdCompressor().stream_writer(plain))
        return plain
