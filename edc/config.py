"""From config.toml, `.env` and the environment to frozen settings, or to an error with its mend.

An `EDC_` variable overrides the file: `EDC_STORAGE__PATH=/srv/lake`. Keys of vendors come from
`<VENDOR>_API_KEY` in the environment or in `.env` beside the file, from `api_key_file`, from the
systemd credential `<vendor>_api_key`, or from `api_key`; the first of these that is there. Nothing
here touches the network or makes a folder.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from edc import adapters
from edc.adapters import Adapter, Channel, Duration, FeedPlan, Strict, Vendor, VendorOptions
from edc.errors import ConfigError
from edc.events import spell
from edc.logs import redact
from edc.queues import WhenFull

_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_SYMBOL_MARKS = frozenset("./_-* ")
_LONGEST_SYMBOL = 64
_POLICED = ("trade", "quote", "ref_px")


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f"{name!r} is no time zone; write one of the IANA names, for example "
            '"America/New_York" or "UTC"'
        ) from None
    return name


class StorageSettings(Strict):
    """`[storage]`: where the lake is and how its files are named."""

    path: Path = Path("data")
    timezone: Annotated[str, AfterValidator(_known_zone)] = "America/New_York"
    partition: Literal["hour", "day"] = "hour"
    instance: str = Field("main", pattern=_NAME)


class BatchSettings(Strict):
    """`[batch]`: when spooled rows become Parquet."""

    max_rows: int = Field(100_000, ge=1, le=10_000_000)
    max_age: Duration = Field(60.0, gt=0)


class SpoolSettings(Strict):
    """`[spool]`: how much a crash may cost."""

    interval: Duration = Field(0.2, ge=0.01, le=60)


def _by_event_type(value: object) -> object:
    """One policy for all event types is short for the same policy for each."""
    if isinstance(value, str):
        return dict.fromkeys(_POLICED, value)
    return value


class QueueSettings(Strict):
    """`[queue]`: how much may wait, and what happens beyond."""

    capacity: int = Field(65_536, ge=1)
    when_full: Annotated[
        dict[Literal["trade", "quote", "ref_px"], WhenFull], BeforeValidator(_by_event_type)
    ] = Field(default_factory=dict)

    def policy(self, event_type: str) -> WhenFull:
        """The choice for one event type; `block` where none was made, and for the ledger."""
        chosen = {str(name): choice for name, choice in self.when_full.items()}
        return chosen.get(event_type, WhenFull.BLOCK)


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isdigit() and int(port) < 65_536):  # noqa: PLR2004 - TCP's
        raise ValueError('write an address and a port, like "127.0.0.1:8480", or "" for none')
    return value


class ServerSettings(Strict):
    """`[server]`: where metrics and health are served; `""` turns it off."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:8480"


