"""Runs that Prefect believes to be at work although their process is gone.

A process that is killed, or a machine that loses its power, tells nobody: the run would stay "Running" for ever, and
where a deployment runs once at a time, nothing would ever run again. So every flow here holds a lock of the system's
for as long as it lives. Where the lock of a running run can be taken, its process is dead, and the run is marked as
crashed.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from components import paths

FOLDER = paths.STATE / "flow-runs"


@contextmanager
def alive(root: Path, run: UUID | str) -> Generator[None]:
    """Shows, for as long as the `with` block runs, that the process of a flow run lives."""
    path = _lock(root, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
    path.unlink(missing_ok=True)


def is_dead(root: Path, run: UUID | str) -> bool:
    """Whether the run's process has ended without saying so. False for one that never said here that it lives: it may
    run on another machine."""
    try:
        with _lock(root, run).open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except (FileNotFoundError, BlockingIOError):
        return False


def sweep(root: Path) -> list[str]:
    """Marks the dead runs of a workspace, and of those below it, as crashed; returns their names. Needs a Prefect
    API."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    places = [root, *(path.parent for path in (root / paths.RUNS).glob(f"*/{paths.STATE}"))]
    locks = [(place, path.stem) for place in places for path in sorted((place / FOLDER).glob("*.lock"))]
    left = [(place, run) for place, run in locks if is_dead(place, run)]
    if not left:
        return []
    dead = [UUID(run) for _, run in left]
    found = []
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=dead))):
            if run.state_type in (StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED):
                message = "its process is gone: killed, or its machine was restarted"
                client.set_flow_run_state(run.id, Crashed(message=message), force=True)
                found.append(run.name)
    for place, run in left:
        _lock(place, run).unlink(missing_ok=True)
    return found


def _lock(root: Path, run: UUID | str) -> Path:
    return root / FOLDER / f"{run}.lock"
