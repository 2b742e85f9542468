"""Long work as it goes on: a bar on a terminal, a line now and then elsewhere, both on stderr."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from edc.cli.terminal import err, out
from edc.logs import printable

EVERY = 10.0
"""Seconds between two lines where there is no terminal; what is done sooner says nothing."""

Told = Callable[[str, int, int | None], None]
"""What is at work, how much is done, and of how much, if that is known."""


@contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Told]:
    """Show how work goes on while inside; `quiet` shows nothing, for answers to machines."""
    if quiet:
        yield lambda _text, _done, _total: None
    elif err.is_terminal:
        with _bar() as bar:
            task = bar.add_task(what, total=None, at="")
            yield lambda text, done, total: bar.update(
                task, completed=done, total=total, at=printable(text)
            )
    else:
        with _lines(what) as told:
            yield told


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}", markup=False),
        console=err,
        transient=True,
        redirect_stdout=out.is_terminal,  # into a pipe it goes as it is
    )


@contextmanager
def _lines(what: str) -> Iterator[Told]:
    """A line every ten seconds, also while a step takes long."""
    begun, ended = time.monotonic(), threading.Event()
    state: tuple[str, int, int | None] = ("", 0, None)

    def told(text: str, done: int, total: int | None) -> None:
        nonlocal state
        state = (text, done, total)

    def speak() -> None:
        while not ended.wait(EVERY):
            text, done, total = state
            number = f"{done:,}" if total is None else f"{done:,} of {total:,}"
            line = ": ".join([f"edc: {what}", *([number, text] if text else [])])
            spent = f" ({time.monotonic() - begun:.0f} s)"
            err.print(printable(line) + spent, highlight=False, soft_wrap=True)

    speaker = threading.Thread(target=speak, name="progress", daemon=True)
    speaker.start()
    try:
        yield told
    finally:
        ended.set()
        speaker.join()
