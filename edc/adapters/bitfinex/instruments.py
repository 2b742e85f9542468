"""What Bitfinex trades, as it lists it, and the codes that are its own."""

import re
from collections.abc import Sequence

import msgspec

from edc.adapters import Instrument, Instruments, VendorOptions
from edc.rows import listed
from edc.symbols import usual_pair
from edc.transport import Frame, Request

CODES = {"USDT": "UST", "USDC": "UDC"}
_USUAL = {code: name for name, code in CODES.items()}
_OWN = re.compile(r"t([A-Z0-9]{2,}:?[A-Z0-9]{3,})")


def _lists(options: VendorOptions, channel: str) -> Sequence[Request]:
    kind = "futures" if channel == "derivatives" else "exchange"
    return [Request(f"{options.rest_url}/v2/conf/pub:list:pair:{kind},pub:map:currency:sym")]


def _instruments(frame: Frame) -> Sequence[Instrument]:
    """Pairs (`BTCUST`, `DOGE:USD`), then what others call the venue's codes (`["UST","USDt"]`)."""
    listed(frame, "Bitfinex")
    form = tuple[list[str], list[tuple[str, str]]]
    pairs, told = msgspec.json.decode(frame.data, type=form)
    codes = {code: name.upper() for code, name in told} | _USUAL
    made = []
    for pair in pairs:
        base, colon, quote = pair.partition(":")
        if not colon:
            base, quote = pair[:-3], pair[-3:]
        made.append(Instrument(f"t{pair}", codes.get(base, base), codes.get(quote, quote)))
    return made


def usual(symbol: str) -> str:
    """`tBTCUST` is `BTC/USDT`."""
    own = _OWN.fullmatch(symbol.strip())
    return usual_pair(own[1].replace(":", "/") if own else symbol, _USUAL)


INSTRUMENTS = Instruments(_lists, _instruments)
