"""The multilinear map: every feature times every class probability, or random projections of both where that is long.

Long et al., 2018, arXiv:1705.10667, sec. 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LIMIT = 4096
"""Longest outer product taken as it is (sec. 3.1: what a usual discriminator has units for)."""


class MultilinearMap(nn.Module):
    """features [B, D], probabilities [B, C] -> [B, num_outputs].

    The projections are drawn once, are not trained, and are part of the state.
    """

    feature_projection: Tensor | None
    class_projection: Tensor | None

    def __init__(self, num_features: int, num_classes: int, *, limit: int = LIMIT, random_size: int = 1024) -> None:
        super().__init__()
        randomised = num_features * num_classes > limit
        self.num_outputs = random_size if randomised else num_features * num_classes
        self.register_buffer("feature_projection", torch.randn(num_features, random_size) if randomised else None)
        self.register_buffer("class_projection", torch.randn(num_classes, random_size) if randomised else None)

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        if self.feature_projection is None or self.class_projection is None:
            return (features[:, :, None] * probabilities[:, None, :]).flatten(1)
        product = (features @ self.feature_projection) * (probabilities @ self.class_projection)
        return product / self.num_outputs**0.5  # inner products are then, on average, those of the outer products
