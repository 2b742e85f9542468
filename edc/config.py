"""From config.toml, `.env` and the environment to frozen settings, or to an error with its mend.

An `EDC_` variable overrides the file: `EDC_STORAGE__PATH=/srv/lake`. Keys of vendors come from
`<VENDOR>_API_KEY` in the environment or in `.env` beside the file, from `api_key_file`, from the
systemd credential `<vendor>_api_key`, or from `api_key`; the first of these that is there. Nothing
here touches the network or makes a folder.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from edc import adapters
from edc.adapters import Adapter, Channel, Duration, FeedPlan, Strict, Vendor, VendorOptions
from edc.errors import ConfigError
from edc.events import spell
from edc.logs import redact
from edc.queues import WhenFull

_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_NAME_RULE = "use lower-case letters, digits, - and _, at most 64"
_PREFIX, _DELIMITER = "EDC_", "__"
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


def _named_folder(value: object) -> object:
    if value == "":
        raise ValueError('the value is empty; write a folder, like "data" or "."')
    return value


Folder = Annotated[Path, BeforeValidator(_named_folder), AfterValidator(Path.expanduser)]


class StorageSettings(Strict):
    """`[storage]`: where the lake is and how its files are named."""

    path: Folder = Path("data")
    timezone: Annotated[str, AfterValidator(_known_zone)] = "America/New_York"
    partition: Literal["hour", "day"] = "hour"
    instance: str = Field("main", pattern=_NAME)


class BatchSettings(Strict):
    """`[batch]`: when spooled rows become Parquet."""

    max_rows: int = Field(100_000, ge=1, le=10_000_000)
    max_age: Duration = Field(60.0, gt=0)


class CompactSettings(Strict):
    """`[compact]`: what `edc compact` leaves alone."""

    closed_after: Duration = Field(3600.0, ge=0)


class SpoolSettings(Strict):
    """`[spool]`: how much a crash may cost."""

    interval: Duration = Field(0.2, ge=0.01, le=60)


def _by_event_type(value: object) -> object:
    """One policy for all event types is short for the same policy for each."""
    value = _table_in_text(value)
    if isinstance(value, str) and value in set(WhenFull):
        return dict.fromkeys(_POLICED, value)
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - pydantic explains no other
            'write "block", "drop_oldest" or "drop_newest", or one of them by event type, like '
            '{ quote = "drop_oldest" }'
        )
    return value


def _table_in_text(value: object) -> object:
    """A table that came in an environment variable, which holds it as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


class QueueSettings(Strict):
    """`[queue]`: how much may wait, and what happens beyond."""

    capacity: int = Field(65_536, ge=1)
    when_full: Annotated[
        dict[Literal["trade", "quote", "ref_px"], WhenFull],
        BeforeValidator(_by_event_type),
        NoDecode,
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
        env_prefix=_PREFIX, env_nested_delimiter=_DELIMITER, extra="forbid", frozen=True
    )

    storage: StorageSettings = StorageSettings()
    batch: BatchSettings = BatchSettings()
    compact: CompactSettings = CompactSettings()
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
    place = str(path or "environment")
    _check_variables(_environment(place))

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
        raise _explained(place, (), error, Settings) from None
    except SettingsError as error:  # it names the field in double quotes, and the value nowhere
        section = str(error).split('"')[1]
        name = f"{_PREFIX}{section.upper()}"
        key = "NAME__KEY" if section in ("vendors", "feeds") else "KEY"
        mend = f"{name}{_DELIMITER}{key} sets one value, {name} a table as JSON"
        raise ConfigError(name, "the value is no table", mend) from None
    for options in settings.vendors.values():
        redact.add([str(options["api_key"])] if options.get("api_key") else [])
    return settings


