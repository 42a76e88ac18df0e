"""What the pipeline wrote to files, as MLflow runs: one for each trained strategy.

Files are the truth and MLflow is told about them, so training needs no mlflow, and telling twice changes nothing. A
run is found again by a tag with the hash of its model's facts, never by an id that some output would have to remember.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import jsonfile, lineage, paths
from components.deployment import bundle
from components.evaluation.figures import confusion_figure
from components.filelock import locked
from components.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_TAG = "graft.run"
RESULTS_TAG = "graft.results"
BATCH = 1000  # metrics in one request: MLflow's limit


def run_key(folder: Path) -> str:
    """The hash that a trained strategy's run is found by."""
    return lineage.digest(jsonfile.read(folder / "model.json"))


def find_run(client: MlflowClient, experiment_id: str, key: str) -> str | None:
    """The id of the run with this key."""
    runs = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{key}'", max_results=1)
    return runs[0].info.run_id if runs else None


def sync(root: Path, experiment: str) -> dict[str, str]:
    """Brings MLflow up to what the files of the workspace say; returns strategy -> run key."""
    client, experiment_id = store.connect(root, experiment)
    evaluation = jsonfile.read(root / paths.EVALUATION)
    keys = {}
    with locked(root / paths.STATE / "sync.lock"):  # two at once would each make the run that the other does not see
        for row in evaluation["strategies"]:
            name = row["strategy"]
            folder = root / paths.MODELS / name
            keys[name] = run_key(folder)
            run_id = find_run(client, experiment_id, keys[name])
            if run_id is None:
                run_id = _log_training(client, experiment_id, root, folder, keys[name])
            _log_results(client, run_id, root, row, evaluation)
    return keys


def _log_training(client: MlflowClient, experiment_id: str, root: Path, folder: Path, key: str) -> str:
    """A new run with what is known after training: parameters, loss terms by step, the data and the weights' hash."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    facts = jsonfile.read(folder / "model.json")
    commit = lineage.git_commit(root)
    tags = {
        "mlflow.runName": facts["name"],
        "mlflow.source.git.commit": commit,
        "strategy": facts["strategy"],
        "family": facts["family"],
        "needs": ", ".join(facts["needs"]),
        "git_commit": commit,
        "data_sha256": facts["data_sha256"],
        "dvc.data_md5": _dvc_revision(root),
        "weights_sha256": facts["weights_sha256"],
    }
    now = int(time.time() * 1000)
    seconds = jsonfile.read(root / paths.TIMINGS / f"{facts['name']}.json")["train_time_s"]
    run = client.create_run(
        experiment_id,
        start_time=now - int(1000 * seconds),  # so that MLflow shows the training's duration, not the telling's
        tags={name: value for name, value in tags.items() if value},
    )
    run_id = run.info.run_id
    metrics = [Metric(name, value, now, step) for name, value, step in _steps(folder, facts["best_seed"])]
    for start in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + BATCH])
    client.log_batch(run_id, params=[Param(name, str(value)) for name, value in _params(facts).items()])
    source = f'{{"uri": "{paths.PREPARED.as_posix()}"}}'
    data = Dataset(name="prepared", digest=facts["data_sha256"][:36], source_type="local", source=source)
    client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
    client.log_artifact(run_id, str(folder / "model.json"))
    # Last, because it is what the run is found by: a kill before this leaves a run that no one takes for complete.
    client.log_batch(run_id, tags=[RunTag(RUN_TAG, key)])
    client.set_terminated(run_id, end_time=now)
    return run_id


def _log_results(client: MlflowClient, run_id: str, root: Path, row: Mapping, evaluation: Mapping) -> None:
    """Adds test metrics, times and, for the winner, the bundle's numbers and the report; again when they changed."""
    name, chosen = row["strategy"], row["strategy"] == evaluation["chosen"]
    timing = jsonfile.read(root / paths.TIMINGS / f"{name}.json")
    metrics = {f"{split}_{metric}": value for split in ("val", "test") for metric, value in row[split].items()} | {
        "train_time_s": timing["train_time_s"],
        "parameters": row["parameters"],
    }
    metrics |= {f"test_accuracy_{task}": accuracy for task, accuracy in row["other_tasks"].items()}
    metrics |= {f"test_accuracy_{kind}": accuracy for kind, accuracy in (row["unseen"] or {}).items()}
    if not row["oracle"]["is_chosen"]:
        metrics["test_accuracy_oracle_seed"] = row["oracle"]["test_accuracy"]
    if chosen:
        metrics |= _bundle_metrics(root)
    key = lineage.digest([metrics, chosen])
    if client.get_run(run_id).data.tags.get(RESULTS_TAG) == key:
        return
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    client.log_dict(run_id, dict(row), "evaluation.json")
    client.log_figure(run_id, confusion_figure(row["confusion"], evaluation["classes"], name), "confusion.png")
    if chosen:
        client.log_artifact(run_id, str(root / paths.REPORT))
    client.log_batch(
        run_id,
        metrics=[Metric(metric, float(value), now, 0) for metric, value in metrics.items()],
        tags=[
            RunTag("chosen", str(chosen).lower()),
            RunTag("negative_transfer", str(row["negative_transfer"] is not None).lower()),
            RunTag("seed_chosen_by", row["chosen_by"]),
            RunTag(RESULTS_TAG, key),
        ],
    )


def _bundle_metrics(root: Path) -> dict[str, float]:
    benchmark = jsonfile.read(root / paths.BENCHMARK)
    proof = jsonfile.read(root / paths.BUNDLE / bundle.FILE)["parity"]
    found = {}
    for row in benchmark["measurements"]:
        prefix = f"bundle_{row['precision']}_{row['provider']}"
        found[f"{prefix}_size_mib"] = row["size_mib"]
        for metric in ("latency_ms", "images_per_s"):
            found[f"{prefix}_batch{row['batch_size']}_{metric}"] = row[metric]
    for precision, facts in proof.items():
        found[f"bundle_{precision}_agreement"] = facts["agreement"]
        found[f"bundle_{precision}_max_logit_difference"] = facts["max_logit_difference"]
    return found


def _steps(folder: Path, seed: int) -> Iterator[tuple[str, float, int]]:
    """(metric, value, step) of the best seed's history; terms of the loss are named train_<term>."""
    for record in jsonfile.read_lines(folder / "history.jsonl"):
        if record["seed"] == seed:
            for name, value in record.items():
                if name not in ("seed", "step"):
                    yield (
                        name if name.startswith("val_") or name == "lr" else f"train_{name}",
                        value,
                        int(record["step"]),
                    )


def _params(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Flat, the same names in every run, so that the compare view lines them up."""
    plain = ("strategy", "backbone", "backbone_weights", "best_seed", "device", "precision", "threads")
    return (
        {name: facts[name] for name in plain}
        | {f"recipe.{name}": value for name, value in facts["recipe"].items()}
        | {f"hyper.{name}": value for name, value in facts["hyper_parameters"].items()}
    )


def _dvc_revision(root: Path) -> str | None:
    """DVC's own hash of the prepared data, from dvc.lock; None where there is none yet."""
    import yaml

    try:
        lock = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))
        return next(out["md5"] for out in lock["stages"]["prepare"]["outs"] if out["path"] == paths.PREPARED.as_posix())
    except (OSError, KeyError, StopIteration, yaml.YAMLError):
        return None
