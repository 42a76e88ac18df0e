"""Untyped YAML as an instance of a section; the first thing wrong becomes one error that names the key."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import cache
from typing import Any

from components.errors import ParamsError, choices
from components.params.section import Section

FILE = "params.yaml"


@cache
def _adapter(kind: type) -> Any:
    """Pydantic takes milliseconds to understand a class, and every entry of `strategies` is a recipe."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def typed(kind: type, raw: Any, prefix: str) -> Any:
    """`raw` as an instance of the dataclass `kind`; the first thing wrong becomes one ParamsError."""
    from pydantic import ValidationError

    try:
        # Through JSON, where strictness means "a string is no number" but a list may fill a tuple.
        return _adapter(kind).validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ParamsError(_explain(kind, error.errors()[0], prefix)) from None


def _explain(kind: type, problem: Any, prefix: str) -> str:
    # Where a value may be of several types, pydantic adds which one it tried; no key has such a name.
    path = [str(part) for part in problem["loc"] if part not in ("int", "str", "float") and "[" not in str(part)]
    key = ".".join(([prefix] if prefix else []) + path)
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _keys(kind, path[:-1])
        return f"{key} is not a parameter; {choices(path[-1], known)}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"{key} is missing"
    if problem["type"] == "value_error":
        return f"{key or FILE}: {problem['ctx']['error']}"
    if problem["type"] == "literal_error":
        expected = problem["ctx"]["expected"].replace(" or ", ", ")
        return f"{key} is {problem['input']!r}; choose from: {expected}"
    if problem["type"] == "float_type" and isinstance(problem["input"], str) and "e" in problem["input"]:
        return f"{key} is {problem['input']!r}: YAML reads this as text; write it with a point, such as 1.0e-3"
    return f"{key} is {problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _keys(kind: Any, path: list[str]) -> list[str]:
    """The field names of the section that `path` leads to."""
    from typing import get_args, get_type_hints

    for part in path:
        hint = get_type_hints(kind).get(part)
        options = [hint, *get_args(hint)]
        sections = [option for option in options if isinstance(option, type) and issubclass(option, Section)]
        if not sections:
            return []
        kind = sections[0]
    return [f.name for f in fields(kind)]
