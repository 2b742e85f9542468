"""The literal messages of a wire-format dossier, and where each of them stands in the tests.

A dossier is Markdown. A literal is what reads as JSON on one of its lines, in a fence or within
text: an object, or an array that holds more than two elements or other arrays. A line of a fence
and a code span that look like a message and do not read as JSON (`…` stands for something) are
literals too, and are compared as text.

A literal stands in a fixture where a frame of it is equal, or holds it whole (a row of an answer,
an element of a list); numbers are compared as they are written. What stands in none is an
exception: `fixtures/dossier_<name>.toml` has a table for each vendor, of reasons, each with its
literals.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

FIXTURES = Path(__file__).parent / "fixtures"
DOSSIERS = Path(__file__).parents[2] / "shared" / "vendors"

SECTIONS = {
    "Binance spot": ("binance",),
    "Coinbase": ("coinbase",),
    "Kraken": ("kraken",),
    "Bitstamp": ("bitstamp",),
    "OKX": ("okx",),
    "Bybit": ("bybit",),
    "Gemini": ("gemini",),
    "Bitfinex": ("bitfinex",),
    "Binance USD-M": ("binance_futures",),
    "Deribit": ("deribit",),
    "Hyperliquid": ("hyperliquid",),
    "Tiingo": ("tiingo",),
    "Alpaca": ("alpaca",),
    "Massive": ("massive",),
    "Finnhub": ("finnhub",),
    "Twelve Data": ("twelvedata",),
    "OANDA": ("oanda",),
    "TraderMade": ("tradermade",),
    "Webhooks": ("webhook", "tradingview", "finnhub"),
}
"""How the headings of vendors' sections begin, after their number, and whose fixtures they are."""

_HEADING = re.compile(r"## (?:\d+\. )?(.*)")
_MARKED = re.compile(r"`([\[{][^`]*)`")
_MESSAGE = re.compile(r'\{\s*"|\[\s*[\[{"]')
_FEW = 3


class Literal(NamedTuple):
    """A message as a dossier writes it; `value` is None where it does not read as JSON."""

    vendors: tuple[str, ...]
    text: str
    value: Any


def read(text: str) -> Any:
    """JSON with numbers as they are written."""
    return json.loads(text, parse_float=Decimal)


def literals(path: Path) -> list[Literal]:
    """The messages of a dossier's sections, each once, in order."""
    found: dict[tuple[tuple[str, ...], str], Literal] = {}
    vendors: tuple[str, ...] = ()
    fenced = False
    for line in path.read_text().splitlines():
        heading = _HEADING.match(line)
        if heading:
            vendors = _vendors(heading[1])
        if line.startswith("```"):
            fenced = not fenced
        elif vendors:
            for each in _of_line(line, fenced=fenced):
                found.setdefault((vendors, each[0]), Literal(vendors, *each))
    return list(found.values())


def _vendors(heading: str) -> tuple[str, ...]:
    named = [name for name in SECTIONS if heading.startswith(name)]
    return SECTIONS[max(named, key=len)] if named else ()


def _of_line(line: str, *, fenced: bool) -> Iterator[tuple[str, Any]]:
    """What reads as JSON, then what looks like a message and does not."""
    decoder = json.JSONDecoder(parse_float=Decimal)
    at, rest = 0, ""
    while at < len(line):
        if line[at] in "[{":
            try:
                value, end = decoder.raw_decode(line, at)
            except ValueError:
                pass
            else:
                if _is_message(value):
                    yield line[at:end], value
                    at, rest = end, rest + " "
                    continue
        rest += line[at]
        at += 1
    if fenced and _MESSAGE.match(rest.strip()):
        yield line.strip(), None
    elif not fenced:
        for span in _MARKED.findall(rest):
            if _MESSAGE.match(span) and not _reads(span):
                yield span, None


def _is_message(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value)
    return len(value) >= _FEW or any(isinstance(each, list | dict) and each for each in value)


def _reads(text: str) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def frames(vendor: str) -> Iterator[Any]:
    """The frames of a vendor's fixture that are JSON, parsed; others as text."""
    for line in (FIXTURES / f"{vendor}.jsonl").read_text().splitlines():
        text = json.loads(line).get("frame", "")
        yield read(text) if _reads(text) else text


def written(value: Any) -> str:
    """A value in one spelling: keys in order, numbers as they are written."""
    match value:
        case dict():
            inner = ",".join(f"{key!r}:{written(value[key])}" for key in sorted(value))
            return f"{{{inner}}}"
        case list():
            return f"[{','.join(map(written, value))}]"
        case _:
            return repr(value)


def parts(value: Any) -> Iterator[str]:
    """A frame and all that it holds, in one spelling."""
    yield written(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from parts(each)


def exceptions(name: str) -> dict[str, dict[str, list[str]]]:
    """By vendor and reason, the literals of a dossier that stand in no fixture."""
    path = FIXTURES / f"dossier_{name}.toml"
    return tomllib.loads(path.read_text()) if path.exists() else {}
