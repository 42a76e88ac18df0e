"""What `prefect.yaml` declares, told to a Prefect server: the work pool, the deployments; and runs of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.errors import MachineError, ParamsError

FILE = "prefect.yaml"
LOCAL_POOL = "graft-local"
"""The pool of processes on this machine. It is made here; one of containers is the user's own."""
RETRAIN = "retrain/retrain"
COMMAND = "python -m flows.flow_process"
DEPLOY_TIMEOUT_S = 300


@dataclass(frozen=True)
class Declared:
    """`pool`: where all of them run; `names`: as Prefect calls them, "<flow>/<deployment>"."""

    pool: str
    names: tuple[str, ...]


def declared(root: Path) -> Declared:
    """What the workspace's prefect.yaml says. Raises ParamsError when it is missing, or names several pools."""
    import yaml

    path = root / FILE
    if not path.exists():
        raise ParamsError(f"there is no {FILE} in {root.resolve()}: it says what is run on a schedule")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
        pools = {entry["work_pool"]["name"] for entry in entries}
        names = tuple(f"{entry['entrypoint'].rpartition(':')[2]}/{entry['name']}" for entry in entries)
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ParamsError(f"{FILE} is not as Prefect wants it: {' '.join(repr(error).split())}") from None
    if len(pools) != 1:
        raise ParamsError(f"{FILE} names {len(pools)} work pools, {', '.join(sorted(pools))}: one worker serves one")
    return Declared(pools.pop(), names)


def make_pool(root: Path) -> None:
    """The local pool, whose runs start in the workspace's folder; one that is there is brought up to date."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    variables["working_dir"]["default"] = str(root.resolve())
    # Its output would go through the worker: when that is killed, the run would end at its next line. Prefect has the
    # log of it all the same.
    variables["stream_output"]["default"] = False
    # Without a command, Prefect starts an interpreter before the flow's only to find out that the code is here.
    variables["command"]["default"] = COMMAND
    with get_client(sync_client=True) as client:
        client.create_work_pool(
            WorkPoolCreate(name=LOCAL_POOL, type=ProcessWorker.type, base_job_template=template), overwrite=True
        )


def deploy(root: Path, environment: Mapping[str, str]) -> None:
    """`prefect deploy --all`, as by hand. Raises MachineError with Prefect's own last lines when it refuses."""
    try:
        told = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
            cwd=root, env={**environment, "PYTHONPATH": str(root)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=DEPLOY_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise MachineError(f"prefect deploy --all did not end within {DEPLOY_TIMEOUT_S} s") from None
    if told.returncode:
        raise MachineError(f"prefect deploy --all failed: {' '.join(told.stdout.split()[-60:])}")


def plan(names: Sequence[str]) -> None:
    """Plans the next runs of those that run by themselves. Prefect would, but perhaps only in a minute."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for name in names:
            known = client.read_deployment_by_name(name)
            client.request("POST", "/deployments/{id}/schedule", path_params={"id": known.id}, json={})


def worker_is_online(pool: str) -> bool:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return any(worker.status == "ONLINE" for worker in client.read_workers_for_work_pool(pool))


def submit_again(pool: str, older_than_s: float) -> list[str]:
    """Runs that a worker took on this long ago, and whose process never began: the worker is gone. They wait for a
    worker once more; returns their names. Until then they would hold the place of those that may run once at a time."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        WorkPoolFilter,
        WorkPoolFilterName,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Scheduled

    taken = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])))
    here = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    found = []
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=taken, work_pool_filter=here):
            if run.state is not None and (datetime.now(UTC) - run.state.timestamp).total_seconds() >= older_than_s:
                message = "the worker that took it on is gone: it waits for one once more"
                client.set_flow_run_state(run.id, Scheduled(message=message), force=True)
                found.append(run.name)
    return found


@dataclass(frozen=True)
class Standing:
    """A deployment on the server. `schedule`: when it runs by itself, "" where it does not; `next`: the start of the
    next run; `last`: name and state of the last one that has begun."""

    name: str
    schedule: str
    next: datetime | None
    last: str


def standing(names: Sequence[str]) -> list[Standing]:
    """What became of deployments so far, and what is next."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    found = []
    with get_client(sync_client=True) as client:
        for name in names:
            deployment = client.read_deployment_by_name(name)
            runs = client.read_flow_runs(
                deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            )
            waiting = [run.expected_start_time for run in runs if run.state_type == StateType.SCHEDULED]
            begun = [run for run in runs if run.state_type != StateType.SCHEDULED]
            found.append(
                Standing(
                    name,
                    ", ".join(_when(entry.schedule) for entry in deployment.schedules if entry.active),
                    min((moment for moment in waiting if moment), default=None),
                    f"{begun[0].name}: {begun[0].state_name}" if begun else "",
                )
            )
    return found


def _when(schedule: Any) -> str:
    if interval := getattr(schedule, "interval", None):
        return f"every {interval.total_seconds() / 60:g} minutes"
    return f"{schedule.cron} ({schedule.timezone or 'UTC'})" if hasattr(schedule, "cron") else str(schedule)


def start(
    name: str, parameters: dict[str, Any], *, run_name: str | None = None, tags: tuple[str, ...] = (), key: str = ""
) -> str | None:
    """Starts a deployment's run and does not wait for it; returns the run's id, and None when the server has no such
    deployment, as the temporary one of `graft run`. The same `key` starts nothing twice."""
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    try:
        run: Any = run_deployment(
            name, parameters=parameters, timeout=0, as_subflow=False, flow_run_name=run_name, tags=tags,
            idempotency_key=key or None,
        )  # fmt: skip
    except ObjectNotFound:
        return None
    return str(run.id)
