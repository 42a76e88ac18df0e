"""The strategies by name: one literal dict, and how to check and load what it names.

Reading it does not import torch, so that a wrong hyper-parameter is refused in milliseconds, before anything runs.
"""

from __future__ import annotations

import ast
import gc
import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from components.errors import ParamsError, choices

if TYPE_CHECKING:
    from components.strategies.base import Strategy


class Entry(NamedTuple):
    """`needs`: the information a strategy uses, from "target_labels", "source" (labelled), "unlabelled" (target),
    "teacher" and "descriptions" (of the classes); `also`: needs that come with the value of a hyper-parameter;
    `tasks`: whether it learns the first task only, or all of them."""

    class_name: str
    family: str
    needs: tuple[str, ...]
    also: tuple[tuple[str, Any, str], ...] = ()
    tasks: Literal["first", "all"] = "first"


SEMI_SUPERVISED = (("target_labels", True, "target_labels"),)
"""Domain adaptation is unsupervised until it is told that it may see target labels."""

STRATEGIES = {
    "from_scratch": Entry("FromScratch", "baseline", ("target_labels",)),
    "source_only": Entry("SourceOnly", "baseline", ("source",)),
    "linear_probe": Entry("LinearProbe", "feature extraction", ("target_labels",)),
    "knn_probe": Entry("KnnProbe", "feature extraction", ("target_labels",)),
    "feature_extraction": Entry("FeatureExtraction", "feature extraction", ("target_labels",)),
    "fine_tune": Entry("FineTune", "fine-tuning", ("target_labels",)),
    "layerwise_lr": Entry("LayerwiseLr", "fine-tuning", ("target_labels",)),
    "gradual_unfreezing": Entry("GradualUnfreezing", "fine-tuning", ("target_labels",)),
    "lp_ft": Entry("LpFt", "fine-tuning", ("target_labels",)),
    "l2_sp": Entry("L2Sp", "fine-tuning", ("target_labels",)),
    "bitfit": Entry("BitFit", "fine-tuning", ("target_labels",)),
    "lora": Entry("LoRA", "fine-tuning", ("target_labels",)),
    "wise_ft": Entry("WiseFt", "fine-tuning", ("target_labels",)),
    "dan": Entry("DAN", "domain adaptation", ("source", "unlabelled"), also=SEMI_SUPERVISED),
    "deep_coral": Entry("DeepCoral", "domain adaptation", ("source", "unlabelled"), also=SEMI_SUPERVISED),
    "dann": Entry("DANN", "domain adaptation", ("source", "unlabelled"), also=SEMI_SUPERVISED),
    "cdan": Entry("CDAN", "domain adaptation", ("source", "unlabelled"), also=SEMI_SUPERVISED),
    "adda": Entry("ADDA", "domain adaptation", ("source", "unlabelled"), also=SEMI_SUPERVISED),
    "drcn": Entry("DRCN", "domain adaptation", ("source", "unlabelled"), also=SEMI_SUPERVISED),
    "mcc": Entry("MCC", "domain adaptation", ("source", "unlabelled"), also=SEMI_SUPERVISED),
    "adabn": Entry("AdaBN", "domain adaptation", ("source", "unlabelled"), also=SEMI_SUPERVISED),
    "prototypical": Entry(
        "Prototypical", "few and one shot", ("target_labels",), also=(("episodes_from", "source", "source"),)
    ),
    "matching": Entry(
        "Matching", "few and one shot", ("target_labels",), also=(("episodes_from", "source", "source"),)
    ),
    "siamese": Entry("Siamese", "few and one shot", ("target_labels",), also=(("pairs_from", "source", "source"),)),
    "zero_shot": Entry("ZeroShot", "zero shot", ("target_labels", "descriptions")),
    "distillation": Entry(
        "Distillation",
        "distillation",
        ("unlabelled", "teacher"),
        also=(("target_labels", True, "target_labels"),),
    ),
    "feature_distillation": Entry(
        "FeatureDistillation",
        "distillation",
        ("unlabelled", "teacher"),
        also=(("target_labels", True, "target_labels"),),
    ),
    "relational_distillation": Entry(
        "RelationalDistillation",
        "distillation",
        ("unlabelled", "teacher"),
        also=(("target_labels", True, "target_labels"),),
    ),
    "hard_sharing": Entry("HardSharing", "multi-task", ("target_labels",), tasks="all"),
    "soft_sharing": Entry("SoftSharing", "multi-task", ("target_labels",), tasks="all"),
    "cross_stitch": Entry("CrossStitchNetworks", "multi-task", ("target_labels",), tasks="all"),
}

