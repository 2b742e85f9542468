"""From settings to feeds that are ready to run: vendor, channel, symbols and key of each, checked.

The key of a vendor is the first that is there of: `<VENDOR>_API_KEY` in the environment, the same
in `.env` beside the file, `api_key_file`, the systemd credential `<vendor>_api_key`, `api_key`; and
so its secret, where it has one.
Nothing here touches the network.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from edc import adapters
from edc.adapters import Adapter, Channel, FeedPlan, Vendor
from edc.errors import ConfigError
from edc.events import spell
from edc.explain import NAME_RULE, environment, explained, nearest
from edc.listing import Listing
from edc.logs import redact
from edc.options import SecretVendorOptions, Strict, VendorOptions
from edc.settings import NAME, Settings, table_in_text

_SYMBOL_MARKS = frozenset("./_-* ")
_OWN_MARKS = _SYMBOL_MARKS | frozenset(":@")
"""Of venues' own names: `@162`, `tBTCF0:USTF0`."""
_LONGEST_SYMBOL = 64
_LONGEST_SHOWN = 80
_EVERYTHING = 1000
"""Symbols that a feed counts for which asks for all there are."""


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed, ready to run: one connection of a `[feeds.NAME]`, or of several that share it.

    A section whose symbols need more connections than one is as many feeds, `NAME.1`, `NAME.2` …;
    sections that have to share a connection are one, `NAME+OTHER`.
    """

    name: str
    vendor: str
    source: str
    channel: Channel
    plan: FeedPlan
    build: Callable[[], Adapter] = field(compare=False)
    """Makes the adapter of a new connection."""
    asset_types: tuple[str, ...]
    connections: int = 1
    weight: int = 1
    """How many symbols it has, on all its connections; a guess where it asks for all."""
    listing: Listing | None = field(default=None, compare=False)
    """What the vendor says of the feed's symbols, where it lists what it trades."""
    required: bool = True
    symbol_counts: Mapping[str, int] = field(default_factory=dict)
    """How many symbols of each asset type it asks for."""
    symbols_limit: int | None = None
    """How many one connection takes."""

    @property
    def place(self) -> tuple[object, ...]:
        """What a feed of another config has in common with this one where it goes on from it.

        Its source, and the number of its section's connection; a connection that sections share is
        the same whichever those are.
        """
        if self.channel.one_connection:
            return (self.vendor, self.source)
        section, _, number = self.name.partition(".")
        return (self.vendor, self.source, section, int(number or 1))

    @property
    def asks_for(self) -> frozenset[str]:
        """The symbols, in the lake's spelling."""
        return frozenset(each for listed in self.plan.options.symbols.values() for each in listed)

    def differs_in_symbols_only(self, other: "Feed") -> bool:
        """True where a connection that stands may go on by the other's plan."""
        listed = self.plan.options.model_copy(update={"symbols": other.plan.options.symbols})
        alike = replace(self.plan, options=listed, written=other.plan.written)
        return (
            alike == other.plan
            and self.connections == other.connections
            and not self.asks_for & {"*"}
            and not other.asks_for & {"*"}
        )


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
    if not settings.server.listen:
        _check_no_webhooks(settings, place, chosen)
    sections = _shared([_section(settings, path, name) for name in chosen], place)
    return [feed for section in sections for feed in _feeds(section)]


@dataclass(frozen=True, slots=True)
class _Section:
    """A `[feeds.NAME]`, checked."""

    name: str
    vendor: Vendor
    plan: FeedPlan


def _section(settings: Settings, path: Path, name: str) -> _Section:
    """Check one `[feeds.NAME]`."""
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
    usual = None if channel.own_names else vendor.usual
    symbols, written = _symbols(place, section.get("symbols"), channel, usual)
    options = _validated(
        vendor.feed_options, section | {"symbols": symbols}, str(path), ("feeds", name)
    )
    if options.connections > 1 and (channel.one_connection or channel.kind in ("poll", "webhook")):
        why = (
            f"a {channel.kind} channel"
            if channel.kind in ("poll", "webhook")
            else "taken once: the vendor allows no more"
        )
        raise ConfigError(
            f"{place} connections", f"channel {options.channel} is {why}", "remove it"
        )
    key = _key(path, vendor_name, vendor, vendor_options, "key")
    secret = _key(path, vendor_name, vendor, vendor_options, "secret")
    listed = _is_listed(vendor, vendor_options, options.channel)
    plan = FeedPlan(vendor_name, vendor_options, options, key, secret, written, listed=listed)
    try:
        vendor.build(plan)
    except ConfigError as error:
        raise ConfigError(f"{place} {error.place}", error.problem, error.mend) from None
    return _Section(name, vendor, plan)


