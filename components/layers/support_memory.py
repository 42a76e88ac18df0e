"""The labelled images that a trained model goes on comparing with, as features, in buffers of a fixed size."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SupportMemory(nn.Module):
    """Room for `per_class` images of each class: `features` [C, M, D], and which places are `taken` [C, M]."""

    features: Tensor
    taken: Tensor

    def __init__(self, classes: int, per_class: int, num_features: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(classes, per_class, num_features))
        self.register_buffer("taken", torch.zeros(classes, per_class, dtype=torch.bool))

    def fill(self, features: Tensor, labels: Tensor) -> None:
        """features [N, D], labels [N] -> new content. Of a class with more images than there is room for, those are
        kept that stand evenly apart in the order given, so that the same images are kept every time."""
        self.features.zero_()
        self.taken.zero_()
        room = self.taken.shape[1]
        for label in range(len(self.taken)):
            rows = torch.nonzero(labels == label)[:, 0]
            kept = min(len(rows), room)
            if kept:
                chosen = rows[torch.arange(kept, device=rows.device) * len(rows) // kept]
                self.features[label, :kept] = features[chosen]
                self.taken[label, :kept] = True

    def known(self) -> Tensor:
        """Of which classes there is an image: [C]."""
        return self.taken.any(1)
