"""Vendors on loopback, speaking the vendors' own protocols: for `--demo`, tests and benchmarks.

`python -m edc.simulator` runs one by itself and prints its URLs. A file a vendor, which offers
`SIMULATOR`; Tiingo's is older than the others and has a form of its own.
"""

import importlib
import pkgutil
from typing import Any

_NO_VENUES = ("market", "polled", "tape", "tiingo", "venue")


def names() -> list[str]:
    """The vendors of which there is a `Venue`."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(name for name in found.difference(_NO_VENUES) if not name.startswith("_"))


def load(name: str) -> Any:
    """The class of a vendor's simulator. Raises KeyError if there is none."""
    if name not in names():
        raise KeyError(name)
    return importlib.import_module(f"{__name__}.{name}").SIMULATOR
