"""The two sentences for a reader in a hurry say no more than the numbers do."""

from __future__ import annotations

import pytest

from components.evaluation.comparison import Comparison
from components.evaluation.verdict import transfer, verdict

SCORE = {"accuracy": 0.912, "low": 0.9, "high": 0.925}
FIRST = "dan was chosen on the validation images and answers 91.2% of the test images correctly (90.0% to 92.5%, "


def _pair(name: str, other: str, low: float = -0.01, high: float = 0.03, p: float = 0.3, real: bool = False) -> dict:
    test = {"only_first": 3, "only_second": 1, "p": p}
    difference = (low + high) / 2
    return {"strategy": name, "over": other, "difference": difference, "low": low, "high": high, "p": p,
            "p_adjusted": p, "real": real, "mcnemar": test}  # fmt: skip


def _comparison(ranked: list[str], *known: dict) -> Comparison:
    given = {(pair["strategy"], pair["over"]): pair for pair in known}
    pairs = [
        given.get((name, other), _pair(name, other, real=True))
        for index, name in enumerate(ranked)
        for other in ranked[index + 1 :]
    ]
    return Comparison(ranked, {name: {"test": SCORE} for name in ranked}, pairs, dict.fromkeys(ranked, "a"))


def _transfer(comparison: Comparison, failed: tuple[str, ...] = (), confidence: float = 0.95) -> dict:
    kinds = {name: name for name in comparison.ranked}
    return transfer(comparison, kinds, {name: name for name in failed}, confidence)


@pytest.mark.parametrize(
    ("low", "high", "p", "finding", "wording"),
    [
        (0.02, 0.06, 0.001, "helps", "Transfer helps: dan beats training from scratch by +4.0 points (+2.0 to +6.0)"),
        (
            -0.06,
            -0.02,
            0.001,
            "harms",
            "Transfer harms: for dan, the difference to training from scratch is -4.0",
        ),
        (-0.01, 0.03, 0.3, "no evidence", "There is no evidence that transfer helps: for dan, the difference"),
        (0.001, 0.06, 0.06, "no evidence", "no evidence that transfer helps"),  # the test cannot tell
        (-0.001, 0.06, 0.04, "no evidence", "no evidence that transfer helps"),  # the interval cannot
    ],
)
def test_both_the_interval_and_the_test_must_tell(low, high, p, finding, wording):
    found = _transfer(_comparison(["dan", "from_scratch"], _pair("dan", "from_scratch", low, high, p)))
    assert found["finding"] == finding
    assert wording in found["sentence"]
    assert (found["strategy"], found["over"]) == ("dan", "from_scratch")
    assert (found["low"], found["high"], found["p"]) == (low, high, p)


def test_a_bound_just_below_zero_can_be_seen_to_be_there():
    found = _transfer(_comparison(["dan", "from_scratch"], _pair("dan", "from_scratch", -0.0003, 0.03)))
    assert "(-0.03 to +3.0)" in found["sentence"]


def test_the_level_is_the_one_asked_for():
    comparison = _comparison(["dan", "from_scratch"], _pair("dan", "from_scratch", 0.02, 0.06, 0.03))
    assert _transfer(comparison)["finding"] == "helps"
    assert _transfer(comparison, confidence=0.99)["finding"] == "no evidence"


def test_where_scratch_is_chosen_the_best_transfer_is_compared_with_it():
    ranked = ["from_scratch", "dan", "lora"]
    found = _transfer(_comparison(ranked, _pair("from_scratch", "dan", 0.02, 0.06, 0.001)))
    assert (found["finding"], found["strategy"]) == ("harms", "dan")
    assert (found["difference"], found["low"], found["high"]) == (pytest.approx(-0.04), -0.06, -0.02)
    assert found["sentence"].startswith("Transfer harms: for dan, the best transfer by validation, the difference")
    assert _transfer(_comparison(ranked, _pair("from_scratch", "dan")))["finding"] == "no evidence"
    found = _transfer(_comparison(ranked, _pair("from_scratch", "dan", -0.06, -0.02, 0.001)))
    assert found["sentence"].startswith("Transfer helps: dan, the best transfer by validation, beats training")


