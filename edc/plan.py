"""From settings to feeds that are ready to run: vendor, channel, symbols and key of each, checked.

The key of a vendor is the first that is there of: `<VENDOR>_API_KEY` in the environment, the same
in `.env` beside the file, `api_key_file`, the systemd credential `<vendor>_api_key`, `api_key`.
Nothing here touches the network.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from edc import adapters
from edc.adapters import Adapter, Channel, FeedPlan, Strict, Vendor, VendorOptions
from edc.config import NAME, Settings, table_in_text
from edc.errors import ConfigError
from edc.events import spell
from edc.explain import NAME_RULE, environment, explained, nearest
from edc.logs import redact

_SYMBOL_MARKS = frozenset("./_-* ")
_LONGEST_SYMBOL = 64
_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed, ready to run."""

    name: str
    vendor: str
    source: str
    channel: Channel
    adapter: Adapter
    asset_types: tuple[str, ...]


def plan_feeds(settings: Settings, path: Path, names: Iterable[str] | None = None) -> list[Feed]:
    """The feeds of those names (all if None), each with its adapter. Raises ConfigError."""
    place = str(path)
    if not settings.feeds:
        raise ConfigError(
            place, "there is no [feeds.…] section", 'add one; README, "Configuration"'
        )
    for name, options in settings.vendors.items():
        _check_vendor(f"{place}: [vendors.{name}]", options.get("adapter", name))
    chosen = list(settings.feeds) if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in settings.feeds:
            raise ConfigError(
                place, f"there is no feed {name!r}", nearest(name, settings.feeds, "feeds")
            )
    return [_feed(settings, path, name) for name in chosen]


def _feed(settings: Settings, path: Path, name: str) -> Feed:
    """Check one `[feeds.NAME]` and build its adapter."""
    place, section = f"{path}: [feeds.{name}]", settings.feeds[name]
    _check_name(place, name)
    if "vendor" not in section:
        raise ConfigError(place, "vendor is missing", nearest("", adapters.names(), "vendors"))
    vendor_name = str(section["vendor"])
    _check_name(f"{place} vendor", vendor_name)
    raw_vendor = settings.vendors.get(vendor_name, {})
    adapter_name = raw_vendor.get("adapter", vendor_name)
    _check_vendor(f"{place} vendor", adapter_name)
    vendor = adapters.load(adapter_name)
    if "channel" not in section:
        raise ConfigError(place, "channel is missing", nearest("", vendor.channels, "channels"))
    channel = vendor.channels.get(str(section["channel"]))
    if channel is None:
        raise ConfigError(
            f"{place} channel",
            f"{adapter_name} has no channel {section['channel']!r}",
            nearest(str(section["channel"]), vendor.channels, "channels"),
        )
    vendor_options = _validated(
        vendor.vendor_options, raw_vendor, str(path), ("vendors", vendor_name)
    )
    section = section | {"symbols": _symbols(place, section.get("symbols"), channel)}
    options = _validated(vendor.feed_options, section, str(path), ("feeds", name))
    key = _key(path, vendor_name, vendor, vendor_options)
    return Feed(
        name=name,
        vendor=vendor_name,
        source=f"{vendor_name}_{options.channel}",
        channel=channel,
        adapter=vendor.build(FeedPlan(vendor_name, vendor_options, options, key)),
        asset_types=tuple(options.symbols),
    )


def _check_name(place: str, name: str) -> None:
    """Names of feeds and vendors become names of files, sources and variables."""
    if not re.fullmatch(NAME, name):
        raise ConfigError(place, f"{name!r} is no name", NAME_RULE)


def _check_vendor(place: str, adapter: object) -> None:
    if adapter not in adapters.names():
        raise ConfigError(
            place,
            f"there is no vendor {adapter!r}",
            nearest(str(adapter), adapters.names(), "vendors"),
        )


def _symbols(place: str, given: object, channel: Channel) -> dict[str, tuple[str, ...]]:
    """The symbol lists of a feed, each symbol in our spelling."""
    place = f"{place} symbols"
    example = f'write symbols = {{ {channel.asset_types[0]} = ["…"] }}'
    given = table_in_text(given)
    if not isinstance(given, dict) or not given:
        raise ConfigError(place, "lists of symbols by asset type are missing", example)
    symbols: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    for asset_type, listed in given.items():
        if asset_type not in channel.asset_types:
            raise ConfigError(
                place,
                f"{asset_type!r} is not an asset type of this channel",
                nearest(str(asset_type), channel.asset_types, "asset types"),
            )
        example = f'write symbols = {{ {asset_type} = ["…"] }}'
        if not isinstance(listed, list):
            raise ConfigError(place, f"{asset_type} is not a list of symbols", example)
        if not listed:
            raise ConfigError(place, f"{asset_type} lists no symbols", example)
        for symbol in listed:
            _check_symbol(place, symbol)
        spelled = tuple(spell(symbol, asset_type) for symbol in listed)
        for symbol in spelled:
            if symbol in seen:
                raise ConfigError(place, f"{symbol!r} is listed twice", "remove one of them")
            seen.add(symbol)
        symbols[asset_type] = spelled
    if "*" in seen and len(seen) > 1:
        raise ConfigError(place, '"*" already means every symbol', "remove it, or the others")
    return symbols


def _check_symbol(place: str, symbol: object) -> None:
    fine = (
        isinstance(symbol, str)
        and all(c.isalnum() or c == "*" for c in (symbol.strip()[:1], symbol.strip()[-1:]))
        and len(symbol.strip()) <= _LONGEST_SYMBOL
        and all((c.isascii() and c.isalnum()) or c in _SYMBOL_MARKS for c in symbol)
        and ("*" not in symbol or symbol == "*")
    )
    if not fine:
        shown = repr(symbol)
        if len(shown) > _LONGEST_SHOWN:
            shown = f"{shown[:_LONGEST_SHOWN]}…"
        raise ConfigError(
            place, f"{shown} is no symbol", 'write one like "aapl", "BRK.B", "EUR/USD" or "*"'
        )


def _key(path: Path, name: str, vendor: Vendor, options: VendorOptions) -> str:
    """The vendor's key, known to the redactor from now on. Raises ConfigError if it is missing."""
    variable = key_variable(name)
    key = (environment(str(path)).get(variable) or "").strip()
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(credentials) / f"{name}_api_key" if credentials else None
    if not key and options.api_key_file is not None:
        key = _key_file(f"{path}: [vendors.{name}] api_key_file", options.api_key_file)
    elif not key and credential is not None and credential.exists():
        key = _key_file("systemd credential", credential)
    elif not key and options.api_key is not None:
        key = options.api_key.get_secret_value().strip()
    if not key and vendor.needs_key:
        raise ConfigError(
            f"{path}: [vendors.{name}]",
            f"{vendor.title} needs an API key and none was given",
            f"set {variable} in the environment or in {path.parent / '.env'}, "
            "or name a file with api_key_file",
        )
    redact.add([key] if key else [])
    return key


def _key_file(place: str, path: Path) -> str:
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(
            place, f"{path} cannot be read: {problem}", "name a file that holds the key"
        ) from None
    if not key:
        raise ConfigError(place, f"{path} is empty", "write the key into it")
    return key


def key_variable(vendor: str) -> str:
    """The environment variable of a vendor's key."""
    return f"{vendor.upper().replace('-', '_')}_API_KEY"


_Options = TypeVar("_Options", bound=Strict)


def _validated(
    model: type[_Options], values: Mapping[str, Any], path: str, at: tuple[str, ...]
) -> _Options:
    try:
        return model(**values)
    except ValidationError as error:
        raise explained(path, at, error, model) from None
