"""Events from Tiingo's values, the same for both protocols: symbols, times and missing sides."""

import polars as pl

from edc.adapters import FeedPlan
from edc.events import Quote, RefPx, Trade, Values, mid_of, side_of, spell
from edc.times import parse_iso
from edc.wire import Usual, renamed

_MOST_KNOWN = 100_000


class Rows:
    """Makes the events of one feed; `ticker` and `date` are as the vendor sent them.

    `tickers` are the configured symbols in Tiingo's spelling, which is ours. Raises ValueError for
    a ticker or date that is none.
    """

    def __init__(self, plan: FeedPlan) -> None:
        listed = plan.options.symbols
        self.tickers = [symbol for symbols in listed.values() for symbol in symbols]
        self._listed = {
            symbol: (symbol, asset_type)
            for asset_type, symbols in listed.items()
            for symbol in symbols
            if symbol != "*"
        }
        self._known = dict(self._listed)
        wild = [asset_type for asset_type, symbols in listed.items() if "*" in symbols]
        self._other = (wild or list(listed))[0]
        self.usual = Usual(_MOST_KNOWN)
        """Tickers that are spelled as their symbols, of the type of those that are not listed."""

    def become(self, other: "Rows") -> None:
        """Ask for what `other` asks for. Of what is no longer asked for some may be on its way."""
        self.tickers = other.tickers
        self._other = other._other  # noqa: SLF001 - of this class
        self._listed |= other._listed  # noqa: SLF001 - of this class
        self._known |= other._listed  # noqa: SLF001 - of this class
        self.usual = Usual(_MOST_KNOWN)

    def of(self, ticker: str) -> tuple[str, str]:
        """The symbol and asset type of a ticker, upper or lower case, `eth/usd` or `ethusd`."""
        known = self._known.get(ticker)
        if known is None:
            symbol = spell(ticker, self._other)
            if not any(map(str.isalnum, symbol)):
                raise ValueError(f"{ticker!r} is no ticker")
            known = self._listed.get(symbol, (symbol, self._other))
            if len(self._known) >= _MOST_KNOWN:  # a vendor gone mad does not fill the memory
                self._known = dict(self._listed)
            self._known[ticker] = known
        return known

    def all_of(self, tickers: pl.Series) -> dict[str, Values]:
        """The columns of symbols and asset types of many tickers; see `of`."""
        same, other = self.usual, self._other  # `become` lays others beside them
        if same.are_all(tickers):
            return self.as_usual(tickers)
        known = {ticker: self.of(ticker) for ticker in tickers.unique()}
        same.add(name for name, found in known.items() if found == (name, other))
        symbols = {ticker: symbol for ticker, (symbol, _) in known.items()}
        asset_types = {ticker: asset_type for ticker, (_, asset_type) in known.items()}
        return {
            "symbol": renamed(tickers, symbols),
            "asset_type": renamed(tickers, asset_types),
        }

    def as_usual(self, tickers: pl.Series) -> dict[str, Values]:
        """Of those that are spelled as their symbols: see `edc.wire.Spelling`."""
        return {"symbol": tickers, "asset_type": self._other}

    def trade(
        self,
        ticker: str,
        date: str,
        price: float,
        size: float | None,
        *,
        exchange: str | None,
        conditions: str | None = None,
        action: str = "new",
    ) -> Trade:
        """A trade, or with `action` its cancellation."""
        symbol, asset_type = self._known.get(ticker) or self.of(ticker)
        return Trade(
            symbol=symbol,
            asset_type=asset_type,
            event_time=parse_iso(date),
            last_price=price,
            last_size=size,
            exchange=exchange,
            conditions=conditions,
            action=action,
        )

    def quote(
        self,
        ticker: str,
        date: str,
        bid: float | None,
        bid_size: float | None,
        ask: float | None,
        ask_size: float | None,
        mid: float | None = None,
        *,
        exchange: str | None = None,
        bid_exchange: str | None = None,
        ask_exchange: str | None = None,
        conditions: str | None = None,
    ) -> Quote:
        """A quote; `bid` and `ask` are null or 0 where that side is missing."""
        symbol, asset_type = self._known.get(ticker) or self.of(ticker)
        if not (bid and ask and mid):
            bid, bid_size = side_of(bid, bid_size)
            ask, ask_size = side_of(ask, ask_size)
            bid_exchange = None if bid is None else bid_exchange
            ask_exchange = None if ask is None else ask_exchange
            mid = mid_of(bid, ask, mid)
        return Quote(
            symbol=symbol,
            asset_type=asset_type,
            event_time=parse_iso(date),
            bid=bid,
            ask=ask,
            mid=mid,
            bid_size=bid_size,
            ask_size=ask_size,
            exchange=exchange,
            bid_exchange=bid_exchange,
            ask_exchange=ask_exchange,
            conditions=conditions,
        )

    def reference(self, ticker: str, date: str, price: float, exchange: str | None) -> RefPx:
        """Tiingo's own price: made of quotes and trades, itself neither."""
        symbol, asset_type = self._known.get(ticker) or self.of(ticker)
        return RefPx(
            symbol=symbol,
            asset_type=asset_type,
            event_time=parse_iso(date),
            price=price,
            price_type="reference",
            exchange=exchange,
        )
