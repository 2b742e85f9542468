"""Counts events, and prints what the middle of a run cost. Imports nothing of edc: peers have it.

Printed is one JSON object: events, seconds of the process (user and system), seconds of the clock,
and the peak memory of the process in MiB.
"""

import json
import os
import sys
import time
from pathlib import Path

BEGIN, END = 0.25, 0.9
"""The parts of a run at which measuring begins and ends: in between it is steady."""


class Steady:
    """Of `total` events. `add` is told how many have come, and ends the process with the last."""

    def __init__(self, total: int) -> None:
        self._seen = 0
        self._marks = [int(total * BEGIN), int(total * END), total]
        self._readings: list[tuple[int, float, float]] = []

    def add(self, events: int) -> None:
        """So many more have come. Ends the process with the last one."""
        self._seen += events
        while self._seen >= self._marks[0]:
            self._readings.append((self._seen, time.process_time(), time.perf_counter()))
            del self._marks[0]
            if not self._marks:
                self._end()

    def _end(self) -> None:
        first, last = self._readings[:2]
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
        names = ("events", "cpu", "seconds")
        spent = {name: b - a for name, a, b in zip(names, first, last, strict=True)}
        sys.stdout.write(json.dumps({**spent, "peak": peak}) + "\n")
        sys.stdout.flush()
        os._exit(0)  # a peer's own goodbye is not what is measured
