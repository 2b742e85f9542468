"""Tiingo's REST endpoints, polled for their last values.

| channel | request | one element of the answer |
|---|---|---|
| iex_rest | `GET /iex/?tickers=a,b` (with the slash: without it, 301) | tngoLast, last sale, book |
| fx_rest | `GET /tiingo/fx/top?tickers=a,b` | the book |
| crypto_rest | `GET /tiingo/crypto/top?tickers=a,b` | `topOfBookData`: last sale and book |

Tickers come back in another order and in upper case, unknown ones not at all. `tngoLast` is a
ref_px at `timestamp`; a last sale is a trade at its own time, a book a quote at its own. Without an
IEX agreement sale and book are null. The crypto book spans exchanges and may be crossed; the vendor
calls the endpoint deprecated and gives no other with a book.

Errors come as JSON (`detail`), as plain text, and, for an exhausted quota, as plain text under
status 200. Quotas are read from the text: hourly ones end with the hour, daily ones at midnight in
New York, monthly ones with the month.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Raw, Struct

from edc.adapters import FeedPlan
from edc.adapters.tiingo.options import TiingoFeedOptions, refusal
from edc.adapters.tiingo.rows import Rows
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.times import SECOND
from edc.transport import Frame, Request

_PATHS = {"iex_rest": "/iex/", "fx_rest": "/tiingo/fx/top", "crypto_rest": "/tiingo/crypto/top"}
_MOST_TICKERS = 100
"""In one request: the vendor's limit on crypto, kept for all."""
_INTERVAL = 75.0
"""Seconds: 48 requests an hour, of the free plan's 50."""
_NEW_YORK = ZoneInfo("America/New_York")


class _IexRow(Struct, rename="camel"):
    ticker: str
    timestamp: str | None = None
    tngo_last: float | None = None
    last: float | None = None
    last_size: float | None = None
    last_sale_timestamp: str | None = None
    last_sale_time_stamp: str | None = None  # the vendor's page spells it so, its server not
    quote_timestamp: str | None = None
    bid_price: float | None = None
    bid_size: float | None = None
    mid: float | None = None
    ask_price: float | None = None
    ask_size: float | None = None


class _FxRow(Struct, rename="camel"):
    ticker: str
    quote_timestamp: str | None = None
    bid_price: float | None = None
    bid_size: float | None = None
    mid_price: float | None = None
    ask_price: float | None = None
    ask_size: float | None = None


class _CryptoTop(Struct, rename="camel"):
    quote_timestamp: str | None = None
    bid_price: float | None = None
    bid_size: float | None = None
    bid_exchange: str | None = None
    ask_price: float | None = None
    ask_size: float | None = None
    ask_exchange: str | None = None
    last_sale_timestamp: str | None = None
    last_price: float | None = None
    last_size: float | None = None
    last_exchange: str | None = None


class _CryptoRow(Struct, rename="camel"):
    ticker: str
    top_of_book_data: list[_CryptoTop]


