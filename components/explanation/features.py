"""The features by which a model decides, of any images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from components.backbones.base import Backbone
from components.strategies.base import Classifier, Strategy
from components.types import Outputs


def networks(strategy: Strategy) -> list[Backbone]:
    """The strategy's own backbone, and whatever others it may ask in its place or beside it (averages, copies)."""
    others = (module for module in strategy.modules() if isinstance(module, Backbone))
    return [strategy.backbone, *(network for network in others if network is not strategy.backbone)]


@torch.no_grad()
def features(model: Strategy | Backbone, batches: Iterable[Tensor]) -> np.ndarray:
    """Images [B, 3, H, W] -> [N, D] float32: what a backbone gives; of a strategy, what decides the first task."""
    model.eval()
    parts = [model(image) if isinstance(model, Backbone) else answer(model, image)[1] for image in batches]
    return torch.cat([part.float().flatten(1).cpu() for part in parts]).numpy()


def answer(strategy: Strategy, image: Tensor) -> tuple[Outputs, Tensor]:
    """What a strategy answers, and the features [B, D] float by which it decides the first task.

    They are what that task's head reads. Without such a head, they are what the network gives that is asked; the two
    differ where networks exchange something on the way. Of strategies with a network for each task, they are the first
    task's.
    """
    read: list[Tensor] = []
    given: list[Tensor] = []
    handles = [
        network.register_forward_hook(lambda module, inputs, output: given.append(output))
        for network in networks(strategy)
    ]
    if isinstance(strategy, Classifier):
        head = next(iter(strategy.heads.values()))
        handles.append(head.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0])))
    try:
        outputs = strategy(image)
    finally:
        for handle in handles:
            handle.remove()
    return outputs, (read or given)[0].float().flatten(1)