@pytest.mark.parametrize(
    ("ranked", "failed", "why"),
    [
        (["dan", "lora"], (), "from_scratch does not compete"),
        (["dan", "lora"], ("from_scratch",), "from_scratch failed"),
        (["from_scratch"], (), "no transfer competes"),
        (["from_scratch"], ("dan",), "every transfer failed"),
    ],
)
def test_what_cannot_be_known_is_called_unknown(ranked, failed, why):
    found = _transfer(_comparison(ranked), failed)
    assert found["finding"] == "unknown"
    assert found["sentence"] == f"Whether transfer helps is unknown: {why}."
    assert [found[key] for key in ("difference", "low", "high", "p")] == [None] * 4


def test_entries_of_other_names_are_known_by_their_strategy():
    comparison = _comparison(["gentle", "long"], _pair("gentle", "long", 0.02, 0.06, 0.001))
    found = transfer(comparison, {"gentle": "fine_tune", "long": "from_scratch"}, {}, 0.95)
    assert (found["finding"], found["over"]) == ("helps", "long")
    found = transfer(_comparison(["gentle"]), {"gentle": "fine_tune"}, {"long": "from_scratch"}, 0.95)
    assert found["sentence"].endswith("long failed.")


def _verdict(comparison: Comparison, seeds: int = 3) -> str:
    return verdict(comparison, seeds, _transfer(comparison))


def test_a_clear_winner():
    found = _verdict(_comparison(["dan", "from_scratch"], _pair("dan", "from_scratch", 0.02, 0.06, 0.001, real=True)))
    assert found.startswith(f"{FIRST}mean of 3 seeds). Transfer helps: dan beats")


def test_one_seed_is_said_to_be_one():
    found = _verdict(_comparison(["dan", "lora"]), seeds=1)
    assert found.startswith(f"{FIRST}one seed, so how much trainings differ is unknown). Whether transfer")


@pytest.mark.parametrize(
    ("others", "listed"),
    [
        (1, "s0"),
        (2, "s0 and s1"),
        (3, "s0, s1 and s2"),
        (4, "s0, s1, s2 and 1 other"),
        (6, "s0, s1, s2 and 3 others"),
    ],
)
def test_a_shared_first_place_is_said_to_be_shared(others, listed):
    ranked = ["dan", *(f"s{index}" for index in range(others)), "beaten"]
    comparison = _comparison(ranked, *(_pair("dan", name) for name in ranked[1:-1]))
    assert f"mean of 3 seeds), but cannot be told apart from {listed}. Whether" in _verdict(comparison)


def test_the_sentences_do_not_contradict_each_other():
    """The planned comparison tells, though among all pairs it would not: the baseline is not named among the ties."""
    pair = _pair("dan", "from_scratch", 0.02, 0.06, 0.001, real=False)
    comparison = _comparison(["dan", "lora", "from_scratch"], _pair("dan", "lora"), pair)
    assert "cannot be told apart from lora. Transfer helps" in _verdict(comparison)
    unclear = _comparison(["dan", "lora", "from_scratch"], _pair("dan", "lora"), _pair("dan", "from_scratch"))
    assert "cannot be told apart from lora and from_scratch. There is no evidence" in _verdict(unclear)


def test_one_that_is_really_better_on_test_than_the_chosen_is_named():
    better = _pair("dan", "mcc", -0.06, -0.02, 0.001, real=True)
    worse = _pair("dan", "lora", 0.02, 0.06, 0.001, real=True)
    comparison = _comparison(["dan", "lora", "mcc", "from_scratch"], better, worse)
    text = verdict(comparison, 3, _transfer(comparison))
    assert "; mcc, which validation ranked lower, did better on the test images. " in text
    assert "lora" not in text
