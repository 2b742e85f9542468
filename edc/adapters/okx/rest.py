"""The last trades, which are polled; and what an answer means."""

from collections.abc import Sequence

from msgspec import Raw

from edc.adapters import FeedPlan
from edc.adapters.okx.messages import read
from edc.adapters.okx.options import OkxFeedOptions
from edc.adapters.okx.rows import Trades, rows_of
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE
from edc.rows import each, refused
from edc.transport import Frame, Request


class OkxRest:
    """The last trades of each instrument."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, OkxFeedOptions)
        self.interval = plan.options.interval
        self._url = f"{plan.vendor_options.rest_url}/api/v5/market/trades"
        self._rows = rows_of(plan)
        in_contracts = plan.options.channel.startswith("derivatives")
        self._trades = Trades(self._rows, in_contracts=in_contracts, numbered=True)

    def requests(self) -> Sequence[Request]:
        """One for each instrument."""
        return [
            Request(self._url, {"instId": name, "limit": "500"})
            for name in self._rows.symbols.names
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return answered(self._trades, frame)


def rows_in(frame: Frame) -> Sequence[Raw]:
    """The rows of a polled answer. Raises what it means where it is an error."""
    try:
        said = read(frame.data)
    except UNREADABLE as error:
        wrong = refused(frame, "OKX", frame.data.decode(errors="replace"))
        raise wrong or Skippable("malformed", str(error)) from None
    if said.code == "50011":
        raise Retriable("rate_limited", f"OKX: {said.msg} (50011)", 2.0)
    wrong = refused(frame, "OKX", f"{said.msg} ({said.code})", wait=2.0)
    if wrong is not None:
        raise wrong
    if said.code not in ("", "0"):
        raise Fatal(f"OKX: {said.msg} ({said.code})", "correct the feed's symbols")
    if said.data is None:
        raise Skippable("malformed", "an answer without data")
    return said.data


def answered(trades: Trades, frame: Frame) -> Sequence[Event]:
    """The trades of an answer."""
    return each(rows_in(frame), trades.of)