class TiingoRest:
    """One polled channel of Tiingo."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, TiingoFeedOptions)
        self.interval = plan.options.interval or _INTERVAL
        self._url = f"{plan.vendor_options.rest_url}{_PATHS[plan.options.channel]}"
        self._headers = {"Authorization": f"Token {plan.key}"}
        self._rows = Rows(plan)
        self._events: Callable[[Raw], Iterable[Event]] = {
            "iex_rest": self._iex,
            "fx_rest": self._fx,
            "crypto_rest": self._crypto,
        }[plan.options.channel]

    def requests(self) -> Sequence[Request]:
        """One request for every hundred tickers."""
        tickers = self._rows.tickers
        return [
            Request(
                url=self._url,
                params={"tickers": ",".join(tickers[start : start + _MOST_TICKERS])},
                headers=self._headers,
            )
            for start in range(0, len(tickers), _MOST_TICKERS)
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of an answer. Rows that cannot be read do not cost the others."""
        try:
            rows = msgspec.json.decode(frame.data, type=list[Raw])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _failure(frame, error) from None
        if frame.status != 200:  # noqa: PLR2004 - HTTP's
            raise _failure(frame, ValueError("an error status over a list"))
        events: list[Event] = []
        problems: list[str] = []
        for row in rows:
            try:
                events += self._events(row)
            except (msgspec.DecodeError, ValueError) as error:
                problems.append(f"{error} in {bytes(row)[:200]!r}")
        if problems:
            raise Skippable("malformed", "; ".join(problems[:3]), events)
        return events

    def _iex(self, raw: Raw) -> Iterable[Event]:
        row = msgspec.json.decode(raw, type=_IexRow)
        if row.tngo_last is not None and row.timestamp:
            yield self._rows.reference(row.ticker, row.timestamp, row.tngo_last, "IEX")
        sold = row.last_sale_timestamp or row.last_sale_time_stamp
        if row.last is not None and sold:
            yield self._rows.trade(row.ticker, sold, row.last, row.last_size, exchange="IEX")
        if row.quote_timestamp:
            yield self._rows.quote(
                *(row.ticker, row.quote_timestamp),
                *(row.bid_price, row.bid_size, row.ask_price, row.ask_size),
                row.mid,
                exchange="IEX",
            )

    def _fx(self, raw: Raw) -> Iterable[Event]:
        row = msgspec.json.decode(raw, type=_FxRow)
        if row.quote_timestamp:
            yield self._rows.quote(
                *(row.ticker, row.quote_timestamp),
                *(row.bid_price, row.bid_size, row.ask_price, row.ask_size),
                row.mid_price,
            )

    def _crypto(self, raw: Raw) -> Iterable[Event]:
        row = msgspec.json.decode(raw, type=_CryptoRow)
        for top in row.top_of_book_data:
            if top.last_price is not None and top.last_sale_timestamp:
                yield self._rows.trade(
                    row.ticker,
                    top.last_sale_timestamp,
                    top.last_price,
                    top.last_size,
                    exchange=top.last_exchange,
                )
            if top.quote_timestamp:
                yield self._rows.quote(
                    *(row.ticker, top.quote_timestamp),
                    *(top.bid_price, top.bid_size, top.ask_price, top.ask_size),
                    bid_exchange=top.bid_exchange,
                    ask_exchange=top.ask_exchange,
                )


class _Detail(Struct):
    detail: str


def _failure(frame: Frame, error: Exception) -> Fatal | Retriable | Skippable:
    """What an answer that is no list of rows means, by its text first and its status second."""
    try:
        message = msgspec.json.decode(frame.data, type=_Detail).detail
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = frame.data[:300].decode(errors="replace").strip()
    if "run over your" in message:
        after = _quota_ends(message, frame.received_ns)
        return Retriable("rate_limited", f"Tiingo's quota is used up: {message}", after)
    if frame.status == 429:  # noqa: PLR2004 - HTTP's
        after = _quota_ends("hourly", frame.received_ns)
        return Retriable("rate_limited", f"Tiingo answered 429: {message}", after)
    if frame.status >= 500:  # noqa: PLR2004 - HTTP's
        return Retriable("server_error", f"Tiingo answered {frame.status}: {message}")
    if frame.status >= 300 or "token" in message.lower():  # noqa: PLR2004 - HTTP's
        return refusal(frame.status, message)
    return Skippable("malformed", str(error))


def _quota_ends(message: str, now_ns: int) -> float:
    """Seconds until the quota that `message` speaks of is filled again."""
    now = datetime.fromtimestamp(now_ns / SECOND, _NEW_YORK)
    if "month" in message:
        start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = (start + timedelta(days=32)).replace(day=1)
    elif "daily" in message or "day" in message:
        end = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    else:
        end = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return max(1.0, end.timestamp() - now.timestamp())
