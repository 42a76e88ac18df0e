"""The card of a version: every fact in it is one of the pipeline's."""

from __future__ import annotations

import pytest

from components.tracking import model_card
from tracked_support import FAILED, REASON, benchmark, bundle_facts, evaluation, model


def _card(bundle: dict | None = None, found: dict | None = None) -> str:
    return model_card.card(
        bundle or bundle_facts(), found or evaluation(), model("dan"), benchmark(), name="graft-toy", version="3",
        decision="better than the champion by +2.00 points",
    )  # fmt: skip


@pytest.mark.parametrize(
    "fact",
    [
        "# graft-toy, version 3: `dan`",
        "dan was chosen. Transfer helps.",
        "Better than the champion by +2.00 points.",
        "- label: one of 2 classes: `a`, `b`",
        "On 8 test images, with 95% intervals; 4 validation images chose it.",
        "Means of 2 seeds, whose test accuracies have a standard deviation of 5.0 points.",
        "- accuracy: 80.0% (70.0% to 90.0%); validation 80.0%",
        "- log loss: 0.400; validation 0.400",  # calibrated, as it answers
        "a temperature of 1.5 (label, fitted on 4 val images)",
        "The calibration error was 0.100 without it and is 0.050 with it.",
        "- Its lead over the other one is real",
        f"- `{FAILED}` failed in training: {REASON}",
        "- class `a`: 75.0% of 4 found (30.0% to 95.0%)",
        "- images with camera `old`: 50.0% of 4 right (20.0% to 80.0%)",
        "- from 0.900: 50% of the test images answered, 100.0% of those rightly",
        "Measured on 2 cores of a CPU, 1 thread, beside torch in one run.",
        "- `fp32@cpu`: 80.0% of the test images, decides as fp32 on 100.00%, 2.00 ms for a batch of 1, 1.50 MiB, "
        "2.5 times as fast as torch; fastest: every precision on cpu is held against it",
        "- `int8@cpu`: refused, 75.00% of 4 decisions agree",
        "needs source, unlabelled",
        "- hyper-parameters: trade_off 2.0",
        "- recipe: steps 20, lr 0.1",
        "- seeds: 0, 1; seed 1 is exported, chosen by val",
        'mlflow.pyfunc.load_model("models:/graft-toy/3")',
        '["probabilities"]',
        "- commit `c0ffee`, seed 1",
        f"- data sha256 `{'d' * 64}`",
        "torch 2.15.0",
        "decides as the trained model does on 100.00% of the validation images, logits within 1.0e-06",
    ],
)
def test_the_card_says(fact):
    assert fact in _card()


def test_rivals_that_cannot_be_told_apart_are_named():
    found = evaluation()
    found["strategies"][1]["tied_with_first"] = True
    card = _card(found=found)
    assert "- These test images do not tell it from `fine_tune` (needs source, unlabelled)." in card
    assert "Its lead over" not in card


def test_one_that_competed_alone_had_no_rivals():
    found = evaluation()
    assert "It had no rivals." in _card(found={**found, "strategies": found["strategies"][:1], "failed": []})


def test_one_seed_and_no_thresholds_are_said_so():
    found = evaluation()
    found["strategies"][0] |= {"seeds": 1}
    found["strategies"][0]["test"]["seed_std"] = None
    card = _card({**bundle_facts(), "abstain": []}, found)
    assert "chose it. One seed." in card
    assert "No threshold was looked for." in card


def test_several_tasks_have_outputs_of_their_own():
    card = _card({**bundle_facts(), "classes": {"label": ["a", "b"], "loops": ["0", "1"]}})
    assert "`logits_label` and `probabilities_label`, `logits_loops` and `probabilities_loops`" in card
    assert '["probabilities_label"]' in card


def test_the_card_is_never_longer_than_mlflow_keeps():
    found = evaluation()
    found["failed"] = [{"strategy": f"s{n}", "reason": "x" * 1000} for n in range(200)]
    assert len(_card(found=found)) <= model_card.LIMIT


def test_one_that_validation_chose_may_be_behind_on_test():
    found = evaluation()
    found["pairs"][0] |= {"difference": -0.3, "low": -0.5, "high": -0.1}
    card = _card(found=found)
    assert "on the test images it is really behind `fine_tune`." in card
    assert "Its lead over" not in card
    found["pairs"][0] |= {"strategy": "fine_tune", "over": "dan", "difference": 0.3, "low": 0.1, "high": 0.5}
    assert _card(found=found) == card


def test_a_threshold_that_no_test_image_reaches_and_no_commit_are_said_so():
    step = {"coverage": 0.5, "threshold": 0.99, "test_coverage": 0.0, "test_accuracy": None}
    facts = bundle_facts()
    card = _card({**facts, "abstain": [step], "lineage": {**facts["lineage"], "git_commit": None}})
    assert "- from 0.990: no test image answered" in card
    assert "- not made in a git repository, seed 1" in card


def test_where_nothing_was_measured_the_card_tells_what_export_decided():
    card = model_card.card(
        bundle_facts(), evaluation(), model("dan"), None, name="graft-toy", version="3", decision="it is the first"
    )
    assert "Its speed was not measured." in card
    assert "- `fp32@cpu`: admitted, 100.00% of 4 decisions agree" in card
    assert "- `int8@cpu`: refused, 75.00% of 4 decisions agree" in card


def test_the_card_tells_how_it_stood_beside_the_champion():
    figures = {
        "strategy": "dan", "accuracy": 0.951, "ece": 0.021, "latency_ms": 0.5, "route": "int8@cpu", "size_mib": 1.25
    }  # fmt: skip
    told = {"images": 800, "machine": "2 cores of a CPU", "challenger": figures}
    checks = [
        {"name": "lead", "passed": True, "value": 0.01, "limit": 0.0, "sentence": "it leads", "decides": True},
        {"name": "size", "passed": False, "value": 9.0, "limit": 4.0, "sentence": "it is large", "decides": True},
        {"name": "class", "passed": False, "value": 0.1, "limit": 0.05, "sentence": "it loses 3", "decides": False},
    ]

    def section(champion: dict | None) -> str:
        card = model_card.card(
            bundle_facts(), evaluation(), model("dan"), None, name="graft-toy", version="3", decision="it leads",
            checks=checks, evidence=told | {"champion": champion},
        )  # fmt: skip
        return card.partition("## Beside the champion\n\n")[2].partition("\n\n## ")[0]

    assert section({**figures, "strategy": "mcc", "accuracy": 0.9, "latency_ms": 1.0, "route": "fp32@cpu"}) == (
        "Measured on 800 test images and 2 cores of a CPU, in the code that serves, both in one run.\n\n"
        "- this version: 95.1% right, calibration error 0.021, 0.50 ms for one image (`int8@cpu`), 1.25 MiB\n"
        "- the champion then, `mcc`: 90.0% right, calibration error 0.021, 1.00 ms for one image (`fp32@cpu`), "
        "1.25 MiB\n"
        "- lead, passed: it leads\n"
        "- size, failed: it is large\n"
        "- class, failed, not asked for: it loses 3"
    )
    assert "; there was no champion to compare with.\n\n- lead, passed" in section(None)
    assert "Beside the champion" not in _card()