def _is_listed(vendor: Vendor, options: VendorOptions, channel: str) -> bool:
    return vendor.instruments is not None and bool(vendor.instruments.requests(options, channel))


def _check_no_webhooks(settings: Settings, place: str, names: Iterable[str]) -> None:
    for name in names:
        options = settings.feeds[name]
        vendor = str(options.get("vendor", ""))
        adapter = settings.vendors.get(vendor, {}).get("adapter", vendor)
        if adapter not in adapters.names():
            continue  # it is explained elsewhere
        channel = adapters.load(adapter).channels.get(str(options.get("channel", "")))
        if channel is not None and channel.kind == "webhook":
            raise ConfigError(
                f"{place}: [feeds.{name}]",
                "a webhook needs the HTTP server, which is off",
                'give [server] listen an address, like "127.0.0.1:8480"',
            )


def _shared(sections: Iterable[_Section], place: str) -> list[_Section]:
    """Sections that the vendor gives but one connection become one."""
    made: dict[object, _Section] = {}
    for section in sections:
        options = section.plan.options
        if not section.vendor.channels[options.channel].one_connection:
            made[section.name] = section
            continue
        key = (section.plan.vendor, options.channel)
        other = made.get(key)
        made[key] = section if other is None else _joined(other, section, place)
    return list(made.values())


def _joined(one: _Section, other: _Section, place: str) -> _Section:
    """Two sections as one, with the symbols of both. Raises ConfigError where they differ."""
    first, second = one.plan.options, other.plan.options
    place = f"{place}: [feeds.{other.name}]"
    if first.model_copy(update={"symbols": second.symbols}) != second:
        raise ConfigError(
            place,
            f"{one.plan.vendor} allows one connection for {first.channel}, and this feed shares "
            f"that of {one.name}, whose options differ",
            "give both the same options, or make them one feed",
        )
    symbols = {kind: list(listed) for kind, listed in first.symbols.items()}
    for kind, listed in second.symbols.items():
        for symbol in listed:
            if any(symbol in others for others in symbols.values()):
                raise ConfigError(
                    f"{place} symbols",
                    f"{symbol!r} is listed in [feeds.{one.name}], with which this feed shares a "
                    "connection",
                    "remove one of them",
                )
        symbols.setdefault(kind, []).extend(listed)
    options = first.model_copy(update={"symbols": {k: tuple(v) for k, v in symbols.items()}})
    written = {**one.plan.written, **other.plan.written}
    plan = replace(one.plan, options=options, written=written)
    return _Section(f"{one.name}+{other.name}", one.vendor, plan)


def _feeds(section: _Section) -> Iterator[Feed]:
    """The connections that a section takes."""
    options = section.plan.options
    most = section.vendor.most_symbols
    limit = most(options) if most else None
    parts = list(_parts(options.symbols, limit))
    for number, symbols in enumerate(parts, 1):
        plan = replace(section.plan, options=options.model_copy(update={"symbols": symbols}))
        listing = Listing(section.vendor, plan)
        yield Feed(
            name=section.name if len(parts) == 1 else f"{section.name}.{number}",
            vendor=plan.vendor,
            source=f"{plan.vendor}_{options.channel}",
            channel=section.vendor.channels[options.channel],
            plan=plan,
            build=listing.build,
            asset_types=tuple(symbols),
            connections=options.connections,
            weight=_weight(symbols) * options.connections,
            listing=listing if listing.requests else None,
            required=options.required,
            symbol_counts={kind: len(listed) for kind, listed in symbols.items()},
            symbols_limit=limit,
        )


def _weight(symbols: Mapping[str, tuple[str, ...]]) -> int:
    listed = [symbol for some in symbols.values() for symbol in some]
    return _EVERYTHING if "*" in listed else len(listed)


