"""Bounds of a paired difference: against the likelihood that they come from, the exact test, and counted coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from components.evaluation.intervals import wilson
from components.evaluation.paired import from_counts, share_difference

Z = 1.959963984540054


def _standard_error(ahead: int, behind: int, images: int, difference: float) -> float:
    """Of ahead - behind, at the likeliest trinomial among those with that difference: found by search, no formula."""

    def unlikeliness(share: float) -> float:
        parts = ((ahead, share + difference), (behind, share), (images - ahead - behind, 1 - 2 * share - difference))
        return -sum(count * np.log(max(part, 1e-300)) for count, part in parts if count)

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    found = minimize_scalar(unlikeliness, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
    return float(np.sqrt(images * (2 * found + difference - difference**2)))


@pytest.mark.parametrize(("ahead", "behind", "images"), [(7, 3, 60), (20, 5, 100), (1, 12, 44), (30, 30, 752)])
def test_at_the_bounds_the_counts_are_z_standard_errors_away_less_half_a_step(ahead, behind, images):
    found = from_counts(ahead, behind, images, confidence=0.95)
    assert found.value == (ahead - behind) / images
    above = images * found.high - (ahead - behind) - 1
    assert above / _standard_error(ahead, behind, images, found.high) == pytest.approx(Z, rel=1e-4)
    below = (ahead - behind) - images * found.low - 1
    assert below / _standard_error(ahead, behind, images, found.low) == pytest.approx(Z, rel=1e-4)


def test_it_excludes_zero_where_the_exact_test_does():
    """McNemar's exact test is a coin on the images that differ; at 95 % two-sided no lead may be called on more than
    that allows."""
    for differing in (*range(1, 16), 25, 40, 60):
        for behind in range(differing // 2 + 1):
            clear = from_counts(differing - behind, behind, 500, confidence=0.95).low > 0
            exact = binomtest(behind, differing).pvalue <= 0.05
            assert not clear or exact, (differing, behind)
    assert from_counts(6, 0, 500, confidence=0.95).low > 0
    assert from_counts(5, 0, 500, confidence=0.95).low < 0  # 1 in 16, either way


def test_few_images_without_a_difference_still_prove_little():
    alike = from_counts(0, 0, 100, confidence=0.95)
    assert alike.value == 0
    assert alike.high == -alike.low
    assert alike.high > wilson(0, 100, confidence=0.95).high  # what excludes a share of 0 in so many, without the step
    assert from_counts(0, 0, 0, confidence=0.95) == (0.0, -1.0, 1.0)


def test_swapped_sides_swap_the_bounds():
    first, second = np.arange(90) < 50, np.arange(90) % 3 == 0
    one = share_difference(first, second, confidence=0.9)
    other = share_difference(second, first, confidence=0.9)
    assert one == (-other.value, -other.high, -other.low)
    assert one.value == pytest.approx(20 / 90)


def test_bounds_that_hold_for_many_at_once_are_those_of_a_higher_confidence():
    many = from_counts(9, 2, 80, confidence=0.95, comparisons=20)
    alone = from_counts(9, 2, 80, confidence=1 - 0.05 / 20)
    assert many == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize(("images", "share", "lead"), [(40, 0.1, 0.0), (752, 0.01, 0.0), (300, 0.1, 0.04)])
def test_they_miss_the_true_difference_no_more_often_than_they_say(images, share, lead):
    """2,000 sets of images: each side within 2.5 %, and three standard errors of such a count."""
    drawn = np.random.default_rng(0).multinomial(images, [share + lead, share, 1 - 2 * share - lead], size=2000)
    found = {(a, b): from_counts(a, b, images, confidence=0.95) for a, b in set(map(tuple, drawn[:, :2].tolist()))}
    missed = np.array([(found[a, b].low > lead, found[a, b].high < lead) for a, b in drawn[:, :2].tolist()])
    assert missed.mean(0).max() <= 0.025 + 3 * (0.025 * 0.975 / 2000) ** 0.5
