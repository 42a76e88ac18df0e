"""The interval of the difference of two calibration errors, counted over many sets of images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from colour_support import (
    PARAMS,
)
from components.evaluation import metrics
from components.promotion.answers import Answers
from components.promotion.comparison import calibration_error, calibration_gain


def _answers(confidence: np.ndarray, right: np.ndarray) -> Answers:
    return Answers(np.empty(len(right), str), confidence, right, np.ones(len(right), bool))


def test_the_error_is_the_one_that_evaluate_reports():
    """Of a model that means what it says, so that it is too sure in some ranges and not sure enough in others."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 2, (500, 4))
    chances = metrics.probabilities(logits)
    labels = (rng.random((500, 1)) < chances.cumsum(1)).argmax(1)
    found = calibration_error(_answers(chances.max(1), chances.argmax(1) == labels))
    assert found == pytest.approx(metrics.expected_calibration_error(logits, labels), abs=1e-12)


@pytest.mark.parametrize(("sure", "gain"), [((0.7, 0.95), 0.05), ((0.92, 0.88), -0.04)])
def test_the_interval_of_the_calibration_gain_covers_the_true_one(sure, gain):
    """Both are right on 80 % of the images and so sure of all: the errors are the differences. 100 sets of images."""
    rng, missed = np.random.default_rng(5), 0
    settings = replace(PARAMS.evaluate, resamples=200)
    for seed in range(100):
        champion, challenger = (_answers(np.full(300, each), rng.random(300) < 0.8) for each in sure)
        found = calibration_gain(challenger, champion, settings, seed)
        assert found.low <= found.value <= found.high
        missed += not found.low <= gain <= found.high
    assert missed <= 0.05 * 100 + 3 * (0.05 * 0.95 * 100) ** 0.5


def test_of_two_models_that_are_both_calibrated_none_is_kept_out_for_it():
    """Where the errors are zero nothing is normal: the guard must not mistake that for a gain."""
    rng, kept = np.random.default_rng(1), 0
    for seed in range(100):
        champion, challenger = (_answers(np.full(300, 0.8), rng.random(300) < 0.8) for _ in range(2))
        gain = calibration_gain(challenger, champion, replace(PARAMS.evaluate, resamples=200), seed)
        kept += gain.value > 0.03 and gain.low > 0
    assert kept <= 0.025 * 100
