from __future__ import annotations

import torch
from torch import nn

from components.backbones.small_resnet import SmallResNet
from components.strategies.feature_extraction import FeatureExtraction
from components.types import Labelled, LabelSpace


class Restless(SmallResNet):
    """Changes from call to call in training mode, in ways that have no parameter."""

    def __init__(self) -> None:
        super().__init__(widths=(8, 8, 8), size=16)
        self.plain = nn.BatchNorm1d(8, affine=False)
        self.dropout = nn.Dropout(0.5)

    def forward(self, image):
        return self.dropout(self.plain(super().forward(image)))


def test_the_backbone_is_a_fixed_function_and_the_head_alone_gets_gradients():
    torch.manual_seed(0)
    strategy = FeatureExtraction(Restless(), LabelSpace({"label": ("a", "b")})).train()
    before = {key: value.clone() for key, value in strategy.backbone.state_dict().items()}
    batch = Labelled(torch.randn(6, 3, 16, 16), {"label": torch.tensor([0, 1, 0, 1, 0, 1])})
    strategy.advance(0.0)
    first, again = (strategy.losses(target=batch)["cross_entropy"] for _ in range(2))
    assert first.item() == again.item()
    first.backward()
    assert all(torch.equal(value, before[key]) for key, value in strategy.backbone.state_dict().items())
    assert all(parameter.grad is None for parameter in strategy.backbone.parameters())
    assert all(parameter.grad is not None for parameter in strategy.heads.parameters())
