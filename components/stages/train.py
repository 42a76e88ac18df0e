"""train: one strategy, every seed -> weights, history, and answers for the validation and test images."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from components import jsonfile, lineage, paths, tensorfile
from components import params as parameters
from components.backbones.build import to_arrays
from components.data import features, prepared
from components.data.prepared import RECENT, Prepared
from components.data.streams import Streams
from components.errors import DataError, Diverged
from components.evaluation import label_free
from components.params import Params, Recipe
from components.stages.command import main, say
from components.stages.progress import reporter
from components.strategies import catalogue
from components.strategies.base import Strategy
from components.strategies.few_shot import FewShot
from components.strategies.teacher import Teacher
from components.training import episodes
from components.training.checkpoint import Checkpoint
from components.training.compute import Compute, choose
from components.training.loop import History
from components.training.predict import quick_metrics
from components.training.restore import restore
from components.training.session import TRAINING_CODE
from components.training.session import train as train_once
from components.training.untrained import maker, pretrained_teacher, tasks_of
from components.types import TASK, Preprocess

WEIGHTS = paths.PRETRAINED / "backbone.safetensors"


class Run(NamedTuple):
    """What is kept of every seed's training. Of the strategy itself, which may fill a GPU's memory, only the best
    seed's is. `episodes` [E]: accuracies of few-shot tasks; None where there are none."""

    history: History
    logits: dict[str, dict[str, np.ndarray]]
    labels: dict[str, dict[str, np.ndarray]]
    seconds: float
    checkpoint: Checkpoint
    episodes: np.ndarray | None


def train(name: str) -> None:
    """Trains the entry `strategies.<name>` of params.yaml.

    A training that diverges is a finding and no error: it is written down as failed, and the others go on.
    """
    params = parameters.load(Path())
    competitor, recipe = params.competitor(name), params.recipe(name)
    kind = catalogue.load(competitor.strategy)
    data = prepared.read(paths.PREPARED)
    compute = choose(params.compute)
    preprocess = Preprocess.from_dict(jsonfile.read(paths.PRETRAINED / "model.json")["preprocess"])
    entry = catalogue.STRATEGIES[competitor.strategy]
    needs = catalogue.needs(competitor.strategy, competitor.hyper_parameters)
    student = catalogue.TEACHER in needs
    facts = {
        "name": name,
        "strategy": competitor.strategy,
        "family": entry.family,
        "needs": list(needs),
        "teacher": params.teacher if student else None,
        "hyper_parameters": competitor.hyper_parameters,
        "recipe": asdict(recipe),
        "backbone": params.backbone.name,
        "backbone_weights": params.backbone.weights if kind.pretrained else "random",
        "preprocess": preprocess.to_dict(),
        **tasks_of(params, name, data.label_space).to_dict(),
        "seeds": list(params.train.seeds),
        "data_sha256": lineage.folder_digest(paths.PREPARED),
        "device": compute.device.type,
        "precision": compute.precision,
        "threads": compute.threads,
    }
    if student and (reason := _failure_of_teacher(params)):
        _write_failure(name, facts, reason, seconds=0.0)
        return

    make = maker(
        params,
        name,
        space=data.label_space,
        preprocess=preprocess,
        start=_pretrained,
        teacher=lambda: _teacher(params, preprocess),
    )
    # A student learns from batches and from its teacher alone: its stage does not wait for features.
    known = features.read(paths.FEATURES) if kind.pretrained and not student else None
    identity = {
        "competitor": repr(competitor),
        "recipe": repr(recipe),
        "backbone": params.to_dict()["backbone"],
        "start": lineage.file_digest(WEIGHTS) if kind.pretrained else None,
        "preprocess": preprocess.to_dict(),
        "teacher": lineage.folder_digest(_teacher_folder(params)) if student else None,
        "data": facts["data_sha256"],
        "features": None if known is None else lineage.file_digest(paths.FEATURES / features.CONTENTS),
        "code": lineage.code_digest(*TRAINING_CODE),
    }
    say(f"{name}: {len(params.train.seeds)} seed(s) on {compute.describe()}")
    began = time.perf_counter()
    runs: dict[int, Run] = {}
    tasks, best = None, None
    for seed in params.train.seeds:
        if best is not None and kind.pretrained and not best.streams:
            # Solved in closed form from pretrained features: no random number is in it, and any seed ends alike.
            runs[seed] = next(iter(runs.values()))
            continue
        try:
            trained = train_once(
                make,
                data,
                recipe,
                compute,
                seed=seed,
                identity=identity,
                checkpoints=paths.CHECKPOINTS,
                log=reporter(name, recipe.steps if kind.streams else 0),
                features=known,
                own=competitor.recipe,
            )
        except Diverged as error:
            _write_failure(name, facts, f"seed {seed}: {error}", seconds=time.perf_counter() - began)
            for run in runs.values():
                run.checkpoint.clear()
            return
        if best is None:
            facts["recipe"] = asdict(trained.recipe)
            for note in trained.notes:
                say(f"{name}: {note}")
            tasks = _episodes(name, trained.strategy, data, params.train.episodes)
        runs[seed] = Run(
            trained.history,
            trained.logits,
            trained.labels,
            trained.seconds,
            trained.checkpoint,
            _examine(trained.strategy, data, tasks, recipe, compute) if tasks else None,
        )
        if _choose(runs, needs)[0] == seed:
            best = trained.strategy

    assert best is not None  # params.yaml was checked: there is at least one seed
    _write(name, facts, runs, best)
    for run in runs.values():
        run.checkpoint.clear()


