"""Features are what the first task is decided by, whatever a strategy is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.explanation.features import features
from components.strategies import catalogue


@pytest.mark.parametrize("name", list(catalogue.STRATEGIES))
def test_features_of_every_strategy(name, ready):
    strategy, streams = ready(name)
    image = torch.cat([batch.image for batch in streams.split("test")])
    found = features(strategy, image.split(10))
    assert found.shape == (32, 16)
    assert found.dtype == np.float32
    heads = getattr(strategy, "mixed_heads", getattr(strategy, "heads", None))
    with torch.no_grad():
        if heads is not None:  # the decision follows from them
            expected = strategy(image)["label"]
            torch.testing.assert_close(heads["label"](torch.from_numpy(found)), expected, rtol=1e-4, atol=1e-4)
        else:
            torch.testing.assert_close(torch.from_numpy(found), strategy.backbone(image), rtol=1e-4, atol=1e-4)


def test_features_of_a_backbone(make_strategy):
    backbone = make_strategy("fine_tune").backbone
    image = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        expected = backbone.eval()(image)
    np.testing.assert_allclose(features(backbone, [image]), expected, rtol=1e-5, atol=1e-5)
