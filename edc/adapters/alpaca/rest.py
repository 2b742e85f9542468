"""Alpaca's history and latest values, by REST."""

from collections.abc import Sequence
from functools import partial

import msgspec

from edc.adapters import FeedPlan, Hole
from edc.adapters.alpaca.messages import Latest, Past
from edc.adapters.alpaca.options import AT_ONCE, AlpacaFeedOptions
from edc.adapters.alpaca.rows import Makes, row_of
from edc.errors import Skippable
from edc.events import Event
from edc.fields import UNREADABLE
from edc.rows import Asked, each, refused
from edc.times import format_iso
from edc.transport import Frame, Request

_BAD_SYMBOLS = (400, 404, 422)
"""Of a polled answer: the request itself is wrong."""


def _headers(plan: FeedPlan) -> dict[str, str]:
    return {"APCA-API-KEY-ID": plan.key, "APCA-API-SECRET-KEY": plan.secret}


class History:
    """Trades and quotes of a time, one symbol after the other."""

    every = 0.3
    """Seconds: 200 requests a minute."""

    def __init__(self, plan: FeedPlan, makes: Makes) -> None:
        assert isinstance(plan.options, AlpacaFeedOptions)
        options = plan.options
        self._makes = makes
        path = "v1beta3/crypto/us/{}" if makes.crypto else "v2/stocks/{}"
        self._url = f"{plan.vendor_options.rest_url}/{path}"
        self._asked = {} if makes.crypto else {"feed": options.channel.removeprefix("delayed_")}
        self._headers = _headers(plan)
        self._token: str | None = None
        symbols = makes.rows.symbols
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        kinds = [kind for kind in options.backfill if kind in options.take]
        has_none = options.channel == "test" or symbols.everything
        self.spans = [] if has_none else [(k[:-1], name) for k in kinds for name in self._names]

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The first page; then the one that the answer before has named, if any."""
        token = None if last is None else self._token
        if last is not None and token is None:
            return None
        asked = {
            "symbols": self._names[hole.symbol],
            "start": format_iso(hole.started_at),
            "end": format_iso(hole.ended_at),
            "limit": "10000",
            "sort": "asc",
            **self._asked,
        }
        if token is not None:
            asked["page_token"] = token
        return Request(self._url.format(f"{hole.event_type}s"), asked, self._headers)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a page."""
        self._token = None
        try:
            said = msgspec.json.decode(frame.data, type=Past)
        except UNREADABLE as error:
            wrong = refused(frame, "Alpaca", frame.data.decode(errors="replace"))
            raise wrong or Skippable("malformed", str(error)) from None
        wrong = refused(frame, "Alpaca", said.message)
        if wrong is not None:
            raise wrong
        self._token = said.next_page_token or None
        rows = [("t", name, raw) for name, raws in (said.trades or {}).items() for raw in raws]
        rows += [("q", name, raw) for name, raws in (said.quotes or {}).items() for raw in raws]
        return each(rows, partial(row_of, self._makes))


class AlpacaRest:
    """The latest trades and quotes of all symbols."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, AlpacaFeedOptions)
        self.interval = plan.options.interval
        self._makes = Makes(plan)
        base = "v1beta3/crypto/us/latest/{}" if self._makes.crypto else "v2/stocks/{}/latest"
        self._urls = [
            f"{plan.vendor_options.rest_url}/{base.format(kind)}" for kind in plan.options.take
        ]
        self.request_every = History.every
        self._headers = _headers(plan)
        self._asked = Asked(self._makes.rows.symbols, AT_ONCE)

    def requests(self) -> Sequence[Request]:
        """Two hundred symbols a request."""
        pieces = self._asked.pieces()
        return [
            Request(url, {"symbols": ",".join(some)}, self._headers, about=",".join(some))
            for url in self._urls
            for some in pieces
        ]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of an answer, by symbol."""
        try:
            said = msgspec.json.decode(frame.data, type=Latest)
        except UNREADABLE as error:
            wrong = refused(frame, "Alpaca", frame.data.decode(errors="replace"))
            raise wrong or Skippable("malformed", str(error)) from None
        wrong = refused(frame, "Alpaca", said.message)
        if wrong is not None and frame.status in _BAD_SYMBOLS and frame.about:
            raise self._asked.refuse_whole(frame.about.split(","), wrong)
        if wrong is not None:
            raise wrong
        rows = [("t", name, raw) for name, raw in said.trades.items()]
        rows += [("q", name, raw) for name, raw in said.quotes.items()]
        return each(rows, partial(row_of, self._makes))
