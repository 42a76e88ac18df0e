"""What the strategies share that answer by comparing an image with a few labelled ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.strategies.base import Strategy
from components.types import Episode, Labelled, LabelSpace, Losses, Outputs, Sampling

MARGIN = 10.0
"""By how much a class without a single image to compare with stays below the least likely other class."""


class FewShot(Strategy):
    """A strategy of the first task that learns to compare, and knows classes by the images it is given of them."""

    label_options = ()  # episodes and pairs have all classes equally often, and losses of their own

    def __init__(self, backbone: Backbone, label_space: LabelSpace, *, sampling: Sampling) -> None:
        super().__init__(backbone, label_space)
        self.sampling = sampling
        self.task, self.num_classes = next(iter(label_space.sizes().items()))

    def classify_features(self, query: Tensor, *, support: Tensor) -> Tensor:
        """query [Q, D], support [n_way, k_shot, D], features both -> logits [Q, n_way]."""
        raise NotImplementedError

    def classify_support(self, query: Tensor, *, support: Tensor, members: Tensor) -> Tensor:
        """query [B, D], support [N, D], features both, the support class by class but as many of each as there are;
        members [N, C], 1 where an image is of a class and 0 elsewhere -> logits [B, C], as `forward` has them before
        `outputs`. Classes and their number need not be those that were trained on."""
        raise NotImplementedError

    def classify_episode(self, support: Labelled, query: Tensor) -> Tensor:
        """Images query [Q, 3, H, W] -> logits [Q, n_way] of the classes that the support numbers from 0; as many
        support images of each. Classes that were never trained on are welcome."""
        # Together through the network: in training, both must be normalised by the same batch statistics.
        features = self.backbone(torch.cat([support.image, query]))
        known, asked = features.split([len(support.image), len(query)])
        labels = support.labels[self.task]
        n_way = int(labels.max()) + 1
        by_class = known[labels.argsort(stable=True)].view(n_way, -1, known.shape[1])
        return self.classify_features(asked, support=by_class)

    def episode_loss(self, episodes: Episode) -> Losses:
        """Cross-entropy of the query, its classes told apart by the support alone."""
        logits = self.classify_episode(episodes.support, episodes.query.image)
        return {"cross_entropy": F.cross_entropy(logits, episodes.query.labels[self.task])}

    def outputs(self, logits: Tensor, known: Tensor) -> Outputs:
        """logits [B, C], of which those of classes that are `known` [C] mean something -> the strategy's answer."""
        # Relative to the rest, since distances have no scale that a constant would suit.
        lowest = torch.where(known, logits, logits.amax(1, keepdim=True)).amin(1, keepdim=True)
        return {self.task: torch.where(known, logits, lowest - MARGIN)}

    def features_of(self, batches: Iterable[Labelled]) -> tuple[Tensor, Tensor]:
        """One pass over images -> features [N, D] and labels [N] of the first task."""
        parts = [(self.backbone(batch.image).float(), batch.labels[self.task]) for batch in batches]
        features, labels = zip(*parts, strict=True)
        return torch.cat(features), torch.cat(labels)


def episode_sampling(domain: Literal["source", "target"], *, n_way: int, k_shot: int, n_query: int) -> Sampling:
    """How episodes are drawn. Raises ParamsError when there could be none like that."""
    for key, value, least in (("n_way", n_way, 2), ("k_shot", k_shot, 1), ("n_query", n_query, 1)):
        if value < least:
            raise ParamsError(f"{key} is {value}, but an episode needs at least {least}")
    return Sampling(domain, n_way=n_way, k_shot=k_shot, n_query=n_query)
