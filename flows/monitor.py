"""The flow that watches: the images that came in, against those that the champion was tested with. Drift does not only
alert: it starts a retraining on the recent images, as often as cool-down and budget let it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.events import emit_event
from prefect.runtime import flow_run

from components import jsonfile, paths
from components import params as parameters
from components.errors import ParamsError
from components.monitoring import budget
from components.monitoring.observations import Observations
from components.params import Params
from components.stages import adapt
from flows import artifacts, deployments, stage_process, zombies
from flows.pipeline import AGAIN
from flows.telling import run_name, teller

EVENT = "graft.drift"
LAST = paths.MONITOR / "last.json"


def _name() -> str:
    return run_name("monitor")


@flow(name="monitor", flow_run_name=_name, persist_result=False)
def monitor(root: str = ".") -> dict[str, Any]:
    """Makes one check; returns what it found, and under "retraining" what follows from it."""
    place = Path(root).resolve()
    zombies.alive(place, flow_run.id)
    params = parameters.load(place)
    check(place)
    last = jsonfile.read(place / LAST)
    if last["drift"]:
        _announce(place, params.promote.registered_model, last)
    retraining = respond(place, root, params, last)
    teller("monitor")(retraining)
    artifacts.drift(last, retraining)
    return {**last, "retraining": retraining}


@task(task_run_name="check", **AGAIN)
def check(root: Path, until: str | None = None) -> None:
    """The monitor's stage; `until`: of the images that had come in by then."""
    stage_process.verb(root, "monitor", *([] if until is None else ["--until", until]), say=teller("monitor"))


def respond(place: Path, root: str, params: Params, last: Mapping[str, Any]) -> str:
    """Starts a retraining where the last check allows one and there is something to adapt to; returns, in a sentence,
    what was done."""
    if not last["retrain"]["allowed"]:
        return f"No retraining: {last['retrain']['reason']}."
    if hindrance := _hindrance(place, params, last["bundle"]):
        return f"No retraining, though one is due: {hindrance}."
    # The same images start nothing twice, even when the note below was lost with the process.
    run = deployments.start(
        deployments.RETRAIN, {"root": root, "recent": True}, tags=("graft", "retrain", "drift"),
        key=f"drift-{last['bundle']}-{last['observations']}",
    )  # fmt: skip
    if run is None:
        return "A retraining is due: graft adapt (this Prefect server has no deployment that would start it)."
    budget.note(place, last["sentence"], observations=last["observations"])
    return f"A retraining has been started: flow run {run}."


def _hindrance(place: Path, params: Params, bundle: str) -> str | None:
    """Why nothing could adapt, which is better known before than from a run that fails."""
    try:
        adapt.changes(params, labelled=False)
    except ParamsError as error:
        return str(error)
    kept = len(Observations.open(place / paths.OBSERVATIONS).images(adapt.LEAST, bundle))
    if kept < adapt.LEAST:
        return f"{kept} images were kept, and {adapt.LEAST} are needed: serve with --observe and --keep-images MIB"
    return None


def _announce(place: Path, model: str, last: Mapping[str, Any]) -> None:
    emit_event(
        event=EVENT,
        resource={"prefect.resource.id": f"graft.workspace.{place.name}", "prefect.resource.name": place.name},
        payload={
            "model": model,
            "bundle": last["bundle"],
            "tests": [test for test in last["tests"] if test["drifted"]],
            "retrain": last["retrain"],
        },
    )
