"""Tests of significance against scipy and by hand, and letters that say exactly what the tests said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.evaluation.significance import holm, letters, mcnemar


@pytest.mark.parametrize(("ahead", "behind"), [(0, 0), (1, 0), (5, 1), (12, 12), (40, 22), (7, 30), (900, 1100)])
def test_mcnemar_is_the_exact_binomial_test_of_the_disagreements(ahead, behind):
    first = np.array([True] * ahead + [False] * behind + [True] * 30 + [False] * 9)
    second = np.array([False] * ahead + [True] * behind + [True] * 30 + [False] * 9)
    found = mcnemar(first, second)
    assert found[:2] == (ahead, behind)
    expected = stats.binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1.0
    assert found.p == pytest.approx(expected)


def test_mcnemar_by_hand():
    # Five disagreements, all one way: 2 / 2^5.
    assert mcnemar(np.ones(5, bool), np.zeros(5, bool)) == (5, 0, 0.0625)


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04; none below the one before it: .02 .03 .06 .06.
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_holm_of_one_test_changes_nothing_and_none_exceeds_one():
    assert holm(np.array([0.2])).tolist() == [0.2]
    assert holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


def test_holm_keeps_false_findings_rare_in_all_tests_together():
    rng = np.random.default_rng(0)
    found = [holm(rng.random(100)).min() < 0.05 for _ in range(1000)]
    assert 0.03 < np.mean(found) < 0.07  # uncorrected it would be 99 %


def test_letters_by_hand():
    # Only the ends differ: the middle one belongs to both groups.
    assert letters(3, [(0, 2)]) == ["a", "ab", "b"]
    assert letters(3, []) == ["a", "a", "a"]
    assert letters(3, [(0, 1), (0, 2), (1, 2)]) == ["a", "b", "c"]
    # The first leads all; the second and the last differ.
    assert letters(4, [(0, 1), (0, 2), (0, 3), (1, 3)]) == ["a", "b", "bc", "c"]


def test_letters_need_not_follow_the_ranks():
    # The first differs from the second, but not from the third, whose interval is wide.
    assert letters(3, [(0, 1)]) == ["a", "b", "ab"]


@pytest.mark.parametrize("seed", range(20))
def test_things_have_a_common_letter_exactly_where_they_do_not_differ(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 20))
    share = rng.random()
    different = [(i, j) for i in range(size) for j in range(i + 1, size) if rng.random() < share]
    found = letters(size, different)
    assert all(found)
    for i in range(size):
        for j in range(i + 1, size):
            assert set(found[i]).isdisjoint(found[j]) == ((i, j) in different)


def test_letters_that_no_pair_needs_are_not_given():
    """Three pairs that differ: there are eight ways to take one of each, but four groups hold all others together."""
    found = letters(6, [(0, 1), (2, 3), (4, 5)])
    assert set("".join(found)) == set("abcd")
    assert [len(own) for own in found] == [2] * 6


def test_a_letter_that_holds_one_thing_to_none_is_not_given():
    """The groups are 013, 024 and 012. In the last, 0 is with 1 and with 2 already: only 1 and 2 need it."""
    assert letters(5, [(1, 4), (2, 3), (3, 4)]) == ["ab", "ac", "bc", "a", "b"]


def test_there_are_letters_enough():
    every = [(i, j) for i in range(60) for j in range(i + 1, 60)]
    found = letters(60, every)
    assert len(set(found)) == 60
    assert all(len(letter) == 1 and letter.isalpha() for letter in found)
