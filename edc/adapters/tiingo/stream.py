"""Tiingo's websocket protocol.

A frame is a JSON object: `messageType` (A data, I info, H heartbeat, E error; U and D are listed by
the vendor but were never seen), `service`, `response` on the last three, and `data`, on A an array
without field names. The classes below name its fields, in order. Longer arrays are accepted: the
vendor adds fields at the end. What the pages leave open is read as follows.

* FX: the page's table swaps the last two fields; its examples prove ask size, then ask price.
* IEX times come as text and as integer nanoseconds. The text is used: recordings show integers
  that have been through a double.
* A missing side of a book is None, whether it came as null or as 0.
* UNCONFIRMED: whether a refused key is answered by `E` or by `I` with a code other than 200, and
  with 401 or 403. All are taken. Which trade a `B` breaks is not said; it becomes a `cancel`.
* A subscription is changed by its number, which its acknowledgement tells. UNCONFIRMED: whether
  tickers that are sent with it come on top of the others or in their place; all are sent, which is
  right either way.
* Crypto `T` is a size-weighted aggregate of an exchange's prints, not one print. `SA` is Tiingo's
  own aggregate price.
* A quote of `equity` at level 4 is the vendor's estimate: its condition is `estimated`.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from edc.adapters import FeedPlan, Silence
from edc.adapters.tiingo.messages import (
    CRYPTO,
    FX,
    CryptoQuote,
    CryptoTrade,
    EquityMessage,
    EquityReferenceMessage,
    IexBreak,
    IexMessage,
    IexQuote,
    IexReferenceMessage,
    IexTrade,
    Liquidity,
    Reference,
)
from edc.adapters.tiingo.options import LEVELS, TiingoFeedOptions, refusal
from edc.adapters.tiingo.rows import Rows
from edc.adapters.tiingo.short import short_way
from edc.errors import Fatal, Retriable, Skippable
from edc.events import Event
from edc.rows import differing
from edc.transport import Frame

_PATHS = {"iex": "iex", "equity": "equity/intraday", "fx": "fx", "crypto": "crypto"}
_SILENCE = 150.0
"""Seconds. Heartbeats come every 30 (the page) to 120 (observed); a quiet ticker is quieter."""


class _Answer(Struct):
    code: int = 0
    message: str = ""


class _Envelope(Struct, rename="camel"):
    message_type: str
    response: _Answer | None = None


class _Subscription(Struct, rename="camel"):
    subscription_id: int


class _Acknowledgement(Struct):
    data: _Subscription


_UNKNOWN_FORMS = ("at `$.service`", "at `$.data[0]`")
"""Where msgspec points when a service or a type letter is one that we do not know."""

_READ_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, ValueError)


class TiingoStream:
    """One websocket channel of Tiingo."""

    beats_within = 180.0

    def __init__(self, plan: FeedPlan) -> None:
        assert isinstance(plan.options, TiingoFeedOptions)
        channel = plan.options.channel
        self.url = f"{plan.vendor_options.url}/{_PATHS[channel]}"
        self.silence = Silence(
            plan.options.stale_after, plan.options.first_data_within, longest=_SILENCE
        )
        level = plan.options.threshold_level
        self._level = LEVELS[channel][0] if level is None else level
        self._rows = Rows(plan)
        self._key = plan.key
        self._said = False
        self._number: int | None = None
        """Of the subscription, as the vendor's acknowledgement says."""
        self._event = self._reader(channel)
        self.short = short_way(channel, self._rows)

    def subscribe(self) -> Sequence[str]:
        """One message. The key is part of it; the vendor knows no other handshake."""
        self._said = True
        asked = {"thresholdLevel": self._level, "tickers": self._rows.tickers}
        return [self._message("subscribe", asked)]

    def change(self, plan: FeedPlan) -> Sequence[str] | None:
        """All tickers that are wanted, then those that are not, by the subscription's number."""
        if self._said and self._number is None:
            return None
        other = Rows(plan)
        added, gone = differing(self._rows.tickers, other.tickers)
        self._rows.become(other)
        if not self._said:
            return ()
        known = {"subscriptionId": self._number}
        asked = {**known, "thresholdLevel": self._level, "tickers": other.tickers}
        return [
            *([self._message("subscribe", asked)] if added else []),
            *([self._message("unsubscribe", {**known, "tickers": gone})] if gone else []),
        ]

    def _message(self, event: str, data: Mapping[str, object]) -> str:
        message = {"eventName": event, "authorization": self._key, "eventData": data}
        return msgspec.json.encode(message).decode()

    def decode(self, frame: Frame) -> Sequence[Event]:
        """The event of an `A` frame, nothing for `I` and `H`; see `Adapter.decode`."""
        try:
            return (self._event(frame.data),)
        except _READ_ERRORS as error:
            return self._control(frame.data, error)

    def _reader(self, channel: str) -> Callable[[bytes], Event]:
        """From the bytes of an `A` frame to its event, for this channel at this level."""
        if channel == "fx":
            return self._fx
        if channel == "crypto":
            return self._crypto
        if channel == "equity" and self._level == 4:  # noqa: PLR2004 - the vendor's number
            liquidity = msgspec.json.Decoder(EquityMessage).decode
            return lambda data: self._liquidity(liquidity(data).data)
        if channel == "equity":
            equity = msgspec.json.Decoder(EquityReferenceMessage).decode
            return lambda data: self._reference(equity(data).data, None)
        if self._level == 6:  # noqa: PLR2004 - the vendor's number
            reference = msgspec.json.Decoder(IexReferenceMessage).decode
            return lambda data: self._reference(reference(data).data, "IEX")
        top = msgspec.json.Decoder(IexMessage).decode
        return lambda data: self._iex(top(data).data)

    def _reference(self, data: Reference, exchange: str | None) -> Event:
        return self._rows.reference(data.ticker, data.date, data.price, exchange)

    def _iex(self, data: IexQuote | IexTrade | IexBreak) -> Event:
        flags = {
            "halted": data.halted,
            "after_hours": data.after_hours,
            "intermarket_sweep": data.sweep,
            "odd_lot": data.odd_lot,
            "rule_611_exempt": data.nms_exempt,
        }
        conditions = ",".join(name for name, flag in flags.items() if flag) or None
        if isinstance(data, IexQuote):
            return self._rows.quote(
                *(data.ticker, data.date, data.bid, data.bid_size, data.ask, data.ask_size),
                data.mid,
                exchange="IEX",
                conditions=conditions,
            )
        if data.last is None:
            raise ValueError("a trade without a price")
        return self._rows.trade(
            data.ticker,
            data.date,
            data.last,
            data.last_size,
            exchange="IEX",
            conditions=conditions,
            action="cancel" if isinstance(data, IexBreak) else "new",
        )

    def _liquidity(self, data: Liquidity) -> Event:
        return self._rows.quote(
            *(data.ticker, data.date, data.bid, data.bid_size, data.ask, data.ask_size),
            conditions="estimated",
        )

    def _crypto(self, frame: bytes) -> Event:
        data = CRYPTO(frame).data
        if isinstance(data, CryptoTrade):
            return self._rows.trade(
                data.ticker, data.date, data.price, data.size, exchange=data.exchange
            )
        if isinstance(data, CryptoQuote):
            return self._rows.quote(
                data.ticker,
                data.date,
                data.bid,
                data.bid_size,
                data.ask,
                data.ask_size,
                data.mid,
                exchange=data.exchange,
            )
        return self._rows.reference(data.ticker, data.date, data.price, data.exchange)

    def _fx(self, frame: bytes) -> Event:
        data = FX(frame).data
        return self._rows.quote(
            data.ticker,
            data.date,
            data.bid,
            data.bid_size,
            data.ask,
            data.ask_size,
            data.mid,
        )

    def _control(self, data: bytes, error: Exception) -> Sequence[Event]:
        """A frame that is not readable data: an acknowledgement, an error, or something else."""
        try:
            envelope = msgspec.json.decode(data, type=_Envelope)
        except _READ_ERRORS as not_even:
            raise Skippable("malformed", str(not_even)) from not_even
        answer = envelope.response
        match envelope.message_type:
            case "A":
                unknown = str(error).endswith(_UNKNOWN_FORMS)
                raise Skippable("unknown" if unknown else "malformed", str(error)) from error
            case "I" | "H" if answer is None or answer.code == 200:  # noqa: PLR2004 - HTTP's
                with contextlib.suppress(*_READ_ERRORS):  # heartbeats have no number
                    told = msgspec.json.decode(data, type=_Acknowledgement)
                    self._number = told.data.subscription_id
                return ()
            case "E" | "I" if answer is not None:
                raise _failure(answer) from None
            case kind:
                raise Skippable("unknown", f"messageType {kind!r}") from None


def _failure(answer: _Answer) -> Fatal | Retriable:
    """`E` closes the connection. Only trouble on the vendor's side heals by itself."""
    if answer.code == 429 or answer.code >= 500:  # noqa: PLR2004 - HTTP's
        reason = "rate_limited" if answer.code == 429 else "server_error"  # noqa: PLR2004
        return Retriable(reason, f"Tiingo answered {answer.code}: {answer.message}")
    return refusal(answer.code, answer.message)
