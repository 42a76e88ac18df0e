"""Against numbers worked out by hand, and the properties the estimate is used for."""

from __future__ import annotations

import math

import pytest
import torch

from components.losses.mmd import mmd


def test_mmd_by_hand():
    # Source 0, 1 and target 3, 4 in one dimension. Squared distances between different points:
    # 0-1: 1, 3-4: 1, 0-3: 9, 0-4: 16, 1-3: 4, 1-4: 9, each twice in the table. torch's median of
    # 1 1 1 1 4 4 9 9 9 9 16 16 is the lower middle one: 4. With k(d) = exp(-d / 4) and the unbiased estimate:
    # within source k(1), within target k(1), across the mean of k(9), k(16), k(4), k(9).
    source, target = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [4.0]])
    across = (2 * math.exp(-9 / 4) + math.exp(-16 / 4) + math.exp(-4 / 4)) / 4
    expected = 2 * math.exp(-1 / 4) - 2 * across
    assert mmd(source, target, multipliers=(1.0,)).item() == pytest.approx(expected, abs=1e-6)


def test_several_kernels_are_averaged():
    source, target = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [4.0]])
    single = [mmd(source, target, multipliers=(m,)).item() for m in (0.5, 1.0, 4.0)]
    assert mmd(source, target, multipliers=(0.5, 1.0, 4.0)).item() == pytest.approx(sum(single) / 3, abs=1e-6)


def test_mmd_with_sides_of_different_sizes_by_hand():
    # Source 0, 0, 0 and target 2, 2: all within distances 0 (kernel 1), all across 4. Of the 20 pairs of different
    # points 8 are within (0) and 12 across (4), so the median is 4: across = exp(-1), MMD = 1 + 1 - 2 / e.
    found = mmd(torch.zeros(3, 1), torch.full((2, 1), 2.0), multipliers=(1.0,))
    assert found.item() == pytest.approx(2 - 2 / math.e, abs=1e-6)


def test_mmd_does_not_depend_on_the_scale_of_the_features():
    torch.manual_seed(0)
    source, target = torch.randn(20, 4), torch.randn(30, 4) + 1
    assert mmd(source, target).item() == pytest.approx(mmd(100 * source, 100 * target).item(), rel=1e-3)


def test_mmd_is_zero_on_average_for_equal_distributions_and_grows_with_the_shift():
    torch.manual_seed(0)
    values = {
        shift: torch.stack([mmd(torch.randn(32, 3), torch.randn(32, 3) + shift) for _ in range(40)])
        for shift in (0.0, 0.5, 1.0, 2.0)
    }
    same = values[0.0]
    assert abs(same.mean().item()) < 3 * same.std().item() / math.sqrt(len(same))
    assert bool((same < 0).any())  # unbiased: it falls on both sides of zero
    means = [value.mean().item() for value in values.values()]
    assert means == sorted(means)
    assert means[-1] > 0.3


def test_the_gradient_pulls_the_source_to_the_target():
    torch.manual_seed(0)
    source, target = torch.randn(16, 2).requires_grad_(), torch.randn(16, 2) + 3
    mmd(source, target).backward()
    assert bool((-source.grad.mean(0) > 0).all())  # a step against the gradient moves towards +3
    moved = source.detach() - 1.0 * source.grad
    assert mmd(moved, target).item() < mmd(source, target).item()


def test_the_scale_of_the_kernel_is_not_differentiated():
    # Were the median, the value would not depend on the scale of the points, and by Euler's theorem the products of
    # points and gradients would add up to nothing.
    torch.manual_seed(0)
    source, target = torch.randn(16, 2).requires_grad_(), (torch.randn(16, 2) + 1).requires_grad_()
    mmd(source, target).backward()
    along = (source * source.grad).sum().item() + (target * target.grad).sum().item()
    assert abs(along) > 0.01


def test_identical_points_give_zero_and_no_nan():
    source = torch.zeros(4, 2).requires_grad_()
    value = mmd(source, torch.zeros(4, 2))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert bool(torch.isfinite(source.grad).all())


def test_mixed_precision_does_not_touch_the_distances():
    """Features far from the origin: in bf16 the differences of their squares would be noise."""
    torch.manual_seed(0)
    source, target = torch.randn(24, 16) + 30, torch.randn(24, 16) + 30.5
    expected = mmd(source, target).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mmd(source, target).item()
    assert found == pytest.approx(expected, rel=1e-3)
