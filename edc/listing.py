"""Which of a feed's symbols its venue trades, and what it calls them.

    btcusdt ─► BTCUSDT (binance), tBTCUST (bitfinex), BTC-USDT (okx)

A venue's list says it; without one the spelling does. What is not on the list is not asked for: it
is named, with what comes nearest.
"""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from edc.adapters import Adapter, FeedPlan, Instrument, Vendor
from edc.events import spell
from edc.symbols import parted
from edc.transport import Request

_NEAREST = 3
_SIMILAR = 0.6


class Listing:
    """The plan of a feed, as far as its vendor's list of instruments is known."""

    def __init__(self, vendor: Vendor, plan: FeedPlan) -> None:
        self.vendor, self.plan = vendor, plan
        self.unlisted: Mapping[str, str] = {}
        """Symbols that the venue does not trade, each with what to say about it."""
        channel = plan.options.channel
        symbols = [each for some in plan.options.symbols.values() for each in some if each != "*"]
        source = vendor.instruments
        families = sorted({self._family(symbol) for symbol in symbols} - {""})
        self.key = "_".join((plan.vendor, channel, *families))
        """Of the list: feeds of one channel share it, if they have the same families."""
        self.parts: Sequence[Request] = [
            source.part(plan.vendor_options, family)
            for family in families
            if source is not None and source.part is not None
        ]
        """What families are asked for with."""
        whole = source.requests(plan.vendor_options, channel) if source and symbols else ()
        self.requests: Sequence[Request] = [*whole, *self.parts]
        """What the list is asked for with; empty where there is none."""
        self._own_names = vendor.channels[channel].own_names
        self._plan = plan

    @property
    def wanted(self) -> FeedPlan:
        """The plan, as far as the venue trades what it says."""
        return self._plan

    @property
    def symbols(self) -> list[str]:
        """Those that are asked for."""
        return [each for listed in self._plan.options.symbols.values() for each in listed]

    def build(self) -> Adapter:
        """The adapter of a new connection."""
        return self.vendor.build(self._plan)

    def learn(self, instruments: Sequence[Instrument]) -> bool:
        """Take a list as what the venue trades; true if that changes what is asked for."""
        known: dict[str, list[Instrument]] = {}
        for instrument in instruments:
            known.setdefault(self._ours(instrument), []).append(instrument)
        families = {self._family(symbol) for symbol in known}
        names, unlisted = {}, {}
        for symbol in [each for some in self.plan.options.symbols.values() for each in some]:
            if symbol == "*":
                continue
            found = self._of(symbol, known.get(symbol, ()))
            if isinstance(found, Instrument):
                names[symbol] = found.name
            elif found or self._covers(symbol, families):
                unlisted[symbol] = found or _absent(symbol, self.plan.vendor, known)
        symbols = {
            kind: kept
            for kind, listed in self.plan.options.symbols.items()
            if (kept := tuple(each for each in listed if each not in unlisted))
        }
        options = self.plan.options.model_copy(update={"symbols": symbols})
        before = (self._plan.names, self.unlisted)
        self._plan = replace(self.plan, options=options, names=names)
        self.unlisted = unlisted
        return before != (names, unlisted)

    def _ours(self, instrument: Instrument) -> str:
        """The lake's spelling."""
        if self._own_names:
            return instrument.name.lower()
        return spell(instrument.base + instrument.quote or instrument.name, "crypto")

    def _of(self, symbol: str, found: Sequence[Instrument]) -> Instrument | str:
        """The instrument of a symbol; what is wrong where it may be several; empty if none is."""
        if len(found) <= 1:
            return found[0] if found else ""
        try:
            pair = parted(symbol, self.plan.written.get(symbol, symbol))
        except ValueError:
            pair = ("", "")
        for each in found:
            if (each.base.upper(), each.quote.upper()) == pair:
                return each
        several = ", ".join(f"{each.base}/{each.quote}" for each in found[:_NEAREST])
        return f"{symbol} may be {several}; write it so"

    def _family(self, symbol: str) -> str:
        source = self.vendor.instruments
        return source.family(symbol) if source and source.family else ""

    def _covers(self, symbol: str, families: Collection[str]) -> bool:
        family, source = self._family(symbol), self.vendor.instruments
        if family:
            return family in families
        return source is None or source.covers is None or source.covers(symbol)


def _absent(symbol: str, vendor: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(symbol, known, n=_NEAREST, cutoff=_SIMILAR)
    nearest = f"; nearest: {', '.join(near)}" if near else ""
    return f"{symbol} is not traded on {vendor}{nearest}"
