"""The stem in blocks: the same convolution, whatever its size and padding."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from components.deployment import sensitivity
from components.deployment.stem import in_blocks


def _strided(network_of, side: int, pads: str, size: int = 12, attributes: str = "", channels: int = 3):
    rng = np.random.default_rng(side)
    weights = {"w": rng.standard_normal((4, channels, side, side)).astype(np.float32), "b": np.ones(4, np.float32)}
    body = f"""
        stem = Conv <strides = [2, 2], pads = [{pads}]{attributes}> (normalised, w, b)
        around = Conv <strides = [2, 2], pads = [{pads}]{attributes}> (normalised, w)
        first = Flatten (stem)
        network_logits_label = Relu (first)
        other = Flatten (around)
    """
    return network_of(body, weights, "float[batch, n] network_logits_label, float[batch, n] other", size)


@pytest.mark.parametrize(
    ("side", "pads"), [(7, "3, 3, 3, 3"), (3, "1, 1, 1, 1"), (5, "2, 2, 2, 2"), (3, "0, 0, 0, 0"), (2, "0, 0, 0, 0"),
                       (4, "1, 1, 1, 1"), (1, "0, 0, 0, 0"), (6, "3, 3, 3, 3")],
)  # fmt: skip
def test_it_answers_the_same(side, pads, network_of, smooth_images):
    network = _strided(network_of, side, pads)
    model = in_blocks(network)
    onnx.checker.check_model(model, full_check=True)
    counts = Counter(node.op_type for node in model.graph.node)
    assert (counts["SpaceToDepth"], counts["Conv"]) == (1, 2)
    images = smooth_images(3)
    for expected, found in zip(sensitivity.answers(network, images), sensitivity.answers(model, images), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("pads", "size", "attributes"),
    [("1, 1, 1, 1", 13, ""), ("1, 1, 1, 1", 12, ", dilations = [2, 2]"), ("1, 0, 1, 0", 12, "")],
)
def test_what_does_not_read_whole_blocks_stays(pads, size, attributes, network_of):
    network = _strided(network_of, 3, pads, size, attributes)
    assert in_blocks(network).SerializeToString() == network.SerializeToString()


def test_the_network_that_was_given_stays(network_of):
    network = _strided(network_of, 3, "1, 1, 1, 1")
    before = network.SerializeToString()
    in_blocks(network)
    assert network.SerializeToString() == before