def _check_toml(path: Path) -> None:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise ConfigError(
            str(path), "there is no such file", "name one with --config, or try `edc run --demo`"
        ) from None
    except OSError as error:
        raise ConfigError(
            str(path), f"cannot be read: {error.strerror or error}", "name another with --config"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            str(path), f"byte {error.start + 1} is not UTF-8", "save the file as UTF-8"
        ) from None
    if text.startswith("\ufeff"):
        raise ConfigError(
            str(path), "begins with a byte order mark", "save the file as UTF-8 without one"
        )
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            str(path), f"is not valid TOML: {error}", 'text is written in quotes, key = "text"'
        ) from None


def _environment(place: str) -> dict[str, str | None]:
    """The variables that a config at `place` sees: of `.env` beside it, and of the process."""
    file = Path(place).parent / ".env"
    try:
        return {**dotenv_values(file), **os.environ}
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(str(file), f"cannot be read: {problem}", "mend or remove it") from None


def _check_variables(environment: Iterable[str]) -> None:
    """Refuse `EDC_STORGE__PATH`: pydantic-settings would overlook it."""
    for variable in environment:
        section, delimiter, _ = variable.upper().removeprefix(_PREFIX).lower().partition(_DELIMITER)
        ours = variable.upper().startswith(_PREFIX) and delimiter
        if ours and section not in Settings.model_fields:
            raise ConfigError(
                variable,
                f"there is no section {section!r}",
                _nearest(section, Settings.model_fields, "sections"),
            )


def plan(settings: Settings, path: Path, names: Iterable[str] | None = None) -> list[Feed]:
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
                place, f"there is no feed {name!r}", _nearest(name, settings.feeds, "feeds")
            )
    return [_feed(settings, path, name) for name in chosen]