class Settings(BaseSettings):
    """The whole file. `vendors` and `feeds` are checked by their adapters, see `plan`."""

    model_config = SettingsConfigDict(
        env_prefix="EDC_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    storage: StorageSettings = StorageSettings()
    batch: BatchSettings = BatchSettings()
    spool: SpoolSettings = SpoolSettings()
    queue: QueueSettings = QueueSettings()
    server: ServerSettings = ServerSettings()
    vendors: dict[str, dict[str, Any]] = {}
    feeds: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed, ready to run."""

    name: str
    vendor: str
    source: str
    channel: Channel
    adapter: Adapter
    asset_types: tuple[str, ...]


def load(path: Path | None) -> Settings:
    """Read and check the settings, feeds apart; None means no file. Raises ConfigError."""
    if path is not None:
        _check_toml(path)

    class Loaded(Settings):
        model_config = SettingsConfigDict(
            env_file=(path or Path()).parent / ".env",
            dotenv_filtering="match_prefix",
            toml_file=path,
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return env_settings, dotenv_settings, TomlConfigSettingsSource(settings_cls)

    try:
        settings: Settings = Loaded()
    except ValidationError as error:
        raise _explained(str(path or "environment"), (), error, Settings) from None
    for options in settings.vendors.values():
        redact.add([str(options["api_key"])] if options.get("api_key") else [])
    return settings


def _check_toml(path: Path) -> None:
    try:
        tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(
            str(path), "there is no such file", "name one with --config, or try `edc run --demo`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), f"is not valid TOML: {error}") from None


def plan(settings: Settings, path: Path, names: Iterable[str] | None = None) -> list[Feed]:
    """The feeds of those names (all if None), each with its adapter. Raises ConfigError."""
    place = str(path)
    if not settings.feeds:
        raise ConfigError(place, "there is no [feeds.…] section", "add one; README, Configuration")
    chosen = list(settings.feeds) if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in settings.feeds:
            raise ConfigError(
                place, f"there is no feed {name!r}", _nearest(name, settings.feeds, "feeds")
            )
    return [_feed(settings, path, name) for name in chosen]


def _feed(settings: Settings, path: Path, name: str) -> Feed:
    """Check one `[feeds.NAME]` and build its adapter."""
    place, section = f"{path}: [feeds.{name}]", settings.feeds[name]
    vendor_name = section.get("vendor")
    if not isinstance(vendor_name, str):
        raise ConfigError(place, "vendor is missing", _nearest("", adapters.names(), "vendors"))
    raw_vendor = settings.vendors.get(vendor_name, {})
    adapter_name = raw_vendor.get("adapter", vendor_name)
    if adapter_name not in adapters.names():
        raise ConfigError(
            f"{place} vendor",
            f"there is no vendor {adapter_name!r}",
            _nearest(str(adapter_name), adapters.names(), "vendors"),
        )
    vendor = adapters.load(adapter_name)
    channel = vendor.channels.get(str(section.get("channel")))
    if channel is None:
        raise ConfigError(
            f"{place} channel",
            f"{adapter_name} has no channel {section.get('channel')!r}",
            _nearest(str(section.get("channel")), vendor.channels, "channels"),
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


def _symbols(place: str, given: object, channel: Channel) -> dict[str, tuple[str, ...]]:
    """The symbol lists of a feed, each symbol in our spelling."""
    place = f"{place} symbols"
    example = f'write symbols = {{ {channel.asset_types[0]} = ["…"] }}'
    if not isinstance(given, dict) or not given:
        raise ConfigError(place, "lists of symbols by asset type are missing", example)
    symbols: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    for asset_type, listed in given.items():
        if asset_type not in channel.asset_types:
            raise ConfigError(
                place,
                f"{asset_type!r} is not an asset type of this channel",
                _nearest(str(asset_type), channel.asset_types, "asset types"),
            )
        if not isinstance(listed, list) or not listed:
            raise ConfigError(place, f"{asset_type} is not a list of symbols", example)
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
        and 0 < len(symbol.strip()) <= _LONGEST_SYMBOL
        and all((c.isascii() and c.isalnum()) or c in _SYMBOL_MARKS for c in symbol)
        and ("*" not in symbol or symbol == "*")
    )
    if not fine:
        raise ConfigError(
            place, f"{symbol!r} is no symbol", 'write one like "aapl", "BRK.B", "EUR/USD" or "*"'
        )


def _key(path: Path, name: str, vendor: Vendor, options: VendorOptions) -> str:
    """The vendor's key, known to the redactor from now on. Raises ConfigError if it is missing."""
    variable = key_variable(name)
    environment = {**dotenv_values(path.parent / ".env"), **os.environ}
    key = environment.get(variable) or ""
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
        raise ConfigError(place, f"{path} cannot be read: {error}") from None
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
        raise _explained(path, at, error, model) from None


def _explained(
    path: str, at: tuple[str, ...], error: ValidationError, model: type[BaseModel]
) -> ConfigError:
    """The first thing that pydantic found, as a place, a problem and a mend."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = [*at, *(str(part) for part in first["loc"] if part != "[key]")]
    if first["type"] == "extra_forbidden":
        table, key = where[:-1], where[-1]
        known = _keys_at(model, table[len(at) :])
        section = f"[{'.'.join(table)}]" if table else "top level"
        return ConfigError(
            f"{path}: {section}", f"unknown key {key!r}", _nearest(key, known, "keys")
        )
    message = str(first["msg"]).removeprefix("Value error, ").replace("dictionary", "table")
    depth = max(1, len(at))
    key = ".".join(where[depth:])
    return ConfigError(f"{path}: [{'.'.join(where[:depth])}] {key}".rstrip(), message)


def _keys_at(model: type[BaseModel], table: list[str]) -> list[str]:
    for name in table:
        inner = model.model_fields[name].annotation if name in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def _nearest(word: str, known: Iterable[str], kind: str) -> str:
    """The mend for a misspelt name."""
    known = sorted(known)
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"{kind} are {', '.join(known)}" if known else ""
