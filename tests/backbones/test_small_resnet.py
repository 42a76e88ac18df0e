"""The compact network: its shapes, its stages, and weights that start out as they should."""

from __future__ import annotations

import pytest
import torch

from components.backbones.small_resnet import Block, SmallResNet


@pytest.mark.parametrize("size", [8, 16, 32, 33])
@pytest.mark.parametrize("blocks", [1, 2])
def test_any_size_gives_one_vector_for_each_image(size, blocks):
    backbone = SmallResNet(widths=(4, 6, 8), blocks=blocks, size=size).eval()
    assert backbone.num_features == 8
    assert backbone(torch.randn(3, 3, size, size)).shape == (3, 8)
    assert (backbone.preprocess.size, backbone.preprocess.resize) == (size, size)


def test_stages_hold_every_parameter_exactly_once():
    backbone = SmallResNet(widths=(4, 6, 8), blocks=2)
    stages = backbone.stages()
    assert len(stages) == 4
    found = [id(parameter) for stage in stages for parameter in stage.parameters()]
    assert sorted(found) == sorted(id(parameter) for parameter in backbone.parameters())
    assert len(found) == len(set(found))


def test_stages_run_from_input_to_output():
    backbone = SmallResNet(widths=(4, 6, 8)).eval()
    image = torch.randn(2, 3, 32, 32)
    features = image
    for stage in backbone.stages():
        features = stage(features)
    torch.testing.assert_close(backbone.pool(features).flatten(1), backbone(image))


def test_a_block_whose_residual_is_nothing_is_its_shortcut():
    block = Block(4, 4, stride=1).eval()
    torch.nn.init.zeros_(block.norm2.weight)
    x = torch.rand(2, 4, 5, 5)  # not negative, so the last ReLU changes nothing
    torch.testing.assert_close(block(x), x)


def test_a_block_with_a_stride_halves_the_resolution():
    assert Block(4, 6, stride=2)(torch.randn(2, 4, 8, 8)).shape == (2, 6, 4, 4)


def test_the_variance_of_initial_weights_is_two_over_fan_out():
    weight = SmallResNet().body[2][0].conv2.weight  # 128 channels out, 3x3
    assert weight.var().item() == pytest.approx(2 / (128 * 9), rel=0.05)
