"""The flow by which a person changes what is in production: decide now, decide against the rule, or go back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.runtime import flow_run

from components import params as parameters
from components.errors import ParamsError
from components.promotion import decisions
from flows import approval, artifacts, retrain, stage_process, zombies
from flows.telling import run_name, teller


def _name() -> str:
    given = flow_run.parameters
    if given.get("rollback"):
        return run_name(f"rollback to {given['rollback']}", given.get("reason") or "")
    return run_name("promote", given.get("reason") or "")


@flow(name="promote", flow_run_name=_name, persist_result=False)
def promote(
    root: str = ".", force: bool = False, reason: str = "", by: str = "", rollback: str | None = None
) -> dict[str, Any]:
    """Decides about the bundle of the last run and returns the decision.

    `force`: it goes into production whatever the rule says, for this `reason`; `rollback`: to this version instead, or
    to the "previous" champion; `by`: who wants that. Raises ParamsError for what does not go together.
    """
    place = Path(root).resolve()
    zombies.alive(place, flow_run.id)
    params = parameters.load(place)
    rollback = (rollback or "").strip()  # a form may give an empty text for nothing
    if force and rollback:
        raise ParamsError("force and rollback exclude one another")
    if force and not reason.strip():
        raise ParamsError("force needs a reason: the decision log keeps it")
    if rollback:
        back(place, rollback, by or approval.PAGE, reason)
        line = next(line for line in reversed(decisions.read(place)) if line["decision"] == decisions.ROLLED_BACK)
        artifacts.decision(line)
        return line
    forced = ["--force", f"--by={by or approval.PAGE}", f"--reason={reason}"] if force else ["--propose"]
    return retrain.decide(place, place, params.promote, forced)


@task(task_run_name="rollback", persist_result=False)
def back(root: Path, version: str, by: str, reason: str) -> None:
    """Puts an earlier version back into production. Not tried again: "previous" is another one after a step back."""
    stage_process.verb(
        root, "promote", f"--rollback={version}", f"--by={by}", f"--reason={reason}", say=teller("rollback")
    )