def _episodes(name: str, strategy: Strategy, data: Prepared, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The tasks that a few-shot strategy is examined with; None for another, or where the test images do not suffice:
    tasks of another shape would say something else under the same name."""
    if not isinstance(strategy, FewShot) or strategy.sampling is None:
        return None
    try:
        return episodes.draw(data, strategy.sampling, count)
    except DataError as error:
        say(f"{name}: no few-shot tasks from the test images: {error}")
        return None


def _examine(
    strategy: Strategy, data: Prepared, tasks: tuple[np.ndarray, np.ndarray], recipe: Recipe, compute: Compute
) -> np.ndarray:
    assert isinstance(strategy, FewShot)  # others have no tasks
    images = Streams(
        data,
        strategy.backbone.preprocess,
        batch_size=recipe.batch_size,
        augment="none",
        seed=0,
        device=compute.device,
    )
    return episodes.accuracies(strategy, images, tasks)


def _pretrained() -> dict[str, np.ndarray]:
    return tensorfile.load(WEIGHTS)


def _teacher_folder(params: Params) -> Path:
    assert params.teacher is not None  # params.yaml was checked
    return paths.MODELS / params.teacher


def _failure_of_teacher(params: Params) -> str | None:
    facts = jsonfile.read(_teacher_folder(params) / "model.json")
    reason = facts.get("failed")  # what `pretrain` wrote says nothing of it: a pretraining that diverges is an error
    return f"its teacher {params.teacher!r} failed: {reason}" if reason else None


def _teacher(params: Params, student: Preprocess) -> Teacher:
    """What the students learn from: the model of another entry, or the pretrained backbone alone."""
    if params.teacher == parameters.PRETRAINED:
        return pretrained_teacher(params, student, _pretrained())
    return Teacher(restore(_teacher_folder(params)), student)


def _choose(runs: dict[int, Run], needs: tuple[str, ...]) -> tuple[int, int, str]:
    """The seed to go on with, the one that validation labels would choose, and the name of what chose.

    Of the seeds, too, validation chooses; but for a strategy that uses no target label a criterion that needs none, on
    recent images where there are any: it is those that the strategy adapts to.
    """

    def by_labels(seed: int) -> tuple[float, float]:
        logits, labels = runs[seed].logits["val"], runs[seed].labels["val"]
        metrics = quick_metrics({TASK: logits[TASK]}, {TASK: labels[TASK]})
        return metrics["val_accuracy"], -metrics["val_cross_entropy"]

    oracle = max(runs, key=by_labels)
    if "target_labels" in needs:
        return oracle, oracle, "val"
    criterion, logits = label_free.CRITERIA[label_free.DEFAULT], runs[oracle].logits
    where = RECENT if RECENT in logits else "val"
    chosen = max(runs, key=lambda seed: criterion(runs[seed].logits[where][TASK]))
    return chosen, oracle, f"{RECENT}.{label_free.DEFAULT}" if where == RECENT else label_free.DEFAULT


def _write(name: str, facts: dict, runs: dict[int, Run], strategy: Strategy) -> None:
    folder = paths.MODELS / name
    best, oracle, chosen_by = _choose(runs, facts["needs"])
    sha256 = tensorfile.save(folder / "model.safetensors", to_arrays(strategy))
    answers = {}
    for split, labels in runs[best].labels.items():
        for task in strategy.label_space.classes:
            answers[f"{split}/{task}/logits"] = np.stack([run.logits[split][task] for run in runs.values()])
            answers[f"{split}/{task}/labels"] = labels[task]
    accuracies = [run.episodes for run in runs.values() if run.episodes is not None]
    shape = strategy.sampling
    if accuracies:
        answers["episodes/accuracy"] = np.stack(accuracies)
    tensorfile.save(folder / "predictions.safetensors", answers)
    jsonfile.write(
        folder / "model.json",
        {
            **facts,
            "best_seed": best,
            "chosen_by": chosen_by,
            "oracle_seed": oracle,
            "parameters": sum(p.numel() for p in strategy.parameters()),
            "weights_sha256": sha256,
            "episodes": {
                "n_way": shape.n_way,
                "k_shot": shape.k_shot,
                "n_query": shape.n_query,
                "count": len(accuracies[0]),
            }
            if accuracies and shape
            else None,
            "failed": None,
        },
    )
    jsonfile.write_lines(
        folder / "history.jsonl", ({"seed": seed, **record} for seed, run in runs.items() for record in run.history)
    )
    seconds = [run.seconds for run in runs.values()]
    jsonfile.write(paths.TIMINGS / f"{name}.json", {"train_time_s": sum(seconds) / len(seconds), "seeds": len(seconds)})


def _write_failure(name: str, facts: dict, reason: str, *, seconds: float) -> None:
    """The same files but for weights and predictions, which whoever reads them must not find; nor what a run before
    left of them."""
    say(f"{name}: failed. {reason}")
    folder = paths.MODELS / name
    for file in ("model.safetensors", "predictions.safetensors"):
        (folder / file).unlink(missing_ok=True)
    unknown = dict.fromkeys(("best_seed", "chosen_by", "oracle_seed", "parameters", "weights_sha256", "episodes"))
    jsonfile.write(folder / "model.json", {**facts, **unknown, "failed": reason})
    jsonfile.write_lines(folder / "history.jsonl", [])
    jsonfile.write(paths.TIMINGS / f"{name}.json", {"train_time_s": seconds, "seeds": 0})


if __name__ == "__main__":
    main(train)