def _parts(
    symbols: Mapping[str, tuple[str, ...]], most: int | None
) -> Iterator[dict[str, tuple[str, ...]]]:
    """Symbol lists with at most so many symbols each."""
    flat = [(kind, symbol) for kind, listed in symbols.items() for symbol in listed]
    size = most or len(flat)
    for start in range(0, len(flat), size):
        part: dict[str, list[str]] = {}
        for kind, symbol in flat[start : start + size]:
            part.setdefault(kind, []).append(symbol)
        yield {kind: tuple(listed) for kind, listed in part.items()}


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


def _symbols(
    place: str, given: object, channel: Channel, usual: Callable[[str], str] | None
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The symbol lists of a feed, each symbol in our spelling, and how it was written."""
    place = f"{place} symbols"
    example = f'write symbols = {{ {channel.asset_types[0]} = ["…"] }}'
    given = table_in_text(given)
    if not isinstance(given, dict) or not given:
        raise ConfigError(place, "lists of symbols by asset type are missing", example)
    symbols: dict[str, tuple[str, ...]] = {}
    written: dict[str, str] = {}
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
        given_so = [usual(each) if usual and isinstance(each, str) else each for each in listed]
        for symbol in given_so:
            _check_symbol(place, symbol, own_names=channel.own_names)
        spelled = []
        for symbol in given_so:
            ours = symbol.strip().lower() if channel.own_names else spell(symbol, asset_type)
            if ours in written:
                raise ConfigError(place, f"{ours!r} is listed twice", "remove one of them")
            written[ours] = symbol.strip()
            spelled.append(ours)
        symbols[asset_type] = tuple(spelled)
    if "*" in written and len(written) > 1:
        raise ConfigError(place, '"*" already means every symbol', "remove it, or the others")
    return symbols, written


def _check_symbol(place: str, symbol: object, *, own_names: bool) -> None:
    marks = _OWN_MARKS if own_names else _SYMBOL_MARKS
    fine = (
        isinstance(symbol, str)
        and all(c.isalnum() or c in ("*", "@") for c in (symbol.strip()[:1], symbol.strip()[-1:]))
        and len(symbol.strip()) <= _LONGEST_SYMBOL
        and all((c.isascii() and c.isalnum()) or c in marks for c in symbol)
        and ("*" not in symbol or symbol == "*")
    )
    if not fine:
        shown = repr(symbol)
        if len(shown) > _LONGEST_SHOWN:
            shown = f"{shown[:_LONGEST_SHOWN]}…"
        raise ConfigError(
            place, f"{shown} is no symbol", 'write one like "aapl", "BRK.B", "EUR/USD" or "*"'
        )


def _key(
    path: Path, name: str, vendor: Vendor, options: VendorOptions, kind: Literal["key", "secret"]
) -> str:
    """The vendor's key or secret, known to the redactor from now on. ConfigError if missing."""
    variable = key_variable(name) if kind == "key" else secret_variable(name)
    if kind == "key":
        file, given, needed = options.api_key_file, options.api_key, vendor.needs_key
    elif isinstance(options, SecretVendorOptions):
        file, given, needed = options.api_secret_file, options.api_secret, True
    else:
        return ""
    key = (environment(str(path)).get(variable) or "").strip()
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(credentials) / f"{name}_api_{kind}" if credentials else None
    if not key and file is not None:
        key = _key_file(f"{path}: [vendors.{name}] api_{kind}_file", file)
    elif not key and credential is not None and credential.exists():
        key = _key_file("systemd credential", credential)
    elif not key and given is not None:
        key = given.get_secret_value().strip()
    if not key and needed:
        raise ConfigError(
            f"{path}: [vendors.{name}]",
            f"{vendor.title} needs an API {kind} and none was given",
            f"set {variable} in the environment or in {path.parent / '.env'}, "
            f"or name a file with api_{kind}_file",
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


def secret_variable(vendor: str) -> str:
    """The environment variable of a vendor's secret, where it has one beside the key."""
    return f"{vendor.upper().replace('-', '_')}_API_SECRET"


_Options = TypeVar("_Options", bound=Strict)


def _validated(
    model: type[_Options], values: Mapping[str, Any], path: str, at: tuple[str, ...]
) -> _Options:
    try:
        return model(**values)
    except ValidationError as error:
        raise explained(path, at, error, model) from None
