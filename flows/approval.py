"""The gate between a decision and the change of what is in production: a person, where `promote.approval` is manual.

The flow pauses. Prefect's page shows the evidence and a form. The answer, the end of the time, or a decision made
elsewhere (`graft promote` on a terminal) lets it go on; whatever comes first counts, and the decision log says which.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from prefect import flow, pause_flow_run
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field

from components import jsonfile, paths
from components.errors import DataError
from components.promotion import decisions
from flows import artifacts, zombies

PAGE = "Prefect's page"
"""Who decides where nobody has said his name."""
POLL_S = 5
MARGIN_S = 600
"""Prefect's own time-out fails the run. Ours, which comes first, keeps the champion and lets the run complete."""


class Approval(RunInput):
    """The form on Prefect's page."""

    decision: Literal["approve", "reject"] = Field(description="approve: it goes into production; reject: it does not")
    by: str = Field("", description="who decides")
    reason: str = Field("", description="why; the decision log keeps it")


GOES_ON = {"decision": "reject", "by": "", "reason": ""}
"""What the run is resumed with when nobody's answer is waited for any more."""


@dataclass(frozen=True)
class Answer:
    """`verdict`: what `components.stages.promote --settle` takes."""

    verdict: Literal["approve", "reject", "timeout"]
    by: str
    reason: str


def _name() -> str:
    return f"approve {flow_run.parameters['about']}?"


def waiting(root: Path) -> dict[str, Any] | None:
    """The proposal that an answer is waited for."""
    try:
        proposal = jsonfile.read(root / paths.PROPOSAL)
    except DataError:  # it was decided about
        return None
    settled = any(line.get("id") == proposal["id"] for line in decisions.read(root))
    return None if settled else proposal


def still_waits(root: Path, proposal: str) -> bool:
    """`proposal`: its id."""
    return (waiting(root) or {}).get("id") == proposal


@flow(name="approval", flow_run_name=_name, persist_result=False)
def gate(root: str, proposal: str, about: str, timeout_h: float) -> Answer | None:
    """`ask`, in a run of its own, so that the one that asks goes on running: a paused run loses its place among the
    deployment's `concurrency_limit`, and Prefect crashes it for that minutes later. `about`: for its name."""
    place = Path(root)
    zombies.alive(place, flow_run.id)
    return ask(place, proposal, timeout_h)


def ask(root: Path, proposal: str, timeout_h: float) -> Answer | None:
    """Pauses the flow run until someone has decided about the proposal with this id; None when that was done
    elsewhere."""
    content = waiting(root)
    if content is None or content["id"] != proposal:
        return None
    watch = _Watch(root, UUID(str(flow_run.id)), proposal, 3600 * timeout_h)
    form = Approval.with_initial_data(description=_description(content, timeout_h))
    watch.start()
    try:
        given = pause_flow_run(wait_for_input=form, timeout=int(3600 * timeout_h) + MARGIN_S, poll_interval=POLL_S)
    except FlowPauseTimeout:  # the machine slept through our own
        return Answer("timeout", "", "")
    finally:
        watch.stop()
    if watch.ended and given.model_dump() == GOES_ON:
        return None if watch.ended == "elsewhere" else Answer("timeout", "", "")
    return Answer(given.decision, given.by or PAGE, given.reason or "no reason was given")


class _Watch(threading.Thread):
    """Resumes the run when the time is over or the proposal is gone. `ended`: why, once there is a reason to."""

    def __init__(self, root: Path, run: UUID, proposal: str, timeout_s: float) -> None:
        super().__init__(daemon=True)
        self.ended: Literal["timeout", "elsewhere", ""] = ""
        self._root, self._run, self._proposal = root, run, proposal
        self._until = time.time() + timeout_s  # of the clock on the wall: a night asleep is a night
        self._stopped = threading.Event()

    def run(self) -> None:
        """Until the run goes on: it may not have paused yet, and Prefect may be away for a while."""
        while not self._stopped.wait(POLL_S if self.ended else min(POLL_S, max(0.0, self._until - time.time()))):
            if not still_waits(self._root, self._proposal):
                self.ended = "elsewhere"
            elif time.time() >= self._until:
                self.ended = "timeout"
            if self.ended:
                with suppress(Exception), get_client(sync_client=True) as client:
                    client.resume_flow_run(self._run, run_input=GOES_ON)

    def stop(self) -> None:
        self._stopped.set()


def _description(proposal: Mapping[str, Any], timeout_h: float) -> str:
    made = proposal["decision"]
    return "\n\n".join(
        [
            f"## Put {proposal['strategy']} (version {proposal['version']}) into production?",
            f"{made['reason']}. Without an answer within {timeout_h:g} h the champion stays.",
            artifacts.listed(made["checks"]),
        ]
    )
