"""Against numbers worked out by hand and by numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.losses.coral import coral, covariance


def test_coral_by_hand():
    # Two rows each. Source: variance 2 in the first column; target: variance 8 in the second; nothing else. The
    # difference is diag(2, -8), its squared norm 4 + 64, and 4 d^2 = 16.
    found = coral(source=torch.tensor([[0.0, 0.0], [2.0, 0.0]]), target=torch.tensor([[0.0, 0.0], [0.0, 4.0]]))
    assert found.item() == (4 + 64) / 16


def test_covariance_is_numpy_s():
    x = np.random.default_rng(0).normal(3, 2, (20, 5))
    np.testing.assert_allclose(covariance(torch.from_numpy(x)).numpy(), np.cov(x, rowvar=False), rtol=1e-12)


def test_coral_with_sides_of_different_sizes_is_the_paper_s_formula():
    rng = np.random.default_rng(0)
    source, target = rng.normal(0, 1, (7, 3)), rng.normal(1, 2, (12, 3))

    def paper(x: np.ndarray) -> np.ndarray:  # eq. 2 and 3, as they stand
        ones = np.ones((1, len(x)))
        return (x.T @ x - (ones @ x).T @ (ones @ x) / len(x)) / (len(x) - 1)

    expected = np.square(paper(source) - paper(target)).sum() / (4 * 3**2)
    found = coral(source=torch.from_numpy(source), target=torch.from_numpy(target))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_a_shift_alone_is_invisible():
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    assert coral(source=x, target=x + 5).item() == pytest.approx(0, abs=1e-9)


def test_the_gradient_brings_the_covariances_together():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(32, 3, generator=generator).requires_grad_()
    target = 2 * torch.randn(32, 3, generator=generator)
    before = coral(source=source, target=target)
    before.backward()
    assert coral(source=source.detach() - 0.5 * source.grad, target=target).item() < before.item()


def test_mixed_precision_does_not_touch_the_covariances():
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(24, 8, generator=generator) + 30, torch.randn(24, 8, generator=generator) + 30
    expected = coral(source=source, target=target).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert coral(source=source, target=target).item() == expected
