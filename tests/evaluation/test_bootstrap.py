"""The two-way bootstrap: by hand where it can be, and its coverage by simulation, one seed and few."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from components.evaluation import bootstrap
from components.evaluation.bootstrap import Draws, accuracy_and_macro_f1, satterthwaite, two_way

LABELS = np.random.default_rng(0).integers(3, size=120)


def _decisions(rng: np.random.Generator, accuracy: float, seeds: int = 1, labels: np.ndarray = LABELS) -> np.ndarray:
    wrong = (labels + rng.integers(1, 3, (seeds, len(labels)))) % 3
    return np.where(rng.random((seeds, len(labels))) < accuracy, labels, wrong)


def test_the_values_are_those_of_scikit_learn():
    decisions = _decisions(np.random.default_rng(1), 0.7, seeds=2)
    accuracy, f1 = accuracy_and_macro_f1([decisions], LABELS, 3, resamples=100, seed=0)
    np.testing.assert_allclose(accuracy.per_seed, [(decisions == LABELS).mean(1)])
    np.testing.assert_allclose(f1.per_seed, [[f1_score(LABELS, own, average="macro") for own in decisions]])
    assert accuracy.value == pytest.approx((decisions == LABELS).mean())


def test_every_resample_is_what_its_images_and_seeds_give():
    """The sparse products against the plain definition, on the very draws that were made."""
    decisions = _decisions(np.random.default_rng(2), 0.6, seeds=3)
    accuracy, f1 = accuracy_and_macro_f1([decisions], LABELS, 3, resamples=50, seed=5)
    rng = np.random.default_rng(5)
    seeds = rng.integers(3, size=(50, 2))  # two of three, so that the variance of few is not lost
    images = rng.integers(120, size=(50, 120))
    for turn in range(50):
        rows = images[turn]
        right = [(decisions[seed, rows] == LABELS[rows]).mean() for seed in seeds[turn]]
        score = [f1_score(LABELS[rows], decisions[seed, rows], average="macro") for seed in seeds[turn]]
        assert accuracy.resamples[turn, 0] == pytest.approx(np.mean(right))
        assert f1.resamples[turn, 0] == pytest.approx(np.mean(score))


def test_strategies_are_compared_on_the_same_draws():
    rng = np.random.default_rng(3)
    one, two = _decisions(rng, 0.7), _decisions(rng, 0.7)
    accuracy, _ = accuracy_and_macro_f1([one, two, one], LABELS, 3, resamples=200, seed=0)
    np.testing.assert_array_equal(accuracy.resamples[:, 0], accuracy.resamples[:, 2])
    same = accuracy.minus(np.array([0]), np.array([2]))
    assert same.bounds(0.95, -1, 1) == (0.0, 0.0)
    assert same.p() == 1.0


def test_the_blocks_do_not_show(monkeypatch):
    decisions = [_decisions(np.random.default_rng(4), 0.7, seeds=2)]
    whole = accuracy_and_macro_f1(decisions, LABELS, 3, resamples=100, seed=0)
    monkeypatch.setattr(bootstrap, "ELEMENTS", 1000)
    parts = accuracy_and_macro_f1(decisions, LABELS, 3, resamples=100, seed=0)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.resamples, other.resamples)


def test_the_seed_decides():
    decisions = [_decisions(np.random.default_rng(4), 0.7)]
    runs = [accuracy_and_macro_f1(decisions, LABELS, 3, resamples=100, seed=seed)[0].resamples for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_one_seed_is_the_plain_bootstrap():
    # 400 answers, 300 right: standard error sqrt(.75 * .25 / 400) = 0.02165.
    labels = np.zeros(400, int)
    decisions = [(np.arange(400) >= 300).astype(int)[None]]
    accuracy, _ = accuracy_and_macro_f1(decisions, labels, 2, resamples=4000, seed=0)
    assert accuracy.standard_error()[0] == pytest.approx(0.02165, rel=0.05)
    assert accuracy.degrees_of_freedom().tolist() == [399]
    low, high = accuracy.bounds(0.95, 0, 1)
    assert low[0] == pytest.approx(0.75 - 1.966 * 0.02165, abs=0.004)
    assert high[0] == pytest.approx(0.75 + 1.966 * 0.02165, abs=0.004)


def test_seeds_alone_have_the_variance_of_a_mean_of_so_few():
    # All images of a seed alike, so only seeds vary: 1, 0, 0 has variance 1/3, its mean over three 1/9.
    labels = np.zeros(50, int)
    decisions = [np.array([[0] * 50, [1] * 50, [1] * 50])]
    accuracy, _ = accuracy_and_macro_f1(decisions, labels, 2, resamples=4000, seed=0)
    assert accuracy.standard_error()[0] == pytest.approx(1 / 3, rel=0.05)
    assert accuracy.degrees_of_freedom()[0] == pytest.approx(2, rel=0.1)


def test_degrees_of_freedom_by_hand():
    # Equal parts 1 and 1 of 101 images and 3 seeds: 4 / (1 / 100 + 1 / 2).
    assert satterthwaite(np.ones(1), np.ones(1), 101, 3) == pytest.approx(4 / 0.51)
    assert satterthwaite(np.ones(1), np.zeros(1), 101, 3) == pytest.approx(100)
    assert satterthwaite(np.zeros(1), np.zeros(1), 101, 1) == pytest.approx(100)


def test_p_is_that_of_a_t_test_where_only_images_vary():
    rng = np.random.default_rng(0)
    labels = np.zeros(600, int)
    one, two = ((rng.random((1, 600)) > share).astype(int) for share in (0.80, 0.75))
    accuracy, _ = accuracy_and_macro_f1([one, two], labels, 2, resamples=8000, seed=0)
    expected = stats.ttest_rel(one[0], two[0]).pvalue
    assert 0.01 < expected < 0.9
    assert accuracy.minus(np.array([0]), np.array([1])).p()[0] == pytest.approx(expected, rel=0.1)


def test_a_difference_without_any_spread_is_certain():
    always, never = np.zeros((1, 5), int), np.ones((1, 5), int)
    accuracy, _ = accuracy_and_macro_f1([always, never], np.zeros(5, int), 2, resamples=100, seed=0)
    lead = accuracy.minus(np.array([0]), np.array([1]))
    assert (lead.value[0], lead.p()[0]) == (1.0, 0.0)


def test_seeds_that_are_all_right_have_no_spread_however_many_they_are():
    accuracy, f1 = accuracy_and_macro_f1([np.tile(LABELS, (8, 1))], LABELS, 3, resamples=200, seed=0)
    for draws in (accuracy, f1):
        np.testing.assert_array_equal(draws.resamples, 1.0)  # not one minus a rounding error
        assert draws.bounds(0.95, 0, 1) == (1.0, 1.0)


def test_bounds_stay_within_what_the_number_can_be():
    draws = Draws(np.array([[0.9, 1.0, 0.95]]), np.array([[0.9], [1.0]] * 200), images=20)
    low, high = draws.bounds(0.95, 0, 1)
    assert low[0] < 0.9
    assert high[0] == 1.0


def _coverage(turns: int, seeds: int, of_seeds: float, of_images: float) -> float:
    """How often the interval holds the accuracy that a new image and a new seed would have, which is 0.8."""
    rng = np.random.default_rng(0)
    labels, covered = rng.integers(2, size=200), 0
    for turn in range(turns):
        chance = 0.8 + rng.normal(0, of_images, 200) + rng.normal(0, of_seeds, (seeds, 1))
        right = rng.random((seeds, 200)) < chance
        decisions = [np.where(right, labels, 1 - labels)]
        low, high = accuracy_and_macro_f1(decisions, labels, 2, resamples=250, seed=turn)[0].bounds(0.95, 0, 1)
        covered += bool(low[0] <= 0.8 <= high[0])
    return covered / turns


def test_one_seed_covers_as_often_as_it_says():
    # 300 turns at 95 % have a standard error of 1.3 points.
    assert 0.95 - 3 * 0.013 <= _coverage(300, 1, 0.0, 0.0) <= 0.95 + 3 * 0.013


@pytest.mark.parametrize("of_seeds", [0.03, 0.1])
def test_three_seeds_that_really_differ_are_covered_too(of_seeds):
    """Where seeds are all that matters, three of them reach about 92 %; percentiles alone would reach 75 %, the chance
    that three values do not all lie on one side of their median. Where images matter as well, it is 95 % or more."""
    assert _coverage(250, 3, of_seeds, 0.05) >= 0.88


def test_two_way_bounds_by_hand():
    # One seed: mean 2.5, variance 5/3 of 4 values, t of 3 degrees 3.182: 2.5 +- 3.182 * sqrt(5 / 12).
    low, high = two_way(np.array([[1.0, 2.0, 3.0, 4.0]]), 0.95)
    assert (low, high) == pytest.approx((2.5 - 3.1824 * (5 / 12) ** 0.5, 2.5 + 3.1824 * (5 / 12) ** 0.5), abs=1e-3)
    # Many values and seeds that agree: 1.96 standard errors.
    values = np.tile([0.0, 1.0], (2, 5000))
    low, high = two_way(values, 0.95)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 100, rel=0.001)
    # Seeds that differ widen it.
    assert np.diff(two_way(values + np.array([[0.0], [0.1]]), 0.95))[0] > 10 * (high - low)
