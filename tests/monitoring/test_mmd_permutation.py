"""The squared MMD of all deals at once, against Gretton's sums pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.monitoring import mmd
from components.monitoring.permutation import deals


def likeness(features: np.ndarray, i: int, j: int) -> float:
    squared = [float(((a - b) ** 2).sum()) for n, a in enumerate(features) for b in features[:n]]
    distance = float(((features[i] - features[j]) ** 2).sum())
    return float(np.mean([math.exp(-distance / (m * float(np.median(squared)))) for m in (0.25, 0.5, 1, 2, 4)]))


def test_the_kernel_pair_by_pair():
    features = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    expected = [[likeness(features, i, j) for j in range(7)] for i in range(7)]
    np.testing.assert_allclose(mmd.kernel(features), expected, rtol=1e-5)


def test_the_kernel_by_hand():
    # Squared distances 4, 4 and 16: the median is 4, so two steps of 2 are worth exp(-1 / m) on average.
    near = np.mean([math.exp(-1 / m) for m in mmd.MULTIPLIERS])
    far = np.mean([math.exp(-4 / m) for m in mmd.MULTIPLIERS])
    kernel = mmd.kernel(np.array([[0.0], [2.0], [4.0]], np.float32))
    np.testing.assert_allclose(kernel, [[1, near, far], [near, 1, near], [far, near, 1]], rtol=1e-6)


def test_features_that_are_mostly_the_same_have_a_scale_all_the_same():
    features = np.zeros((9, 2), np.float32)
    assert (mmd.kernel(features) == 1).all()
    features[0] = 3.0
    kernel = mmd.kernel(features)
    assert kernel[0, 1] == pytest.approx(np.mean([math.exp(-1 / m) for m in mmd.MULTIPLIERS]), rel=1e-5)


def test_squared_mmd_is_equation_3_in_every_deal_and_window():
    random = np.random.default_rng(1)
    kernel = mmd.kernel(random.normal(size=(20, 4)).astype(np.float32))
    inside = np.concatenate(list(deals(20, [3, 8], 25, seed=0)), axis=2)
    found = mmd.squared_mmd(kernel, inside)
    for deal in range(26):
        reference = np.flatnonzero(inside[1, :, deal] == 0)
        for window in range(2):
            members = np.flatnonzero(inside[window, :, deal])
            within = np.mean([kernel[i, j] for i in members for j in members if i != j])
            of_reference = np.mean([kernel[i, j] for i in reference for j in reference if i != j])
            across = np.mean([kernel[i, j] for i in members for j in reference])
            assert found[window, deal] == pytest.approx(within + of_reference - 2 * across, abs=1e-6)


def test_it_sees_another_spread_with_the_same_mean():
    random = np.random.default_rng(2)
    features = random.normal(size=(160, 3)).astype(np.float32)
    features[100:] *= 2
    inside = np.concatenate(list(deals(160, [60], 200, seed=0)), axis=2)
    found = mmd.squared_mmd(mmd.kernel(features), inside)[0]
    assert found[0] > 1.5 * found[1:].max()


def test_the_witness_pair_by_pair():
    kernel = mmd.kernel(np.random.default_rng(3).normal(size=(9, 2)).astype(np.float32))
    window = np.arange(9) >= 5
    expected = [
        np.mean([kernel[i, j] for j in range(5, 9) if j != i]) - np.mean([kernel[i, j] for j in range(5)])
        for i in range(5, 9)
    ]
    np.testing.assert_allclose(mmd.witness(kernel, window), expected, rtol=1e-5)
