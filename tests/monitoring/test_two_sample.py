"""The classifier of all deals at once, against leaving out one image after another, and its area against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.monitoring import two_sample
from components.monitoring.permutation import deals


def scores(white: np.ndarray, window: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """[N]: each image by the difference of the means that are made without it."""
    found = np.zeros(len(white))
    for image in range(len(white)):
        of_window = sum(white[i] for i in np.flatnonzero(window) if i != image) / window.sum()
        of_reference = sum(white[i] for i in np.flatnonzero(reference) if i != image) / reference.sum()
        found[image] = white[image] @ (of_window - of_reference)
    return found


@pytest.fixture
def white() -> np.ndarray:
    features = np.random.default_rng(0).normal(size=(40, 6)) @ np.random.default_rng(1).normal(size=(6, 6))
    return two_sample.whitened((features - features.mean(0)).astype(np.float32))


def test_whitened_features_are_uncorrelated_but_for_the_shrinkage():
    random = np.random.default_rng(0)
    features = (random.normal(size=(500, 4)) @ random.normal(size=(4, 4))).astype(np.float32)
    features -= features.mean(0)
    values, vectors = np.linalg.eigh(features.T @ features / 500)
    white = two_sample.whitened(features)
    likeness = features @ vectors @ np.diag(1 / (values + two_sample.SHRINKAGE)) @ vectors.T @ features.T
    np.testing.assert_allclose(white @ white.T, likeness, atol=1e-3)


def test_separation_is_the_distance_of_scores_that_leave_each_image_out(white):
    inside = np.concatenate(list(deals(40, [6, 15], 12, seed=0)), axis=2)
    found = two_sample.separation(white, inside)
    for deal in range(13):
        reference = inside[1, :, deal] == 0
        for place in range(2):
            window = inside[place, :, deal] == 1
            score = scores(white, window, reference)
            assert found[place, deal] == pytest.approx(score[window].mean() - score[reference].mean(), abs=1e-4)


def test_area_is_the_mann_whitney_statistic_of_those_scores(white):
    window, reference = np.arange(40) >= 30, np.arange(40) < 25
    score = scores(white, window, reference)
    pairs = 10 * 25
    expected = stats.mannwhitneyu(score[window], score[reference]).statistic / pairs
    assert two_sample.area(white, window, reference) == pytest.approx(expected, abs=1e-6)


def test_equal_scores_are_half_an_area():
    assert two_sample.area(np.zeros((6, 2), np.float32), np.arange(6) >= 4, np.arange(6) < 4) == 0.5


def test_it_sees_a_shift_in_a_direction_in_which_images_hardly_vary():
    random = np.random.default_rng(0)
    common = random.normal(size=(300, 1))
    features = np.hstack([common, common + 0.3 * random.normal(size=(300, 1))])
    features[200:, 1] += 0.3  # a tenth of what the feature varies by; three times what it varies by beside the other
    features = (features - features.mean(0)) / features.std(0)
    white = two_sample.whitened(features.astype(np.float32))
    window = np.arange(300) >= 200
    alone = two_sample.whitened(features[:, 1:].astype(np.float32))
    assert two_sample.area(white, window, ~window) > 0.7
    assert two_sample.area(alone, window, ~window) < 0.62
