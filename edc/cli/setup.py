"""What needs neither a daemon nor a lake: `edc check`, `edc vendors`."""

from pathlib import Path
from typing import Any

from edc import adapters
from edc.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors,
    out,
    print_json,
)
from edc.config import load
from edc.errors import ConfigError
from edc.files import write_problem
from edc.plan import key_variable, plan_feeds
from edc.storage import check_storage
from edc.transport.libraries import library


def check(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Check the configuration, without network and without changing anything."""
    with errors():
        settings = load(config)
        planned = plan_feeds(settings, config)
        library(settings.transport.websocket)
        check_storage(settings.storage)
        problem = write_problem(settings.storage.home)
        if problem:
            key = "path" if isinstance(settings.storage.path, Path) else "local"
            raise ConfigError(
                f"{config}: [storage] {key}", problem, "choose a folder edc may write"
            )
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


def vendors(*, as_json: JsonOption = False) -> None:
    """List what can be connected."""
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
