"""The list of recent trades, which is polled and fills gaps; and what an answer means."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw

from edc.adapters import FeedPlan
from edc.adapters.bybit.messages import Listed, Polled, RestTrade
from edc.adapters.bybit.options import BybitFeedOptions
from edc.adapters.bybit.rows import conditions, rows_of
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE
from edc.rows import Rows, each, refused
from edc.times import MILLISECOND, instant
from edc.transport import Frame, Request

_rest_trade = msgspec.json.Decoder(RestTrade, strict=False).decode


class BybitRest:
    """The last trades of each instrument; `category` is the channel's, without its ending."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BybitFeedOptions)
        self.interval = plan.options.interval
        self._category = plan.options.channel.removesuffix("_rest")
        self._url = str(plan.vendor_options.rest_url)
        self._rows = rows_of(plan)

    def requests(self) -> Sequence[Request]:
        """One for each instrument."""
        return [recent(self._url, self._category, name) for name in self._rows.symbols.names]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return trades(self._rows, self._category, frame)


def most_recent(category: str) -> int:
    """Trades that the list of recent ones holds."""
    return 60 if category == "spot" else 1000


def recent(url: str, category: str, name: str) -> Request:
    """Asks for the last trades of an instrument."""
    params = {"category": category, "limit": str(most_recent(category)), "symbol": name}
    return Request(f"{url}/v5/market/recent-trade", params)


def answered(frame: Frame) -> Listed:
    """What an answer holds. Raises what it means where it is an error."""
    if frame.status == 403:  # noqa: PLR2004 - how the venue says: too many
        raise Retriable("rate_limited", "Bybit answered 403: too many requests", 600.0)
    wrong = refused(frame, "Bybit", frame.data.decode(errors="replace"))
    if wrong is not None:
        raise wrong
    try:
        said = msgspec.json.decode(frame.data, type=Polled)
    except UNREADABLE as error:
        raise Skippable("malformed", str(error)) from None
    told = f"Bybit: {said.ret_msg} ({said.ret_code})"
    if said.ret_code == 10006:  # noqa: PLR2004 - too many visits
        raise Retriable("rate_limited", told, 5.0)
    if said.ret_code:
        raise Fatal(told, "correct the feed's symbols")
    return said.result


def trades(rows: Rows, category: str, frame: Frame) -> Sequence[Event]:
    """The trades of an answer."""

    def trade(raw: Raw) -> Iterator[Event]:
        data = _rest_trade(raw)
        flags = {"block": data.is_block_trade, "rpi": data.is_r_p_i_trade}
        yield rows.trade(
            *(data.symbol, instant(data.time, MILLISECOND), data.price, data.size),
            trade_id=data.exec_id,
            side=data.side.lower(),
            sequence=data.seq,
            conditions=conditions(category, **flags),
        )

    return each(answered(frame).rows, trade)
