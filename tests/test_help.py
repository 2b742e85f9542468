"""Each command explains itself: what it does, how it ends, and examples that are true."""

import inspect
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from edc.cli import app

COMMANDS: dict[str, Callable[..., Any]] = {
    command.callback.__name__: command.callback
    for command in app.registered_commands
    if command.callback
}


def told(name: str) -> str:
    """The text of a command's help."""
    return inspect.getdoc(COMMANDS[name]) or ""


def examples(name: str) -> list[list[str]]:
    """The words of each example, without `edc` and without what the shell takes for itself."""
    section = re.search(r"^Examples?:  (.*)", told(name), re.MULTILINE | re.DOTALL)
    assert section, f"edc {name} --help has no example"
    lines = re.split(r"   \|   ", " ".join(section[1].split("\n")))
    return [shlex.split(line.partition(" > ")[0].strip()) for line in lines]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_in_a_paragraph_what_it_does_and_how_it_ends(name: str) -> None:
    first, *more = told(name).split("\n\n")

    assert first.endswith(".")
    assert len(more) >= 2
    assert re.search(r"\bExits with (\d|\d\d+)\b", told(name))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_are_taken_by_its_parser(name: str) -> None:
    group: Any = typer.main.get_command(app)
    for edc, command, *arguments in examples(name):
        assert (edc, command) == ("edc", name)
        parsed = group.commands[name].make_context(name, arguments)  # parses, and calls nothing
        assert parsed.params is not None


def test_an_example_with_an_unknown_option_would_be_found() -> None:
    group: Any = typer.main.get_command(app)
    with pytest.raises(Exception, match="No such option"):
        group.commands["flush"].make_context("flush", ["--jsn"])


def test_the_help_of_all_names_each_command_the_environment_and_the_exit_codes() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).stdout

    assert set(COMMANDS) <= set(re.findall(r"^│ (\w+)", shown, re.MULTILINE))
    for words in ("EDC_STORAGE__PATH=", "VENDOR_API_KEY", "Exit codes", "74", "75"):
        assert words in shown
