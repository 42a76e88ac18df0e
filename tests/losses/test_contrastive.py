"""Hadsell's eq. 4 by hand, and its gradient, which pushes only what is too near."""

from __future__ import annotations

import pytest
import torch

from components.losses.contrastive import contrastive

# Distances 5, 1, 3 and 0 from the origin.
LEFT = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
RIGHT = torch.zeros(4, 2)


def test_contrastive_by_hand():
    # Margin 2. Same, D = 5: 25 / 2. Different, D = 1: (2 - 1)^2 / 2 = 0.5. Different, D = 3: beyond the margin, 0.
    # Different, D = 0: 2^2 / 2 = 2. The mean of 12.5, 0.5, 0 and 2 is 3.75.
    found = contrastive(LEFT, RIGHT, same=torch.tensor([1.0, 0.0, 0.0, 0.0]), margin=2.0)
    assert found.item() == pytest.approx(3.75, abs=1e-6)


def test_pairs_of_one_class_are_drawn_together_and_near_others_apart():
    left = LEFT.clone().requires_grad_()
    contrastive(left, RIGHT, same=torch.tensor([1.0, 0.0, 0.0, 0.0]), margin=2.0).backward()
    # d/dleft of D^2 / 2 is left - right; of (m - D)^2 / 2 it is -(m - D) * (left - right) / D. Each over 4 pairs.
    expected = torch.tensor([[0.75, 1.0], [-0.25, 0.0], [0.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(left.grad, expected)


def test_the_margin_is_where_pushing_ends():
    values = [contrastive(LEFT[1:2], RIGHT[:1], same=torch.zeros(1), margin=m).item() for m in (0.5, 1.0, 1.5)]
    assert values == pytest.approx([0.0, 0.0, 0.125])


def test_two_equal_images_have_a_finite_gradient():
    left = torch.zeros(2, 3, requires_grad=True)
    contrastive(left, torch.zeros(2, 3), same=torch.tensor([0.0, 1.0]), margin=1.0).backward()
    assert bool(torch.isfinite(left.grad).all())


def test_mixed_precision_does_not_touch_it():
    torch.manual_seed(0)
    left, right, same = torch.randn(8, 16) + 30, torch.randn(8, 16) + 30, torch.tensor([1.0, 0.0] * 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive(left, right, same=same, margin=10.0)
    assert found.item() == contrastive(left, right, same=same, margin=10.0).item()
