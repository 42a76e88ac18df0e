"""Validation ranks, test reports; a lead is real only if it holds among all that are looked at."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.evaluation.comparison import BASELINE, compare, generalised_accuracy, reverse
from components.evaluation.predictions import Answers
from components.evaluation.significance import holm
from components.evaluation.verdict import transfer
from components.params import EvaluateParams

PARAMS = EvaluateParams(resamples=300)
LABELS = np.arange(100) % 2


@pytest.fixture
def compared(entry, answers):
    """name -> (share right on val, on test), each a number or one for every seed -> the comparison."""

    def make(given: dict, params: EvaluateParams = PARAMS, **options):
        entries = {}
        for name, shares in given.items():
            splits = {
                split: answers(np.atleast_1d(share), LABELS, **options.get(name, {}))
                for split, share in zip(("val", "test"), shares, strict=True)
            }
            entries[name] = entry(name, splits)
        return compare(entries, {name: [1.0] * len(e.facts["seeds"]) for name, e in entries.items()}, params, 0)

    return make


def test_validation_ranks_whatever_the_test_images_say(compared):
    found = compared({"a": (0.7, 0.9), "b": (0.9, 0.6), "c": (0.8, 0.99)})
    assert found.ranked == ["b", "c", "a"]
    assert [(pair["strategy"], pair["over"]) for pair in found.pairs] == [("b", "c"), ("b", "a"), ("c", "a")]
    assert found.pairs[1]["difference"] == pytest.approx(-0.3)  # of the test images


def test_ties_are_broken_by_log_loss_and_then_by_name(compared):
    # At four of five right, odds of e^1 cost less than odds of e^2.
    given = {"z": (0.8, 0.5), "a": (0.8, 0.5), "sure": (0.8, 0.5)}
    assert compared(given, sure={"confidence": 1.0}).ranked == ["sure", "a", "z"]


def test_macro_f1_can_choose_instead(entry, answers):
    # 90 images of class 0, 10 of class 1. "lazy" always says 0: accuracy 0.9, F1 of class 1 is 0.
    labels = np.array([0] * 90 + [1] * 10)
    lazy = Answers(np.tile([1.0, 0.0], (1, 100, 1)), labels)
    balanced = answers([1.0], labels)
    balanced.logits[0, :12] = balanced.logits[0, :12, ::-1]  # 12 mistakes: accuracy 0.88
    entries = {name: entry(name, {"val": own, "test": own}) for name, own in (("lazy", lazy), ("balanced", balanced))}
    temperatures = {"lazy": [1.0], "balanced": [1.0]}
    assert compare(entries, temperatures, PARAMS, 0).ranked[0] == "lazy"
    by_f1 = EvaluateParams(resamples=100, select_by="macro_f1")
    assert compare(entries, temperatures, by_f1, 0).ranked[0] == "balanced"


def test_a_pair_has_both_tests_and_the_larger_p(compared):
    found = compared({"good": (0.9, 0.9), "bad": (0.5, 0.8)}, EvaluateParams(resamples=8000))
    pair = found.pairs[0]
    # The ten images between 80 and 90 are those that only "good" answered rightly.
    assert pair["mcnemar"] == {"only_first": 10, "only_second": 0, "p": pytest.approx(2 / 2**10)}
    assert pair["difference"] == pytest.approx(0.1)
    assert 0 < pair["low"] < 0.1 < pair["high"]
    # 10 of 100 differ: t = 0.1 / (0.3 / sqrt(100)), p = 0.0012. McNemar's is the larger here.
    assert 2 * stats.t.sf(0.1 / 0.03, 99) < pair["p"] == pair["mcnemar"]["p"]
    assert pair["p_adjusted"] == pair["p"]  # one pair only
    assert pair["real"]


def test_a_lead_of_the_shipped_models_alone_is_not_real(compared):
    """The first seeds differ by 30 points, but the next ones the other way: trained again, it may be reversed."""
    pair = compared({"a": ([0.9, 0.5, 0.7], [0.9, 0.5, 0.7]), "b": ([0.6, 0.8, 0.6], [0.6, 0.8, 0.6])}).pairs[0]
    assert pair["mcnemar"]["p"] < 1e-6
    assert pair["p"] > 0.5
    assert not pair["real"]


def test_the_shipped_models_are_those_of_the_best_seeds(entry, answers):
    entries = {}
    for name, shares, best in (("a", [0.6, 0.9], 1), ("b", [0.8, 0.5], 0)):
        own = answers(shares, LABELS)
        entries[name] = entry(name, {"val": own, "test": own}, best_seed=best)
    test = compare(entries, {"a": [1.0, 1.0], "b": [1.0, 1.0]}, PARAMS, 0).pairs[0]["mcnemar"]
    assert (test["only_first"], test["only_second"]) == (10, 0)


def test_a_lead_of_the_mean_that_the_shipped_models_do_not_have_is_not_real(compared):
    pair = compared({"a": ([0.7, 0.9, 0.9], [0.7, 0.9, 0.9]), "b": ([0.7] * 3, [0.7] * 3)}).pairs[0]
    assert pair["difference"] > 0.1
    assert pair["p"] == pair["mcnemar"]["p"] == 1.0


def test_all_pairs_are_corrected_together(compared):
    found = compared({name: (0.9, share) for name, share in zip("abcd", (0.9, 0.85, 0.8, 0.6), strict=True)})
    assert len(found.pairs) == 6
    p = np.array([pair["p"] for pair in found.pairs])
    np.testing.assert_allclose([pair["p_adjusted"] for pair in found.pairs], holm(p))
    assert [pair["real"] for pair in found.pairs] == [pair["p_adjusted"] < 0.05 for pair in found.pairs]
    # Five points are 5 images to none: p = 0.06. The last is told from all others.
    assert found.letters == {"a": "a", "b": "ab", "c": "b", "d": "c"}
    assert [found.tied_with_first(name) for name in "abcd"] == [True, True, False, False]


def test_the_level_is_that_of_the_intervals(compared):
    given = {"a": (0.9, 0.9), "b": (0.8, 0.84)}  # six images to none: p = 0.03
    assert compared(given).pairs[0]["real"]
    assert not compared(given, EvaluateParams(resamples=300, confidence=0.99)).pairs[0]["real"]


def test_a_pair_can_be_seen_from_both_sides(compared):
    found = compared({"a": (0.9, 0.7), "b": (0.8, 0.9)})
    there, back = found.pair("a", "b"), found.pair("b", "a")
    assert (back["strategy"], back["over"], back["difference"]) == ("b", "a", pytest.approx(0.2))
    assert (back["low"], back["high"]) == (-there["high"], -there["low"])
    assert (back["mcnemar"]["only_first"], back["mcnemar"]["only_second"]) == (20, 0)
    assert reverse(back) == there
    with pytest.raises(KeyError):
        found.pair("a", "c")


def test_one_alone_is_first_and_has_no_pair(compared):
    found = compared({"a": (0.9, 0.7)})
    assert (found.ranked, found.pairs, found.letters) == (["a"], [], {"a": "a"})
    assert found.tied_with_first("a")


def test_the_same_seed_gives_the_same_comparison(compared):
    given = {"a": ([0.9, 0.8], [0.7, 0.8]), "b": ([0.8, 0.7], [0.9, 0.9])}
    assert compared(given) == compared(given)


def _random_entries(entry, rng: np.random.Generator, names: list[str], strength: float) -> dict:
    """Competitors whose answers go with the labels as much as `strength` says: not at all where it is 0."""
    labels = {split: rng.integers(4, size=150) for split in ("val", "test")}
    entries = {}
    for name in names:
        splits = {}
        for split, truth in labels.items():
            logits = rng.normal(size=(3, 150, 4))
            logits[:, np.arange(150), truth] += strength
            splits[split] = Answers(logits, truth)
        entries[name] = entry(name, splits)
    return entries


def _transfer(entries: dict, seed: int) -> dict:
    temperatures = {name: [1.0] * 3 for name in entries}
    found = compare(entries, temperatures, EvaluateParams(resamples=100), seed)
    return transfer(found, {name: name for name in entries}, {}, 0.95)


def test_permuted_labels_yield_no_evidence_that_transfer_helps(entry):
    """Plausible answers, then labels in another order: what is left are differences by chance."""
    names = [BASELINE, "fine_tune", "dan", "lora"]
    rng = np.random.default_rng(0)
    entries = _random_entries(entry, rng, names, strength=2.5)
    order = rng.permutation(150)
    for name in names:
        splits = {split: Answers(own.logits, own.labels[order]) for split, own in entries[name].splits.items()}
        entries[name] = entry(name, splits)
    found = _transfer(entries, 0)
    assert found["finding"] == "no evidence"
    assert "no evidence that transfer helps" in found["sentence"]


def test_over_many_permutations_transfer_is_hardly_ever_said_to_help(entry):
    rng = np.random.default_rng(1)
    names = [BASELINE, "fine_tune", "dan"]
    found = [_transfer(_random_entries(entry, rng, names, strength=0.0), turn)["finding"] for turn in range(100)]
    assert found.count("helps") <= 5
    assert found.count("harms") <= 5


def test_a_transfer_that_helps_is_found(entry):
    for turn in range(5):
        rng = np.random.default_rng(turn)
        entries = _random_entries(entry, rng, ["dan", BASELINE], strength=1.5)
        for answers in entries["dan"].splits.values():
            answers.logits[:, np.arange(150), answers.labels] += 1.5
        found = _transfer(entries, turn)
        assert found["finding"] == "helps"
        assert (found["strategy"], found["over"]) == ("dan", BASELINE)


def test_generalised_accuracy_is_a_mean_over_classes_and_their_harmonic_mean():
    labels = np.array([0] * 8 + [1] * 2 + [2] * 4)
    answer = np.array([0] * 8 + [1, 0] + [2, 0, 0, 0])
    found = generalised_accuracy(Answers(np.eye(3)[answer][None], labels), unseen=[2])
    # Seen: 8 of 8 and 1 of 2, so 0.75 whatever the classes' sizes; unseen 1 of 4; 2 * .75 * .25 / 1.
    assert found == pytest.approx({"seen": 0.75, "unseen": 0.25, "harmonic_mean": 0.375})


def test_generalised_accuracy_of_nothing_right_is_zero():
    labels = np.array([0, 1])
    found = generalised_accuracy(Answers(np.eye(2)[1 - labels][None], labels), unseen=[1])
    assert found == {"seen": 0.0, "unseen": 0.0, "harmonic_mean": 0.0}
