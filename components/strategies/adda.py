"""ADDA: the target gets an encoder of its own, which fools a discriminator into taking its features for the source's.

Tzeng et al., 2017, arXiv:1702.05464, sec. 4, eq. 9, in two stages of one training:

1. source encoder M_s and classifier C: cross-entropy on the source.
2. M_s and C stay as they are; the target encoder M_t starts as a copy of M_s, and
   the discriminator D loses -mean(log D(M_s(source))) - mean(log(1 - D(M_t(target)))),
   the target encoder loses -mean(log D(M_t(target))): inverted labels, not the negative of D's loss.

What is evaluated is C(M_t(image)); before the second stage starts, M_t is M_s.

Deviations: D and M_t take their steps at once, both from the weights before the step, where the authors' code leaves
the order to its scheduler; the paper's Adam with beta_1 = 0.5 is used for the second stage when the recipe's optimizer
is adamw, and the learning rate follows the recipe's one schedule over both stages. D reads the features that C reads.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.layers.constant import constant
from components.layers.discriminator import Discriminator
from components.losses.domain_cross_entropy import domain_cross_entropy
from components.strategies.adaptation import Adaptation, target_cross_entropy
from components.strategies.base import Data
from components.types import Labelled, LabelSpace, Losses, Unlabelled


class ADDA(Adaptation):
    """`source_share`: the first stage's share of the steps (1: it never ends, which is training on the source alone);
    `adversarial_lr_factor`: the second stage's learning rate as a share of the recipe's (the paper's 2e-4 is a fifth of
    Adam's usual 1e-3; at 1e-3 the target encoder tends to end with one answer for everything); `hidden`: widths of the
    discriminator's layers.

    With `target_labels`, the labelled target images are learned beside the source's in the first stage; in the second
    their cross-entropy, with C as it is, is added to what the target encoder loses.
    """

    adapting: Tensor

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        source_share: float = 0.5,
        adversarial_lr_factor: float = 0.2,
        hidden: tuple[int, ...] = (500, 500),
        target_labels: bool = False,
    ) -> None:
        if not 0 < source_share <= 1:
            raise ParamsError(f"strategies.adda.source_share is {source_share}, but must lie above 0 and up to 1")
        if adversarial_lr_factor <= 0:
            raise ParamsError(
                f"strategies.adda.adversarial_lr_factor is {adversarial_lr_factor}, but must be positive: with "
                "source_share 1 there is no second stage"
            )
        super().__init__(backbone, label_space, target_labels=target_labels)
        self.source_share = source_share
        self.adversarial_lr_factor = adversarial_lr_factor
        self.source_backbone = copy.deepcopy(backbone)  # M_s; M_t is `backbone`, which `forward` asks
        self.discriminator = Discriminator(backbone.num_features, hidden)
        # Whether the second stage has begun. In the state, so that a resumed training does not copy M_s once more.
        self.register_buffer("adapting", torch.tensor(False))

    def networks(self) -> Sequence[nn.Module]:
        return [self.source_backbone, self.backbone]

    def param_groups(self, lr: float) -> list[dict]:
        first = [*self.source_backbone.parameters(), *self.heads.parameters()]
        second = [*self.backbone.parameters(), *self.discriminator.parameters()]
        return [
            {"params": first, "lr": lr},
            {"params": second, "lr": lr * self.adversarial_lr_factor, "betas": (0.5, 0.999)},
        ]

    def advance(self, progress: float) -> None:
        if not self.adapting and progress >= self.source_share:
            self._copy_encoder()
            self.adapting.fill_(True)
        if self.adapting:
            self.source_backbone.eval()  # its batch-norm statistics, too, stay as they are

    def finish(self, data: Data) -> None:
        if not self.adapting:
            self._copy_encoder()

    def _copy_encoder(self) -> None:
        self.backbone.load_state_dict(self.source_backbone.state_dict())

    def losses(self, source: Labelled, unlabelled: Unlabelled, target: Labelled | None = None) -> Losses:
        return self._adapt(source, unlabelled, target) if self.adapting else self._classify(source, target)

    def _classify(self, source: Labelled, target: Labelled | None) -> Losses:
        images = [source.image, *([] if target is None else [target.image])]
        features = self.source_backbone(torch.cat(images)).split([len(image) for image in images])
        terms = self.criterion(self.classify(features[0]), source.labels, stream="source")
        if target is not None:
            terms |= target_cross_entropy(self.criterion, self.classify(features[1]), target.labels)
        # Records have one set of terms in both stages. These have no gradient: what the second stage trains is passed
        # by the optimizer, weight decay included.
        nothing = source.image.new_zeros(())
        return {**terms, "discriminator": nothing, "encoder": nothing}

    def _adapt(self, source: Labelled, unlabelled: Unlabelled, target: Labelled | None) -> Losses:
        with torch.no_grad():
            source_features = self.source_backbone(source.image)
            # for the record, likewise
            terms = self.criterion(self.classify(source_features), source.labels, stream="source")
        images = [unlabelled.image, *([] if target is None else [target.image])]
        features = self.backbone(torch.cat(images)).split([len(image) for image in images])
        if target is not None:
            outputs = {task: constant(head, features[1]) for task, head in self.heads.items()}
            terms |= target_cross_entropy(self.criterion, outputs, target.labels)
        # The discriminator does not move the target encoder, nor the target encoder's loss the discriminator.
        discriminator = domain_cross_entropy(
            source=self.discriminator(source_features), target=self.discriminator(features[0].detach())
        )
        encoder = F.softplus(-constant(self.discriminator, features[0]).float()).mean()
        return {**terms, "discriminator": discriminator, "encoder": encoder}
