"""What the pipeline wrote to files, as MLflow runs: a parent for the comparison, and below it one for each strategy.

Files are the truth and MLflow is told about them, so training needs no mlflow, and telling twice changes nothing. Runs
are found again by a tag with the hash of what they are about, never by an id that some output would have to remember.
A comparison that differs in anything is another parent with children of its own, so that every comparison stands there
whole, with the strategies that did not have to be trained again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import jsonfile, lineage, paths
from components.deployment import bundle
from components.errors import Unreachable
from components.filelock import locked
from components.tracking import content, store
from components.tracking.content import Content

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run

_log = logging.getLogger(__name__)

RUN_TAG = "graft.run"
"""What a run is about: its identity, there from its first moment."""
TOLD_TAG = "graft.told"
"""The hash of all that was told; written last, so a run whose telling was killed is told again."""
BATCH = 1000  # metrics in one request: MLflow's limit


@dataclass(frozen=True)
class Files:
    """What a run shows besides numbers: files of the workspace, and pictures that are drawn when they are needed."""

    copies: Sequence[Path]
    pictures: Mapping[str, Callable[[], Figure]]


def find_run(client: MlflowClient, experiment_id: str, key: str) -> str | None:
    """The id of the run with this key."""
    run = _find(client, experiment_id, key)
    return run.info.run_id if run else None


def sync(
    root: Path, experiment: str, params: Mapping[str, str], *, source: Path | None = None, later: bool = False
) -> dict[str, Any]:
    """Brings the MLflow store of the workspace `root` up to what the files of `source` say, by default its own; returns
    the keys of the runs, and `params`, which the parent shows.

    Raises Unreachable when the store does not answer. With `later` that is no error: the files wait, `owed` says so,
    and whoever calls next tells all of it.
    """
    source = source or root
    workspace = _Workspace(source)
    parent = workspace.comparison(params)
    children = {name: workspace.child(name, parent) for name in workspace.models}
    waiting = source / paths.UNTOLD
    waiting.parent.mkdir(parents=True, exist_ok=True)
    waiting.touch()  # until all has been told: the telling may be killed, too
    try:
        with store.reached(root, "the results wait in their files, and the next run tells them"):
            _tell_all(root, experiment, workspace, parent, children)
        waiting.unlink()
    except Unreachable as error:
        if not later:
            raise
        _log.warning("%s", error)
    return {
        "comparison": parent.identity,
        "strategies": {name: child.identity for name, child in children.items()},
        "params": dict(params),
    }


def owed(root: Path) -> bool:
    """Whether MLflow is still to be told of what is in the files. Asks no server."""
    return (root / paths.UNTOLD).exists()


def _tell_all(
    root: Path, experiment: str, workspace: _Workspace, parent: Content, children: Mapping[str, Content]
) -> None:
    everything = lineage.digest([entry.digest() for entry in (parent, *children.values())])
    client, experiment_id = store.connect(root, experiment)
    with locked(root / paths.STATE / "sync.lock"):  # two at once would each make the run that the other does not see
        run = _find(client, experiment_id, parent.identity)
        known = _below(client, experiment_id, run) if run else {}
        complete = {child.identity for child in children.values()} <= set(known)  # someone may have deleted one
        if run is None or run.data.tags.get(TOLD_TAG) != everything or not complete:
            # All begin at once and a millisecond apart: MLflow's list then keeps the leaderboard's order.
            longest = max(entry.seconds for entry in (parent, *children.values()))
            run = run or _create(client, experiment_id, parent, int(1000 * (time.time() - longest)), workspace.origin)
            start = run.info.start_time
            tags = {**workspace.origin, "mlflow.parentRunId": run.info.run_id}
            for rank, (name, child) in enumerate(children.items(), start=1):
                told = known.get(child.identity) or _create(client, experiment_id, child, start - rank, tags)
                _tell(client, told, child, child.digest(), lambda name=name: workspace.files(name))
            _tell(client, run, parent, everything, workspace.report)


def _find(client: MlflowClient, experiment_id: str, key: str) -> Run | None:
    runs = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{key}'", max_results=1)
    return runs[0] if runs else None


def _below(client: MlflowClient, experiment_id: str, parent: Run) -> dict[str | None, Run]:
    """Key -> run, of a parent's children."""
    children = client.search_runs([experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    return {child.data.tags.get(RUN_TAG): child for child in children}


def _create(client: MlflowClient, experiment_id: str, about: Content, start: int, tags: Mapping[str, str]) -> Run:
    return client.create_run(
        experiment_id, start_time=start, run_name=about.name, tags={**tags, RUN_TAG: about.identity}
    )


def _tell(client: MlflowClient, run: Run, about: Content, digest: str, files: Callable[[], Files]) -> None:
    """Idempotent: what a telling that was killed has left is found as it should be, or made so."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    before = run.data.tags.get(TOLD_TAG)
    if before == digest:
        return
    run_id, start, now = run.info.run_id, run.info.start_time, int(1000 * time.time())
    params: list[Param] = []
    metrics = [
        Metric(name, float(value), now, 0)
        for name, value in about.metrics.items()
        if run.data.metrics.get(name) != float(value)
    ]
    if before is None:
        last = max((step for _, _, step in about.series), default=0) or 1
        pace = 1000 * about.seconds / last  # milliseconds a step, for MLflow's axis of time
        metrics += [Metric(name, value, start + int(pace * step), step) for name, value, step in about.series]
        params = [Param(name, value) for name, value in about.params.items()]
        inputs = [
            DatasetInput(
                Dataset(data.name, data.digest, "local", _source(), _SCHEMA, json.dumps(data.profile)),
                [InputTag("mlflow.data.context", data.context)],
            )
            for data in about.data
        ]
        client.log_inputs(run_id, inputs)
    shown = files()
    for path in shown.copies:
        client.log_artifact(run_id, str(path))
    for name, draw in shown.pictures.items():
        client.log_figure(run_id, draw(), name, save_kwargs={"dpi": 80})
    tables = []
    for name, rows in about.tables.items():
        columns = list(rows[0]) if rows else []
        client.log_dict(run_id, {"columns": columns, "data": [[row.get(c) for c in columns] for row in rows]}, name)
        tables.append({"path": name, "type": "table"})
    tags = {**about.tags, "mlflow.note.content": about.note, "mlflow.loggedArtifacts": json.dumps(tables)}
    client.log_batch(run_id, params=params, tags=[RunTag(name, value) for name, value in tags.items() if value])
    for at in range(0, len(metrics), BATCH):
        client.log_batch(run_id, metrics=metrics[at : at + BATCH])
    client.set_terminated(
        run_id, status="FAILED" if about.failed else "FINISHED", end_time=start + int(1000 * about.seconds)
    )
    client.log_batch(run_id, tags=[RunTag(TOLD_TAG, digest)])


def _source() -> str:
    return json.dumps({"uri": paths.PREPARED.as_posix()})


_SCHEMA = json.dumps(
    {
        "mlflow_tensorspec": {
            "features": json.dumps(
                [{"name": "image", "type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, -1, -1, 3]}}]
            ),
            "targets": json.dumps(
                [{"name": "label", "type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]
            ),
        }
    }
)
"""Of every domain's images, in MLflow's form."""


class _Workspace:
    """The files of a finished pipeline."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.evaluation = jsonfile.read(root / paths.EVALUATION)
        self.rows = {row["strategy"]: row for row in self.evaluation["strategies"]}
        self.failed = {entry["strategy"]: entry for entry in self.evaluation["failed"]}
        self.models = {
            name: jsonfile.read(root / paths.MODELS / name / "model.json") for name in (*self.rows, *self.failed)
        }
        self.timings = {name: jsonfile.read(root / paths.TIMINGS / f"{name}.json") for name in self.models}
        self.benchmark = jsonfile.read(root / paths.BENCHMARK)
        self.audit = jsonfile.read(root / paths.AUDIT)
        commit = lineage.git_commit(root)
        origin = {
            "mlflow.source.name": "dvc.yaml",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": commit,
            "git_commit": commit,
            "data_sha256": next(iter(self.models.values()))["data_sha256"],
            "dvc.data_md5": _dvc_revision(root),
        }
        self.origin = {name: value for name, value in origin.items() if value}
        """Tags that a run is made with: a later commit that changes nothing in it does not change them."""

    def comparison(self, params: Mapping[str, str]) -> Content:
        exported = jsonfile.read(self.root / paths.BUNDLE / bundle.FILE)
        return content.comparison(
            self.evaluation,
            self.models,
            params,
            leaderboard=jsonfile.read(self.root / paths.LEADERBOARD),
            cost=_bundle_metrics(self.benchmark, exported),
            audit=self.audit,
            timings=self.timings,
        )

    def child(self, name: str, parent: Content) -> Content:
        shared = {
            "parent": parent.identity,
            "history": jsonfile.read_lines(self.root / paths.MODELS / name / "history.jsonl"),
            "audit": self.audit,
            "timing": self.timings[name],
        }
        if name in self.failed:
            return content.failure(self.failed[name], self.models[name], self.evaluation, **shared)
        cost = self.benchmark["strategies"].get(name, {})
        return content.strategy(self.rows[name], self.models[name], self.evaluation, cost=cost, **shared)

    def files(self, name: str) -> Files:
        """Of a strategy's run."""
        from components.reporting import figures

        folder = self.root / paths.MODELS / name
        history = jsonfile.read_lines(folder / "history.jsonl")
        pictures = {"losses.png": lambda: figures.losses(history, name)} if history else {}
        if name in self.rows:
            row, classes = self.rows[name], self.evaluation["classes"]
            pictures = {"panels.png": lambda: figures.panels(row, classes, history)}
        return Files([folder / "model.json"], pictures)

    def report(self) -> Files:
        """Of the comparison's run."""
        from components.reporting import figures

        written = (paths.REPORT, paths.LEADERBOARD, paths.EVALUATION, paths.AUDIT, paths.BENCHMARK)
        copies = [self.root / path for path in written]
        return Files(copies, {"accuracy.png": lambda: figures.accuracies(self.evaluation)})


PER_BATCH = ("latency_ms", "latency_p95_ms", "latency_p99_ms", "images_per_s", "cpu_ms_per_image")
PER_ROUTE = ("size_mib", "peak_mib", "cold_start_s")


def _bundle_metrics(benchmark: Mapping, exported: Mapping) -> dict[str, float]:
    """Of each route `bundle_int8_cpu_batch1_latency_ms` and the like, and from image files its
    `bundle_int8_cpu_batch1_files_images_per_s`."""
    found = {}
    for row in benchmark["measurements"]:
        prefix = f"bundle_{row['precision']}_{row['provider']}"
        batch = f"{prefix}_batch{row['batch_size']}"
        if row["from"] == "files":
            found[f"{batch}_files_images_per_s"] = row["images_per_s"]
            continue
        found |= {f"{prefix}_{metric}": row[metric] for metric in PER_ROUTE}
        found |= {f"{batch}_{metric}": row[metric] for metric in PER_BATCH}
        found |= {f"{batch}_{name}": row[name]["ratio"] for name in ("over_torch", "over_fp32") if name in row}
        if (accuracy := benchmark["accuracy"].get(row["route"])) is not None:
            found[f"{prefix}_test_accuracy"] = accuracy
    for route, verdict in exported.get("admission", {}).items():
        if verdict.get("agreement") is not None:
            found[f"bundle_{route.replace('@', '_')}_agreement"] = verdict["agreement"]
    for precision, facts in exported["parity"].items():
        found[f"bundle_{precision}_agreement"] = facts["agreement"]
        found[f"bundle_{precision}_max_logit_difference"] = facts["max_logit_difference"]
    return found


def _dvc_revision(root: Path) -> str | None:
    """DVC's own hash of the prepared data, from dvc.lock; None where there is none yet."""
    import yaml

    try:
        text = (root / "dvc.lock").read_text(encoding="utf-8")
        lock = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the former is ten times as fast
        return next(out["md5"] for out in lock["stages"]["prepare"]["outs"] if out["path"] == paths.PREPARED.as_posix())
    except (OSError, KeyError, StopIteration, yaml.YAMLError):
        return None
