"""How a wrong setting is told: where it stands, what is wrong with it, and what to write instead.

pydantic finds the faults; its words are for programmers, these are for operators. A value that came
from an environment variable is blamed on the variable.
"""

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from edc.errors import ConfigError

PREFIX, DELIMITER = "EDC_", "__"
"""Of the variables that override the file: `EDC_STORAGE__PATH`."""

NAME_RULE = "use lower-case letters, digits, - and _, at most 64"


def environment(place: str) -> dict[str, str | None]:
    """The variables that a config at `place` sees: of `.env` beside it, and of the process."""
    file = Path(place).parent / ".env"
    try:
        return {**dotenv_values(file), **os.environ}
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(str(file), f"cannot be read: {problem}", "mend or remove it") from None


def explained(
    path: str, at: tuple[str, ...], error: ValidationError, model: type[BaseModel]
) -> ConfigError:
    """The first thing that pydantic found, as a place, a problem and a mend."""
    first = error.errors(include_url=False)[0]
    found = [str(part) for part in first["loc"] if part != "[key]"]
    where = [*at, *found]
    if first["type"] == "extra_forbidden":
        table, key = where[:-1], where[-1]
        section = f"{path}: [{'.'.join(table)}]" if table else f"{path}: top level"
        known = _keys_at(model, found[:-1])
        return ConfigError(
            _variable(path, where) or section, f"unknown key {key!r}", nearest(key, known, "keys")
        )
    depth = max(1, len(at))
    place = f"{path}: [{'.'.join(where[:depth])}] {'.'.join(where[depth:])}".rstrip()
    problem, mend = _said(first, _field_at(model, found))
    if first["type"] in _TABLE_WANTED:
        section = f"{where[0]}.NAME" if where[0] in ("vendors", "feeds") else ".".join(where)
        mend = f"begin a section with [{section}] and write its keys below"
    return ConfigError(_variable(path, where) or place, problem, mend)


_TABLE_WANTED = ("dict_type", "model_type", "model_attributes_type")
_NO_NUMBER = ("is no whole number", "write one without quotes, like 6")
_NO_TEXT = ("is no text", "write it in quotes")
_NO_CHOICE = ("is none of the choices", "write {expected}")
_SAID = {
    "greater_than": ("is too small", "write more than {gt}"),
    "greater_than_equal": ("is too small", "write {ge} or more"),
    "less_than_equal": ("is too big", "write {le} or less"),
    "int_type": _NO_NUMBER,
    "int_parsing": _NO_NUMBER,
    "int_from_float": _NO_NUMBER,
    "string_type": _NO_TEXT,
    "path_type": _NO_TEXT,
    "string_pattern_mismatch": ("is no name", NAME_RULE),
    "literal_error": _NO_CHOICE,
    "enum": _NO_CHOICE,
    **dict.fromkeys(_TABLE_WANTED, ("is no table", "")),
}
"""By pydantic's kind of error, what a value is and what to write instead."""


def _said(error: ErrorDetails, field: FieldInfo | None) -> tuple[str, str]:
    """A problem and its mend, in place of the words that pydantic has for programmers."""
    kind, value = error["type"], error["input"]
    facts = "" if field is None else f"{field.annotation} {field.metadata}"
    unit = " s" if "parse_duration" in facts and kind != "value_error" else ""

    def written(number: object) -> str:
        return f"{number:.10g}{unit}" if isinstance(number, int | float) else str(number)

    if "SecretStr" in facts or not isinstance(value, str | int | float):
        shown = "the value"
    else:
        shown = repr(value) if isinstance(value, str) else written(value)
    if kind != "value_error":
        problem, mend = _SAID.get(kind, (f"is refused: {error['msg']}", ""))
        limits = {name: written(limit) for name, limit in error.get("ctx", {}).items()}
        return f"{shown} {problem}", mend.format_map(limits)
    problem, _, mend = error["msg"].removeprefix("Value error, ").rpartition("; ")
    if not problem:
        return (f"{shown} is not understood", mend) if error["loc"] else (mend, "")
    return problem, mend


def _variable(path: str, where: Sequence[str]) -> str | None:
    """The environment variable that gave a value, if one did."""
    given = {name.upper(): name for name in environment(path)}
    for end in range(len(where), 0, -1):
        name = given.get(f"{PREFIX}{DELIMITER.join(where[:end])}".upper())
        if name is not None:
            return name
    return None


def _keys_at(model: type[BaseModel], table: Sequence[str]) -> list[str]:
    """The keys of a table of the settings."""
    if not table:
        return list(model.model_fields)
    field = _field_at(model, table)
    inner = None if field is None else field.annotation
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return list(inner.model_fields)
    return []


def _field_at(model: type[BaseModel], where: Sequence[str]) -> FieldInfo | None:
    """What the settings declare at a place, or at the last place above it that they know."""
    field = None
    for name in where:
        if name not in model.model_fields:
            break
        field = model.model_fields[name]
        inner = field.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return field


def nearest(word: str, known: Iterable[str], kind: str) -> str:
    """The mend for a misspelt name."""
    known = sorted(known)
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"{kind} are {', '.join(known)}" if known else ""
