"""The part of a recipe that a strategy can use.

What an entry's own recipe asks for must be done, or is an error. `train` speaks to all entries at once, of which some
have no use for a key: these go without it, and say so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from components.errors import ParamsError
from components.params import Recipe
from components.strategies.base import Strategy
from components.training import groups, labels
from components.training.refusal import UNTOUCHED, refusal


def applicable(strategy: Strategy, recipe: Recipe, own: Collection[str]) -> tuple[Recipe, list[str]]:
    """The recipe without what the strategy has no use for, and a sentence on each key that is left out. `own`: keys
    that were asked of this strategy by name; ParamsError is raised for those instead, and for what no strategy could
    do."""
    notes = []
    for key, why in [*labels.unusable(strategy, recipe), *groups.unusable(strategy, recipe)]:
        if key in own:
            raise ParamsError(refusal(strategy, recipe, key, why))
        notes.append(f"goes without train.{key}: {getattr(recipe, key)}, since {why}")
        recipe = replace(recipe, **{key: UNTOUCHED[key]})
    labels.check(strategy, recipe)
    groups.check(strategy, recipe)
    return recipe, notes
