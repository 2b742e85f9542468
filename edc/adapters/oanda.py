"""OANDA v20: prices by a chunked HTTP stream, and by REST.

Source: the vendor's guide and pages on pricing, recordings of 2016 and 2024. Each line of the
stream is an object: a PRICE, or every five seconds a HEARTBEAT. Prices are strings; the first bid
and ask are the best, and a list may be empty. `liquidity` is in units of the base currency.

* The stream is conflated: at most four prices a second of an instrument, so that two connections
  rightly see different ones. It begins with a snapshot.
* While the market is shut, prices come with `tradeable` false, which their condition says.
* `closeoutBid` and `closeoutAsk` are for margins, and no quotes.
* The vendor's servers refuse with 5xx, and 520, around weekends: that is tried again. Even 401 and
  403 come and go during maintenance, so a refusal is believed the fifth time in a row.
* Times are RFC 3339, or, where somebody asked for it, seconds with nine digits (`UNIX`).
* UNCONFIRMED: that a heartbeat comes every five seconds; after fifteen without a line the
  connection is taken for dead. That an account may have twenty streams.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec
from msgspec import Raw, Struct
from pydantic import Field

from edc.adapters import (
    Adapter,
    Channel,
    Duration,
    FeedOptions,
    FeedPlan,
    HttpUrl,
    Silence,
    Vendor,
    VendorOptions,
)
from edc.errors import EdcError, Fatal, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import Rows, each, refused
from edc.symbols import Symbols, parted
from edc.times import SECOND, exact_instant, parse_iso
from edc.transport import Frame, Request


class OandaVendorOptions(VendorOptions):
    """`[vendors.oanda]`. Of practice accounts: stream-fxpractice and api-fxpractice."""

    stream_url: HttpUrl = "https://stream-fxtrade.oanda.com"
    rest_url: HttpUrl = "https://api-fxtrade.oanda.com"


class OandaFeedOptions(FeedOptions):
    """`[feeds.NAME]` of OANDA. `interval` is for polling."""

    account: str = Field(pattern=r"^[0-9A-Za-z-]{1,40}$", description="like 101-001-1234567-001")
    interval: Duration = Field(5.0, ge=1)


class _Level(Struct, gc=False):
    price: Number
    liquidity: Number | None = None


class _Price(Struct):
    type: str
    time: str = ""
    instrument: str = ""
    bids: list[_Level] = []
    asks: list[_Level] = []
    tradeable: bool | None = None
    status: str = ""


class _Answered(Struct, rename="camel"):
    prices: list[Raw] = []
    error_message: str = ""


_DOUBTS = 4
"""Refusals in a row that are not believed yet."""
_LIMITED_FOR = 1.0
"""Seconds: the vendor's limits are for a second each."""
_price = msgspec.json.Decoder(_Price, strict=False).decode


class _Makes:
    """What stream and REST share."""

    def __init__(self, plan: FeedPlan) -> None:
        def call(symbol: str, _type: str, written: str) -> str:
            return "_".join(parted(symbol, written))

        assert isinstance(plan.options, OandaFeedOptions)
        self._rows = Rows(Symbols(plan, call))
        self.path = f"/v3/accounts/{plan.options.account}/pricing"
        self.params = {"instruments": ",".join(self._rows.symbols.names)}
        self.headers = {
            "Authorization": f"Bearer {plan.key}",
            "Accept-Datetime-Format": "RFC3339",
        }

    def of(self, data: Raw | bytes) -> Iterator[Event]:
        """The quote of a PRICE, nothing for a HEARTBEAT."""
        said = _price(data)
        if said.type == "HEARTBEAT":
            return
        if said.type != "PRICE":
            raise Skippable("unknown", f"type {said.type!r}")
        shut = said.tradeable is False or said.status == "non-tradeable"
        bid, ask = said.bids[0] if said.bids else None, said.asks[0] if said.asks else None
        yield self._rows.quote(
            *(said.instrument, _time(said.time)),
            *((bid.price, bid.liquidity) if bid else (None, None)),
            *((ask.price, ask.liquidity) if ask else (None, None)),
            conditions="not_tradeable" if shut else None,
        )


def _time(told: str) -> int:
    return parse_iso(told) if "T" in told else exact_instant(Decimal(told), SECOND)


def _doubted(error: EdcError | None) -> EdcError | None:
    """A refusal that may be the servers' and not meant."""
    return Fatal(error.problem, error.mend, _DOUBTS) if isinstance(error, Fatal) else error


class OandaStream:
    """The stream of some instruments."""

    beats_within = 15.0

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.vendor_options, OandaVendorOptions)
        options = plan.options
        self._url = plan.vendor_options.stream_url
        self._makes = _Makes(plan)
        self.silence = Silence(options.stale_after, options.first_data_within)

    def request(self) -> Request:
        """One for all instruments, with a snapshot."""
        makes = self._makes
        params = {**makes.params, "snapshot": "true"}
        return Request(f"{self._url}{makes.path}/stream", params, makes.headers)

    def refusal(self, status: int, body: str) -> EdcError:
        """What an answer that is no stream means."""
        told = _doubted(refused(Frame(b"", 0, 0, status), "OANDA", body, wait=_LIMITED_FOR))
        if told is None or status >= 500:  # noqa: PLR2004 - HTTP's
            return Retriable("refused", f"OANDA answered {status}: {body}")
        return told

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The quote of a line."""
        try:
            return list(self._makes.of(frame.data))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None


class OandaRest:
    """The prices of some instruments."""

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, OandaFeedOptions)
        self.interval = plan.options.interval
        self._url = str(plan.vendor_options.rest_url)
        self._makes = _Makes(plan)

    def requests(self) -> Sequence[Request]:
        """One for all."""
        makes = self._makes
        return [Request(f"{self._url}{makes.path}", makes.params, makes.headers)]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The quotes of an answer."""
        try:
            said = msgspec.json.decode(frame.data, type=_Answered)
        except UNREADABLE as error:
            wrong = _doubted(refused(frame, "OANDA", frame.data.decode(errors="replace")))
            raise wrong or Skippable("malformed", str(error)) from None
        wrong = _doubted(refused(frame, "OANDA", said.error_message, wait=_LIMITED_FOR))
        if wrong is not None:
            raise wrong
        return each(said.prices, self._makes.of)


def _build(plan: FeedPlan) -> Adapter:
    return OandaRest(plan) if plan.options.channel == "rest" else OandaStream(plan)


VENDOR = Vendor(
    title="OANDA",
    needs_key=True,
    channels={
        "pricing": Channel("stream", ("fx",), ("quote",), "FX prices, a stream over HTTP"),
        "rest": Channel("poll", ("fx",), ("quote",), "FX prices, polled"),
    },
    vendor_options=OandaVendorOptions,
    feed_options=OandaFeedOptions,
    build=_build,
)
