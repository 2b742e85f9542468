"""TraderMade: FX quotes by websocket.

Source: recordings of three independent projects, 2021 and 2022. The vendor greets with the plain
text `Connected` (a JSON form, `{"status": "connected"}`, is UNCONFIRMED); then key and symbols are
sent, and nothing acknowledges them. `ts` is a string of milliseconds, there are no sizes, and `mid`
is rounded oddly: it is computed here. `User Key Used to many times` is the limit of connections.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from edc.adapters import (
    Adapter,
    Answer,
    Channel,
    FeedOptions,
    FeedPlan,
    Keepalive,
    Silence,
    Vendor,
    VendorOptions,
    WebsocketUrl,
)
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.fields import UNREADABLE, Number
from edc.rows import Rows
from edc.symbols import Symbols
from edc.times import MILLISECOND, instant
from edc.transport import Frame


class TraderMadeVendorOptions(VendorOptions):
    """`[vendors.tradermade]`."""

    url: WebsocketUrl = "wss://marketdata.tradermade.com/feedadv"


class _Quote(Struct, gc=False):
    symbol: str
    ts: int
    bid: Number | None
    ask: Number | None


class _Status(Struct):
    status: str


_quote = msgspec.json.Decoder(_Quote, strict=False).decode


class TraderMadeStream:
    """The quotes of some pairs."""

    topics: dict[str, str] = {}  # noqa: RUF012 - nothing is acknowledged
    messages_per_second = 5.0
    keepalive: Keepalive | None = None

    def __init__(self, plan: FeedPlan) -> None:
        options = plan.options
        self.url = str(plan.vendor_options.url)
        self.silence = Silence(options.stale_after, options.first_data_within)
        self._key = plan.key
        self._rows = Rows(Symbols(plan, lambda symbol, _type, _written: symbol.upper()))

    def subscribe(self) -> Sequence[str]:
        """Nothing: the vendor speaks first."""
        return ()

    def answer(self, frame: Frame) -> Answer | None:
        """Key and symbols after the greeting."""
        if not _is_greeting(frame.data):
            return None
        asked = {"userKey": self._key, "symbol": ",".join(self._rows.symbols.names)}
        return Answer(send=(msgspec.json.encode(asked).decode(),))

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The quote of a frame."""
        data = frame.data
        if _is_greeting(data):
            return ()
        if data.lstrip()[:1] != b"{":
            said = f"TraderMade: {data[:200].decode(errors='replace')}"
            if b"many times" in data:
                raise Retriable("refused", said, 60.0)
            if b"key" in data.lower():
                raise Fatal(said, "check the API key (TRADERMADE_API_KEY)")
            raise Skippable("unknown", said)
        try:
            quote = _quote(data)
            return (
                self._rows.quote(
                    *(quote.symbol, instant(quote.ts, MILLISECOND)),
                    *(quote.bid, None, quote.ask, None),
                ),
            )
        except UNREADABLE as error:
            raise Skippable("malformed", str(error)) from None


def _is_greeting(data: bytes) -> bool:
    if data.strip() == b"Connected":
        return True
    try:
        return msgspec.json.decode(data, type=_Status).status == "connected"
    except UNREADABLE:
        return False


def _build(plan: FeedPlan) -> Adapter:
    return TraderMadeStream(plan)


VENDOR = Vendor(
    title="TraderMade",
    needs_key=True,
    channels={"fx": Channel("websocket", ("fx",), ("quote",), "FX quotes")},
    vendor_options=TraderMadeVendorOptions,
    feed_options=FeedOptions,
    build=_build,
)
