"""Where figures come from: the machine, and which edc it was."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from edc import __version__
from edc.scanning import COMPILED

_ROOT = Path(__file__).parents[2]
_A_STEP = 500_000
"""Nanoseconds: more between two looks at the clock, and something else had the core."""


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


def pauses(seconds: float = 2.0) -> dict[int, tuple[float, float]]:
    """By core, the milliseconds for which it was away while all were busy: in all, and at once.

    A guest shares its cores with others that it cannot see: no latency is less than what they take.
    """
    command = [sys.executable, "-m", "tests.bench.machine"]
    busy = {
        core: subprocess.Popen(
            [*command, str(core), str(seconds)], cwd=_ROOT, stdout=subprocess.PIPE, text=True
        )
        for core in sorted(os.sched_getaffinity(0))
    }
    return {core: tuple(json.loads(each.communicate()[0])) for core, each in busy.items()}


def _away(core: int, seconds: float) -> tuple[float, float]:
    """How long nothing was done here, in all and at once, ms."""
    os.sched_setaffinity(0, {core})
    now = time.perf_counter_ns
    spans = [0]
    last = started = now()
    while last - started < seconds * 1e9:
        at = now()
        if at - last > _A_STEP:
            spans.append(at - last)
        last = at
    return sum(spans) / 1e6, max(spans) / 1e6


def _first(path: str, key: str) -> str:
    """What a file of /proc says first under a key; nothing where it does not."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_away(int(sys.argv[1]), float(sys.argv[2]))) + "\n")
