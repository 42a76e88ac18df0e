"""train: one strategy, every seed -> weights, history, and answers for the validation and test images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from components import jsonfile, lineage, paths, tensorfile
from components import params as parameters
from components.backbones.build import build, from_arrays, to_arrays
from components.data import prepared
from components.evaluation import label_free
from components.params import Params
from components.stages.command import main, say
from components.stages.progress import reporter
from components.strategies import catalogue
from components.strategies.base import Strategy
from components.strategies.teacher import Teacher
from components.training.compute import choose
from components.training.predict import quick_metrics
from components.training.restore import hyper_parameters, restore
from components.training.session import TRAINING_CODE, Trained
from components.training.session import train as train_once
from components.types import TASK, Preprocess


def train(name: str) -> None:
    """Trains the entry `strategies.<name>` of params.yaml."""
    params = parameters.load(Path())
    competitor, recipe = params.competitor(name), params.recipe(name)
    kind = catalogue.load(competitor.strategy)
    data = prepared.read(paths.PREPARED)
    compute = choose(params.compute)
    start = tensorfile.load(paths.PRETRAINED / "backbone.safetensors") if kind.pretrained else None

    preprocess = Preprocess.from_dict(jsonfile.read(paths.PRETRAINED / "model.json")["preprocess"])
    entry = catalogue.STRATEGIES[competitor.strategy]
    space = data.label_space if entry.tasks == "all" else data.label_space.only(TASK)
    student = catalogue.TEACHER in entry.needs

    def make() -> Strategy:
        backbone = build(params.backbone.name, preprocess=preprocess)
        if start is not None:
            from_arrays(backbone, start)
        more = {catalogue.TEACHER: _teacher(params, preprocess)} if student else {}
        return kind(backbone, space, **hyper_parameters(competitor.hyper_parameters), **more)

    identity = {
        "competitor": repr(competitor),
        "recipe": repr(recipe),
        "backbone": params.to_dict()["backbone"],
        "start": lineage.file_digest(paths.PRETRAINED / "backbone.safetensors") if start is not None else None,
        "preprocess": preprocess.to_dict(),
        "teacher": lineage.folder_digest(_teacher_folder(params)) if student else None,
        "data": lineage.folder_digest(paths.PREPARED),
        "code": lineage.code_digest(*TRAINING_CODE),
    }
    say(f"{name}: {len(params.train.seeds)} seed(s) on {compute.describe()}")
    runs: dict[int, Trained] = {}
    for seed in params.train.seeds:
        runs[seed] = train_once(
            make,
            data,
            recipe,
            compute,
            seed=seed,
            identity=identity,
            checkpoints=paths.CHECKPOINTS,
            log=reporter(name, recipe.steps if kind.streams else 0),
        )

    _write(name, params, runs, recipe, compute)
    for run in runs.values():
        run.checkpoint.clear()


def _teacher_folder(params: Params) -> Path:
    assert params.teacher is not None  # params.yaml was checked
    return paths.MODELS / params.teacher


def _teacher(params: Params, student: Preprocess) -> Teacher:
    """What the students learn from: the model of another entry, or the pretrained backbone alone."""
    folder = _teacher_folder(params)
    if params.teacher != parameters.PRETRAINED:
        return Teacher(restore(folder), student)
    backbone = build(params.backbone.name, preprocess=student)
    from_arrays(backbone, tensorfile.load(folder / "backbone.safetensors"))
    return Teacher(backbone, student)


def _choose(runs: dict[int, Trained], labelled: bool) -> tuple[int, int, str]:
    """The seed to go on with, the one that validation labels would choose, and the name of what chose.

    Of the seeds, too, validation chooses; but for a strategy that uses no target label a criterion that needs none.
    """

    def by_labels(seed: int) -> tuple[float, float]:
        logits, labels = runs[seed].logits["val"], runs[seed].labels["val"]
        metrics = quick_metrics({TASK: logits[TASK]}, {TASK: labels[TASK]})
        return metrics["val_accuracy"], -metrics["val_cross_entropy"]

    oracle = max(runs, key=by_labels)
    if labelled:
        return oracle, oracle, "val"
    criterion = label_free.CRITERIA[label_free.DEFAULT]
    return max(runs, key=lambda seed: criterion(runs[seed].logits["val"][TASK])), oracle, label_free.DEFAULT


def _write(name: str, params: Params, runs: dict[int, Trained], recipe, compute) -> None:
    folder = paths.MODELS / name
    competitor = params.competitor(name)
    entry = catalogue.STRATEGIES[competitor.strategy]
    needs = catalogue.needs(competitor.strategy, competitor.hyper_parameters)
    best, oracle, chosen_by = _choose(runs, labelled="target_labels" in needs)
    strategy = runs[best].strategy
    sha256 = tensorfile.save(folder / "model.safetensors", to_arrays(strategy))
    answers = {}
    for split in ("val", "test"):
        for task in strategy.label_space.classes:
            answers[f"{split}/{task}/logits"] = np.stack([run.logits[split][task] for run in runs.values()])
            answers[f"{split}/{task}/labels"] = runs[best].labels[split][task]
    tensorfile.save(folder / "predictions.safetensors", answers)
    jsonfile.write(
        folder / "model.json",
        {
            "name": name,
            "strategy": competitor.strategy,
            "family": entry.family,
            "needs": list(needs),
            "teacher": params.teacher if catalogue.TEACHER in needs else None,
            "hyper_parameters": competitor.hyper_parameters,
            "recipe": asdict(recipe),
            "backbone": params.backbone.name,
            "backbone_weights": params.backbone.weights if strategy.pretrained else "random",
            "preprocess": strategy.backbone.preprocess.to_dict(),
            **strategy.label_space.to_dict(),
            "seeds": list(runs),
            "best_seed": best,
            "chosen_by": chosen_by,
            "oracle_seed": oracle,
            "parameters": sum(p.numel() for p in strategy.parameters()),
            "weights_sha256": sha256,
            "data_sha256": lineage.folder_digest(paths.PREPARED),
            "device": compute.device.type,
            "precision": compute.precision,
            "threads": compute.threads,
        },
    )
    jsonfile.write_lines(
        folder / "history.jsonl", ({"seed": seed, **record} for seed, run in runs.items() for record in run.history)
    )
    seconds = [run.seconds for run in runs.values()]
    jsonfile.write(paths.TIMINGS / f"{name}.json", {"train_time_s": sum(seconds) / len(seconds), "seeds": len(seconds)})


if __name__ == "__main__":
    main(train)
