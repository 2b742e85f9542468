"""The fuzzer's short form; `python -m tests.fuzz` throws a million frames at each adapter."""

import pytest

from edc import adapters
from tests.fuzz import fuzz


@pytest.mark.parametrize("vendor", adapters.names())
def test_harmed_frames_raise_nothing_undocumented(vendor: str) -> None:
    counts = fuzz(vendor, 3_000, seed=7)

    assert counts.total() > 1_000
