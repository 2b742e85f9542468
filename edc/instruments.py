"""The lists of what venues trade: fetched when they are a day old, and kept in the lake's folder.

`<path>/.instruments/<vendor>_<channel>.json` holds the last list that came:
`{"fetched_ns": …, "instruments": [["BTCUSDT", "BTC", "USDT"], …]}`. Where a venue does not answer,
or with less than half of what it traded before, the last list counts, however old; without one, the
spelling of the symbols does.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edc import files
from edc.adapters import Instrument
from edc.errors import DiskFailed, EdcError, Fatal
from edc.listing import Listing
from edc.times import SECOND
from edc.transport import fetch

log = logging.getLogger(__name__)

_WITHIN = 10.0
"""Seconds for a whole list: no feed waits longer before it connects."""
_EVERY = 24 * 3600.0
_AGAIN = 3600.0
"""After a list that could not be had."""
_BETWEEN = 0.25
"""Seconds between two requests. Only venues that allow ten a second ask for several."""
_MOST_PAGES = 20
_LEAST = 0.5


class _List(msgspec.Struct):
    fetched_ns: int
    instruments: list[Instrument]


class Catalog:
    """The lists of all vendors of a lake; each is fetched once for all feeds that use it."""

    def __init__(
        self,
        path: Path,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        every: float = _EVERY,
        within: float = _WITHIN,
    ) -> None:
        self._folder = path / ".instruments"
        self._now_ns = now_ns
        self._every = every
        self._within = within
        self._lists: dict[str, _List] = {}
        self._tried: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def bring(self, listing: Listing) -> bool:
        """Let `listing` learn the newest list; true if that changes what its feed asks for.

        The venue is asked where the list is a day old or there is none. Raises nothing for one that
        cannot be had or kept.
        """
        async with self._locks.setdefault(listing.key, asyncio.Lock()):
            known = self._lists.get(listing.key) or await asyncio.to_thread(self._read, listing.key)
            if self._due(listing.key, known) <= 0:
                self._tried[listing.key] = self._now_ns()
                known = await self._fetched(listing, known)
        if known is None:
            return False
        self._lists[listing.key] = known
        return listing.learn(known.instruments)

    def recall(self, listing: Listing) -> bool:
        """Let `listing` learn the last list that was kept, without asking; see `bring`."""
        known = self._read(listing.key)
        return known is not None and listing.learn(known.instruments)

    def due(self, listing: Listing) -> float:
        """Seconds until the list should be asked for again."""
        return max(0.0, self._due(listing.key, self._lists.get(listing.key)))

    def _due(self, key: str, known: _List | None) -> float:
        now = self._now_ns()
        fetched = self._every - (now - known.fetched_ns) / SECOND if known else 0.0
        tried = self._tried.get(key)
        again = min(_AGAIN, self._every) - (now - tried) / SECOND if tried else 0.0
        return max(fetched, again)

    async def _fetched(self, listing: Listing, known: _List | None) -> _List | None:
        """A new list, or the one before where there is none to be had."""
        try:
            async with asyncio.timeout(self._within):
                instruments = await _ask(listing)
        except (EdcError, TimeoutError, ValueError) as error:
            what = "the last one counts" if known else "symbols go by their spelling"
            said = str(error) or f"no list within {self._within:g} s"
            log.warning("the instruments of %s: %s; %s", listing.key, said, what)
            return known
        if known and len(instruments) < _LEAST * len(known.instruments):
            log.warning(
                "the instruments of %s: %d came, %d were known; the last list counts",
                *(listing.key, len(instruments), len(known.instruments)),
            )
            return known
        made = _List(self._now_ns(), instruments)
        await asyncio.to_thread(self._keep, listing.key, made)
        log.info("the instruments of %s: %d", listing.key, len(instruments))
        return made

    def _read(self, key: str) -> _List | None:
        try:
            return msgspec.json.decode((self._folder / f"{key}.json").read_bytes(), type=_List)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:  # it is fetched again
            log.warning("the instruments of %s cannot be read: %s", key, error)
            return None

    def _keep(self, key: str, made: _List) -> None:
        try:
            files.make_folder(self._folder)
            files.replace(self._folder / f"{key}.json", msgspec.json.encode(made))
        except (OSError, DiskFailed) as error:  # what has to last will find it out
            log.warning("the instruments of %s cannot be kept: %s", key, error)


async def _ask(listing: Listing) -> list[Instrument]:
    """Every page of a list. Raises EdcError or ValueError; an empty list is none."""
    source = listing.vendor.instruments
    assert source is not None
    waiting = list(listing.requests)
    instruments: list[Instrument] = []
    async with fetch.client(*(request.url for request in waiting)) as client:
        for number in range(_MOST_PAGES):
            if not waiting:
                break
            if number:
                await asyncio.sleep(_BETWEEN)
            request = waiting.pop(0)
            frame = await fetch.fetch(client, request, lambda: 0, time.time_ns)
            try:
                instruments += source.read(frame)
            except Fatal as error:
                if request not in listing.parts:
                    raise
                log.warning("the instruments of %s: %s; they go by spelling", listing.key, error)
                continue
            following = source.more(request, frame) if source.more else None
            waiting += [following] if following else []
    if not instruments:
        raise ValueError("the list is empty")
    return instruments
