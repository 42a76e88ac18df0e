"""The backbone as it stands, asked for its features, and linear heads solved on them.

What the probes are, and where LP-FT and WiSE-FT begin.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.layers.linear_solvers import logistic, ridge
from components.strategies.base import Classifier, Data
from components.types import Labelled

SCALES = tuple(2.0 ** (power / 2) for power in range(-2, 13))
L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@torch.no_grad()
def collect(backbone: nn.Module, batches: Iterable[Labelled]) -> tuple[Tensor, dict[str, Tensor]]:
    """All features [N, D] and the labels by task of one pass, the backbone in eval mode; it is left as it was."""
    features, labels = [], []
    with _in_eval_mode(backbone):
        for batch in batches:
            features.append(backbone(batch.image).float())
            labels.append(batch.labels)
    return torch.cat(features), {task: torch.cat([part[task] for part in labels]) for task in labels[0]}


@torch.no_grad()
def solve_heads(
    strategy: Classifier, data: Data, *, solver: Literal["ridge", "lbfgs"], l2: tuple[float, ...] = L2
) -> None:
    """Fills the strategy's heads with the solution on its backbone's features of the target's training images, for the
    `l2` with the lowest cross-entropy on the validation part.

    Ridge regression's answers are no log-probabilities, so they are multiplied by the one scale that fits the
    validation labels best: decisions stay, probabilities begin to mean something.
    """
    features, labels = collect(strategy.backbone, data.batches("target"))
    held_out, held_out_labels = collect(strategy.backbone, data.split("val"))
    features, held_out = features.double(), held_out.double()
    for task, size in strategy.label_space.sizes().items():
        one_hot = F.one_hot(labels[task], size).double()
        solve, scales = (ridge, SCALES) if solver == "ridge" else (logistic, (1.0,))
        losses = []
        for weight, bias in (solve(features, one_hot, value) for value in l2):
            logits = held_out @ weight.T + bias
            losses += [
                (F.cross_entropy(scale * logits, held_out_labels[task]), scale, weight, bias) for scale in scales
            ]
        _, scale, weight, bias = min(losses, key=lambda loss: loss[0].item())
        head = strategy.heads[task]
        assert isinstance(head, nn.Linear)
        head.weight.copy_(scale * weight)
        head.bias.copy_(scale * bias)


@contextmanager
def _in_eval_mode(network: nn.Module) -> Generator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
