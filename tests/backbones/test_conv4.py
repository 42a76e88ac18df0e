"""The few-shot papers' network: 64 features at 28 pixels, and pooling before the ReLU changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from components.backbones.conv4 import Conv4


@pytest.mark.parametrize(("size", "features"), [(16, 64), (28, 64), (32, 256), (84, 1600)])
def test_any_size_gives_one_vector_for_each_image(size, features):
    backbone = Conv4(size).eval()
    assert backbone.num_features == features
    assert backbone(torch.randn(3, 3, size, size)).shape == (3, features)
    assert (backbone.preprocess.size, backbone.preprocess.resize) == (size, size)


def test_images_that_would_vanish_are_refused():
    with pytest.raises(ValueError, match="size is 15, but four poolings need at least 16 pixels"):
        Conv4(15)


def test_stages_hold_every_parameter_exactly_once_from_input_to_output():
    backbone = Conv4().eval()
    found = [id(parameter) for stage in backbone.stages() for parameter in stage.parameters()]
    assert len(found) == len(set(found))
    assert sorted(found) == sorted(id(parameter) for parameter in backbone.parameters())
    image = torch.randn(2, 3, 28, 28)
    features = image
    for stage in backbone.stages():
        features = stage(features)
    torch.testing.assert_close(features.flatten(1), backbone(image))


def test_the_order_of_the_paper_gives_the_same():
    torch.manual_seed(0)
    backbone = Conv4().train()
    backbone(torch.randn(8, 3, 28, 28))  # moves the statistics
    backbone.eval()
    image = torch.randn(2, 3, 28, 28)
    x = image
    for convolution, norm, _, _ in backbone.blocks:
        x = F.max_pool2d(F.relu(norm(convolution(x))), 2)
    torch.testing.assert_close(x.flatten(1), backbone(image))
