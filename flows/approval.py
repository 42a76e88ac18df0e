"""The gate between a decision and the change of what is in production: a person, where `promote.approval` is manual.

The flow pauses. Prefect's page shows the evidence and a form. The answer, the end of the time, or a decision made
elsewhere (`graft promote` on a terminal) lets it go on; whatever comes first counts, and the decision log says which.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
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


@dataclass(frozen=True)
class Answer:
    """`verdict`: what `components.stages.promote --settle` takes."""

    verdict: Literal["approve", "reject", "timeout"]
    by: str
    reason: str


def _name() -> str:
    proposal = jsonfile.read(Path(flow_run.parameters["root"]) / paths.PROPOSAL)
    return f"approve {proposal['strategy']} (version {proposal['version']})?"


@flow(name="approval", flow_run_name=_name, persist_result=False)
def gate(root: str, timeout_h: float) -> Answer | None:
    """`ask`, in a run of its own, so that the one that asks goes on running: a paused run loses its place among the
    deployment's `concurrency_limit`, and Prefect crashes it for that minutes later."""
    place = Path(root)
    with zombies.alive(place, flow_run.id):
        return ask(place, timeout_h)


def ask(root: Path, timeout_h: float) -> Answer | None:
    """Pauses the flow run until someone has decided about the proposal; None when that was done elsewhere."""
    proposal = jsonfile.read(root / paths.PROPOSAL)
    watch = _Watch(root, UUID(str(flow_run.id)), proposal, 3600 * timeout_h)
    form = Approval.with_initial_data(description=_description(proposal, timeout_h))
    watch.start()
    try:
        given = pause_flow_run(wait_for_input=form, timeout=int(3600 * timeout_h) + MARGIN_S, poll_interval=POLL_S)
    except FlowPauseTimeout:  # the machine slept through our own
        return Answer("timeout", "", "")
    finally:
        watch.stop()
    if watch.ended == "elsewhere":
        return None
    if watch.ended == "timeout":
        return Answer("timeout", "", "")
    return Answer(given.decision, given.by or PAGE, given.reason or "no reason was given")


class _Watch(threading.Thread):
    """Resumes the run when the time is over or the proposal is gone. `ended`: why, when it did."""

    def __init__(self, root: Path, run: UUID, proposal: Mapping[str, Any], timeout_s: float) -> None:
        super().__init__(daemon=True)
        self.ended: Literal["timeout", "elsewhere", ""] = ""
        self._path, self._run, self._proposal = root / paths.PROPOSAL, run, proposal
        self._until = time.time() + timeout_s  # of the clock on the wall: a night asleep is a night
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(min(POLL_S, max(0.0, self._until - time.time()))):
            if not self._path.exists() or jsonfile.read(self._path) != self._proposal:
                self.ended = "elsewhere"
            elif time.time() >= self._until:
                self.ended = "timeout"
            if self.ended:
                with get_client(sync_client=True) as client:
                    client.resume_flow_run(self._run, run_input={"decision": "reject", "by": "", "reason": ""})
                return

    def stop(self) -> None:
        self._stopped.set()


def _description(proposal: Mapping[str, Any], timeout_h: float) -> str:
    made = proposal["decision"]
    return "\n\n".join(
        [
            f"## Put {proposal['strategy']} (version {proposal['version']}) into production?",
            f"{made['reason']}. Without an answer within {timeout_h:g} h the champion stays.",
            artifacts.checks(made["checks"]),
        ]
    )
