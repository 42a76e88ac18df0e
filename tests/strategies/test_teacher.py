"""A teacher sees what its weights were trained on, and never learns itself."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.backbones.small_resnet import SmallResNet
from components.strategies.fine_tune import FineTune
from components.strategies.teacher import Teacher, stage_outputs
from components.types import TASK, LabelSpace, Preprocess

STUDENT = Preprocess(size=4, resize=4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
OWN = Preprocess(size=4, resize=6, mean=(0.1, 0.2, 0.3), std=(0.2, 0.25, 0.5))


class Mirror(Backbone):
    """Its features are the image that it was given."""

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.num_features = 3 * preprocess.size**2
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        return (image * self.scale).flatten(1)

    def stages(self) -> list[nn.Module]:
        return []


def test_images_arrive_as_the_teachers_weights_want_them():
    unit = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = Teacher(Mirror(OWN), STUDENT).features((unit - 0.5) / 0.5).view(2, 3, 4, 4)
    for channel in range(3):
        expected = (unit[:, channel] - OWN.mean[channel]) / OWN.std[channel]
        torch.testing.assert_close(found[:, channel], expected, atol=1e-5, rtol=0)


def test_another_size_is_reached_before_normalising():
    own = Preprocess(size=8, resize=8, mean=OWN.mean, std=OWN.std)
    unit = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = Teacher(Mirror(own), STUDENT).features((unit - 0.5) / 0.5).view(1, 3, 8, 8)
    larger = F.interpolate(unit, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(found[0, 2], (larger[0, 2] - 0.3) / 0.5, atol=1e-5, rtol=0)


def test_equal_preprocessing_leaves_the_image_untouched():
    image = torch.randn(2, 3, 4, 4)
    assert torch.equal(Teacher(Mirror(STUDENT), STUDENT).features(image), image.flatten(1))


def test_a_backbone_alone_has_features_but_no_answers():
    with pytest.raises(TypeError, match="no answers to learn from"):
        Teacher(Mirror(STUDENT), STUDENT).outputs(torch.zeros(1, 3, 4, 4))


def test_it_is_asked_in_eval_mode_without_gradients():
    model = FineTune(SmallResNet(widths=(4, 4, 4), size=16), LabelSpace({TASK: ("a", "b")})).train()
    before = deepcopy(model.state_dict())
    teacher = Teacher(model, model.backbone.preprocess)
    image = torch.randn(4, 3, 16, 16).requires_grad_()
    answers = [teacher.outputs(image)[TASK], teacher.features(image), *teacher.stages(image)]
    assert not any(answer.requires_grad for answer in answers)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_stages_give_is_in_order_and_leaves_no_hook():
    backbone = SmallResNet(widths=(4, 6, 8), size=16).eval()
    image = torch.randn(2, 3, 16, 16)
    stages, features = stage_outputs(backbone, image)
    assert [stage.shape[1] for stage in stages] == [4, 4, 6, 8]
    assert torch.equal(features, backbone(image))
    torch.testing.assert_close(stages[-1].mean((2, 3)), features)
    assert not any(module._forward_hooks for module in backbone.modules())
