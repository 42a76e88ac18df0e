"""The flow that retrains: the pipeline, the decision, and where a person has a say, that person's approval.

The same for a schedule, for a person, and for drift; what differs is who competes, and on which images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.runtime import flow_run

from components import jsonfile, paths, workspaces
from components import params as parameters
from components.deployment import bundle
from components.errors import ParamsError
from components.params import PromoteParams
from components.promotion import decisions
from components.stages import adapt as adapt_stage
from flows import approval, artifacts, stage_process, zombies
from flows.pipeline import AGAIN, pipeline
from flows.telling import run_name, teller

DRIFT = "because of drift"


def _name() -> str:
    given = flow_run.parameters
    return run_name("retrain", DRIFT if given.get("recent") else given.get("reason") or "")


@flow(name="retrain", flow_run_name=_name, persist_result=False)
def retrain(
    root: str = ".", recent: bool = False, overrides: dict[str, Any] | None = None, reason: str = ""
) -> dict[str, Any]:
    """Runs the pipeline, decides about its bundle, and returns the decision, as the decision log keeps it.

    `recent`: in a workspace of its own, where those compete that adapt to the images that came in; `overrides`: with
    other parameters, in a workspace of its own too; `reason`: why, for the name of the run.

    Raises ParamsError before anything starts, and StageError.
    """
    place = Path(root).resolve()
    zombies.alive(place, flow_run.id)
    params = parameters.load(place)
    if recent and overrides:
        raise ParamsError("recent and overrides cannot both be given: what adapts is set by adapt in params.yaml")
    source = place
    if recent:
        source = adapt(place)
    elif overrides:
        source = workspaces.isolated(place, f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}-overrides", overlay(overrides))
        workspaces.prune(place, adapt_stage.KEPT)
    pipeline(root=str(source), promotion=False, history=None if source == place else str(place))
    artifacts.results(source)
    return decide(place, source, params.promote)


def decide(
    root: Path, source: Path, params: PromoteParams, arguments: Sequence[str] = ("--propose",)
) -> dict[str, Any]:
    """Proposes the bundle of `source` for the workspace, asks whom it must ask, and returns the decision.

    `arguments`: of the promote stage.
    """
    propose(root, [*([] if source == root else ["--from", str(source)]), *arguments])
    facts = bundle.read(source / paths.BUNDLE)
    # More than once where the champion changed meanwhile: then it is decided anew, and perhaps asked anew.
    while (asked := approval.waiting(root)) is not None and asked["bundle"] == bundle.identity(facts):
        about = f"{asked['strategy']} (version {asked['version']})"
        answer = approval.gate(str(root), asked["id"], about, params.approval_timeout_h)
        if answer is not None:
            settle(root, asked["id"], answer)
    # Which was made before, where the pipeline changed nothing.
    line = decisions.made(root, facts, params) or decisions.read(root)[-1]
    artifacts.decision(line)
    return line


def overlay(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """{"train.steps": 300} as the part of params.yaml that it changes: {"train": {"steps": 300}}."""
    changed: dict[str, Any] = {}
    for key, value in overrides.items():
        *sections, last = key.split(".")
        place = changed
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ParamsError(f"overrides name {key!r}, and what it is a part of besides")
        place[last] = value
    return changed


@task(task_run_name="adapt", **AGAIN)
def adapt(root: Path) -> Path:
    """Makes the workspace for adapting to the recent images; returns it."""
    stage_process.verb(root, "adapt", say=teller("adapt"))
    return root / jsonfile.read(root / paths.ADAPTATION)["path"]


@task(task_run_name="propose", **AGAIN)
def propose(root: Path, arguments: list[str]) -> None:
    """Judges the bundle, registers it, and decides, as far as nobody is to be asked."""
    stage_process.verb(root, "promote", *arguments, say=teller("promote"))


@task(task_run_name="settle", **AGAIN)
def settle(root: Path, proposal: str, answer: approval.Answer) -> None:
    """Carries out what was answered to the proposal with this id. Nothing is left to do where somebody decided
    meanwhile, or where an attempt that was killed had come that far."""
    told = {"settle": answer.verdict, "proposal": proposal, "by": answer.by, "reason": answer.reason}
    try:
        stage_process.verb(root, "promote", *(f"--{name}={text}" for name, text in told.items()), say=teller("promote"))
    except stage_process.StageFailed:
        if approval.still_waits(root, proposal):
            raise
