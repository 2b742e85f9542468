"""The last trades, which are polled; and what an answer means."""

from collections.abc import Sequence

from edc.adapters import FeedPlan
from edc.adapters.bitfinex.options import BitfinexFeedOptions
from edc.adapters.bitfinex.rows import made, rows_of
from edc.errors import Retriable
from edc.events import Event
from edc.rows import Rows, each, listed
from edc.transport import Frame, Request


class BitfinexRest:
    """The last trades of each pair."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, BitfinexFeedOptions)
        self.interval = plan.options.interval
        self._url = f"{plan.vendor_options.rest_url}/v2/trades"
        self._rows = rows_of(plan)

    def requests(self) -> Sequence[Request]:
        """One for each pair."""
        return [
            Request(f"{self._url}/{name}/hist", {"limit": "1000"}, about=name)
            for name in self._rows.symbols.names
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The trades of an answer."""
        return list(reversed(answered(self._rows, frame)))


def answered(rows: Rows, frame: Frame) -> Sequence[Event]:
    """The trades of an answer; whose they are, the request says."""
    if frame.data.startswith(b'["error",11010'):
        raise Retriable("rate_limited", "Bitfinex: ratelimit (11010)", 60.0)
    raws = listed(frame, "Bitfinex")
    return each(raws, lambda raw: made(rows, frame.about, raw))
