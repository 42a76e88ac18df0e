"""What the domain-adaptation strategies share: both domains through one network, the source's labels, and, when it is
allowed to see them, the target's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from components.backbones.base import Backbone
from components.strategies.base import Classifier
from components.strategies.criterion import Criterion
from components.types import Labelled, LabelSpace, Losses, Outputs, Unlabelled


class Side(NamedTuple):
    """One batch after the network: features [B, D], and logits [B, C] by task."""

    features: Tensor
    outputs: Outputs


class Adaptation(Classifier):
    """Cross-entropy on the source + `adapt(source=…, target=…)`, which is what a subclass adds.

    Unsupervised: the target's images come without labels. With `target_labels`, labelled target images join through
    the stream "target", and their cross-entropy with them.
    """

    streams = ("source", "unlabelled")
    # No "mix": with the labelled images mixed and the others not, the domains would differ by that as well.
    label_options = ("class_weights", "loss", "sampler")

    def __init__(self, backbone: Backbone, label_space: LabelSpace, *, target_labels: bool = False) -> None:
        super().__init__(backbone, label_space)
        if target_labels:
            self.streams = (*self.streams, "target")

    def losses(self, source: Labelled, unlabelled: Unlabelled, target: Labelled | None = None) -> Losses:
        images = [source.image, unlabelled.image, *([] if target is None else [target.image])]
        sides = self.sides(*images)
        terms = self.criterion(sides[0].outputs, source.labels, stream="source")
        if target is not None:
            terms |= target_cross_entropy(self.criterion, sides[2].outputs, target.labels)
        return {**terms, **self.adapt(source=sides[0], target=sides[1])}

    def sides(self, *images: Tensor) -> list[Side]:
        """Batches [B_i, 3, H, W], through the network together.

        Apart, each domain would be normalised by its own batch statistics: the shift would vanish from the training
        batches, where it is measured, and be back in evaluation.
        """
        features = self.backbone(torch.cat(images)).split([len(image) for image in images])
        return [Side(part, self.classify(part)) for part in features]

    def adapt(self, *, source: Side, target: Side) -> Losses:
        """What is lost for the domains being unlike each other; `target` comes from the stream "unlabelled"."""
        raise NotImplementedError


def target_cross_entropy(criterion: Criterion, outputs: Outputs, labels: dict[str, Tensor]) -> Losses:
    """The target's, under a name of its own."""
    return {f"target_{term}": value for term, value in criterion(outputs, labels).items()}
