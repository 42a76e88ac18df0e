"""Optimizer and learning-rate schedule of a recipe."""

from __future__ import annotations

import math

from torch import optim

from components.layers.uncompiled import uncompiled
from components.params import Recipe

SGD, ADAMW = uncompiled(optim.SGD), uncompiled(optim.AdamW)


def optimizer(groups: list[dict], recipe: Recipe) -> optim.Optimizer:
    """SGD with Nesterov momentum 0.9, or AdamW. Each group brings its own peak `lr`.

    Weight decay is for weights alone: biases and the gains of normalisation layers have one dimension and get none. A
    group's own `weight_decay` stands in for the recipe's.
    """
    split = []
    for group in groups:
        rest = {key: value for key, value in group.items() if key != "params"}
        weights = [p for p in group["params"] if p.ndim > 1]
        vectors = [p for p in group["params"] if p.ndim <= 1]
        split += [
            {**rest, "params": part, "weight_decay": decay}
            for part, decay in ((weights, group.get("weight_decay", recipe.weight_decay)), (vectors, 0.0))
            if part
        ]
    if recipe.optimizer == "adamw":
        return ADAMW(split)
    return SGD(split, lr=recipe.lr, momentum=0.9, nesterov=True)


def lr_factor(step: int, recipe: Recipe) -> float:
    """Share of the peak rate at a step: linear warm-up, then half a cosine down to zero after the last step.

    Loshchilov & Hutter, 2017, arXiv:1608.03983, eq. 5, with one period.
    """
    warmup = round(recipe.warmup * recipe.steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, recipe.steps - warmup)))
