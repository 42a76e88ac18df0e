"""A trained strategy, back from its folder."""

from __future__ import annotations

from pathlib import Path

from components import jsonfile, tensorfile
from components.backbones.build import build, from_arrays
from components.errors import DataError
from components.strategies import catalogue
from components.strategies.base import Strategy
from components.types import LabelSpace, Preprocess


def hyper_parameters(given: dict) -> dict:
    """As the constructors take them: YAML and JSON know lists only, the signatures say tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def restore(folder: Path) -> Strategy:
    """The strategy that `train` wrote to models/<name>/, in eval mode, on the CPU.

    Raises DataError when the folder is incomplete, its parts do not belong together, or the training failed.
    """
    facts = jsonfile.read(folder / "model.json")
    if reason := facts.get("failed"):
        raise DataError(f"{folder} holds no model, because its training failed: {reason}")
    preprocess = Preprocess.from_dict(facts["preprocess"])
    space = LabelSpace.from_dict(facts)
    backbone = build(facts["backbone"], preprocess=preprocess)
    strategy = catalogue.load(facts["strategy"])(backbone, space, **hyper_parameters(facts["hyper_parameters"]))
    from_arrays(strategy, tensorfile.load(folder / "model.safetensors"))
    return strategy.eval()
