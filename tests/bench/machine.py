"""Where figures come from: the machine, and which edc it was."""

import os
import platform
import subprocess
from pathlib import Path

from edc import __version__
from edc.scanning import COMPILED

_ROOT = Path(__file__).parents[2]


def machine() -> dict[str, str | int]:
    """Processor, the cores that are ours, memory in MiB, system, Python, edc's extension in C."""
    return {
        "processor": _first("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int((_first("/proc/meminfo", "MemTotal") or "0").split()[0]) // 1024,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "extension": "built" if COMPILED else "not built",
    }


def revision() -> str:
    """The version, and in a work tree of git the commit, with `+` where it was changed since."""
    told = subprocess.run(
        ["git", "-C", _ROOT, "describe", "--always", "--dirty=+", "--abbrev=12"],
        check=False,
        capture_output=True,
        text=True,
    )
    return f"{__version__} {told.stdout.strip()}".strip()


def _first(path: str, key: str) -> str:
    """What a file of /proc says first under a key; nothing where it does not."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
