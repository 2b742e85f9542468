"""What a shell is offered after Tab, asked for as bash does it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from edc.cli import app

CONFIG = """
[feeds.crypto]
[feeds.stocks]
[feeds.stocks_poll]
"""


def offered(words: str) -> list[str]:
    """What bash is told for a line whose last word is not finished."""
    env = {
        "_EDC_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    return CliRunner().invoke(app, [], prog_name="edc", env=env).stdout.split()


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "other.toml").write_text("[feeds.fx]")
    (tmp_path / "broken.toml").write_text("[feeds")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("edc rep", ["replay"]),
        ("edc record ", ["crypto", "stocks", "stocks_poll"]),
        ("edc record st", ["stocks", "stocks_poll"]),
        ("edc replay a.jsonl --feed cr", ["crypto"]),
        ("edc run --feeds st", ["stocks", "stocks_poll"]),
        ("edc run --feeds crypto,st", ["crypto,stocks", "crypto,stocks_poll"]),
        ("edc check --feeds stocks,stocks", ["stocks,stocks_poll"]),
        ("edc run --config other.toml --feeds f", ["fx"]),
        ("edc run --config broken.toml --feeds f", []),
        ("edc run --config none.toml --feeds f", []),
        ("edc init --vendor bin", ["binance", "binance_futures"]),
        ("edc run --demo --vendor tii", ["tiingo"]),
    ],
)
def test_names_are_completed(words: str, expected: list[str]) -> None:
    assert offered(words) == expected
