"""`edc record` and `edc replay`: frames to a file, and from it into the lake."""

import asyncio
import contextlib
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from edc.cli import completion
from edc.cli.progress import Told, progress
from edc.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    err,
    errors,
    seconds_of,
    show,
)
from edc.config import load
from edc.errors import ConfigError
from edc.instruments import Catalog
from edc.metrics import FeedStats
from edc.plan import Feed, plan_feeds
from edc.recording import Recorder, frames_of
from edc.supervisor import Supervisor
from edc.transport import Frame
from edc.transport.libraries import library

_TOLD_EVERY = 1000


def record(
    feed: Annotated[
        str,
        typer.Argument(
            help="The name of a feed of the configuration.", autocompletion=completion.feeds
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new file; .gz and .zst are compressed."),
    ] = None,
    duration: Annotated[str | None, typer.Option(help='Stop after this long: "30s", "6h".')] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Write a feed's frames to a file as they come, for `edc replay`, tests and bug reports.

    It ends on Ctrl-C or after --duration. Exits with 1 if the feed was given up, 2 if something
    must be edited (config, key, the name of the file).

    Example:  edc record crypto --duration 60s --output crypto.jsonl.zst
    """
    with errors():
        seconds = seconds_of(duration)
        settings = load(config)
        planned = _the_feed(plan_feeds(settings, config, [feed]))
        if planned.channel.kind == "webhook":
            raise ConfigError(
                f"feed {feed}", "is posted to edc", "`edc run` takes it; record others"
            )
        path = output or Path(f"{feed}.jsonl")
        catalog = Catalog(settings.storage.home)
        recorder = Recorder(planned, path, library(settings.transport.websocket), catalog=catalog)
        asyncio.run(_until_stopped(recorder, seconds))
        answer = {"file": str(path), **_facts(recorder.stats)}
        show(answer, as_json=as_json, table=_sentence)
    raise typer.Exit(recorder.runner.exit_code)


async def _until_stopped(recorder: Recorder, seconds: float | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with err.status("recording; Ctrl-C ends it") if err.is_terminal else contextlib.nullcontext():
        await recorder.run(stopping, seconds)


def replay(
    file: Annotated[Path, typer.Argument(help="A file of `edc record`, or of dead letters.")],
    *,
    feed: Annotated[
        str, typer.Option(help="The feed whose frames they are.", autocompletion=completion.feeds)
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Bring recorded frames into the lake by the way that they would have taken live.

    The rows carry the receive time of the recording, so that replaying twice changes nothing.
    Exits with 2 if the file or the feed is none, 75 if a daemon holds the instance.

    Example:  edc replay crypto.jsonl.zst --feed crypto
    """
    with errors():
        settings = load(config)
        planned = _the_feed(plan_feeds(settings, config, [feed]))
        supervisor = Supervisor(settings, [])
        if not file.exists():
            raise ConfigError(str(file), "there is no such file", "name a file of `edc record`")
        with progress("replaying", quiet=as_json) as told:
            frames = _counted(frames_of(file), told, file.name)
            stats = asyncio.run(supervisor.replay(planned, frames))
        written = {kind: lane.stats for kind, lane in supervisor.lanes.items() if kind != "gap"}
        answer = {
            "file": str(file),
            **_facts(stats),
            "rows": {kind: lane.rows_written for kind, lane in written.items()},
            "duplicates": {kind: lane.duplicates for kind, lane in written.items()},
        }
        show(answer, as_json=as_json, table=_sentence)


def _the_feed(planned: list[Feed]) -> Feed:
    """The one connection of a feed; of one that takes several, the first has the same channel."""
    return planned[0]


def _counted(frames: Iterable[Frame], told: Told, name: str) -> Iterator[Frame]:
    """The frames, told now and then how many there were."""
    for number, frame in enumerate(frames):
        if number % _TOLD_EVERY == 0:
            told(name, number, None)
        yield frame


def _facts(stats: FeedStats) -> dict[str, Any]:
    return {
        "frames": stats.frames,
        "bytes": stats.received_bytes,
        "events": {kind: count for kind, count in stats.events.items() if count},
        "skipped": dict(stats.skipped),
        "problem": stats.problem,
    }


def _sentence(answer: dict[str, Any]) -> str:
    parts = [f"{answer['file']}: {answer['frames']:,} frames"]
    parts += [f"{count:,} {kind}" for kind, count in answer["events"].items() if count]
    parts += [f"{count:,} skipped ({reason})" for reason, count in answer["skipped"].items()]
    if "rows" in answer:
        parts.append(f"{sum(answer['rows'].values()):,} rows written")
        parts.append(f"{sum(answer['duplicates'].values()):,} duplicates dropped")
    return ", ".join(parts + ([answer["problem"]] if answer["problem"] else []))
