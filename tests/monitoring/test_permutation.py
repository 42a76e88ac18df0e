"""Deals, p and their correction, against counting by hand and step by step."""

from __future__ import annotations

import numpy as np
import pytest

from components.monitoring.permutation import adjusted, chances, deals, least


def test_the_first_deal_is_the_observed_one_and_windows_overlap_in_every_deal():
    inside = np.concatenate(list(deals(30, [5, 12], 300, seed=0)), axis=2)
    assert inside.shape == (2, 30, 301)
    np.testing.assert_array_equal(inside[:, :, 0], [[0] * 25 + [1] * 5, [0] * 18 + [1] * 12])
    assert (inside.sum(1) == [[5], [12]]).all()
    assert (inside[0] <= inside[1]).all()
    assert len(np.unique(inside[1, :, 1:], axis=1).T) == 300


def test_every_image_is_as_often_in_a_window_as_any_other():
    inside = np.concatenate(list(deals(20, [5], 4000, seed=1)), axis=2)[0, :, 1:]
    # Each is there with probability 1/4: 1,000 times, with a standard deviation of 27.
    assert np.abs(inside.sum(1) - 1000).max() < 4 * 27


def test_the_same_seed_deals_the_same():
    first, again, other = (np.concatenate(list(deals(9, [3], 50, seed)), axis=2) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_p_by_hand():
    # As much or more than 3: 3, 5 and 3 of five deals. Equal but for rounding is equal.
    p = chances(np.array([[3.0, 1.0, 5.0, 3.0 - 1e-12, 2.0]]))
    np.testing.assert_allclose(p, [[3 / 5, 5 / 5, 1 / 5, 3 / 5, 4 / 5]])


def test_adjusted_by_hand():
    p = np.array([[0.25, 0.5, 1.0, 0.75], [0.5, 0.25, 0.75, 1.0]])
    # The first test leads: the smallest of both is .25 .25 .75 .75, as small as .25 in 2 of 4 deals. The second is then
    # alone: as small as .5 in 2 of 4 deals.
    np.testing.assert_allclose(adjusted(p), [0.5, 0.5])
    np.testing.assert_allclose(adjusted(p[::-1]), [0.5, 0.5])


def test_one_test_needs_no_correction_and_neither_do_copies_of_it():
    p = chances(np.random.default_rng(0).normal(size=(1, 200)))
    np.testing.assert_allclose(adjusted(p), p[:, 0])
    np.testing.assert_allclose(adjusted(np.repeat(p, 5, axis=0)), np.repeat(p[0, 0], 5))


def test_adjusted_is_the_step_down_procedure_step_by_step():
    statistics = np.random.default_rng(3).normal(size=(4, 60))
    statistics[:, 0] += [2, 0, 1, 0]
    p = chances(statistics)
    left, before, expected = list(range(4)), 0.0, {}
    while left:
        leader = min(left, key=lambda test: p[test, 0])
        as_small = np.mean([min(p[test, deal] for test in left) <= p[leader, 0] for deal in range(60)])
        before = expected[leader] = max(before, as_small)
        left.remove(leader)
    np.testing.assert_allclose(adjusted(p), [expected[test] for test in range(4)])


@pytest.mark.parametrize(("tests", "alpha", "count"), [(8, 0.01, 799), (1, 0.05, 19), (4, 0.05, 79), (3, 0.07, 42)])
def test_the_least_permutations_are_just_enough(tests, alpha, count):
    assert least(tests, alpha) == count
    for permutations, enough in ((count, True), (count - 1, False)):
        # The worst case: the observed deal leads in one test, and in each of the others one of its own.
        p = np.ones((tests, permutations + 1))
        p[np.arange(tests), np.arange(tests)] = 1 / (permutations + 1)
        assert (adjusted(p)[0] <= alpha) == enough
