"""evaluate: every strategy's predictions -> metrics with intervals, the comparison and the choice. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from components import jsonfile, paths
from components import params as parameters
from components.data import prepared
from components.data.prepared import HIDDEN, Prepared
from components.errors import DataError
from components.evaluation import (
    agreement,
    calibration,
    metrics,
    plots,
    predictions,
    scores,
    selective,
    slices,
    verdict,
)
from components.evaluation.agreement import Judgement
from components.evaluation.calibration import Fitted
from components.evaluation.comparison import SOURCE_ONLY, Comparison, compare, generalised_accuracy
from components.evaluation.predictions import Answers, Entry
from components.params import EvaluateParams, Params
from components.stages.command import main, say
from components.types import TASK

DOUBTFUL = 16
"""Recent images named that would say most if somebody labelled them."""


def evaluate() -> None:
    """Reads models/<name>/predictions for every entry of `strategies`; writes reports/evaluation.json,
    and what `dvc metrics` and `dvc plots` show of it."""
    params = parameters.load(Path())
    data = prepared.read(paths.PREPARED)
    competitors, failed = predictions.read(paths.MODELS, params.competitors)
    entries = {name: entry.splits for name, entry in competitors.items()}  # name -> split -> answers
    _check_images(data, next(iter(entries.values())))
    fitted = {name: calibration.fit(entry) for name, entry in competitors.items()}
    seed_temperatures = {name: of_tasks[TASK].values for name, of_tasks in fitted.items()}

    recent = _recent(data, entries, seed_temperatures, params)
    comparison = compare(competitors, seed_temperatures, params.evaluate, params.seed, recent)
    kinds = {name: entry.facts["strategy"] for name, entry in competitors.items()}
    others = {entry["strategy"]: params.competitor(entry["strategy"]).strategy for entry in failed}
    transfer = verdict.transfer(comparison, kinds, others, params.evaluate.confidence)
    chosen = comparison.ranked[0]
    facts = competitors[chosen].facts
    groups = _groups(data, params.evaluate)
    unadapted = next((name for name in comparison.ranked if kinds[name] == SOURCE_ONLY), None)
    evaluation = {
        "chosen": chosen,
        "verdict": verdict.verdict(comparison, len(facts["seeds"]), transfer),
        "selected_by": f"val.{params.evaluate.select_by}" if recent is None else "recent.agreement",
        "confidence": params.evaluate.confidence,
        "classes": facts["classes"][TASK],
        "images": {split: len(answers.labels) for split, answers in entries[chosen].items()},
        "seeds": facts["seeds"],
        "transfer": transfer,
        "failed": failed,
        **({} if recent is None else {"recent": _judged(recent, data)}),
        "pairs": comparison.pairs,
        "strategies": [
            {
                **_standing(competitors[name], comparison, unadapted),
                **_details(competitors[name], fitted[name], groups, data, params.evaluate),
                **({} if recent is None else {"recent": recent.standings[name].to_dict()}),
            }
            for name in comparison.ranked
        ],
    }
    jsonfile.write(paths.EVALUATION, evaluation)
    plots.write(
        evaluation,
        {name: jsonfile.read_lines(paths.MODELS / name / "history.jsonl") for name in params.competitors},
    )
    say(evaluation["verdict"])
    for entry in failed:
        say(f"left out: {entry['strategy']}, which failed: {entry['reason']}")


def _check_images(data: Prepared, answers: Mapping[str, Answers]) -> None:
    """The predictions have no names of images, only their order: it must be the manifest's."""
    for split, domain, part in (("val", "target", "val"), ("test", "target", "test"), ("source", "source", "val")):
        if split not in answers:
            continue
        known = data.domains.get(domain)
        labels = [] if known is None else known.labels[TASK][known.rows(part, labelled=True)]
        if not np.array_equal(answers[split].labels, labels):
            raise DataError(f"the models answered other {split} images than {paths.PREPARED} has: train again")
    held_out = [] if data.recent is None else data.recent.labels[TASK][data.recent.rows("val")]
    answered = answers["recent"].labels if "recent" in answers else []
    if not np.array_equal(answered, held_out):
        raise DataError(f"the models answered other recent images than {paths.PREPARED} has: train again")


def _recent(
    data: Prepared,
    entries: Mapping[str, Mapping[str, Answers]],
    temperatures: Mapping[str, Sequence[float]],
    params: Params,
) -> Judgement | None:
    """What the competitors say of one another on the recent images that were held out; None where there are none."""
    if data.recent is None:
        return None
    training = data.target.labels[TASK][data.target.rows("train")]
    answers = {name: splits["recent"] for name, splits in entries.items()}
    return agreement.judge(answers, temperatures, training[training != HIDDEN], params.evaluate, params.seed)


