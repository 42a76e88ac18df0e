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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import lineage, paths
from components.errors import Unreachable
from components.filelock import locked
from components.tracking import store
from components.tracking.content import Content
from components.tracking.results import Files, Results

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_log = logging.getLogger(__name__)

RUN_TAG = "graft.run"
"""What a run is about: its identity, there from its first moment."""
TOLD_TAG = "graft.told"
"""The hash of all that was told; written last, so a run whose telling was killed is told again."""
BATCH = 1000  # metrics in one request: MLflow's limit


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
    results = Results(source)
    parent = results.comparison(params)
    children = {name: results.child(name, parent) for name in results.models}
    waiting = source / paths.UNTOLD
    waiting.parent.mkdir(parents=True, exist_ok=True)
    waiting.touch()  # until all has been told: the telling may be killed, too
    try:
        with store.reached(root, "the results wait in their files, and the next run tells them"):
            _tell_all(root, experiment, results, parent, children)
        waiting.unlink(missing_ok=True)
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


def _tell_all(root: Path, experiment: str, results: Results, parent: Content, children: Mapping[str, Content]) -> None:
    everything = lineage.digest([entry.digest() for entry in (parent, *children.values())])
    client, experiment_id = store.connect(root, experiment)
    with locked(root / paths.STATE / "sync.lock"):  # two at once would each make the run that the other does not see
        run = _find(client, experiment_id, parent.identity)
        known = _below(client, experiment_id, run) if run else {}
        complete = {child.identity for child in children.values()} <= set(known)  # someone may have deleted one
        if run is None or run.data.tags.get(TOLD_TAG) != everything or not complete:
            # All begin at once and a millisecond apart: MLflow's list then keeps the leaderboard's order.
            longest = max(entry.seconds for entry in (parent, *children.values()))
            run = run or _create(client, experiment_id, parent, int(1000 * (time.time() - longest)), results.origin)
            start = run.info.start_time
            tags = {**results.origin, "mlflow.parentRunId": run.info.run_id}
            for rank, (name, child) in enumerate(children.items(), start=1):
                told = known.get(child.identity) or _create(client, experiment_id, child, start - rank, tags)
                _tell(client, told, child, child.digest(), lambda name=name: results.files(name))
            _tell(client, run, parent, everything, results.report)


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
