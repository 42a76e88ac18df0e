from __future__ import annotations

import pytest
import torch

from components.losses.squared_norm import half_squared_distance, half_squared_norm


def test_both_by_hand():
    weights, start = (
        [torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])],
        [torch.tensor([[0.0, 0.0]]), torch.tensor([5.0])],
    )
    assert half_squared_norm(weights).item() == (1 + 4 + 9) / 2
    assert half_squared_distance(weights=weights, start=start).item() == (1 + 4 + 4) / 2


def test_the_slope_is_the_difference_and_the_start_is_a_constant():
    weight, start = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, -1.0], requires_grad=True)
    half_squared_distance(weights=[weight], start=[start]).backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [-2.0, 3.0]
    assert start.grad is None


def test_every_weight_needs_its_start():
    with pytest.raises(ValueError, match="zip"):
        half_squared_distance(weights=[torch.ones(1)], start=[])


def test_half_precision_weights_are_squared_in_full():
    weights = [torch.full((1000,), 300.0, dtype=torch.float16)]
    assert half_squared_norm(weights).item() == pytest.approx(1000 * 300**2 / 2)
