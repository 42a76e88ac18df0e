"""How a recipe has labels learned: by which loss, with which weights, out of which batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from components.data.streams import LABELLED, Streams
from components.errors import ParamsError
from components.losses.focal import balanced_class_weights
from components.params import Recipe
from components.strategies.base import Strategy
from components.strategies.criterion import Criterion
from components.training.refusal import Unusable, asked, refusal

KEYS = ("class_weights", "loss", "focal_gamma", "sampler", "mix")


def unusable(strategy: Strategy, recipe: Recipe) -> Iterator[Unusable]:
    """What the recipe asks for that this strategy has no use for."""
    for key in asked(recipe, KEYS):
        if ("loss" if key == "focal_gamma" else key) not in strategy.label_options:
            yield Unusable(key, "it has another way with labels")
        elif strategy.streams and not set(strategy.streams) & set(LABELLED):
            yield Unusable(key, "as it is set up, it learns from no label")
        elif key == "focal_gamma" and recipe.loss != "focal":
            yield Unusable(key, f"it is of the focal loss, and loss is {recipe.loss!r}")


def check(strategy: Strategy, recipe: Recipe) -> None:
    """Raises ParamsError where the recipe asks for something that this strategy cannot do, or for one thing twice."""
    for key, why in unusable(strategy, recipe):
        raise ParamsError(refusal(strategy, recipe, key, why))
    if recipe.mix != "none" and recipe.batch_size < 2:
        raise ParamsError(f"recipe.mix is {recipe.mix!r}, which takes two images, but recipe.batch_size is 1")
    if recipe.class_weights == "balanced" and recipe.sampler == "balanced":
        raise ParamsError(
            "recipe.class_weights and recipe.sampler are both 'balanced': together they would favour rare classes as "
            "much as the data disfavours them; choose one"
        )


def criterion(strategy: Strategy, recipe: Recipe, data: Streams, device: torch.device) -> Criterion:
    """The loss that the recipe asks for, with weights that balance the classes of each stream that is learned from."""
    weights = {}
    if recipe.class_weights == "balanced":
        # What is solved for without a step is solved on the target's labelled images.
        for stream in [stream for stream in strategy.streams if stream in LABELLED] or ["target"]:
            counts = data.class_counts(stream)
            weights[stream] = {
                task: balanced_class_weights(torch.from_numpy(own)).to(device) for task, own in counts.items()
            }
    return Criterion(gamma=recipe.focal_gamma if recipe.loss == "focal" else 0.0, class_weights=weights)
