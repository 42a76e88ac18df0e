"""The features by which a model decides, of any images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from components.backbones.base import Backbone
from components.strategies.base import Classifier, Strategy


def networks(strategy: Strategy) -> list[Backbone]:
    """The strategy's own backbone, and whatever others it may ask in its place or beside it (averages, copies)."""
    others = (module for module in strategy.modules() if isinstance(module, Backbone))
    return [strategy.backbone, *(network for network in others if network is not strategy.backbone)]


@torch.no_grad()
def features(model: Strategy | Backbone, batches: Iterable[Tensor]) -> np.ndarray:
    """Images [B, 3, H, W] -> [N, D] float32: what a backbone gives; of a strategy, what decides the first task."""
    model.eval()
    parts = [model(image) if isinstance(model, Backbone) else _deciding(model, image) for image in batches]
    return torch.cat([part.float().flatten(1).cpu() for part in parts]).numpy()


def _deciding(strategy: Strategy, image: Tensor) -> Tensor:
    """What the head of the first task reads. Without such a head, what the network that is asked gives: the two differ
    where networks exchange something on the way."""
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
        strategy(image)
    finally:
        for handle in handles:
            handle.remove()
    return (read or given)[0]
