"""MCC: no alignment of domains at all; the classifier is to stop confusing classes with each other on the target.

Jin et al., 2020, arXiv:1912.03699, sec. 3: cross-entropy on the source + trade_off * the class confusion of the
target's answers, softened by a temperature.
"""

from __future__ import annotations

import torch

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.losses.class_confusion import class_confusion
from components.strategies.adaptation import Adaptation, Side
from components.types import LabelSpace, Losses


class MCC(Adaptation):
    """`trade_off`: weight of the confusion (mu); `temperature`: above 1, so that confident answers still show what they
    are confused with (2.5 on all of the paper's data sets)."""

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        trade_off: float = 1.0,
        temperature: float = 2.5,
        target_labels: bool = False,
    ) -> None:
        if temperature <= 0:
            raise ParamsError(f"strategies.mcc.temperature is {temperature}, but must be positive")
        super().__init__(backbone, label_space, target_labels=target_labels)
        self.trade_off = trade_off
        self.temperature = temperature

    def adapt(self, *, source: Side, target: Side) -> Losses:
        confusions = [class_confusion(logits, temperature=self.temperature) for logits in target.outputs.values()]
        return {"class_confusion": self.trade_off * torch.stack(confusions).sum()}
