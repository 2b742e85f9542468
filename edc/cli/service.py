"""`edc service`: the texts with which edc runs by itself."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from edc import adapters
from edc.cli.terminal import DEFAULT_CONFIG, ConfigOption, errors, out
from edc.config import load
from edc.service import STATE, Service
from edc.settings import Settings


def service(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    user: Annotated[str, typer.Option(help="The user that it runs as.")] = "edc",
    into: Annotated[
        Path | None, typer.Option(help="Write the units into this folder, rather than print them.")
    ] = None,
    cron: Annotated[bool, typer.Option("--cron", help="Print lines for a crontab.")] = False,
) -> None:
    """Print units for systemd: the daemon, and a nightly compaction and audit.

    They are hardened, notify systemd and take keys as credentials; --cron prints lines for a
    crontab instead. Nothing is installed or started. Exits with 2 if the config must be edited.

    Example:  edc service --config /etc/edc/config.toml --into /etc/systemd/system
    """
    with errors():
        settings = load(config)
        made = Service(
            Path(sys.executable).parent / "edc",
            config.absolute(),
            user,
            _keys(settings),
            _outside(settings),
        )
        if cron:
            out.print(made.cron(), highlight=False, soft_wrap=True, end="")
            return
        for name, text in made.units().items():
            if into is not None:
                (into / name).write_text(text)
                out.print(f"{into / name}", highlight=False, soft_wrap=True)
            else:
                out.print(f"# {name}\n{text}", highlight=False, soft_wrap=True)


def _keys(settings: Settings) -> list[str]:
    """The credentials of the vendors whose feeds are in the config."""
    names = []
    for vendor in dict.fromkeys(str(feed.get("vendor", "")) for feed in settings.feeds.values()):
        options = settings.vendors.get(vendor, {})
        adapter = str(options.get("adapter", vendor))
        if adapter not in adapters.names() or not adapters.load(adapter).needs_key:
            continue
        given = {"api_key", "api_key_file"} & options.keys()
        names += [] if given else [f"{vendor}_api_key"]
        secret = issubclass(adapters.load(adapter).vendor_options, adapters.SecretVendorOptions)
        if secret and not {"api_secret", "api_secret_file"} & options.keys():
            names.append(f"{vendor}_api_secret")
    return names


def _outside(settings: Settings) -> Path | None:
    """Where the lake is, if that is not in the state directory."""
    home = STATE / settings.storage.home
    return None if home.is_relative_to(STATE) else home
