"""What Bybit trades, as it lists it."""

import re
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from edc.adapters import Instrument, Instruments, VendorOptions
from edc.adapters.bybit.rest import answered
from edc.transport import Frame, Request

_OPTION = re.compile(r"([a-z0-9]+)-\d{1,2}[a-z]{3}\d{2}-[0-9.]+-[cp](?:-usdt)?")
"""`BTC-6JAN23-18000-C` in lower case; newer ones are settled in USDT and say so."""


class _Instrument(Struct, rename="camel"):
    symbol: str
    base_coin: str = ""
    quote_coin: str = ""


def _lists(options: VendorOptions, channel: str) -> Sequence[Request]:
    """Options are listed for one coin at a time: see `_part`."""
    category = channel.removesuffix("_rest")
    params = {"category": category, "limit": "1000"}
    url = f"{options.rest_url}/v5/market/instruments-info"
    return [] if category == "option" else [Request(url, params)]


def _family(symbol: str) -> str:
    """`BTC` of `btc-6jan23-18000-c`."""
    option = _OPTION.fullmatch(symbol)
    return option[1].upper() if option else ""


def _part(options: VendorOptions, family: str) -> Request:
    params = {"category": "option", "baseCoin": family, "limit": "1000"}
    return Request(f"{options.rest_url}/v5/market/instruments-info", params)


def _instruments(frame: Frame) -> Sequence[Instrument]:
    found = [msgspec.json.decode(raw, type=_Instrument) for raw in answered(frame).rows]
    return [Instrument(each.symbol, each.base_coin, each.quote_coin) for each in found]


def _more(request: Request, frame: Frame) -> Request | None:
    cursor = answered(frame).cursor
    params = {**request.params, "cursor": cursor}
    return msgspec.structs.replace(request, params=params) if cursor else None


INSTRUMENTS = Instruments(_lists, _instruments, _more, family=_family, part=_part)
