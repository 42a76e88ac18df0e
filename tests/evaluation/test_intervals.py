"""The bootstrap: the same seed gives the same interval, it covers what it should, and pairing sharpens."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.evaluation.intervals import Interval, mean_interval, paired_interval, wilson


def _interval(values, seed=0, confidence=0.95, resamples=400) -> Interval:
    return mean_interval(np.asarray(values, float), confidence=confidence, resamples=resamples, seed=seed)


def test_the_value_is_the_mean_inside_its_bounds():
    found = _interval([0, 1, 1, 1])
    assert found.value == 0.75
    assert found.low < 0.75 < found.high <= 1


def test_equal_values_leave_no_doubt():
    assert _interval([1.0] * 20) == Interval(1.0, 1.0, 1.0)


def test_the_seed_decides():
    values = np.random.default_rng(0).normal(size=200)
    assert _interval(values, seed=1) == _interval(values, seed=1)
    assert _interval(values, seed=1) != _interval(values, seed=2)


def test_width_is_that_of_the_normal_approximation():
    # 400 coin flips, half of them heads: standard error sqrt(0.25 / 400) = 0.025, so 95 % is 0.5 +- 0.049.
    found = _interval([0, 1] * 200, resamples=2000)
    assert found.low == pytest.approx(0.451, abs=0.006)
    assert found.high == pytest.approx(0.549, abs=0.006)
    narrower = _interval([0, 1] * 200, confidence=0.5, resamples=2000)  # 0.6745 standard errors: +- 0.0169
    assert narrower.high - narrower.low == pytest.approx(2 * 0.0169, abs=0.006)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for turn in range(200):
        found = _interval(rng.random(80) < 0.7, seed=turn, confidence=0.9, resamples=200)
        covered += found.low <= 0.7 <= found.high
    assert 0.82 <= covered / 200 <= 0.97


def test_pairing_is_sharper_where_the_same_images_are_hard_for_both():
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    a, b = (hard < 0.80).astype(float), (hard < 0.77).astype(float)  # b is wrong wherever a is, and a little more
    options = {"confidence": 0.95, "resamples": 500, "seed": 0}
    paired = paired_interval(a, b, **options)
    shuffled = paired_interval(a, rng.permutation(b), **options)
    assert paired.value == pytest.approx(a.mean() - b.mean()) == pytest.approx(shuffled.value)
    assert paired.high - paired.low < 0.5 * (shuffled.high - shuffled.low)
    assert paired.low > 0 > shuffled.low


def test_the_sign_says_who_leads():
    options = {"confidence": 0.95, "resamples": 100, "seed": 0}
    assert paired_interval(np.ones(5), np.zeros(5), **options) == Interval(1.0, 1.0, 1.0)
    assert paired_interval(np.zeros(5), np.ones(5), **options) == Interval(-1.0, -1.0, -1.0)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 10), (10, 10), (1, 1), (450, 500)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_wilson_is_that_of_scipy(hits, count, confidence):
    expected = stats.binomtest(hits, count).proportion_ci(confidence, method="wilson")
    assert wilson(hits, count, confidence=confidence) == pytest.approx((hits / count, *expected))


def test_wilson_of_all_right_keeps_a_doubt_and_of_nothing_knows_nothing():
    # All of n: from n / (n + z^2) to 1.
    assert wilson(10, 10, confidence=0.95) == pytest.approx((1.0, 10 / (10 + 1.96**2), 1.0), abs=1e-4)
    assert wilson(0, 0, confidence=0.95) == (0.0, 0.0, 1.0)
