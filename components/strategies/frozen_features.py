"""Linear heads solved on the features of the backbone as it stands: what the linear probe is, and where LP-FT and
WiSE-FT begin."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from components.layers.linear_solvers import logistic, ridge
from components.strategies.base import Classifier, Data

SCALES = tuple(2.0 ** (power / 2) for power in range(-2, 13))
L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@torch.no_grad()
def solve_heads(
    strategy: Classifier, data: Data, *, solver: Literal["ridge", "lbfgs"], l2: tuple[float, ...] = L2, views: int = 1
) -> None:
    """Fills the strategy's heads with the solution on its backbone's features of the target's training images, of so
    many views of each, for the `l2` with the lowest cross-entropy on the validation part.

    Ridge regression's answers are no log-probabilities, so they are multiplied by the one scale that fits the
    validation labels best: decisions stay, probabilities begin to mean something.

    The criterion's class weights count in the solution, and in the choice.
    """
    features, labels = data.features(strategy.backbone, "target", views)
    held_out, held_out_labels = data.features(strategy.backbone, "val")
    features, held_out = features.double(), held_out.double()
    for task, size in strategy.label_space.sizes().items():
        one_hot = F.one_hot(labels[task], size).double()
        solve, scales = (ridge, SCALES) if solver == "ridge" else (logistic, (1.0,))
        by_class = strategy.criterion.weights(task)
        weights = None
        if by_class is not None:
            by_class = by_class.to(features)
            weights = by_class[labels[task]]
        losses = []
        for weight, bias in (solve(features, one_hot, value, weights=weights) for value in l2):
            logits = held_out @ weight.T + bias
            losses += [
                (F.cross_entropy(scale * logits, held_out_labels[task], by_class), scale, weight, bias)
                for scale in scales
            ]
        _, scale, weight, bias = min(losses, key=lambda loss: loss[0].item())
        head = strategy.heads[task]
        assert isinstance(head, nn.Linear)
        head.weight.copy_(scale * weight)
        head.bias.copy_(scale * bias)
