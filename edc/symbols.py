"""Symbols, both ways: the lake's one spelling, and what each vendor calls the same thing."""

import re
from collections.abc import Callable, Iterable, Mapping

import polars as pl

from edc.adapters import FeedPlan
from edc.errors import ConfigError, Skippable
from edc.events import Values, spell
from edc.wire import Usual, renamed

QUOTES = (
    *("usdt", "usdc", "usde", "usd1", "busd", "tusd", "fdusd", "pyusd", "rlusd", "gusd", "usds"),
    *("usd", "eur", "gbp", "jpy", "aud", "cad", "chf", "try", "brl", "krw", "sgd", "nzd", "mxn"),
    *("zar", "pln", "sek", "nok", "dkk", "czk", "huf", "hkd", "cnh", "inr", "idr", "uah", "ars"),
    *("dai", "btc", "xbt", "eth", "bnb", "sol", "eurc", "euri", "ust", "eurr", "eurt"),
)
"""What pairs are quoted in; it says where a pair written in one word is parted."""

_SEPARATORS = r"[/\-_:]"
_MOST_KNOWN = 100_000


def parted(symbol: str, written: str = "") -> tuple[str, str]:
    """Base and quote currency of a pair, in upper case: `btcusdt` is `("BTC", "USDT")`.

    `written` may say where it is parted, as `BTC-USDT` does; else the longest currency that pairs
    are quoted in is taken off the end. Raises ValueError where there is none, or where it is parted
    more than once.
    """
    parts = [part for part in re.split(_SEPARATORS, written) if part]
    if len(parts) == 2:  # noqa: PLR2004 - a pair
        return parts[0].upper(), parts[1].upper()
    if len(parts) > 2:  # noqa: PLR2004 - more than a pair
        raise ValueError(f"{written!r} is no pair of currencies")
    for quote in sorted(QUOTES, key=len, reverse=True):
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote).upper(), quote.upper()
    if len(symbol) == 6:  # noqa: PLR2004 - two ISO 4217 codes
        return symbol[:3].upper(), symbol[3:].upper()
    raise ValueError(f"{symbol!r} is no pair of currencies")


def usual_pair(symbol: str, codes: Mapping[str, str]) -> str:
    """A pair in which a vendor's own codes are those of others: `XBT/USD` is `BTC/USD`."""
    try:
        base, quote = parted(symbol.strip().lower(), symbol.strip())
    except ValueError:
        return symbol
    known = base in codes or quote in codes
    return f"{codes.get(base, base)}/{codes.get(quote, quote)}" if known else symbol


def share_class(symbol: str, mark: str) -> str:
    """A stock's symbol in upper case, its share class after `mark`: `brk-b` is `BRK.B`."""
    return symbol.upper().replace("-", mark)


def _called(plan: FeedPlan, call: Callable[[str, str, str], str], symbol: str, kind: str) -> str:
    """The vendor's name by spelling.

    What cannot be spelled is for the vendor's list to say: until it is known, a name that will be
    refused. Raises ConfigError where there is no list.
    """
    written = plan.written.get(symbol, symbol)
    try:
        return call(symbol, kind, written)
    except ValueError as error:
        if plan.listed:
            return written.upper()
        raise ConfigError("symbols", str(error), "write it like BASE/QUOTE") from None


class _Named(dict[bytes, str]):
    """The symbol of each name that was seen, as bytes. Where `of` raises, so does this."""

    def __init__(self, of: Callable[[str], tuple[str, str]]) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, told: bytes) -> str:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        symbol = self[told] = self._of(told.decode())[0]
        return symbol


class Symbols:
    """The symbols of a feed, and what the vendor calls them.

    Where the vendor has listed what it trades, the list has its names. Else `call` makes the name
    of a symbol from it, its asset type and how the config writes it. Where a feed asks for
    everything (`"*"`), what is not listed takes the type of that list; elsewhere a name that was
    not asked for is `unknown`.
    """

    def __init__(self, plan: FeedPlan, call: Callable[[str, str, str], str]) -> None:
        self.names: list[str] = []
        """The vendor's names of all symbols, in the order of the config; without `"*"`."""
        self.everything = False
        self._other: str | None = None
        self._listed: dict[str, tuple[str, str]] = {}
        for asset_type, listed in plan.options.symbols.items():
            for symbol in listed:
                if symbol == "*":
                    self.everything, self._other = True, asset_type
                    continue
                name = plan.names.get(symbol) or _called(plan, call, symbol, asset_type)
                self.names.append(name)
                self._listed[name] = (symbol, asset_type)
        self._known = dict(self._listed)
        self._listed_as = next(iter(plan.options.symbols), "")
        self.named = _Named(self.of)
        """Symbols by names in bytes; raises what `of` does."""
        self.usual = Usual(_MOST_KNOWN)
        """Names that are their symbols but for the case, of the first asset type."""

    def also(self, names: Iterable[tuple[str, str]]) -> None:
        """Other names under which the vendor sends what was asked for, each with the asked one."""
        for name, asked in names:
            self._known.setdefault(name, self._listed[asked])

    def has(self, name: str) -> bool:
        """True for a name that was asked for."""
        return name in self._known or self._other is not None

    def of(self, name: str) -> tuple[str, str]:
        """The symbol and asset type of a vendor's name. Raises Skippable for an unknown one."""
        known = self._known.get(name)
        if known is None:
            if self._other is None:
                raise Skippable("unknown", f"{name!r} was not asked for")
            symbol = spell(name, self._other)
            if not any(map(str.isalnum, symbol)):
                raise Skippable("malformed", f"{name!r} is no symbol")
            if len(self._known) >= _MOST_KNOWN:  # a vendor gone mad does not fill the memory
                self._known = dict(self._listed)
            known = self._known[name] = (symbol, self._other)
        return known

    def become(self, other: "Symbols") -> None:
        """Ask for what `other` asks for. Of what is no longer asked for some may be on its way."""
        self.names, self.everything = other.names, other.everything
        self._other = other._other  # noqa: SLF001 - of this class
        self._listed |= other._listed  # noqa: SLF001 - of this class
        self._known |= other._known  # noqa: SLF001 - of this class
        self.usual = Usual(_MOST_KNOWN)
        self.named.clear()

    def all_of(self, names: pl.Series) -> dict[str, Values]:
        """The columns of symbols and asset types of many names; see `of`."""
        lowered = self.usual  # `become` lays another beside it
        if lowered.are_all(names):
            return self.as_usual(names)
        known = {name: self.of(name) for name in names.unique()}
        first = self._listed_as
        lowered.add(name for name, found in known.items() if found == (name.lower(), first))
        return {
            "symbol": renamed(names, {name: symbol for name, (symbol, _) in known.items()}),
            "asset_type": renamed(names, {name: kind for name, (_, kind) in known.items()}),
        }

    def as_usual(self, names: pl.Series) -> dict[str, Values]:
        """Of those that are their symbols but for the case: see `edc.wire.Spelling`."""
        return {"symbol": names.str.to_lowercase(), "asset_type": self._listed_as}

    def topics(self, topic: Callable[[str], str]) -> dict[str, str]:
        """What `Converses.topics` wants: a topic for each name, with its symbol."""
        return {topic(name): self._listed[name][0] for name in self.names}
