"""The flow by which a person changes what is in production: decide now, decide against the rule, or go back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.runtime import flow_run

from components import params as parameters
from components.errors import ParamsError
from components.params import Params
from components.promotion import decisions
from components.promotion.rollback import roll_back
from flows import approval, artifacts, retrain, zombies
from flows.telling import run_name, teller

PREVIOUS = "previous"


def _name() -> str:
    given = flow_run.parameters
    if given.get("rollback") is not None:
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
    with zombies.alive(place, flow_run.id):
        params = parameters.load(place)
        if force and rollback is not None:
            raise ParamsError("force and rollback exclude one another")
        if force and not reason.strip():
            raise ParamsError("force needs a reason: the decision log keeps it")
        if rollback is not None:
            back(place, params, None if rollback == PREVIOUS else rollback, by or approval.PAGE, reason)
            line = decisions.read(place)[-1]
            artifacts.decision(line)
            return line
        forced = ["--force", "--by", by or approval.PAGE, "--reason", reason] if force else ["--propose"]
        return retrain.decide(place, place, params.promote, forced)


@task(task_run_name="rollback", persist_result=False)
def back(root: Path, params: Params, version: str | None, by: str, reason: str) -> None:
    """Puts an earlier version back into production."""
    restored = roll_back(root, params, version, by=by, reason=reason)
    teller("rollback")(f"version {restored} is champion again")
