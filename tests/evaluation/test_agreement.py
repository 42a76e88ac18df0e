"""Judging without labels, against numbers worked out by hand; what the guard shuts out, and what no vote can see."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy

from components.data.prepared import HIDDEN
from components.errors import GraftError
from components.evaluation.agreement import (
    COLLAPSED,
    ENOUGH,
    PER_CLASS,
    effective_classes,
    judge,
    probabilities,
    vote,
)
from components.evaluation.predictions import Answers
from components.params import EvaluateParams

PARAMS = EvaluateParams(resamples=200)
UNKNOWN = np.full(3, HIDDEN)
CHANCES = {"a": [0.9, 0.2, 0.6], "b": [0.8, 0.45, 0.3], "c": [0.4, 0.9, 0.3]}
"""Probability of class 1 on three images. The mean of all is 0.7, 0.517, 0.4; without a 0.6, 0.675, 0.3; without b
0.65, 0.55, 0.45; without c 0.85, 0.325, 0.45."""


def _of_chances(labels: np.ndarray) -> dict[str, Answers]:
    return {
        name: Answers(np.log([[[1 - value, value] for value in values]]), labels) for name, values in CHANCES.items()
    }


def _judged(entries: dict[str, Answers], training: np.ndarray | None = None):
    seeds = {name: [1.0] * len(answers.logits) for name, answers in entries.items()}
    return judge(entries, seeds, np.array([0, 1]) if training is None else training, PARAMS, seed=0)


def _sure(decisions: np.ndarray, labels: np.ndarray, classes: int = 10) -> Answers:
    """Of one seed that is sure of each of its decisions [N]."""
    return Answers(5.0 * np.eye(classes)[decisions][None], labels)


def test_each_is_judged_by_the_votes_of_the_others():
    found = _judged(_of_chances(UNKNOWN))
    assert found.votes.label.tolist() == [1, 1, 0]
    assert found.votes.confidence == pytest.approx([0.7, 1.55 / 3, 0.6])
    assert {name: votes.label.tolist() for name, votes in found.without.items()} == {
        "a": [1, 1, 0], "b": [1, 1, 0], "c": [1, 0, 0],
    }  # fmt: skip
    values = {name: standing.agreement.value for name, standing in found.standings.items()}
    assert values == pytest.approx({"a": 1 / 3, "b": 2 / 3, "c": 1 / 3})  # they decide 1 0 1, 1 0 0 and 0 1 0
    assert {standing.accuracy for standing in found.standings.values()} == {None}
    assert min(found.standings, key=found.rank) == "b"


def test_a_known_label_takes_the_place_of_the_vote():
    found = _judged(_of_chances(np.array([HIDDEN, 0, HIDDEN])))
    assert {name: votes.label.tolist() for name, votes in found.without.items()} == {name: [1, 0, 0] for name in "abc"}
    assert found.votes.confidence.tolist() == [pytest.approx(0.7), 1.0, pytest.approx(0.6)]
    values = {name: standing.agreement.value for name, standing in found.standings.items()}
    assert values == pytest.approx({"a": 2 / 3, "b": 1.0, "c": 1 / 3})
    assert {name: standing.accuracy for name, standing in found.standings.items()} == {"a": 1.0, "b": 1.0, "c": 0.0}
    assert found.labelled == 1


def test_with_every_label_agreement_is_accuracy_and_one_alone_can_be_judged():
    labels = np.array([1, 1, 1])
    found = _judged(_of_chances(labels))
    for standing in found.standings.values():
        assert standing.agreement.value == standing.accuracy
    alone = _judged({"a": _of_chances(labels)["a"]})
    assert alone.standings["a"].agreement.value == pytest.approx(2 / 3)
    with pytest.raises(GraftError, match="a is the only strategy that was trained"):
        _judged({"a": _of_chances(np.array([1, HIDDEN, 1]))["a"]})


def test_seeds_are_heard_alike_each_at_its_own_temperature():
    logits = np.array([[[0.0, math.log(9)]], [[math.log(3), 0.0]]])  # 90 % for class 1, and 75 % for class 0
    assert probabilities(logits, [1.0, 1.0])[0, 1] == pytest.approx((0.9 + 0.25) / 2)
    assert probabilities(logits, [2.0, 1.0])[0, 1] == pytest.approx((0.75 + 0.25) / 2)  # 9 to the half is 3


def test_agreement_is_a_mean_over_seeds_within_its_interval():
    labels = np.full(60, HIDDEN)
    truth = np.arange(60) % 10
    others = _sure(truth, labels)
    half = np.where(np.arange(60) < 30, truth, (truth + 1) % 10)
    uneven = Answers(np.concatenate([others.logits, _sure(half, labels).logits]), labels)
    others = Answers(np.concatenate([others.logits] * 2), labels)
    found = _judged({"uneven": uneven, "b": others, "c": others}, truth).standings
    assert found["uneven"].agreement.value == pytest.approx(0.75)
    assert found["uneven"].agreement.low < 0.75 < found["uneven"].agreement.high
    assert found["b"].agreement.value == 1.0
    assert 0.9 < found["b"].agreement.low < 1.0  # Wilson's: no resample differs from another


def test_the_order_of_the_strategies_decides_nothing():
    entries = _of_chances(UNKNOWN)
    first, second = _judged(entries), _judged(dict(reversed(entries.items())))
    assert first.votes.label.tolist() == second.votes.label.tolist()
    assert first.standings == second.standings


def test_the_effective_number_of_classes():
    counts = np.array([7, 0, 3, 2])
    assert effective_classes(counts) == pytest.approx(math.exp(entropy(counts / 12)))
    # Miller: two classes beyond the first, and twelve images, which two seeds do not make more of.
    assert effective_classes(2 * counts, images=12) == pytest.approx(math.exp(entropy(counts / 12) + 2 / 24))
    assert effective_classes(np.full(10, 3)) == pytest.approx(10.0)
    assert effective_classes(np.array([0, 9]), images=9) == 1.0


def test_those_that_answer_few_classes_are_neither_heard_nor_chosen():
    rng, truth = np.random.default_rng(0), np.arange(40) % 10
    hidden = np.full(40, HIDDEN)
    fair = [np.where(rng.random(40) < 0.8, truth, rng.integers(10, size=40)) for _ in range(2)]
    flat = np.where(truth == 1, 1, 7)
    entries = {"mcc": flat, "dan": flat, "cdan": flat, "dann": fair[0], "adabn": fair[1]}
    found = _judged({name: _sure(decisions, hidden) for name, decisions in entries.items()}, truth)
    assert found.collapsed == ["mcc", "dan", "cdan"]
    assert not found.all_collapsed
    assert (found.without["mcc"].label != 7).mean() > 0.7  # the other two that collapsed were not asked
    assert (found.without["dann"].label == fair[1]).all()
    assert sorted(entries, key=found.rank)[:2] == ["dann", "adabn"]
    told = found.to_dict([str(digit) for digit in range(10)])
    assert told["collapsed"] == ["mcc", "dan", "cdan"]
    assert told["expected_classes"] == pytest.approx(10.0)
    assert sum(told["classes"].values()) == pytest.approx(1.0)


def test_a_strategy_that_collapsed_is_not_chosen_even_if_it_agrees_most():
    truth, hidden = np.arange(40) % 10, np.full(40, HIDDEN)
    entries = {"mcc": np.full(40, 0), "dan": truth, "dann": (truth + 1) % 10}  # dan and dann agree on no image
    found = _judged({name: _sure(decisions, hidden) for name, decisions in entries.items()}, truth)
    values = {name: standing.agreement.value for name, standing in found.standings.items()}
    assert max(values, key=lambda name: values[name]) == "mcc"
    assert max(entries, key=found.rank) == "mcc"  # the last


def test_the_guard_waits_for_enough_images_and_gives_way_to_labels():
    truth = np.arange(20) % 10
    flat = {name: np.full(20, 7) for name in ("mcc", "dan")} | {"dann": truth}

    def found(labels: np.ndarray):
        entries = {name: _sure(values[: len(labels)], labels) for name, values in flat.items()}
        return _judged(entries, np.arange(10))

    assert found(np.full(19, HIDDEN)).collapsed == []
    assert found(np.full(20, HIDDEN)).collapsed == ["mcc", "dan"]
    labelled = found(flat["mcc"])  # they are of one class indeed
    assert labelled.collapsed == []
    assert min(flat, key=labelled.rank) == "mcc"


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_right_answers_are_hardly_ever_taken_for_collapsed(classes):
    rng = np.random.default_rng(1)
    images = max(ENOUGH, PER_CLASS * classes)
    drawn = (np.bincount(rng.integers(classes, size=images), minlength=classes) for _ in range(2000))
    alarms = sum(effective_classes(counts, images) - 1 < COLLAPSED * (classes - 1) for counts in drawn)
    assert alarms <= 2


def test_where_all_collapsed_alike_they_are_ranked_and_it_is_said():
    hidden, flat = np.full(40, HIDDEN), np.full(40, 7)
    entries = {"mcc": flat, "dan": flat, "cdan": flat, "dann": np.where(np.arange(40) < 4, 3, 7)}
    found = _judged({name: _sure(values, hidden) for name, values in entries.items()}, np.arange(100) % 10)
    assert found.all_collapsed
    assert found.votes.label.tolist() == flat.tolist()
    assert max(entries, key=found.rank) == "dann"


def test_a_committee_that_is_wrong_with_one_voice_is_believed():
    """What agreement cannot see: two classes swapped by all, and every number is perfect."""
    truth = np.arange(40) % 10
    swapped = np.where(truth < 2, 1 - truth, truth)
    entries = {name: _sure(swapped, np.full(40, HIDDEN)) for name in ("a", "b", "c")}
    assert {standing.agreement.value for standing in _judged(entries, truth).standings.values()} == {1.0}
    labels = np.where(np.arange(40) < 10, truth, HIDDEN)  # one labelled image of each class shows it
    entries = {name: Answers(answers.logits, labels) for name, answers in entries.items()}
    assert {standing.agreement.value for standing in _judged(entries, truth).standings.values()} == {38 / 40}
    assert {standing.accuracy for standing in _judged(entries, truth).standings.values()} == {0.8}


def test_votes_are_means_of_probabilities_and_not_a_count_of_hands():
    sure, doubting = np.array([[0.01, 0.99]]), np.array([[0.6, 0.4]])
    found = vote([sure, doubting, doubting], np.array([HIDDEN]), 1)
    assert found.label.tolist() == [1]
    assert found.confidence == pytest.approx((0.99 + 0.8) / 3)
