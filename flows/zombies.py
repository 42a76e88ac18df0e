"""Runs that Prefect believes to be at work although their process is gone.

A process that is killed, or a machine that loses its power, tells nobody: the run would stay "Running" for ever, and
where a deployment runs once at a time, nothing would ever run again. So the process of every flow here holds a lock of
the system's until it ends, which is after it has told Prefect how. Where the lock of a running run can be taken, its
process is dead, and the run is marked as crashed.
"""

from __future__ import annotations

import fcntl
from itertools import islice
from pathlib import Path
from typing import TextIO
from uuid import UUID

from components import paths

FOLDER = paths.STATE / "flow-runs"
MOST = 200
"""Runs that Prefect tells of at once; the others' turn comes with the next sweep."""

_held: list[TextIO] = []
"""Locks of this process's runs, open until it ends: what comes after a flow's last line may go wrong, too."""


def alive(root: Path, run: UUID | str) -> None:
    """Shows, from now on and until this process ends, that the process of a flow run lives."""
    path = _lock(root, run)
    path.parent.mkdir(parents=True, exist_ok=True)
    unseen = path.with_suffix(".part")
    stream = unseen.open("w")
    fcntl.flock(stream, fcntl.LOCK_EX)
    unseen.replace(path)  # a lock that could be seen before it is held would be that of a dead run
    _held.append(stream)


def is_dead(root: Path, run: UUID | str) -> bool:
    """Whether the run's process has ended. False for one that never said here that it lives: it may run on another
    machine."""
    try:
        with _lock(root, run).open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except (FileNotFoundError, BlockingIOError):
        return False


def left(root: Path) -> dict[UUID, Path]:
    """The runs of a workspace, and of those below it, whose process has ended since the last sweep, and where they
    were; `MOST` at most. Asks nobody."""
    places = [root, *(path.parent for path in (root / paths.RUNS).glob(f"*/{paths.STATE}"))]
    locks = [(place, path.stem) for place in places for path in sorted((place / FOLDER).glob("*.lock"))]
    return {UUID(run): place for place, run in islice((lock for lock in locks if is_dead(*lock)), MOST)}


def sweep(root: Path) -> list[str]:
    """Marks those runs as crashed that have not said how they ended, and returns their names; those that were being
    cancelled are cancelled now. Removes the locks of all that have ended. Needs a Prefect API."""
    ended = left(root)
    if not ended:
        return []
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelled, Crashed

    found = []
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(ended)))):
            at_work = run.state_type in (StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED)
            if at_work and is_dead(ended[run.id], run.id):  # still: somebody may have started it once more
                if run.state_type == StateType.CANCELLING:
                    client.set_flow_run_state(run.id, Cancelled(message="it has ended"), force=True)
                    continue
                message = "its process is gone: killed, or its machine was restarted"
                client.set_flow_run_state(run.id, Crashed(message=message), force=True)
                found.append(run.name)
    for run, place in ended.items():
        if is_dead(place, run):
            _lock(place, run).unlink(missing_ok=True)
    return found


def _lock(root: Path, run: UUID | str) -> Path:
    return root / FOLDER / f"{run}.lock"
