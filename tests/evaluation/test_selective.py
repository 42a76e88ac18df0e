"""Abstaining, by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from components.evaluation.selective import area_under_risk_coverage, at_threshold, threshold

CONFIDENCE = np.array([0.9, 0.3, 0.7, 0.5])


@pytest.mark.parametrize(("coverage", "line"), [(1, 0.0), (0.9, 0.3), (0.75, 0.5), (0.5, 0.7), (0.3, 0.7), (0.01, 0.9)])
def test_the_line_lets_at_least_the_share_through(coverage, line):
    assert threshold(CONFIDENCE, coverage) == line
    assert (line <= CONFIDENCE).mean() >= coverage


def test_a_coverage_that_is_no_binary_fraction_asks_for_no_image_more():
    # 0.07 * 100 is 7.000000000000001 in doubles.
    assert (np.arange(100) >= threshold(np.arange(100.0), 0.07)).sum() == 7


def test_what_is_answered_and_how_well():
    right = np.array([True, False, False, True])
    assert at_threshold(CONFIDENCE, right, 0.0) == (1.0, 0.5)
    assert at_threshold(CONFIDENCE, right, 0.5) == (0.75, pytest.approx(2 / 3))
    assert at_threshold(CONFIDENCE, right, 0.9) == (0.25, 1.0)
    assert at_threshold(CONFIDENCE, right, 0.95) == (0.0, None)


def test_area_by_hand():
    # By confidence: right, wrong, right, wrong; risks 0, 1/2, 1/3, 2/4.
    right = np.array([True, False, False, True])
    assert area_under_risk_coverage(CONFIDENCE, right) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert area_under_risk_coverage(CONFIDENCE, np.ones(4, bool)) == 0
    assert area_under_risk_coverage(CONFIDENCE, np.zeros(4, bool)) == 1


def test_equal_confidences_count_as_the_mean_over_their_orders():
    confidence, right = np.array([0.9, 0.5, 0.5, 0.5, 0.1, 0.05]), np.array([True, True, False, False, True, False])
    areas = []
    for order in itertools.permutations([1, 2, 3]):
        errors = np.cumsum(~right[[0, *order, 4, 5]])
        areas.append((errors / np.arange(1, 7)).mean())
    assert area_under_risk_coverage(confidence, right) == pytest.approx(np.mean(areas))
