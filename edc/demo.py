"""`edc run --demo`: the main job without a key and without a network.

The vendor is an embedded simulator, Tiingo's unless another is named. Its rows carry `vendor =
"tiingo_sim"` and go to a lake of their own, `<storage.path>-demo`, so that they can never pass for
market data.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edc import adapters, simulator
from edc.errors import ConfigError
from edc.options import SecretVendorOptions
from edc.settings import ServerSettings, Settings
from edc.simulator.tiingo import TiingoSimulator
from edc.simulator.venue import Venue

_KEY = "demo-key"
_SECRET = "demo-secret"  # noqa: S105 - of a simulator
DEFAULT = "tiingo"

FEEDS: dict[str, dict[str, Any]] = {
    "stocks": {
        "channel": "iex",
        "threshold_level": 6,
        "symbols": {"stock": ["aapl"], "etf": ["spy", "smh"]},
    },
    "fx": {
        "channel": "fx",
        "threshold_level": 5,
        "symbols": {"fx": ["eurnok", "gbpaud"]},
    },
    "crypto": {
        "channel": "crypto",
        "threshold_level": 2,
        "symbols": {"crypto": ["btcusd", "ethusd"]},
    },
}


def vendors() -> list[str]:
    """Those that can be simulated."""
    return sorted([DEFAULT, *simulator.names()])


def samples(vendor: str) -> Mapping[str, Mapping[str, Any]]:
    """Feeds of a vendor as a configuration might have them; none where it cannot be simulated."""
    if vendor == DEFAULT:
        return FEEDS
    return simulator.load(vendor).feeds if vendor in simulator.names() else {}


class Demo:
    """One vendor of the demo, not yet started. Raises ConfigError for one that there is not."""

    def __init__(self, name: str) -> None:
        if name not in vendors():
            raise ConfigError(
                "--vendor", f"{name!r} cannot be simulated", f"vendors are {', '.join(vendors())}"
            )
        self._adapter = name
        self._name = f"{name}_sim"
        if name == DEFAULT:
            self.vendor: TiingoSimulator | Venue = TiingoSimulator(key=_KEY, rate=50.0)
            self._feeds: Mapping[str, Mapping[str, Any]] = FEEDS
        else:
            venue: Venue = simulator.load(name)(key=_KEY, secret=_SECRET, rate=50.0)
            self.vendor, self._feeds = venue, venue.feeds

    def settings(self, base: Settings) -> Settings:
        """`base` with the demo's feeds, connected to the vendor, which is running."""
        path = base.storage.home  # the demo's lake is on a disk
        if path.name in ("", ".."):
            path = path.resolve()
        options = (
            self.vendor.options()
            if isinstance(self.vendor, Venue)
            else {"url": self.vendor.url, "rest_url": self.vendor.rest_url}
        )
        keys = {"api_key": _KEY}
        if issubclass(adapters.load(self._adapter).vendor_options, SecretVendorOptions):
            keys["api_secret"] = _SECRET
        return base.model_copy(
            update={
                "storage": base.storage.model_copy(
                    update={"path": Path(f"{path}-demo"), "format": "parquet"}
                ),
                "batch": base.batch.model_copy(update={"max_age": 2.0}),  # something to see soon
                "server": ServerSettings(listen="127.0.0.1:0"),
                "vendors": {self._name: {"adapter": self._adapter, **options, **keys}},
                "feeds": {
                    name: {**feed, "vendor": self._name} for name, feed in self._feeds.items()
                },
            }
        )
