"""`edc plan`: what a configuration will take of vendors and disk."""

import time
from pathlib import Path
from typing import Annotated

import typer

from edc import live
from edc.audit.verdict import open_lake
from edc.budget import budget
from edc.cli.terminal import DEFAULT_CONFIG, ConfigOption, JsonOption, errors, show
from edc.config import load
from edc.plan import plan_feeds


def plan(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    days: Annotated[int, typer.Option(min=1, help="For how many days the disk should do.")] = 90,
    as_json: JsonOption = False,
) -> None:
    """Say what the configuration takes: connections, requests, rows and bytes a day, and disk.

    Rows and bytes of a source are those of its last seven whole days in the lake, on average; of a
    source that the lake does not know there is a rough estimate by asset type, which is marked as
    one. Days that storage.keep_days removes are not counted. Exits with 1 if the disk has not the
    room for --days. No vendor is asked.

    Example:  edc plan --days 365
    """
    with errors():
        settings = load(config)
        storage = settings.storage
        on_disk = isinstance(storage.path, Path)
        known = None
        if isinstance(storage.path, Path) and (storage.path / ".lake.json").exists():
            known = open_lake(storage.path, storage.timezone, storage.partition)
        found = budget(
            plan_feeds(settings, config),
            known if storage.format == "parquet" else None,
            now_ns=time.time_ns(),
            days=days,
            keep_days={str(table): kept for table, kept in storage.keep_days.items()},
            home=storage.home if on_disk else None,
            reserve=int(storage.reserve),
        )
        show(found, as_json=as_json, table=live.budgeted)
    if not found.fits:
        raise typer.Exit(1)