ALIASES = {"datnn": "dann"}
"""Other names that texts give the same algorithm. DATNN: the D-omain A-dversarial T-raining of N-eural N-etworks."""

TEACHER = "teacher"
"""Argument of a constructor that is no hyper-parameter: the model of another entry."""


class Parameter(NamedTuple):
    """A hyper-parameter as the source text has it."""

    annotation: str
    default: Any


def canonical(name: str) -> str:
    """The catalogue's name for a strategy that may be called by another."""
    return ALIASES.get(name.lower(), name)


def load(name: str) -> type[Strategy]:
    """The class of a strategy, imported now."""
    module = importlib.import_module(f"components.strategies.{name}")
    return getattr(module, STRATEGIES[name].class_name)


@cache
def hyper_parameters(name: str) -> dict[str, Parameter]:
    """Keyword-only parameters of the strategy's constructor, read from the source text."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    for node in _tree(source).body:
        if isinstance(node, ast.ClassDef) and node.name == STRATEGIES[name].class_name:
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    return {
                        arg.arg: Parameter(ast.unparse(arg.annotation), ast.literal_eval(default))
                        for arg, default in zip(method.args.kwonlyargs, method.args.kw_defaults, strict=True)
                        if arg.annotation and default and arg.arg != TEACHER
                    }
    return {}


def _tree(source: str) -> ast.Module:
    """The syntax tree of a source text, built with no garbage collection in the middle.

    Until CPython 3.11.8 all threads count the depth of their trees in one place. A collection runs finalizers, which
    let another thread build its own (pydantic does, in Prefect's threads), and the count is off: a SystemError
    (gh-106905).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if collects:
            gc.enable()


def needs(name: str, given: dict[str, Any]) -> tuple[str, ...]:
    """What the strategy uses when its hyper-parameters are as given."""
    entry = STRATEGIES[name]
    values = {key: parameter.default for key, parameter in hyper_parameters(name).items()} | given
    more = [need for key, value, need in entry.also if values[key] == value and need not in entry.needs]
    return (*entry.needs, *more)


@cache
def _adapter(annotation: str) -> Any:
    """Checks values for an annotation of hyper-parameters, which are builtins and typing names only; nothing else is in
    scope here."""
    import typing

    from pydantic import TypeAdapter

    return TypeAdapter(eval(annotation, {"Literal": typing.Literal}))


def check_hyper_parameters(name: str, given: dict[str, Any], key: str) -> None:
    """Raises ParamsError if a given value has no place in the constructor's signature, or the wrong type for it."""
    if not given:  # most entries of a params.yaml, and then there is no source text to read
        return
    from pydantic import ValidationError

    known = hyper_parameters(name)
    for parameter, value in given.items():
        if parameter not in known:
            everything = [*known, "recipe", "strategy"]
            raise ParamsError(f"{key}.{parameter} is not a parameter of {name!r}; {choices(parameter, everything)}")
        try:
            given_value = tuple(value) if isinstance(value, list) else value
            _adapter(known[parameter].annotation).validate_python(given_value, strict=True)
        except ValidationError as error:
            problem = error.errors()[0]
            raise ParamsError(
                f"{key}.{parameter} is {value!r}, but {name!r} takes {known[parameter].annotation}: "
                f"{problem['msg'].lower()}"
            ) from None
