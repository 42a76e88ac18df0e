"""evaluate: every strategy's predictions -> metrics with intervals, the comparison and the choice. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from components import jsonfile, paths, tensorfile
from components import params as parameters
from components.errors import DataError
from components.evaluation import metrics
from components.evaluation.comparison import (
    BASELINE,
    SOURCE_ONLY,
    Answers,
    compare,
    generalised_accuracy,
    lead,
    score,
    verdict,
)
from components.params import Params
from components.stages.command import main, say
from components.types import TASK


def evaluate() -> None:
    """Reads models/<name>/predictions for every entry of `strategies`; writes reports/evaluation.json."""
    params = parameters.load(Path())
    tasks: dict[str, dict[str, dict[str, Answers]]] = {}  # entry -> task -> split -> answers
    facts = {}
    for name in params.competitors:
        facts[name] = jsonfile.read(paths.MODELS / name / "model.json")
        arrays = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
        tasks[name] = {
            task: {
                split: Answers(arrays[f"{split}/{task}/logits"], arrays[f"{split}/{task}/labels"])
                for split in ("val", "test")
            }
            for task in facts[name]["classes"]
        }
    entries = {name: answers[TASK] for name, answers in tasks.items()}
    if len({fact["data_sha256"] for fact in facts.values()}) > 1:
        raise DataError("the strategies were trained on different data: run the pipeline again")

    ranked, leads = compare(entries, params.evaluate, params.seed)
    baseline = next((name for name in ranked if facts[name]["strategy"] == BASELINE), None)
    if baseline is not None and baseline != ranked[0]:  # every transfer against none, whoever won
        others = [name for name in ranked[1:] if name != baseline]
        leads += [lead(entries, name, baseline, params.evaluate, params.seed) for name in others]
    unadapted = next((name for name in ranked if facts[name]["strategy"] == SOURCE_ONLY), None)
    rows = []
    for name in ranked:
        fact = facts[name]
        best = fact["seeds"].index(fact["best_seed"])
        test = entries[name]["test"]
        counts = metrics.confusion(test.logits[best].argmax(-1), test.labels, test.logits.shape[-1])
        precision, recall, _ = metrics.precision_recall_f1(counts)
        rows.append(
            {
                "strategy": name,
                "family": fact["family"],
                "needs": fact["needs"],
                "teacher": fact["teacher"],
                "val": score(entries[name]["val"], params.evaluate, params.seed),
                "test": score(test, params.evaluate, params.seed),
                "seeds": len(fact["seeds"]),
                "chosen_by": fact["chosen_by"],
                "oracle": {
                    "seed": fact["oracle_seed"],
                    "is_chosen": fact["oracle_seed"] == fact["best_seed"],
                    "test_accuracy": float(test.of_seed(fact["seeds"].index(fact["oracle_seed"])).correct().mean()),
                },
                "other_tasks": {
                    task: score(answers["test"], params.evaluate, params.seed)["accuracy"]
                    for task, answers in tasks[name].items()
                    if task != TASK
                },
                "unseen": _unseen(fact, test),
                "negative_transfer": _negative_transfer(entries, name, unadapted, fact, params),
                "parameters": fact["parameters"],
                "weights_sha256": fact["weights_sha256"],
                "precision_per_class": precision.tolist(),
                "recall_per_class": recall.tolist(),
                "confusion": counts.tolist(),
            }
        )
    text = verdict(ranked[0], rows[0], leads, baseline)
    jsonfile.write(
        paths.EVALUATION,
        {
            "chosen": ranked[0],
            "verdict": text,
            "selected_by": f"val.{params.evaluate.select_by}",
            "confidence": params.evaluate.confidence,
            "classes": facts[ranked[0]]["classes"][TASK],
            "images": {split: len(answers.labels) for split, answers in entries[ranked[0]].items()},
            "strategies": rows,
            "leads": leads,
        },
    )
    say(text)


def _unseen(fact: dict, test: Answers) -> dict[str, float] | None:
    """Accuracy on classes without and with a training label, for an entry that learned only some of them."""
    hidden = fact["hyper_parameters"].get("unseen")
    if not hidden:
        return None
    return generalised_accuracy(test, [fact["classes"][TASK].index(name) for name in hidden])


def _negative_transfer(entries: dict, name: str, unadapted: str | None, fact: dict, params: Params) -> dict | None:
    """The lead over no adaptation, where that is negative: the target's images did harm. Only for adaptation."""
    if unadapted is None or name == unadapted or not {"source", "unlabelled"} <= set(fact["needs"]):
        return None
    difference = lead(entries, name, unadapted, params.evaluate, params.seed)
    return difference if difference["difference"] < 0 else None


if __name__ == "__main__":
    main(evaluate)
