"""Shifts of the answers against scipy, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.monitoring import shifts
from components.monitoring.permutation import deals


@pytest.fixture
def inside() -> np.ndarray:
    return np.concatenate(list(deals(50, [7, 20], 30, seed=0)), axis=2)


@pytest.mark.parametrize("decimals", [6, 1])  # with one decimal most values are ties
def test_the_distance_is_kolmogorov_and_smirnovs(inside, decimals):
    values = np.random.default_rng(0).random(50).round(decimals)
    found = shifts.distance(values, inside)
    for deal in range(31):
        reference = values[inside[1, :, deal] == 0]
        for window in range(2):
            expected = stats.ks_2samp(values[inside[window, :, deal] == 1], reference).statistic
            assert found[window, deal] == pytest.approx(expected, abs=1e-12)


def test_the_divergence_is_the_g_statistic(inside):
    label = np.random.default_rng(0).integers(0, 4, 50) * 3 + 1  # classes need not be 0, 1, 2
    counts = shifts.tables(label, inside)
    found = shifts.divergence(counts)
    for deal in range(31):
        for window in range(2):
            table = counts[window, :, :, deal]
            np.testing.assert_array_equal(
                table,
                [
                    [(label[inside[window, :, deal] == 1] == name).sum() for name in (1, 4, 7, 10)],
                    [(label[inside[1, :, deal] == 0] == name).sum() for name in (1, 4, 7, 10)],
                ],
            )
            table = table[:, table.sum(0) > 0]
            expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
            assert found[window, deal] == pytest.approx(expected, abs=1e-9)


def test_the_share_that_moved_by_hand():
    # From 50, 50, 0 % to 20, 30, 50 %: half of the images are of another class.
    counts = np.array([[[[2], [3], [5]], [[50], [50], [0]]]])
    assert shifts.moved(counts)[0, 0] == pytest.approx(0.5)


def test_one_class_and_one_confidence_are_no_shift(inside):
    assert (shifts.divergence(shifts.tables(np.full(50, 3), inside)) == 0).all()
    assert (shifts.distance(np.full(50, 0.9), inside) == 0).all()