def _feed(settings: Settings, path: Path, name: str) -> Feed:
    """Check one `[feeds.NAME]` and build its adapter."""
    place, section = f"{path}: [feeds.{name}]", settings.feeds[name]
    _check_name(place, name)
    if "vendor" not in section:
        raise ConfigError(place, "vendor is missing", _nearest("", adapters.names(), "vendors"))
    vendor_name = str(section["vendor"])
    _check_name(f"{place} vendor", vendor_name)
    raw_vendor = settings.vendors.get(vendor_name, {})
    adapter_name = raw_vendor.get("adapter", vendor_name)
    _check_vendor(f"{place} vendor", adapter_name)
    vendor = adapters.load(adapter_name)
    if "channel" not in section:
        raise ConfigError(place, "channel is missing", _nearest("", vendor.channels, "channels"))
    channel = vendor.channels.get(str(section["channel"]))
    if channel is None:
        raise ConfigError(
            f"{place} channel",
            f"{adapter_name} has no channel {section['channel']!r}",
            _nearest(str(section["channel"]), vendor.channels, "channels"),
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
    if not re.fullmatch(_NAME, name):
        raise ConfigError(place, f"{name!r} is no name", _NAME_RULE)


def _check_vendor(place: str, adapter: object) -> None:
    if adapter not in adapters.names():
        raise ConfigError(
            place,
            f"there is no vendor {adapter!r}",
            _nearest(str(adapter), adapters.names(), "vendors"),
        )


def _symbols(place: str, given: object, channel: Channel) -> dict[str, tuple[str, ...]]:
    """The symbol lists of a feed, each symbol in our spelling."""
    place = f"{place} symbols"
    example = f'write symbols = {{ {channel.asset_types[0]} = ["…"] }}'
    given = _table_in_text(given)
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
        and any(c.isalnum() or c == "*" for c in symbol)
        and len(symbol.strip()) <= _LONGEST_SYMBOL
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
    key = (_environment(str(path)).get(variable) or "").strip()
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
        raise _explained(path, at, error, model) from None


def _explained(
    path: str, at: tuple[str, ...], error: ValidationError, model: type[BaseModel]
) -> ConfigError:
    """The first thing that pydantic found, as a place, a problem and a mend."""
    first = error.errors(include_url=False)[0]
    found = [str(part) for part in first["loc"] if part != "[key]"]
    where = [*at, *found]
    if first["type"] == "extra_forbidden":
        table, key = where[:-1], where[-1]
        section = f"{path}: [{'.'.join(table)}]" if table else f"{path}: top level"
        known = _keys_at(model, found[:-1])
        return ConfigError(
            _variable(path, where) or section, f"unknown key {key!r}", _nearest(key, known, "keys")
        )
    depth = max(1, len(at))
    place = f"{path}: [{'.'.join(where[:depth])}] {'.'.join(where[depth:])}".rstrip()
    problem, mend = _said(first, _field_at(model, found))
    if first["type"] in _TABLE_WANTED:
        section = f"{where[0]}.NAME" if where[0] in ("vendors", "feeds") else ".".join(where)
        mend = f"begin a section with [{section}] and write its keys below"
    return ConfigError(_variable(path, where) or place, problem, mend)


_TABLE_WANTED = ("dict_type", "model_type", "model_attributes_type")
_NO_NUMBER = ("is no whole number", "write one without quotes, like 6")
_NO_TEXT = ("is no text", "write it in quotes")
_NO_CHOICE = ("is none of the choices", "write {expected}")
_SAID = {
    "greater_than": ("is too small", "write more than {gt}"),
    "greater_than_equal": ("is too small", "write {ge} or more"),
    "less_than_equal": ("is too big", "write {le} or less"),
    "int_type": _NO_NUMBER,
    "int_parsing": _NO_NUMBER,
    "int_from_float": _NO_NUMBER,
    "string_type": _NO_TEXT,
    "path_type": _NO_TEXT,
    "string_pattern_mismatch": ("is no name", _NAME_RULE),
    "literal_error": _NO_CHOICE,
    "enum": _NO_CHOICE,
    **dict.fromkeys(_TABLE_WANTED, ("is no table", "")),
}
"""By pydantic's kind of error, what a value is and what to write instead."""


def _said(error: ErrorDetails, field: FieldInfo | None) -> tuple[str, str]:
    """A problem and its mend, in place of the words that pydantic has for programmers."""
    kind, value = error["type"], error["input"]
    facts = "" if field is None else f"{field.annotation} {field.metadata}"
    unit = " s" if "parse_duration" in facts and kind != "value_error" else ""

    def written(number: object) -> str:
        return f"{number:.10g}{unit}" if isinstance(number, int | float) else str(number)

    if "SecretStr" in facts or not isinstance(value, str | int | float):
        shown = "the value"
    else:
        shown = repr(value) if isinstance(value, str) else written(value)
    if kind != "value_error":
        problem, mend = _SAID.get(kind, (f"is refused: {error['msg']}", ""))
        limits = {name: written(limit) for name, limit in error.get("ctx", {}).items()}
        return f"{shown} {problem}", mend.format_map(limits)
    problem, _, mend = error["msg"].removeprefix("Value error, ").rpartition("; ")
    if not problem:
        return (f"{shown} is not understood", mend) if error["loc"] else (mend, "")
    return problem, mend


def _variable(path: str, where: Sequence[str]) -> str | None:
    """The environment variable that gave a value, if one did."""
    given = {name.upper(): name for name in _environment(path)}
    for end in range(len(where), 0, -1):
        name = given.get(f"{_PREFIX}{_DELIMITER.join(where[:end])}".upper())
        if name is not None:
            return name
    return None


def _keys_at(model: type[BaseModel], table: Sequence[str]) -> list[str]:
    """The keys of a table of the settings."""
    if not table:
        return list(model.model_fields)
    field = _field_at(model, table)
    inner = None if field is None else field.annotation
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return list(inner.model_fields)
    return []


def _field_at(model: type[BaseModel], where: Sequence[str]) -> FieldInfo | None:
    """What the settings declare at a place, or at the last place above it that they know."""
    field = None
    for name in where:
        if name not in model.model_fields:
            break
        field = model.model_fields[name]
        inner = field.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return field


def _nearest(word: str, known: Iterable[str], kind: str) -> str:
    """The mend for a misspelt name."""
    known = sorted(known)
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"{kind} are {', '.join(known)}" if known else ""
