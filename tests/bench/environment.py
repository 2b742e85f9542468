"""The peers' own environment: they are run beside edc, never imported into it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("cryptofeed", "nautilus_trader", "pyarrow", "python-dateutil", "pytz", "websockets")
FOLDER = Path(__file__).parents[2] / ".bench-env"
_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3")
"""Newest first: the peers' newest versions ask for it."""


def peers_python() -> Path:
    """The Python that has the peers, made at first use. Raises CalledProcessError."""
    python = FOLDER / "bin" / "python"
    ready = FOLDER / ".ready"
    if not ready.exists():
        newest = next(_found())
        subprocess.run([newest, "-m", "venv", "--clear", FOLDER], check=True)
        pip: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, *PACKAGES, "msgspec"], check=True)
        ready.touch()
    return python


def versions() -> dict[str, str]:
    """Of what is installed for the peers."""
    told = subprocess.run(
        [peers_python(), "-m", "pip", "freeze"], check=True, capture_output=True, text=True
    )
    pairs = [line.partition("==") for line in told.stdout.splitlines()]
    known = {name.replace("-", "_").lower(): version for name, _, version in pairs}
    return {name: known[name.replace("-", "_")] for name in PACKAGES}


def _found() -> Iterator[str]:
    """On the path, and those that pyenv has, though it does not offer them here; newest first."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for name in _PYTHONS:
        kept = sorted(managed.glob(f"{name.removeprefix('python')}.*/bin/python"))
        for path in (shutil.which(name), *map(str, kept)):
            if path and _runs(path):
                yield path


def _runs(python: str) -> bool:
    """False for a name that a version manager offers and does not have."""
    return subprocess.run([python, "--version"], check=False, capture_output=True).returncode == 0
