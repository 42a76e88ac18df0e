"""The minus, the factor, and the ramp."""

from __future__ import annotations

import math

import pytest
import torch

from components.layers.gradient_reversal import GradientReversal, ramp


def test_forward_changes_nothing():
    x = torch.randn(3, 4)
    assert torch.equal(GradientReversal()(x), x)


def test_the_gradient_has_the_minus_and_the_factor():
    reversal = GradientReversal(height=0.5)
    reversal.advance(1.0)
    factor = 0.5 * (2 / (1 + math.exp(-10)) - 1)
    x = torch.tensor([1.0, -2.0]).requires_grad_()
    (reversal(x) * torch.tensor([3.0, 7.0])).sum().backward()
    assert x.grad.tolist() == pytest.approx([-3 * factor, -7 * factor])


def test_before_the_first_step_nothing_passes():
    x = torch.ones(2).requires_grad_()
    GradientReversal()(x).sum().backward()
    assert x.grad.tolist() == [0, 0]


def test_half_precision_keeps_its_type():
    reversal = GradientReversal()
    reversal.advance(1.0)
    x = torch.ones(2, dtype=torch.bfloat16).requires_grad_()
    reversal(x).sum().backward()
    assert x.grad.dtype == torch.bfloat16


def test_ramp_by_hand():
    assert ramp(0.0, gamma=10) == 0
    assert ramp(0.1, gamma=10) == pytest.approx(math.tanh(0.5))  # the same function by another name
    assert ramp(1.0, gamma=10) == pytest.approx(0.9999092)


def test_the_factor_is_part_of_the_state():
    one, other = GradientReversal(), GradientReversal()
    one.advance(0.3)
    other.load_state_dict(one.state_dict())
    assert other.factor.item() == pytest.approx(ramp(0.3, gamma=10))
