"""k-NN probe: the backbone stays as it is, and an image belongs to the class of the training images most like it.

Wu et al., 2018, arXiv:1805.01978, sec. 3.4: the k training images with the highest similarity s_i vote for their class,
each with the weight exp(s_i / temperature).

The decision is what counts: the class with most votes. The logits are the logarithms of the classes' shares of the
votes, so their softmax gives the shares back; that they are probabilities, nobody promises. One vote as heavy as the
nearest image's is spread over all classes, or a class that no neighbour has would be impossible (Laplace's rule).

Deviations: k is chosen on the validation part, by accuracy, where the paper has 200. The memory has a fixed size, so
that the model can be saved and exported: a larger training set gives it as many images of each class as there is room
for. With `distance` "squared_euclidean" the similarity is -|x - y|^2 / (2 * scale), where the scale is the mean squared
length of the stored features: for features of equal length this is the cosine rule again.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.losses.distance import cosine_similarity, squared_distance
from components.strategies.base import Data, Strategy
from components.types import LabelSpace, Outputs

NEVER = -1e9
"""Similarity to an empty place of the memory: its weight is zero, and no number is infinite."""


class KnnProbe(Strategy):
    """`distance`: by which features are alike; `k`: the numbers of neighbours to choose from; `temperature`: how much
    faster the nearest vote than the far; `memory_size`: how many training images are remembered at most."""

    frozen = True
    label_options = ()  # neighbours vote: nothing is lost, and nothing drawn
    features: Tensor
    votes: Tensor
    valid: Tensor
    chosen_k: Tensor

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        distance: Literal["cosine", "squared_euclidean"] = "cosine",
        k: tuple[int, ...] = (1, 5, 10, 20, 50, 100, 200),
        temperature: float = 0.07,
        memory_size: int = 1000,
    ) -> None:
        super().__init__(backbone, label_space)
        if not k or min(k) < 1 or max(k) > memory_size:
            raise ParamsError(f"k is {list(k)}, but each must be between 1 and memory_size = {memory_size}")
        if temperature <= 0:
            raise ParamsError(f"temperature is {temperature}, but must be positive")
        self.distance = distance
        self.k = k
        self.temperature = temperature
        sizes = label_space.sizes()
        self.register_buffer("features", torch.zeros(memory_size, backbone.num_features))
        self.register_buffer("votes", torch.zeros(memory_size, sum(sizes.values())))  # one-hot labels, task by task
        self.register_buffer("valid", torch.zeros(memory_size, dtype=torch.bool))
        self.register_buffer("chosen_k", torch.full((len(sizes),), k[0]))

    def forward(self, image: Tensor) -> Outputs:
        return self.classify(self.backbone(image))

    def classify(self, features: Tensor) -> Outputs:
        similarity = self.similarity(features)
        # Sorted once, for the largest k there is: the graph's shapes must not depend on the choice.
        highest = similarity.topk(max(self.k)).values
        return {
            task: self._shares(similarity, highest, votes, self.chosen_k[number : number + 1]).log()
            for number, (task, votes) in enumerate(self._votes().items())
        }

    def similarity(self, features: Tensor) -> Tensor:
        """features [B, D] -> [B, memory_size], the higher the more alike; empty places are never alike."""
        if self.distance == "cosine":
            similarity = cosine_similarity(features, self.features)
        else:
            squares = (self.features.square().sum(1) * self.valid).sum() / self.valid.sum().clamp_min(1)
            similarity = -squared_distance(features, self.features) / (2 * squares.clamp_min(1e-12))
        return similarity.masked_fill(~self.valid, NEVER)

    def param_groups(self, lr: float) -> list[dict]:
        return []

    @torch.no_grad()
    def finish(self, data: Data) -> None:
        features, labels = data.features(self.backbone, "target")
        sizes = self.label_space.sizes()
        rows = balanced(labels[next(iter(sizes))], len(self.valid))
        votes = torch.cat([F.one_hot(labels[task][rows], size) for task, size in sizes.items()], 1)
        for memory, values in ((self.features, features[rows]), (self.votes, votes), (self.valid, True)):
            memory.zero_()
            memory[: len(rows)] = values

        held_out, held_out_labels = data.features(self.backbone, "val")
        similarity = self.similarity(held_out)
        highest = similarity.topk(max(self.k)).values
        for number, (task, task_votes) in enumerate(self._votes().items()):
            quality = []
            for k in self.k:
                shares = self._shares(similarity, highest, task_votes, self.chosen_k.new_tensor([k]))
                right = (shares.argmax(1) == held_out_labels[task]).float().mean()
                quality.append((right.item(), -F.nll_loss(shares.log(), held_out_labels[task]).item(), k))
            self.chosen_k[number] = max(quality)[2]

    def _votes(self) -> dict[str, Tensor]:
        sizes = self.label_space.sizes()
        return dict(zip(sizes, self.votes.split(list(sizes.values()), 1), strict=True))

    def _shares(self, similarity: Tensor, highest: Tensor, votes: Tensor, k: Tensor) -> Tensor:
        """similarity [B, M], its highest values in order [B, max k], votes [M, C], k [1] -> [B, C], rows sum to 1."""
        least = highest.index_select(1, k - 1)
        # The nearest image has the weight 1: the sum cannot overflow. Images as near as the k-th all vote.
        weight = ((similarity - highest[:, :1]) / self.temperature).exp() * (similarity >= least)
        count = weight @ votes
        return (count + 1 / votes.shape[1]) / (count.sum(1, keepdim=True) + 1)


def balanced(labels: Tensor, size: int) -> Tensor:
    """labels [N] -> indices [at most size]: all, or as many of each class as there is room for, drawn at random and the
    same in every call."""
    if len(labels) <= size:
        return torch.arange(len(labels), device=labels.device)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).to(labels.device)
    one_hot = F.one_hot(labels[order])
    turn = (one_hot.cumsum(0) * one_hot).sum(1)  # 1 for the first of its class, 2 for the second, ...
    return order[turn.argsort(stable=True)[:size]].sort().values
