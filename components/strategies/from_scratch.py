"""From scratch: no transfer at all. The same network, the same target labels, random initial weights.

The baseline that every transfer has to beat (called "hard transfer" where a network is reused without its weights).
"""

from __future__ import annotations

from typing import ClassVar

from components.backbones.base import Backbone
from components.strategies.base import Classifier
from components.types import Labelled, LabelSpace, Losses


class FromScratch(Classifier):
    streams = ("target",)
    pretrained: ClassVar[bool] = False

    def __init__(self, backbone: Backbone, label_space: LabelSpace, *, label_smoothing: float = 0.0) -> None:
        super().__init__(backbone, label_space)
        self.label_smoothing = label_smoothing

    def losses(self, target: Labelled) -> Losses:
        return self.criterion(self(target.image), target.labels, label_smoothing=self.label_smoothing)
