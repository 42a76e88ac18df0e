"""Source only: trained on the source's labels, used on the target as it is. No target label, no target image.

The baseline of domain adaptation ("Source" or "Baseline" rows, e.g. Ganin et al., 2016, arXiv:1505.07818, table 2):
what it loses against a strategy that sees the target is the domain shift.
"""

from __future__ import annotations

from components.backbones.base import Backbone
from components.strategies.base import Classifier
from components.types import Labelled, LabelSpace, Losses


class SourceOnly(Classifier):
    streams = ("source",)

    def __init__(self, backbone: Backbone, label_space: LabelSpace, *, label_smoothing: float = 0.0) -> None:
        super().__init__(backbone, label_space)
        self.label_smoothing = label_smoothing

    def losses(self, source: Labelled) -> Losses:
        return self.criterion(self(source.image), source.labels, stream="source", label_smoothing=self.label_smoothing)
