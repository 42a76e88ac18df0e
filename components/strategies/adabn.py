"""AdaBN: trained on the source; then batch-norm layers get the target's mean and variance in place of the source's.

Li et al., 2016, arXiv:1603.04779, algorithm 1: for each neuron, mean and variance over the target's images, in the
order of the layers, each reading what the adapted layers before it give. No label and no gradient: the free baseline.

All chosen images pass through the network as one batch, which gives each layer exactly that. Deviation: a random sample
of the target is enough (the paper's sec. 4.3 finds that statistics of a small part serve as well), so that a large
target needs no large memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.strategies.adaptation import target_cross_entropy
from components.strategies.base import Classifier, Data
from components.types import Labelled, LabelSpace, Losses


class AdaBN(Classifier):
    """`images`: the target images at most that statistics are taken from.

    With `target_labels`, labelled target images are learned too, as a batch of their own: normalised by the target's
    statistics, as in the evaluation.

    Raises ParamsError for a backbone without batch-norm layers, where this would be `source_only` by another name.
    """

    streams = ("source",)

    def __init__(
        self, backbone: Backbone, label_space: LabelSpace, *, images: int = 512, target_labels: bool = False
    ) -> None:
        if images < 2:
            raise ParamsError(f"strategies.adabn.images is {images}, but a variance needs at least 2")
        if not norms(backbone):
            raise ParamsError(
                f"strategies.adabn has nothing to adapt: the backbone {type(backbone).__name__} stores no batch-norm "
                "statistics; choose another backbone, or source_only"
            )
        super().__init__(backbone, label_space)
        self.images = images
        if target_labels:
            self.streams = (*self.streams, "target")

    def losses(self, source: Labelled, target: Labelled | None = None) -> Losses:
        terms = self.criterion(self(source.image), source.labels, stream="source")
        if target is not None:
            terms |= target_cross_entropy(self.criterion, self(target.image), target.labels)
        return terms

    @torch.no_grad()
    def finish(self, data: Data) -> None:
        """Training may go on afterwards: in training mode a layer uses its batch's statistics, not the stored ones."""
        layers = norms(self.backbone)
        momenta = [layer.momentum for layer in layers]
        self.backbone.eval()
        for layer in layers:
            layer.train()
            layer.reset_running_stats()  # the number of batches, too: or a second call would leave another state
            layer.momentum = 1.0  # the stored statistics become this batch's own
        self.backbone(sample(data, self.images))
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()


def norms(backbone: nn.Module) -> list[_BatchNorm]:
    """The layers whose statistics are stored."""
    return [layer for layer in backbone.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


def sample(data: Data, count: int) -> Tensor:
    """`count` target images (all, if there are fewer), evenly at random out of one pass, which may lie class by class.
    The same ones each time."""
    generator = torch.Generator().manual_seed(0)
    images, keys = None, torch.empty(0)
    for batch in data.batches("unlabelled"):
        # Every image draws a number, and the highest stay.
        images = batch.image if images is None else torch.cat([images, batch.image])
        keys = torch.cat([keys, torch.rand(len(batch.image), generator=generator)])
        keys, rows = keys.topk(min(count, len(keys)))
        images = images[rows.to(images.device)]
    assert images is not None  # a stream without images is refused where it is made
    return images
