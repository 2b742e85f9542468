"""What needs neither a daemon nor a lake: `edc check`, `edc vendors`."""

import asyncio
import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from edc import adapters, live, online
from edc.backends import check_storage
from edc.cli import completion, terminal
from edc.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    err,
    errors,
    out,
    print_json,
    seconds_of,
    show,
)
from edc.config import load
from edc.errors import ConfigError
from edc.files import write_problem
from edc.plan import Feed, key_variable, plan_feeds
from edc.settings import Settings
from edc.transport.libraries import library


def check(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    online_: Annotated[
        bool,
        typer.Option("--online", help="Connect and subscribe once, and tell what vendors say."),
    ] = False,
    feeds: Annotated[
        str | None,
        typer.Option(
            help="Names of feeds, joined by commas; all of the file if left out.",
            autocompletion=completion.more_feeds,
        ),
    ] = None,
    within: Annotated[
        str, typer.Option(help="With --online: how long a feed may take.", metavar="DURATION")
    ] = "12s",
    as_json: JsonOption = False,
) -> None:
    """Check the configuration, without network and without changing anything.

    With --online each feed is taken for a moment too: does its vendor's name resolve, does it
    answer, does it take the key, which symbols does it refuse, does data come, and if not, is its
    market closed. Nothing is kept, and a daemon may run meanwhile, though the connections count
    against the vendor's limit. Exits with 2 if something must be edited (key, plan, symbols), with
    1 if a vendor cannot be reached or is silent in an open market.

    Example:  edc check --online --feeds crypto
    """
    with errors():
        settings = load(config)
        names = None if feeds is None else [name.strip() for name in feeds.split(",")]
        planned = plan_feeds(settings, config, names)
        library(settings.transport.websocket)
        check_storage(settings.storage)
        problem = write_problem(settings.storage.home)
        if problem:
            key = "path" if isinstance(settings.storage.path, Path) else "local"
            raise ConfigError(
                f"{config}: [storage] {key}", problem, "choose a folder edc may write"
            )
        if online_:
            raise typer.Exit(_asked(settings, planned, within, as_json=as_json))
        answer = {
            feed.name: {
                "vendor": feed.vendor,
                "source": feed.source,
                "kind": feed.channel.kind,
                "asset_types": list(feed.asset_types),
            }
            for feed in planned
        }
        if as_json:
            print_json(answer)
            return
        for name, facts in answer.items():
            out.print(f"{name}: {facts['source']} by {facts['kind']}", highlight=False)
        out.print(f"{config} is fine; the lake is {settings.storage.path}", highlight=False)


def _asked(settings: Settings, planned: list[Feed], within: str, *, as_json: bool) -> int:
    """Ask the vendors and show what they said; the exit code."""
    if not terminal.debugging:
        logging.getLogger("edc").setLevel(logging.CRITICAL)  # the answer says it all
    seconds = seconds_of(within) or 0.0
    waiting = err.status("asking the vendors") if err.is_terminal else nullcontext()
    with waiting:
        connect = library(settings.transport.websocket)
        report = asyncio.run(online.ask(planned, connect, within=seconds))
    show(report, as_json=as_json, table=live.asked)
    return max((found.exit_code for found in report.feeds), default=0)


def vendors(*, as_json: JsonOption = False) -> None:
    """List what can be connected: vendors, their channels and what each carries.

    A vendor that wants a key is named with the variable that it is read from. Exits with 0.

    Examples:  edc vendors   |   edc vendors --json
    """
    with errors():
        answer = [_vendor(name) for name in adapters.names()]
        if as_json:
            print_json(answer)
            return
        for vendor in answer:
            key = vendor["key_variable"] or "no key"
            out.print(f"{vendor['name']}  {vendor['title']}  ({key})", style="bold")
            for channel in vendor["channels"]:
                kinds = ", ".join(channel["asset_types"])
                line = f"  {channel['name']:<12} {channel['kind']:<10} {kinds:<11} "
                out.print(line + channel["text"], highlight=False)


def _vendor(name: str) -> dict[str, Any]:
    vendor = adapters.load(name)
    return {
        "name": name,
        "title": vendor.title,
        "key_variable": key_variable(name) if vendor.needs_key else None,
        "channels": [
            {
                "name": channel_name,
                "kind": channel.kind,
                "asset_types": list(channel.asset_types),
                "event_types": list(channel.event_types),
                "text": channel.text,
            }
            for channel_name, channel in vendor.channels.items()
        ],
    }
