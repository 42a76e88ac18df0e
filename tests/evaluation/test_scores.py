"""A strategy's numbers: means over seeds of what the metrics say, and the details of one seed."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluation import metrics
from components.evaluation.predictions import Answers
from components.evaluation.scores import MISTAKES, abstaining, episodes, mistakes, per_class, score, worst_class

LABELS = np.random.default_rng(0).integers(3, size=60)


def _answers(seeds: int = 2) -> Answers:
    logits = np.random.default_rng(1).normal(size=(seeds, 60, 3))
    logits[:, np.arange(60), LABELS] += 1
    return Answers(logits, LABELS)


def _score(answers: Answers, temperatures: list[float], low: float = 0.4, high: float = 0.8) -> dict:
    return score(answers, temperatures, (low, high), (0.3, 0.7), 0.95)


def test_a_score_is_the_mean_over_seeds():
    both = _answers()
    found = _score(both, [2.0, 3.0])
    alone = [_score(both.of_seed(index), [temperature]) for index, temperature in enumerate((2.0, 3.0))]
    bounds = {"low": 0.4, "high": 0.8, "macro_f1_low": 0.3, "macro_f1_high": 0.7}
    for name in found.keys() - bounds.keys() - {"seed_std"}:
        assert found[name] == pytest.approx((alone[0][name] + alone[1][name]) / 2), name
    assert {name: found[name] for name in bounds} == bounds
    assert found["seed_std"] == pytest.approx(abs(alone[0]["accuracy"] - alone[1]["accuracy"]) / 2**0.5)
    assert alone[0]["seed_std"] is None


def test_each_number_is_that_of_the_metrics():
    answers = _answers(1)
    logits = answers.logits[0]
    found = _score(answers, [2.0])
    counts = metrics.confusion(logits.argmax(1), LABELS, 3)
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == LABELS).mean())
    assert found["macro_f1"] == metrics.macro_f1(counts)
    assert found["worst_recall"] == metrics.precision_recall_f1(counts)[1].min()
    for suffix, values in (("", logits), ("_calibrated", logits / 2)):
        assert found[f"log_loss{suffix}"] == metrics.log_loss(values, LABELS)
        assert found[f"brier{suffix}"] == metrics.brier(values, LABELS)
        assert found[f"ece{suffix}"] == metrics.expected_calibration_error(values, LABELS)


def test_all_right_is_not_beyond_doubt():
    found = _score(Answers(5 * np.eye(3)[LABELS][None], LABELS), [1.0], low=1.0, high=1.0)
    assert (found["low"], found["high"]) == (pytest.approx(60 / (60 + 1.96**2), abs=1e-4), 1.0)


def test_the_worst_recall_is_of_the_classes_that_are_there():
    found = _score(Answers(5 * np.eye(4)[LABELS][None], LABELS), [1.0])  # a fourth class without an image
    assert (found["worst_recall"], found["macro_f1"]) == (1.0, 1.0)


def test_classes_by_hand():
    # Class 0: hits 1 of 2, answered once. Class 1: 1 of 1, once. Class 2: 1 of 1, answered twice. Class 3: no image.
    counts = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    found = per_class(counts, ["a", "b", "c", "d"], 0.95)
    assert [(entry["images"], entry["precision"], entry["recall"]) for entry in found] == [
        (2, 1.0, 0.5),
        (1, 1.0, 1.0),
        (1, 0.5, 1.0),
        (0, 0.0, 0.0),
    ]
    assert (found[0]["recall_low"], found[0]["recall_high"]) == pytest.approx((0.0945, 0.9055), abs=1e-3)
    assert (found[3]["recall_low"], found[3]["recall_high"]) == (0.0, 1.0)
    assert worst_class(found) == {"class_name": "a", "recall": 0.5}


def test_the_line_is_drawn_on_val_and_judged_on_test():
    val, test = np.array([0.9, 0.8, 0.6, 0.5]), np.array([0.95, 0.7, 0.4, 0.85])
    found = abstaining(val, test, np.array([True, True, False, False]), (1.0, 0.75, 0.5))
    assert found == [
        {"coverage": 1.0, "threshold": 0.0, "test_coverage": 1.0, "test_accuracy": 0.5},
        {"coverage": 0.75, "threshold": 0.6, "test_coverage": 0.75, "test_accuracy": pytest.approx(2 / 3)},
        {"coverage": 0.5, "threshold": 0.8, "test_coverage": 0.5, "test_accuracy": 0.5},
    ]


def test_the_surest_mistakes_come_first():
    chances = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    found = mistakes(chances, np.array([0, 1, 0, 1]), ["cat", "dog"], np.array([1, 3, 4, 5]), list("abcdef"))
    assert found == [
        {"row": 4, "path": "e", "label": "cat", "answer": "dog", "confidence": 0.8},
        {"row": 3, "path": "d", "label": "dog", "answer": "cat", "confidence": 0.6},
    ]


def test_no_more_mistakes_are_listed_than_can_be_looked_at():
    chances = np.tile([0.9, 0.1], (100, 1))
    found = mistakes(chances, np.ones(100, int), ["cat", "dog"], np.arange(100), ["x"] * 100)
    assert [entry["row"] for entry in found] == list(range(MISTAKES))


def test_episodes_have_the_interval_of_the_literature():
    accuracy = np.random.default_rng(0).choice([0.6, 0.8, 1.0], size=(1, 600)).astype(np.float32)
    found = episodes(accuracy, {"n_way": 5, "k_shot": 1, "n_query": 5, "count": 600}, 0.95)
    reach = 1.96 * accuracy.std(ddof=1) / 600**0.5
    assert (found["n_way"], found["count"], found["accuracy"]) == (5, 600, pytest.approx(accuracy.mean()))
    assert (found["low"], found["high"]) == pytest.approx((accuracy.mean() - reach, accuracy.mean() + reach), abs=2e-4)


def test_episodes_that_all_succeed_stay_within_one():
    found = episodes(np.array([[1.0, 1.0, 1.0, 0.9]]), {}, 0.95)
    assert found["high"] == 1.0
