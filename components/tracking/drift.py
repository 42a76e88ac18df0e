"""What the monitor found, as MLflow runs: one for each champion, with a step for each check.

The log of the monitor is the truth and MLflow is told about it. A file remembers up to which check it was told, so that
what was found while MLflow was away is delivered with the next check. Telling the same check twice, as after a kill
between telling and remembering, changes nothing: MLflow keeps one of equal metrics.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import jsonfile, lineage, paths
from components.filelock import locked
from components.monitoring import budget
from components.tracking import store
from components.tracking.sync import BATCH, RUN_TAG, find_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

CURSOR = paths.MONITOR / "told.json"
"""Address of a store -> number of the last check that it was told of."""
MANY = 50
"""Classes up to which each one's share of the answers is a metric."""


def waiting(root: Path, checks: Sequence[Mapping]) -> list[Mapping]:
    """Of `checks`, which are lines of the log, those that the store in use does not know."""
    told = _cursor(root).get(store.address(root), 0)
    return [check for check in checks if check["checked"] and check["number"] > told]


def tell(root: Path, experiment: str, checks: Sequence[Mapping], page: Path | None) -> None:
    """Tells MLflow of the checks that it does not know yet.

    `page`: of the last check that found drift, kept with its run. Raises Unreachable, and has forgotten nothing, when
    MLflow does not answer.
    """
    with locked(root / paths.MONITOR / "told.lock"):
        news = waiting(root, checks)
        if not news:
            return
        client, experiment_id = store.connect(root, experiment)
        with store.reached(root, "what was found waits for it"):
            for bundle in dict.fromkeys(check["bundle"] for check in news):
                reign = [check for check in news if check["bundle"] == bundle]
                drifted = [check for check in checks if check["checked"] and check["drift"]]
                last = drifted[-1] if drifted and drifted[-1] in reign else None
                _tell(client, experiment_id, reign, page if last else None)
        jsonfile.write(root / CURSOR, {**_cursor(root), store.address(root): news[-1]["number"]})


def key(bundle: str) -> str:
    """What the run about a champion is found by."""
    return lineage.digest(["monitor", bundle])


def metrics(check: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one check; MLflow's pages show those with a common word before the slash together."""
    found = {
        "drift": float(check["drift"]),
        "images": float(check["images"]),
        "confidence/mean": check["confidence"]["window"],
        "confidence/reference": check["confidence"]["reference"],
    }
    for test in check["tests"]:
        place = f"{test['name']}_{test['window']}"
        found |= {f"p/{place}": test["p_adjusted"], f"effect/{place}": test["effect"]}
    answers = check["answers"]["window"]
    if len(answers) <= MANY:
        total = sum(answers.values())
        found |= {f"share/{name}": count / total for name, count in answers.items()}
    return {re.sub(r"[^\w/. :-]", "_", name): float(value) for name, value in found.items() if value is not None}


def _cursor(root: Path) -> dict[str, int]:
    return jsonfile.read(root / CURSOR) if (root / CURSOR).exists() else {}


def _milliseconds(check: Mapping) -> int:
    """When what was checked had come in, since 1970."""
    return int(1000 * budget.seconds(check["until"] or check["time"]))


def _tell(client: MlflowClient, experiment_id: str, checks: Sequence[Mapping], page: Path | None) -> None:
    """`checks`: of one bundle, in their order."""
    from mlflow.entities import Metric, RunTag

    first, last = checks[0], checks[-1]
    run_id = find_run(client, experiment_id, key(last["bundle"]))
    if run_id is None:
        version = f"version {last['version']}" if last["version"] else last["bundle"][:16]
        tags = {RUN_TAG: key(last["bundle"]), "kind": "monitor", "bundle": last["bundle"], "strategy": last["strategy"]}
        tags |= {"version": last["version"]} if last["version"] else {}
        start = _milliseconds(first)
        run_id = client.create_run(experiment_id, start, tags, run_name=f"monitor: {version}").info.run_id
    points = [
        Metric(name, value, _milliseconds(check), check["number"])
        for check in checks
        for name, value in metrics(check).items()
    ]
    for at in range(0, len(points), BATCH):
        client.log_batch(run_id, metrics=points[at : at + BATCH])
    if page is not None:
        client.log_artifact(run_id, str(page))
    state = {"drift": str(last["drift"]).lower(), "verdict": last["sentence"], "mlflow.note.content": last["sentence"]}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in state.items()])
    client.set_terminated(run_id, end_time=int(1000 * time.time()))
