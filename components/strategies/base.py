"""What a strategy is: one way to make a model of the target out of a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from components.backbones.base import Backbone
from components.strategies.criterion import Criterion
from components.types import Labelled, LabelSpace, Losses, Outputs, Sampling


class Data(Protocol):
    """What `begin` and `finish` may read: one pass over a stream or a split, without augmentation."""

    def batches(self, stream: str) -> Iterator[Any]: ...
    def split(self, name: str) -> Iterator[Labelled]: ...
    def features(self, backbone: nn.Module, name: str, views: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
        """What a backbone in eval mode gives for a stream or a split, [views * n, D], and the labels by task. Of the
        pretrained one it costs nothing: they have been computed. `views`: the images as they are, then all of them
        changed at random, and so on."""
        ...


class Strategy(nn.Module):
    """A backbone, and what is made of it.

    A subclass names the `streams` that one training step reads and says what is lost on them; everything else has a
    default that fits a strategy which trains all of its weights. Hyper-parameters are keyword-only arguments of the
    constructor, with the paper's values as defaults: that signature is the schema of `strategies.<name>` in
    params.yaml. Every tensor that `forward` needs has its shape from the constructor, so that weights can be loaded.
    """

    streams: tuple[str, ...] = ()
    """Names of streams (see `components.data.streams`). A constructor may set another tuple on the instance."""
    sampling: Sampling | None = None
    """How episodes and pairs are drawn, for a strategy that reads them."""
    pretrained: ClassVar[bool] = True
    """Whether the backbone arrives with pretrained weights, or as initialised."""
    frozen: ClassVar[bool] = False
    """Whether the backbone leaves as it arrived, and `classify` makes the answer of its features: such a strategy is
    evaluated on features that were computed once."""
    label_options: ClassVar[tuple[str, ...]] = ("class_weights", "loss", "sampler", "mix")
    """Keys of a recipe about how labels are learned that this strategy can honour: all of them, where `criterion` is
    what a step asks about its labelled images, and nothing else reads their labels."""
    criterion: Criterion = Criterion()
    """The supervised loss of a batch, (outputs, labels) -> terms. A recipe may set another one on the instance."""

    def __init__(self, backbone: Backbone, label_space: LabelSpace) -> None:
        super().__init__()
        self.backbone = backbone
        self.label_space = label_space

    def forward(self, image: Tensor) -> Outputs:
        """image [B, 3, H, W] -> task -> logits [B, C]: what is evaluated and exported."""
        raise NotImplementedError

    def classify(self, features: Tensor) -> Outputs:
        """features [B, D] of the backbone -> task -> logits [B, C], for a strategy whose answer is made of them."""
        raise NotImplementedError

    def losses(self, *args: Any, **batches: Any) -> Losses:
        """One keyword per stream, each a batch of it -> weighted loss terms; their sum is minimised."""
        raise TypeError(f"{type(self).__name__} has no training step")

    def backward(self, losses: Losses) -> None:
        """From loss terms to gradients. Only a strategy that combines its terms otherwise than by their sum has its
        own."""
        torch.stack(list(losses.values())).sum().backward()

    def networks(self) -> Sequence[nn.Module]:
        """The backbones that are trained: the one, or with copies of it."""
        return [self.backbone]

    def param_groups(self, lr: float) -> list[dict]:
        """What the optimizer trains, and how fast. What no group names is frozen, batch-norm statistics included."""
        return [{"params": list(self.parameters()), "lr": lr}]

    def begin(self, data: Data) -> None:
        """Once, before the first step."""

    def advance(self, progress: float) -> None:
        """Before each step, in training mode; `progress` runs from 0 to 1."""

    def finish(self, data: Data) -> None:
        """Before each evaluation, without gradients; may be called again, and training may go on after it."""


class Classifier(Strategy):
    """A strategy with one linear head on the features for each task."""

    def __init__(self, backbone: Backbone, label_space: LabelSpace) -> None:
        super().__init__(backbone, label_space)
        self.heads = nn.ModuleDict(
            {task: nn.Linear(backbone.num_features, size) for task, size in label_space.sizes().items()}
        )

    def forward(self, image: Tensor) -> Outputs:
        return self.classify(self.backbone(image))

    def classify(self, features: Tensor) -> Outputs:
        return {task: head(features) for task, head in self.heads.items()}
