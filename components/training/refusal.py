"""What is said where a recipe asks a strategy for something that it cannot do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

from components.params import Recipe
from components.strategies.base import Strategy

UNTOUCHED = asdict(Recipe())


class Unusable(NamedTuple):
    """A key of a recipe that a strategy has no use for, and why."""

    key: str
    why: str


def asked(recipe: Recipe, keys: Sequence[str]) -> list[str]:
    """Those of the keys that are not at their default."""
    return [key for key in keys if getattr(recipe, key) != UNTOUCHED[key]]


def refusal(strategy: Strategy, recipe: Recipe, key: str, why: str) -> str:
    """The error's text."""
    name = type(strategy).__module__.rpartition(".")[2]  # a strategy's file is called what the strategy is
    return (
        f"recipe.{key} is {getattr(recipe, key)!r}, which {name!r} cannot use: {why}; leave it at {UNTOUCHED[key]!r} "
        "in that strategy's own recipe"
    )
