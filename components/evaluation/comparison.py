"""Several strategies' answers to the same images, compared: validation chooses, test reports. Where there are recent
images of another kind, agreement on these chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluation import scores
from components.evaluation.agreement import Judgement
from components.evaluation.bootstrap import Draws, accuracy_and_macro_f1
from components.evaluation.predictions import Answers, Entry
from components.evaluation.significance import holm, letters, mcnemar
from components.params import EvaluateParams

BASELINE = "from_scratch"
"""The strategy that every transfer has to beat."""
SOURCE_ONLY = "source_only"
"""The strategy that every adaptation has to beat."""


@dataclass(frozen=True)
class Comparison:
    """`ranked`: names, best first by validation, or by `recent` where there is such a judgement; `scores`: name ->
    split -> score; `pairs`: every pair's difference on the test images, the better ranked first; `letters`: name ->
    what it shares with those it cannot be told from."""

    ranked: list[str]
    scores: dict[str, dict[str, dict]]
    pairs: list[dict]
    letters: dict[str, str]
    recent: Judgement | None = None

    def pair(self, name: str, other: str) -> dict:
        """The lead of one over the other, whichever is ranked better."""
        for pair in self.pairs:
            if (pair["strategy"], pair["over"]) == (name, other):
                return pair
            if (pair["strategy"], pair["over"]) == (other, name):
                return reverse(pair)
        raise KeyError(f"{name} and {other} were not compared")

    def tied_with_first(self, name: str) -> bool:
        return name == self.ranked[0] or not self.pair(self.ranked[0], name)["real"]


def compare(
    entries: Mapping[str, Entry],
    temperatures: Mapping[str, Sequence[float]],
    params: EvaluateParams,
    seed: int,
    recent: Judgement | None = None,
) -> Comparison:
    """`temperatures`: of each entry's seeds; `recent`: of the entries on images that the test images are not like."""
    names = list(entries)
    found: dict[str, dict[str, dict]] = {name: {} for name in names}
    accuracy: dict[str, Draws] = {}
    for split in ("val", "test"):
        answers = [entry.splits[split] for entry in entries.values()]
        accuracy[split], f1 = _bootstrap(answers, params, seed)
        low, high = accuracy[split].bounds(params.confidence, 0, 1)
        f1_low, f1_high = f1.bounds(params.confidence, 0, 1)
        for index, name in enumerate(names):
            found[name][split] = scores.score(
                answers[index],
                temperatures[name],
                (float(low[index]), float(high[index])),
                (float(f1_low[index]), float(f1_high[index])),
                params.confidence,
            )
    ranked = sorted(
        names,
        key=lambda name: (recent.rank(name) if recent else (), _rank(found[name]["val"], params.select_by, name)),
    )
    pairs = _pairs(ranked, entries, _reordered(accuracy["test"], [names.index(name) for name in ranked]), params)
    positions = {name: index for index, name in enumerate(ranked)}
    different = [(positions[pair["strategy"]], positions[pair["over"]]) for pair in pairs if pair["real"]]
    return Comparison(ranked, found, pairs, dict(zip(ranked, letters(len(ranked), different), strict=True)), recent)


def reverse(pair: dict) -> dict:
    """The same comparison seen from the other side."""
    test = pair["mcnemar"]
    return {
        **pair,
        "strategy": pair["over"],
        "over": pair["strategy"],
        "difference": -pair["difference"],
        "low": -pair["high"],
        "high": -pair["low"],
        "mcnemar": {**test, "only_first": test["only_second"], "only_second": test["only_first"]},
    }


def generalised_accuracy(answers: Answers, unseen: list[int]) -> dict[str, float]:
    """Mean accuracy per class over seen and over unseen classes, all classes being possible answers, and their harmonic
    mean: Xian et al., 2019, arXiv:1707.00600, eq. 10 and 11."""
    correct = answers.correct()
    present = np.unique(answers.labels)
    mean = {
        kind: float(np.mean([correct[answers.labels == label].mean() for label in labels])) if labels else 0.0
        for kind, labels in (
            ("unseen", [label for label in present if label in unseen]),
            ("seen", [label for label in present if label not in unseen]),
        )
    }
    total = mean["seen"] + mean["unseen"]
    return {**mean, "harmonic_mean": 2 * mean["seen"] * mean["unseen"] / total if total else 0.0}


def _bootstrap(answers: Sequence[Answers], params: EvaluateParams, seed: int) -> tuple[Draws, Draws]:
    return accuracy_and_macro_f1(
        [entry.decisions for entry in answers],
        answers[0].labels,
        answers[0].logits.shape[-1],
        resamples=params.resamples,
        seed=seed,
    )


def _rank(val: dict, select_by: str, name: str) -> tuple[float, float, str]:
    return -val[select_by], val["log_loss"], name


def _reordered(draws: Draws, order: Sequence[int]) -> Draws:
    return Draws(draws.per_seed[order], draws.resamples[:, order], draws.images)


def _pairs(ranked: Sequence[str], entries: Mapping[str, Entry], accuracy: Draws, params: EvaluateParams) -> list[dict]:
    """Every pair of the ranked, with both tests; what is real after Holm's correction over all of them.

    A lead must show over resampled images and seeds, and between the two models that would be shipped: of the two tests
    the larger p counts (an intersection-union test, which needs no correction for being two).
    """
    first, second = np.triu_indices(len(ranked), 1)
    if len(first) == 0:
        return []
    lead = accuracy.minus(first, second)
    low, high = lead.bounds(params.confidence, -1, 1)
    right = [entries[name].splits["test"].right(entries[name].best) for name in ranked]
    tests = [mcnemar(right[i], right[j]) for i, j in zip(first, second, strict=True)]
    p = np.maximum(lead.p(), [test.p for test in tests])
    adjusted = holm(p)
    return [
        {
            "strategy": ranked[i],
            "over": ranked[j],
            "difference": float(lead.value[index]),
            "low": float(low[index]),
            "high": float(high[index]),
            "p": float(p[index]),
            "p_adjusted": float(adjusted[index]),
            "real": bool(adjusted[index] < 1 - params.confidence),
            "mcnemar": tests[index]._asdict(),
        }
        for index, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True))
    ]
