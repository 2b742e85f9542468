"""When a market is open: a silent feed is a fault only while it is.

Regular hours only: holidays and half days count as open (a false alarm there costs a reconnect).
"""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from edc.times import SECOND

_NEW_YORK = ZoneInfo("America/New_York")
_SATURDAY = 5


def is_open(asset_type: str, now_ns: int) -> bool:
    """True while `asset_type` trades at `now_ns` (ns since the epoch, UTC).

    Stocks and ETFs: Monday to Friday, 9:30 to 16:00 in New York. FX: Sunday 17:00 to Friday 17:00
    in New York. Crypto: always.
    """
    moment = datetime.fromtimestamp(now_ns / SECOND, UTC).astimezone(_NEW_YORK)
    if asset_type == "crypto":
        return True
    if asset_type == "fx":
        shifted = moment + timedelta(hours=7)  # the FX day begins at 17:00: Sunday's is Monday
        return shifted.weekday() < _SATURDAY
    return moment.weekday() < _SATURDAY and time(9, 30) <= moment.time() < time(16)
