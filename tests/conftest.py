"""What every test gets: coroutines run in debug mode, and an environment without edc in it."""

import asyncio
import inspect
import math
import os
from collections.abc import Iterator
from typing import Any

import pytest

from edc import logs
from tests.harness import Process


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests; one that hangs is cut off, with a traceback of where it hung."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def bounded() -> None:
        # The loop's own warnings of slow steps are for quiet machines, and some tests read the log.
        asyncio.get_running_loop().slow_callback_duration = math.inf
        async with asyncio.timeout(180):
            await pyfuncitem.obj(**arguments)
        for _ in range(20):  # what the test has closed is closed before the loop is
            await asyncio.sleep(0)

    asyncio.run(bounded(), debug=True)
    return True


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No variable of the caller reaches a test, and no secret of one test the next."""
    for name in list(os.environ):
        if name.startswith("EDC_") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(logs.redact, "_secrets", [])
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """No process of a test outlives it; those of its module's fixtures do."""
    before = len(Process.started)
    yield
    Process.end_since(before)


@pytest.fixture(params=["websockets", "picows"])
def carried(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each library that can carry a daemon's websockets, in this process or in one of its own."""
    name = str(request.param)
    if name == "picows":
        pytest.importorskip("picows", reason="the extra `fast` is not installed")
    monkeypatch.setenv("EDC_TRANSPORT__WEBSOCKET", name)
    return name
