"""train: one strategy, every seed -> weights, history, and answers for the validation and test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components import jsonfile, lineage, paths, tensorfile
from components import params as parameters
from components.backbones.build import build, from_arrays, to_arrays
from components.data import prepared
from components.params import Params
from components.stages.command import main, say
from components.stages.progress import reporter
from components.strategies import catalogue
from components.strategies.base import Strategy
from components.training.compute import choose
from components.training.predict import quick_metrics
from components.training.restore import hyper_parameters
from components.training.session import TRAINING_CODE, Trained
from components.training.session import train as train_once
from components.types import Preprocess


def train(name: str) -> None:
    """Trains the entry `strategies.<name>` of params.yaml."""
    params = parameters.load(Path())
    competitor, recipe = params.competitor(name), params.recipe(name)
    kind = catalogue.load(competitor.strategy)
    data = prepared.read(paths.PREPARED)
    compute = choose(params.compute)
    start = tensorfile.load(paths.PRETRAINED / "backbone.safetensors") if kind.pretrained else None

    preprocess = Preprocess.from_dict(jsonfile.read(paths.PRETRAINED / "model.json")["preprocess"])

    def make() -> Strategy:
        backbone = build(params.backbone.name, preprocess=preprocess)
        if start is not None:
            from_arrays(backbone, start)
        return kind(backbone, data.label_space, **hyper_parameters(competitor.hyper_parameters))

    identity = {
        "competitor": repr(competitor),
        "recipe": repr(recipe),
        "backbone": params.to_dict()["backbone"],
        "start": lineage.file_digest(paths.PRETRAINED / "backbone.safetensors") if start is not None else None,
        "preprocess": preprocess.to_dict(),
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

    def quality(seed: int) -> tuple[float, float]:
        metrics = quick_metrics(runs[seed].logits["val"], runs[seed].labels["val"])
        return metrics["val_accuracy"], -metrics["val_cross_entropy"]

    # Of the seeds, too, validation chooses; but not for a strategy that uses no target label.
    labelled = "target_labels" in catalogue.STRATEGIES[competitor.strategy].needs
    best = max(runs, key=quality) if labelled else params.train.seeds[0]
    _write(name, params, runs, best, recipe, compute)
    for run in runs.values():
        run.checkpoint.clear()


def _write(name: str, params: Params, runs: dict[int, Trained], best: int, recipe, compute) -> None:
    folder = paths.MODELS / name
    competitor = params.competitor(name)
    entry = catalogue.STRATEGIES[competitor.strategy]
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
            "needs": list(entry.needs),
            "hyper_parameters": competitor.hyper_parameters,
            "recipe": parameters.asdict(recipe),
            "backbone": params.backbone.name,
            "backbone_weights": params.backbone.weights if strategy.pretrained else "random",
            "preprocess": strategy.backbone.preprocess.to_dict(),
            "classes": strategy.label_space.classes,
            "seeds": list(runs),
            "best_seed": best,
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