def _judged(recent: Judgement, data: Prepared) -> dict:
    """For the page, and for whoever compares other models on these images: `rows` are their places in the domain;
    `doubtful`: those without a label of which the votes are least sure."""
    assert data.recent is not None
    rows, classes = data.recent.rows("val"), data.label_space.classes[TASK]
    unlabelled = np.flatnonzero(data.recent.labels[TASK][rows] == HIDDEN)
    order = unlabelled[np.argsort(recent.votes.confidence[unlabelled], kind="stable")]
    doubtful = [
        {
            "row": int(rows[place]),
            "path": data.recent.paths[rows[place]],
            "vote": classes[recent.votes.label[place]],
            "confidence": float(recent.votes.confidence[place]),
        }
        for place in order[:DOUBTFUL].tolist()
    ]
    return {"rows": rows.tolist(), **recent.to_dict(classes), "doubtful": doubtful}


def _groups(data: Prepared, params: EvaluateParams) -> dict[str, slices.Groups]:
    """The slices of the test images."""
    rows = data.target.rows("test", labelled=True)
    columns = {name: [values[row] for row in rows] for name, values in data.target.columns.items()}
    return slices.choose(columns, params.slices)


def _standing(entry: Entry, comparison: Comparison, unadapted: str | None) -> dict:
    """What a strategy is, and how it stands among the others: means over seeds."""
    name, facts, test = entry.name, entry.facts, entry.splits["test"]
    oracle = facts["seeds"].index(facts["oracle_seed"])
    return {
        "strategy": name,
        "family": facts["family"],
        "needs": facts["needs"],
        "teacher": facts["teacher"],
        "chosen_by": facts["chosen_by"],
        "oracle": {
            "seed": facts["oracle_seed"],
            "is_chosen": facts["oracle_seed"] == facts["best_seed"],
            "test_accuracy": float(test.right(oracle).mean()),
        },
        "other_tasks": {
            task: float(answers["test"].correct().mean()) for task, answers in entry.tasks.items() if task != TASK
        },
        "unseen": _unseen(facts, test),
        "negative_transfer": _negative_transfer(comparison, name, unadapted, facts["needs"]),
        "parameters": facts["parameters"],
        "weights_sha256": facts["weights_sha256"],
        "seeds": len(facts["seeds"]),
        **comparison.scores[name],
        "per_seed": [
            {"seed": seed, "accuracy": float(test.right(index).mean())} for index, seed in enumerate(facts["seeds"])
        ],
        "letters": comparison.letters[name],
        "tied_with_first": comparison.tied_with_first(name),
    }


def _details(
    entry: Entry,
    fitted: Mapping[str, Fitted],
    groups: Mapping[str, slices.Groups],
    data: Prepared,
    params: EvaluateParams,
) -> dict:
    """Of the seed that would be shipped, on the test images."""
    best, test, classes = entry.best, entry.splits["test"], entry.facts["classes"][TASK]
    temperature = fitted[TASK].values[best]
    logits, right = test.logits[best], test.right(best)
    calibrated = metrics.probabilities(logits / temperature)
    val = metrics.probabilities(entry.splits["val"].logits[best] / temperature)
    counts = metrics.confusion(test.decisions[best], test.labels, len(classes))
    per_class = scores.per_class(counts, classes, params.confidence)
    sliced = slices.measure(groups, right, params.confidence)
    if "source" in entry.splits and (params.slices is None or slices.DOMAIN in params.slices):
        sliced += slices.domains(right, entry.splits["source"].right(best), params.confidence)
    return {
        "per_class": per_class,
        "worst_class": scores.worst_class(per_class),
        "temperature": {
            task: {"value": of_task.values[best], "fitted_on": "val", "images": of_task.images}
            for task, of_task in fitted.items()
        },
        "reliability": {
            "before": metrics.reliability(logits, test.labels),
            "after": metrics.reliability(logits / temperature, test.labels),
        },
        "selective": scores.abstaining(val.max(1), calibrated.max(1), right, params.coverages),
        "aurc": selective.area_under_risk_coverage(calibrated.max(1), right),
        "slices": sliced,
        "worst_slice": slices.worst(sliced),
        "episodes": scores.episodes(entry.episodes, entry.facts["episodes"], params.confidence)
        if entry.episodes is not None
        else None,
        "confusion": counts.tolist(),
        "mistakes": scores.mistakes(
            calibrated, test.labels, classes, data.target.rows("test", labelled=True), data.target.paths
        ),
    }


def _unseen(facts: dict, test: Answers) -> dict[str, float] | None:
    """Accuracy on classes without and with a training label, for an entry that learned only some of them."""
    hidden = facts["hyper_parameters"].get("unseen")
    if not hidden:
        return None
    return generalised_accuracy(test, [facts["classes"][TASK].index(name) for name in hidden])


def _negative_transfer(comparison: Comparison, name: str, unadapted: str | None, needs: list[str]) -> dict | None:
    """The lead over no adaptation, where that is negative: the target's images did harm. Only for adaptation to them,
    not to recent images, for which the test images say only what the adaptation costs."""
    if comparison.recent is not None or unadapted is None or name == unadapted:
        return None
    if not {"source", "unlabelled"} <= set(needs):
        return None
    difference = comparison.pair(name, unadapted)
    return difference if difference["difference"] < 0 else None


if __name__ == "__main__":
    main(evaluate)
