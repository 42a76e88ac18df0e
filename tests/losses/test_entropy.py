"""Against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from components.losses.entropy import entropy


def test_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [math.log(3), 0.0, -1e4, -1e4], [1e4, 0.0, 0.0, 0.0]])
    # Uniform over four; 3/4 and 1/4 over two; certain.
    expected = [math.log(4), -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), 0.0]
    assert entropy(logits).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_gradient_is_finite_where_a_class_is_impossible():
    logits = torch.tensor([[1e4, 0.0, -1e4]]).requires_grad_()
    entropy(logits).sum().backward()
    assert bool(torch.isfinite(logits.grad).all())
