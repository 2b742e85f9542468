"""What a silence has missed, by `/v3`."""

from collections.abc import Iterator, Sequence
from urllib.parse import parse_qs, urlsplit

import msgspec

from edc.adapters import FeedPlan, Hole
from edc.adapters.massive.messages import Page, Past
from edc.adapters.massive.options import TOPICS, MassiveFeedOptions, Take
from edc.adapters.massive.rows import Makes, answered, conditions_of, text
from edc.errors import Refused, Skippable
from edc.events import Event
from edc.fields import decimal
from edc.rows import each
from edc.times import instant
from edc.transport import Frame, Request

_PAST: dict[str, str] = {"stocks": "", "forex": "", "crypto": "quotes"}
"""What there is no history of."""
_NOT_FOUND = 404


class History:
    """Trades and quotes of a time, one symbol after the other, by `/v3`.

    Times are ns there and ms on the websocket: of a trade that both have, the rows differ in the
    last digits of the time and in nothing else, which is why only what is missing by id is taken.
    """

    def __init__(self, plan: FeedPlan, makes: Makes) -> None:
        assert isinstance(plan.options, MassiveFeedOptions)
        options = plan.options
        self._makes = makes
        self._url = f"{plan.vendor_options.rest_url}/v3"
        self._headers = {"Authorization": f"Bearer {plan.key}"}
        self._cursor: str | None = None
        symbols = makes.rows.symbols
        self._names = {symbols.of(name)[0]: name for name in symbols.names}
        kinds: list[Take] = [kind for kind in TOPICS[options.channel] if kind in options.take]
        wanted = kinds[:1] if options.backfill is None else options.backfill
        self.spans = [
            (kind[:-1], symbol)
            for kind in kinds
            if kind in wanted and _PAST[makes.kind] != kind
            for symbol in self._names
            if not symbols.everything
        ]

    def page(self, hole: Hole, last: Sequence[Event] | None) -> Request | None:
        """The first page; then the one that the answer before has named, if any."""
        cursor = None if last is None else self._cursor
        if last is not None and cursor is None:
            return None
        name = self._names[hole.symbol]
        mark = {"forex": "C:", "crypto": "X:"}.get(self._makes.kind, "")
        ticker = f"{mark}{name.replace('/', '-')}" if mark else name
        asked = (
            {"cursor": cursor}
            if cursor is not None
            else {
                "timestamp.gte": str(hole.started_at),
                "timestamp.lte": str(hole.ended_at),
                "order": "asc",
                "sort": "timestamp",
                "limit": "50000",
            }
        )
        about = f"{hole.event_type} {name}"
        return Request(f"{self._url}/{hole.event_type}s/{ticker}", asked, self._headers, about)

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The events of a page. Where the next one is said to be, only its cursor is believed."""
        self._cursor = None
        said, wrong = answered(frame, Page)
        event_type, _, name = frame.about.partition(" ")
        if frame.status == _NOT_FOUND:
            raise Refused([self._makes.rows.symbols.of(name)[0]], str(wrong))
        if wrong is not None:
            raise wrong
        cursors = parse_qs(urlsplit(said.next_url).query).get("cursor", [])
        self._cursor = cursors[0] if cursors else None
        make = self._trade if event_type == "trade" else self._quote
        return each(said.results, lambda raw: make(name, msgspec.json.decode(raw, type=Past)))

    def _time(self, data: Past) -> int:
        """As on the websocket; of pairs there is but one."""
        told = (data.sip_timestamp, data.participant_timestamp)
        return self._makes.time(*told, 1, data.exchange)

    def _trade(self, name: str, data: Past) -> Iterator[Event]:
        if data.price is None:
            raise Skippable("malformed", "a trade without a price")
        yield self._makes.rows.trade(
            *(name, self._time(data), data.price),
            decimal(data.decimal_size) if data.decimal_size else data.size,
            trade_id=str(data.id) or None,
            exchange=text(data.exchange),
            conditions=conditions_of(data.conditions),
            sequence=data.sequence_number,
        )

    def _quote(self, name: str, data: Past) -> Iterator[Event]:
        lot = self._makes.lot
        yield self._makes.rows.quote(
            *(name, instant(data.sip_timestamp or data.participant_timestamp, 1)),
            *(data.bid_price, None if data.bid_size is None else data.bid_size * lot),
            *(data.ask_price, None if data.ask_size is None else data.ask_size * lot),
            conditions=conditions_of(data.conditions),
            bid_exchange=text(data.bid_exchange),
            ask_exchange=text(data.ask_exchange),
            sequence=data.sequence_number,
        )
