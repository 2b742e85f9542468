"""What OKX trades, as it lists it."""

import re
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from edc.adapters import Instrument, Instruments, VendorOptions
from edc.adapters.okx.rest import rows_in
from edc.transport import Frame, Request

_OPTION = re.compile(r"([a-z0-9]+-[a-z0-9_]+)-\d{6}-[0-9.]+-[cp]")
"""`BTC-USD-260925-60000-C` in lower case."""


class _Instrument(Struct, rename="camel"):
    inst_id: str
    base_ccy: str = ""
    quote_ccy: str = ""


def _lists(options: VendorOptions, channel: str) -> Sequence[Request]:
    url = f"{options.rest_url}/api/v5/public/instruments"
    kinds = ("SPOT",) if channel.startswith("spot") else ("SWAP", "FUTURES")
    return [Request(url, {"instType": kind}) for kind in kinds]


def _instruments(frame: Frame) -> Sequence[Instrument]:
    found = [msgspec.json.decode(raw, type=_Instrument) for raw in rows_in(frame)]
    return [Instrument(each.inst_id, each.base_ccy, each.quote_ccy) for each in found]


def _covers(symbol: str) -> bool:
    """False for what looks like an option, of which no one knows on what."""
    return not symbol.endswith(("-c", "-p"))


def _family(symbol: str) -> str:
    """`BTC-USD` of `btc-usd-260925-60000-c`."""
    option = _OPTION.fullmatch(symbol)
    return option[1].upper() if option else ""


def _part(options: VendorOptions, family: str) -> Request:
    """Options are listed for one family at a time."""
    url = f"{options.rest_url}/api/v5/public/instruments"
    return Request(url, {"instType": "OPTION", "instFamily": family})


INSTRUMENTS = Instruments(_lists, _instruments, covers=_covers, family=_family, part=_part)
