"""evaluate: every strategy's predictions -> metrics with intervals, the comparison and the choice. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from components import jsonfile, paths, tensorfile
from components import params as parameters
from components.errors import DataError
from components.evaluation import metrics
from components.evaluation.comparison import BASELINE, Answers, compare, lead, score, verdict
from components.stages.command import main, say
from components.types import TASK


def evaluate() -> None:
    """Reads models/<name>/predictions for every entry of `strategies`; writes reports/evaluation.json."""
    params = parameters.load(Path())
    entries, facts = {}, {}
    for name in params.strategies:
        facts[name] = jsonfile.read(paths.MODELS / name / "model.json")
        arrays = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
        entries[name] = {
            split: Answers(arrays[f"{split}/{TASK}/logits"], arrays[f"{split}/{TASK}/labels"])
            for split in ("val", "test")
        }
    if len({fact["data_sha256"] for fact in facts.values()}) > 1:
        raise DataError("the strategies were trained on different data: run the pipeline again")

    ranked, leads = compare(entries, params.evaluate, params.seed)
    baseline = next((name for name in ranked if facts[name]["strategy"] == BASELINE), None)
    if baseline is not None and baseline != ranked[0]:  # every transfer against none, whoever won
        others = [name for name in ranked[1:] if name != baseline]
        leads += [lead(entries, name, baseline, params.evaluate, params.seed) for name in others]
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
                "val": score(entries[name]["val"], params.evaluate, params.seed),
                "test": score(test, params.evaluate, params.seed),
                "seeds": len(fact["seeds"]),
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


if __name__ == "__main__":
    main(evaluate)
