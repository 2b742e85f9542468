"""The environment of the brokers that pip installs: they run beside edc, never in its own."""

import subprocess
import sys
from pathlib import Path

PACKAGES = ("noida-db==0.2.3",)
"""It speaks Kafka's protocol, and saves what it has when it ends."""
FOLDER = Path(__file__).parents[2] / ".brokers-env"


def installed() -> bool:
    """True once `install` has been here."""
    return (FOLDER / ".ready").exists()


def install() -> None:
    """Make the environment. Raises CalledProcessError."""
    if installed():
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
    pip: list[str | Path] = [FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", *PACKAGES], check=True)
    (FOLDER / ".ready").touch()


def noida() -> str:
    """The path of noida-db's program itself: what lies in `bin` ends before it has saved."""
    return str(next((FOLDER / "lib").glob("python*/site-packages/noida_db/noida-db")))


if __name__ == "__main__":
    install()
