"""The temperature: recovered where it is known, at the minimum that scipy finds, sane where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from components.evaluation import metrics
from components.evaluation.calibration import fit, temperature
from components.evaluation.predictions import Answers, Entry
from components.types import TASK


def _honest(rng: np.random.Generator, images: int, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose probabilities are the truth: each label is drawn from its own."""
    logits = rng.normal(0, 2, (images, classes))
    chances = metrics.probabilities(logits)
    return logits, (chances.cumsum(1) < rng.random((images, 1))).sum(1)


@pytest.mark.parametrize("factor", [1e-2, 0.3, 1.0, 4.0, 1e3])
def test_a_known_factor_is_found(factor):
    logits, labels = _honest(np.random.default_rng(0), 20_000)
    assert temperature((factor * logits).astype(np.float32), labels) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("seed", range(3))
def test_no_other_temperature_has_less_loss(scale, seed):
    rng = np.random.default_rng(seed)
    logits, labels = scale * rng.normal(size=(80, 4)), rng.integers(4, size=80)
    logits[np.arange(80), labels] += scale * 1.5
    expected = minimize_scalar(
        lambda log_t: metrics.log_loss(logits / np.exp(log_t), labels),
        bounds=(np.log(scale) - 6, np.log(scale) + 6),
        method="bounded",
        options={"xatol": 1e-8},
    )
    assert np.log(temperature(logits, labels)) == pytest.approx(expected.x, abs=1e-4)


def test_it_is_never_worse_than_doing_nothing():
    rng = np.random.default_rng(0)
    for _ in range(50):
        logits = rng.normal(0, 10 ** rng.uniform(-2, 3), (30, 3))
        labels = rng.integers(3, size=30)
        found = temperature(logits, labels)
        assert metrics.log_loss(logits / found, labels) <= metrics.log_loss(logits, labels)


def test_no_decision_changes_and_the_calibration_error_falls():
    logits, labels = _honest(np.random.default_rng(1), 4000)
    sure = 10 * logits
    found = temperature(sure, labels)
    assert np.array_equal((sure / found).argmax(1), sure.argmax(1))
    before, after = (metrics.expected_calibration_error(values, labels) for values in (sure, sure / found))
    assert before > 0.15
    assert after < 0.02


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_right_answers_alone_do_not_make_it_certain(scale):
    """99 images, all right: as if of a hundred one were not known, spread over the four classes."""
    labels = np.arange(99) % 4
    found = temperature(scale * np.eye(4)[labels], labels)
    assert metrics.probabilities(scale * np.eye(4)[labels] / found).max(1) == pytest.approx(1 - 0.75 / 99, abs=1e-6)


def test_answers_worse_than_chance_are_not_trusted():
    labels = np.arange(60) % 3
    logits = 5 * np.eye(3)[(labels + 1) % 3]
    assert metrics.probabilities(logits / temperature(logits, labels)).max() == pytest.approx(1 / 3, abs=1e-3)


def test_nothing_to_learn_from_is_a_temperature_of_one():
    assert temperature(np.zeros((10, 3)), np.zeros(10, int)) == 1.0
    assert temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


def test_every_seed_and_task_has_its_own_temperature_from_the_validation_images():
    def splits(factors: tuple[int, int]) -> dict[str, Answers]:
        """Two seeds, too sure by these factors on val; on the other images, by others."""
        logits, labels = _honest(np.random.default_rng(2), 20_000)
        return {
            "val": Answers(np.stack([factor * logits for factor in factors]), labels),
            "source": Answers(np.stack([9 * logits for _ in factors]), labels),
        }

    entry = Entry("dan", {"needs": ["source"], "seeds": [0, 1]}, {TASK: splits((2, 3)), "loops": splits((4, 5))})
    found = fit(entry)
    assert found[TASK].values == pytest.approx([2, 3], rel=0.03)
    assert found["loops"].values == pytest.approx([4, 5], rel=0.03)
    assert found[TASK].images == 20_000
