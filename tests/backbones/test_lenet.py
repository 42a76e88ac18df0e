"""The digits' network: its shapes, its stages, its size."""

from __future__ import annotations

import pytest
import torch

from components.backbones.lenet import LeNet
from components.errors import ParamsError


@pytest.mark.parametrize("size", [16, 28, 33])
def test_any_size_gives_one_vector_for_each_image(size):
    backbone = LeNet(size).eval()
    assert backbone(torch.randn(3, 3, size, size)).shape == (3, backbone.num_features)
    assert (backbone.preprocess.size, backbone.preprocess.resize) == (size, size)


def test_it_is_the_network_of_the_papers():
    # For a grey input, which ADDA's has: (25 + 1) * 20 + (20 * 25 + 1) * 50 + (50 * 4 * 4 + 1) * 500 weights; two more
    # input channels add 2 * 25 * 20.
    assert sum(p.numel() for p in LeNet().parameters()) == 520 + 25_050 + 400_500 + 1_000


def test_stages_run_from_input_to_output_and_hold_every_parameter_once():
    backbone = LeNet().eval()
    features = image = torch.randn(2, 3, 28, 28)
    for stage in backbone.stages():
        features = stage(features)
    assert torch.equal(features, backbone(image))
    found = [id(parameter) for stage in backbone.stages() for parameter in stage.parameters()]
    assert sorted(found) == sorted(id(parameter) for parameter in backbone.parameters())


def test_too_small_an_image_is_refused():
    with pytest.raises(ParamsError, match="15"):
        LeNet(15)
