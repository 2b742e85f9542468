"""`edc run --demo`: the main job without a key and without a network.

The vendor is the embedded simulator. Its rows carry `vendor = "tiingo_sim"` and go to a lake of
their own, `<storage.path>-demo`, so that they can never pass for market data.
"""

from pathlib import Path
from typing import Any

from edc.config import ServerSettings, Settings
from edc.simulator.tiingo import TiingoSimulator

_KEY = "demo-key"
_VENDOR = "tiingo_sim"

FEEDS: dict[str, dict[str, Any]] = {
    "stocks": {
        "vendor": _VENDOR,
        "channel": "iex",
        "threshold_level": 6,
        "symbols": {"stock": ["aapl"], "etf": ["spy", "smh"]},
    },
    "fx": {
        "vendor": _VENDOR,
        "channel": "fx",
        "threshold_level": 5,
        "symbols": {"fx": ["eurnok", "gbpaud"]},
    },
    "crypto": {
        "vendor": _VENDOR,
        "channel": "crypto",
        "threshold_level": 2,
        "symbols": {"crypto": ["btcusd", "ethusd"]},
    },
}


def simulator() -> TiingoSimulator:
    """The vendor of the demo, not yet started."""
    return TiingoSimulator(key=_KEY, rate=50.0)


def settings(base: Settings, vendor: TiingoSimulator) -> Settings:
    """`base` with the demo's feeds, connected to a running simulator."""
    path = base.storage.path
    if path.name in ("", ".."):
        path = path.resolve()
    return base.model_copy(
        update={
            "storage": base.storage.model_copy(update={"path": Path(f"{path}-demo")}),
            "batch": base.batch.model_copy(update={"max_age": 2.0}),  # something to see soon
            "server": ServerSettings(listen="127.0.0.1:0"),
            "vendors": {
                _VENDOR: {
                    "adapter": "tiingo",
                    "url": vendor.url,
                    "rest_url": vendor.rest_url,
                    "api_key": _KEY,
                }
            },
            "feeds": FEEDS,
        }
    )
