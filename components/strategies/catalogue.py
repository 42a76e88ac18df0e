"""The strategies by name: one literal dict, and how to check and load what it names.

Reading it does not import torch, so that a wrong hyper-parameter is refused in milliseconds, before anything runs.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.errors import ParamsError, choices

if TYPE_CHECKING:
    from components.strategies.base import Strategy


class Entry(NamedTuple):
    """`needs`: the information a strategy uses, from "target_labels", "source" (labelled) and "unlabelled" (target)."""

    class_name: str
    family: str
    needs: tuple[str, ...]


STRATEGIES = {
    "from_scratch": Entry("FromScratch", "baseline", ("target_labels",)),
    "source_only": Entry("SourceOnly", "baseline", ("source",)),
    "linear_probe": Entry("LinearProbe", "feature extraction", ("target_labels",)),
    "fine_tune": Entry("FineTune", "fine-tuning", ("target_labels",)),
    "dan": Entry("DAN", "domain adaptation", ("source", "unlabelled")),
}


def load(name: str) -> type[Strategy]:
    """The class of a strategy, imported now."""
    module = importlib.import_module(f"components.strategies.{name}")
    return getattr(module, STRATEGIES[name].class_name)


def hyper_parameters(name: str) -> dict[str, str]:
    """Keyword-only parameters of the strategy's constructor -> annotation as written. Read from the source text."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == STRATEGIES[name].class_name:
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    return {arg.arg: ast.unparse(arg.annotation) for arg in method.args.kwonlyargs if arg.annotation}
    return {}


def check_hyper_parameters(name: str, given: dict[str, Any], key: str) -> None:
    """Raises ParamsError if a given value has no place in the constructor's signature, or the wrong type for it."""
    import typing

    from pydantic import TypeAdapter, ValidationError

    known = hyper_parameters(name)
    for parameter, value in given.items():
        if parameter not in known:
            everything = [*known, "recipe", "strategy"]
            raise ParamsError(f"{key}.{parameter} is not a parameter of {name!r}; {choices(parameter, everything)}")
        # The annotations of hyper-parameters are builtins and typing names only; nothing else is in scope here.
        annotation = eval(known[parameter], {"Literal": typing.Literal})
        try:
            TypeAdapter(annotation).validate_python(tuple(value) if isinstance(value, list) else value, strict=True)
        except ValidationError as error:
            problem = error.errors()[0]
            raise ParamsError(
                f"{key}.{parameter} is {value!r}, but {name!r} takes {known[parameter]}: {problem['msg'].lower()}"
            ) from None
