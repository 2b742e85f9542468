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
* One bad instrument, and the whole request is refused: 400, `Invalid value specified for
  'instruments'`, without its name. Which one it is is asked by REST, in halves; it is left out.
* Times are RFC 3339, or, where somebody asked for it, seconds with nine digits (`UNIX`).
* UNCONFIRMED: that a heartbeat comes every five seconds; after fifteen without a line the
  connection is taken for dead. That an account may have twenty streams.
"""

from collections.abc import Generator, Iterator, Sequence
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
from edc.errors import EdcError, Fatal, Refused, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import Asked, Rows, each, refused
from edc.symbols import Symbols, parted
from edc.times import SECOND, exact_instant, parse_iso
from edc.transport import Frame, Request


class OandaVendorOptions(VendorOptions):
    """`[vendors.oanda]`. Of practice accounts: stream-fxpractice and api-fxpractice, both."""

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
_BAD_REQUEST = 400
_BETWEEN = 0.02
"""Seconds from one request to the next: half as often as the vendor recommends at the most."""
_LIMITED_FOR = 1.0
"""Seconds: the vendor's limits are for a second each."""
_price = msgspec.json.Decoder(_Price, strict=False).decode


class _Makes:
    """What stream and REST share."""

    def __init__(self, plan: FeedPlan) -> None:
        def call(symbol: str, _type: str, written: str) -> str:
            return "_".join(parted(symbol, written))

        assert isinstance(plan.vendor_options, OandaVendorOptions)
        assert isinstance(plan.options, OandaFeedOptions)
        options = plan.vendor_options
        self._rows = Rows(Symbols(plan, call))
        self.symbols = self._rows.symbols
        path = f"/v3/accounts/{plan.options.account}/pricing"
        self._stream_url = f"{options.stream_url}{path}/stream"
        self._rest_url = f"{options.rest_url}{path}"
        self._headers = {
            "Authorization": f"Bearer {plan.key}",
            "Accept-Datetime-Format": "RFC3339",
        }

    def stream(self, names: Sequence[str]) -> Request:
        """For the prices of instruments as they change, with a snapshot first."""
        params = {"instruments": ",".join(names), "snapshot": "true"}
        return Request(self._stream_url, params, self._headers)

    def prices(self, names: Sequence[str]) -> Request:
        """For the prices as they are; `about` says of which instruments."""
        listed = ",".join(names)
        return Request(self._rest_url, {"instruments": listed}, self._headers, listed)

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


def _answered(frame: Frame) -> _Answered:
    """A polled answer. Raises what it means if it has no prices; Refused for a bad instrument."""
    try:
        said = msgspec.json.decode(frame.data, type=_Answered)
    except UNREADABLE as error:
        wrong = _doubted(refused(frame, "OANDA", frame.data.decode(errors="replace")))
        raise wrong or Skippable("malformed", str(error)) from None
    if _is_of_instruments(frame.status, said.error_message):
        raise Refused((), f"OANDA answered {frame.status}: {said.error_message}")
    wrong = _doubted(refused(frame, "OANDA", said.error_message, wait=_LIMITED_FOR))
    if wrong is not None:
        raise wrong
    return said


def _is_of_instruments(status: int, said: str) -> bool:
    """True where the key and the account are good, and some instrument is none of the vendor's."""
    return status == _BAD_REQUEST and "instrument" in said.lower()


class OandaStream:
    """The stream of some instruments."""

    beats_within = 15.0
    request_every = _BETWEEN

    def __init__(self, plan: FeedPlan) -> None:
        options = plan.options
        self._makes = _Makes(plan)
        self._names = list(self._makes.symbols.names)
        self.refused: dict[str, str] = {}
        self.silence = Silence(options.stale_after, options.first_data_within)

    def request(self) -> Request:
        """One for all instruments."""
        return self._makes.stream(self._names)

    def refusal(self, status: int, body: str) -> EdcError:
        """What an answer that is no stream means."""
        if _is_of_instruments(status, body):
            return Refused((), f"OANDA answered {status}: {body}")
        told = _doubted(refused(Frame(b"", 0, 0, status), "OANDA", body, wait=_LIMITED_FOR))
        if told is None or status >= 500:  # noqa: PLR2004 - HTTP's
            return Retriable("refused", f"OANDA answered {status}: {body}")
        return told

    def sift(self) -> Generator[Request, Frame, None]:
        """Find the instruments that the vendor does not have; the stream is asked for the others.

        Raises Fatal where it has none of them, Retriable where it has all after all.
        """
        found = yield from self._bad(self._names)
        if not found:
            raise Retriable("refused", "OANDA refuses the stream of what it has prices of")
        if len(found) == len(self._names):
            raise Fatal("; ".join(found.values()), "correct the feed's symbols", _DOUBTS)
        self._names = [name for name in self._names if name not in found]
        self.refused |= {self._makes.symbols.of(name)[0]: said for name, said in found.items()}

    def _bad(self, names: Sequence[str]) -> Generator[Request, Frame, dict[str, str]]:
        """Those that are refused by themselves, each with what is said."""
        frame = yield self._makes.prices(names)
        try:
            _answered(frame)
        except Refused as error:
            if len(names) == 1:
                return {names[0]: f"{names[0]}: {error.problem}"}
            middle = len(names) // 2
            found = yield from self._bad(names[:middle])
            return found | (yield from self._bad(names[middle:]))
        return {}

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The quote of a line."""
        try:
            return list(self._makes.of(frame.data))
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None


class OandaRest:
    """The prices of some instruments."""

    request_every = _BETWEEN

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, OandaFeedOptions)
        self.interval = plan.options.interval
        self._makes = _Makes(plan)
        symbols = self._makes.symbols
        self._asked = Asked(symbols, len(symbols.names))

    def requests(self) -> Sequence[Request]:
        """One for all; more once some of them were refused."""
        return [self._makes.prices(names) for names in self._asked.pieces()]

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The quotes of an answer."""
        try:
            said = _answered(frame)
        except Refused as error:
            none = Fatal(error.problem, "correct the feed's symbols", _DOUBTS)
            raise self._asked.refuse_whole(frame.about.split(","), none) from None
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
