"""Criteria without labels, against values worked out by hand and against the failures each is known for."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluation.label_free import (
    CRITERIA,
    DEFAULT,
    information_maximisation,
    negative_entropy,
    soft_neighbourhood_density,
)

LN2 = np.log(2)


def test_entropy_of_undecided_and_of_sure_answers():
    assert negative_entropy(np.zeros((5, 2))) == pytest.approx(-LN2)
    assert negative_entropy(np.array([[50.0, -50.0]])) == pytest.approx(0, abs=1e-9)
    # p = 0.8, 0.2
    assert negative_entropy(np.log([[0.8, 0.2]])) == pytest.approx(0.8 * np.log(0.8) + 0.2 * np.log(0.2))


def test_information_is_the_classes_entropy_for_sure_and_varied_answers_and_nothing_for_a_single_one():
    sure = np.array([[50.0, -50.0], [-50.0, 50.0]])
    assert information_maximisation(sure) == pytest.approx(LN2)
    assert information_maximisation(sure[:1].repeat(2, 0)) == pytest.approx(0, abs=1e-6)
    assert information_maximisation(np.zeros((4, 2))) == pytest.approx(0, abs=1e-6)
    # H(mean = (.5, .5)) - H(.8, .2)
    mixed = np.log([[0.8, 0.2], [0.2, 0.8]])
    assert information_maximisation(mixed) == pytest.approx(LN2 + 0.8 * np.log(0.8) + 0.2 * np.log(0.2))


def test_density_counts_the_neighbours_of_an_answer():
    # Four equal answers: three equal neighbours each, ln 3. Two far pairs: one neighbour each, ln 1.
    assert soft_neighbourhood_density(np.zeros((4, 2))) == pytest.approx(np.log(3))
    pairs = np.array([[50.0, -50.0]] * 2 + [[-50.0, 50.0]] * 2)
    assert soft_neighbourhood_density(pairs) == pytest.approx(0, abs=1e-6)


def test_collapse_fools_entropy_and_not_the_default():
    rng = np.random.default_rng(0)
    good = 4 * np.eye(3)[rng.integers(0, 3, 60)] + rng.normal(0, 1, (60, 3))
    collapsed = np.tile([9.0, 0.0, 0.0], (60, 1))
    assert negative_entropy(collapsed) > negative_entropy(good)
    assert CRITERIA[DEFAULT](good) > CRITERIA[DEFAULT](collapsed)


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=list(CRITERIA))
def test_large_logits_stay_finite(criterion):
    assert np.isfinite(criterion(np.array([[1e4, -1e4, 0.0], [0.0, 1e4, -1e4], [1e4, 0, 0]], dtype=np.float32)))
