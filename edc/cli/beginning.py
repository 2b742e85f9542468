"""`edc init`: a first configuration."""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import available_timezones

import typer

from edc import adapters, demo
from edc.adapters import Vendor
from edc.cli import completion
from edc.cli.terminal import DEFAULT_CONFIG, ConfigOption, errors, out
from edc.config import load
from edc.errors import ConfigError
from edc.explain import nearest
from edc.options import SecretVendorOptions
from edc.plan import key_variable, plan_feeds, secret_variable

_STAND_IN = "a-key-that-is-only-there-while-this-file-is-checked"
_HEAD = """\
## What edc records, and where. `edc check` says what is wrong with this file, `edc check --online`
## what the vendor says to it. Every key, its default and its meaning: config.toml of the project.

[storage]
## The folder of the lake: <path>/<trade|quote|ref_px|gap>/date=…/hour=…/*.parquet
path = {path}
## The zone of times, partitions and file names. A lake keeps the one that it was begun with.
timezone = {timezone}
## Days that are older are removed: "for ever" (none is), or a number of days.
# keep_days = "for ever"

[server]
## /metrics, /livez, /readyz and the status page; "" turns them off.
# listen = "127.0.0.1:8480"
"""


def init(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    vendor: Annotated[
        str | None, typer.Option(help="A name of `edc vendors`.", autocompletion=completion.vendors)
    ] = None,
    channel: Annotated[str | None, typer.Option(help="One of its channels.")] = None,
    symbols: Annotated[
        list[str] | None,
        typer.Option(help='Symbols by asset type: "stock=aapl,msft". May be given again.'),
    ] = None,
    path: Annotated[str | None, typer.Option(help="The folder of the lake.")] = None,
    timezone: Annotated[str | None, typer.Option(help="An IANA name: America/New_York.")] = None,
    with_key: Annotated[
        bool,
        typer.Option("--with-key", help="Read the key (and secret), a line each, into .env."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write over what is there already.")
    ] = False,
) -> None:
    """Write a first config.toml, which `edc check` accepts; on a terminal, ask for what is missing.

    A key is written nowhere but to .env beside the file, readable by its owner alone, and only with
    --with-key, which reads it from standard input (on a terminal, without showing it). Nothing that
    is there is written over without --force. Exits with 2 if something is missing or wrong.

    Example:  edc init --vendor binance --channel spot --symbols crypto=btcusdt,ethusdt
    """
    with errors():
        if config.exists() and not force:
            raise ConfigError(str(config), "exists already", "--force writes over it")
        name = vendor or _asked("vendor", "binance", "--vendor")
        if name not in adapters.names():
            raise ConfigError(
                "--vendor",
                f"there is no vendor {name!r}",
                nearest(name, adapters.names(), "vendors"),
            )
        offered = adapters.load(name)
        section = _section(name, offered, channel, symbols)
        place = path or _asked("folder of the lake", "data", None)
        zone = timezone or _asked("time zone", "America/New_York", None)
        if zone not in available_timezones():
            mend = nearest(zone, (), "") or 'write an IANA name, like "America/New_York"'
            raise ConfigError("--timezone", f"{zone!r} is no time zone", mend)
        variables = _variables(name, offered)
        text = _text(place, zone, name, section)
        _check(text, variables)
        env = config.parent / ".env"
        keys = _with_keys(env, variables, force=force) if with_key and variables else None
        _write(config, text, mode=0o644)
        out.print(f"{config} is written: it records {name} {section['channel']} into {place}")
        if keys is not None:
            _write(env, keys, mode=0o600)
            out.print(f"{env} holds the key, for its owner alone to read")
        elif variables:
            lines = "\n".join(f"       {variable}=…" for variable in variables)
            out.print(f"key:   into the environment, or into {env} (chmod 600 it):\n{lines}")
        out.print("next:  edc check --online\n       edc run")


def _asked(what: str, default: str, option: str | None) -> str:
    """What the operator says on a terminal; elsewhere the default, where there is a fair one."""
    if sys.stdin.isatty():
        return str(typer.prompt(what, default=default))
    if option is not None:
        raise ConfigError(option, "is missing", "name it, or run edc init on a terminal")
    return default


def _section(
    name: str, offered: Vendor, channel: str | None, symbols: Sequence[str] | None
) -> dict[str, Any]:
    """`[feeds.NAME]`: what is said, and for the rest what the vendor's demo has."""
    samples = demo.samples(name)
    usual = [str(each["channel"]) for each in samples.values()] or list(offered.channels)
    channel = channel or _asked(f"channel ({', '.join(offered.channels)})", usual[0], "--channel")
    if channel not in offered.channels:
        mend = nearest(channel, offered.channels, "channels")
        raise ConfigError("--channel", f"{name} has no channel {channel!r}", mend)
    sample = next((each for each in samples.values() if each["channel"] == channel), {})
    kinds = offered.channels[channel].asset_types
    listed = sample.get("symbols", {kinds[0]: ["*"]})
    if symbols is None:
        shown = " ".join(f"{kind}={','.join(some)}" for kind, some in listed.items())
        symbols = _asked("symbols", shown, "--symbols").split()
    return {
        "vendor": name,
        "channel": channel,
        **{key: value for key, value in sample.items() if key not in ("channel", "symbols")},
        "symbols": _symbols(symbols, kinds),
    }


def _symbols(given: Sequence[str], kinds: Sequence[str]) -> dict[str, list[str]]:
    """`stock=aapl,msft`, or only the symbols where the channel has one asset type."""
    found: dict[str, list[str]] = {}
    for each in given:
        kind, said, listed = each.rpartition("=")
        if not said and len(kinds) > 1:
            raise ConfigError(
                "--symbols", f"{each!r} does not say of what", f'write "{kinds[0]}={each}"'
            )
        some = [symbol.strip() for symbol in listed.split(",") if symbol.strip()]
        found.setdefault(kind or kinds[0], []).extend(some)
    return found


def _variables(name: str, offered: Vendor) -> list[str]:
    """The variables that hold what proves us to the vendor."""
    if not offered.needs_key:
        return []
    secret = issubclass(offered.vendor_options, SecretVendorOptions)
    return [key_variable(name), *([secret_variable(name)] if secret else [])]


def _text(path: str, timezone: str, vendor: str, section: Mapping[str, Any]) -> str:
    head = _HEAD.format(path=_toml(path), timezone=_toml(timezone))
    lines = [f"{key} = {_toml(value)}" for key, value in section.items()]
    return "\n".join([head, f"[feeds.{vendor}_{section['channel']}]", *lines, ""])


def _toml(value: Any) -> str:
    """A value as TOML writes it: as JSON does, but for tables."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _check(text: str, variables: Sequence[str]) -> None:
    """Raises ConfigError where `edc check` would refuse this file, once the keys are there."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.toml"
        file.write_text(text)
        (file.parent / ".env").write_text("".join(f"{each}={_STAND_IN}\n" for each in variables))
        try:
            plan_feeds(load(file), file)
        except ConfigError as error:
            place = error.place.replace(f"{file}: ", "")
            raise ConfigError(place, error.problem, error.mend) from None


def _with_keys(env: Path, variables: Sequence[str], *, force: bool) -> str:
    """The text of `.env` with what is read from standard input. Raises ConfigError."""
    lines = env.read_text().splitlines() if env.exists() else []
    for variable in variables:
        others = [line for line in lines if line.partition("=")[0].strip() != variable]
        if len(others) < len(lines) and not force:
            raise ConfigError(str(env), f"has {variable} already", "--force writes over it")
        shown = sys.stdin.isatty()
        value = typer.prompt(variable, hide_input=True) if shown else sys.stdin.readline()
        if not value.strip():
            raise ConfigError("--with-key", f"no {variable} came", "write it on a line of its own")
        lines = [*others, f"{variable}='{value.strip()}'"]
    return "".join(f"{line}\n" for line in lines)


def _write(path: Path, text: str, mode: int) -> None:
    """Put a file in place as a whole, with no moment in which more may read it than should."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)
