from __future__ import annotations

import pytest
import torch

from components.layers.cross_stitch import CrossStitch


def test_by_hand():
    unit = CrossStitch(2, own=0.9)
    with torch.no_grad():
        unit.mixing.copy_(torch.tensor([0.9, 0.1, 0.3, 0.7]))
    first, second = unit([torch.tensor([[10.0]]), torch.tensor([[20.0]])])
    assert first.item() == pytest.approx(0.9 * 10 + 0.1 * 20)
    assert second.item() == pytest.approx(0.3 * 10 + 0.7 * 20)


@pytest.mark.parametrize("networks", [1, 2, 3])
def test_equal_networks_stay_as_they_are(networks):
    x = torch.randn(2, 3, 4, 4)
    for mixed in CrossStitch(networks, own=0.9)([x] * networks):
        torch.testing.assert_close(mixed, x)


def test_a_share_of_one_is_the_identity():
    values = [torch.randn(2, 3), torch.randn(2, 3)]
    assert all(torch.equal(mixed, x) for mixed, x in zip(CrossStitch(2, own=1.0)(values), values, strict=True))


def test_mixtures_are_a_vector_and_so_do_not_decay():
    assert CrossStitch(3, own=0.9).mixing.ndim == 1
