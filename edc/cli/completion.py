"""What a shell is offered after Tab: the feeds of the configuration, and the vendors.

It is quiet where there is nothing to offer: no file, or one that cannot be read.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import typer

from edc import adapters
from edc.cli.terminal import DEFAULT_CONFIG


def vendors(incomplete: str) -> list[str]:
    """Vendors whose names begin so."""
    return [name for name in adapters.names() if name.startswith(incomplete)]


def feeds(ctx: typer.Context, incomplete: str) -> list[str]:
    """Feeds whose names begin so."""
    return [name for name in _names(ctx) if name.startswith(incomplete)]


def more_feeds(ctx: typer.Context, incomplete: str) -> list[str]:
    """Feeds for a list joined by commas: what may follow, behind what is there already."""
    before, comma, last = incomplete.rpartition(",")
    there = before.split(",")
    return [
        f"{before}{comma}{name}"
        for name in _names(ctx)
        if name.startswith(last) and name not in there
    ]


def _names(ctx: typer.Context) -> Iterator[str]:
    """The names of the feeds in the file that --config names so far."""
    try:
        text = Path(ctx.params.get("config") or DEFAULT_CONFIG).read_text()
        section = tomllib.loads(text).get("feeds", {})
    except (OSError, ValueError):
        return
    if isinstance(section, dict):
        yield from sorted(section)
