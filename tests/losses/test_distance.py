"""Against numbers worked out by hand, and in full precision whatever surrounds them."""

from __future__ import annotations

import math

import pytest
import torch

from components.losses.distance import cosine_similarity, squared_distance


def test_squared_distance_by_hand():
    found = squared_distance(torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
    assert found.tolist() == [[25.0], [8.0]]


def test_squared_distance_is_never_negative():
    points = torch.full((50, 3), 1000.1) + 1e-4 * torch.rand(50, 3)
    assert bool((squared_distance(points, points) >= 0).all())


def test_cosine_similarity_by_hand():
    # (1, 0) and (1, 1) enclose 45 degrees, (1, 0) and (0, -3) 90, (3, 4) and (1, 1): 7 / (5 * sqrt 2).
    found = cosine_similarity(torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[1.0, 1.0], [0.0, -3.0]]))
    expected = [[math.sqrt(0.5), 0.0], [7 / (5 * math.sqrt(2)), -0.8]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_the_cosine_with_nothing_is_zero_and_has_a_gradient():
    a = torch.zeros(1, 3, requires_grad=True)
    found = cosine_similarity(a, torch.ones(2, 3))
    found.sum().backward()
    assert found.tolist() == [[0.0, 0.0]]
    assert bool(torch.isfinite(a.grad).all())


@pytest.mark.parametrize("function", [squared_distance, cosine_similarity])
def test_double_precision_stays_double(function):
    a, b = torch.randn(3, 4).double(), torch.randn(2, 4).double()
    assert function(a, b).dtype == torch.float64


@pytest.mark.parametrize("function", [squared_distance, cosine_similarity])
def test_mixed_precision_does_not_touch_them(function):
    """Features far from the origin: in bf16 the differences of their squares would be noise."""
    torch.manual_seed(0)
    a, b = torch.randn(24, 16) + 30, torch.randn(24, 16) + 30.5
    expected = function(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = function(a, b)
    assert torch.equal(found, expected)
