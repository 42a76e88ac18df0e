"""The DVC graph as a Prefect flow: one task for each stage, concurrent where the graph allows, then the promotion.

DVC decides what is up to date and writes the lock, exactly as `dvc repro` would. Prefect decides when a stage runs, on
which GPU, and whether a failure is worth a second try.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from components import params as parameters
from components import paths, workspaces
from components.errors import StageError
from components.params import Params
from flows import graph, stage_process, zombies
from flows.slots import Slots
from flows.telling import console, run_name, teller
from flows.turns import turn

PROMOTE = "promote"
THREADS: Any = ThreadPoolTaskRunner(max_workers=256)
"""Enough that no stage waits for a thread: a waiting task holds one. `Slots` says how much really runs at once."""
HINTS = ("accelerator", "alone")
"""What dvc.yaml may say of a stage under `meta`, beside `timeout_h`."""
ACCELERATOR_TAG = "graft-accelerator"
"""Of what trains: where several machines share a Prefect API, a concurrency limit of this tag holds over all of them;
on one machine, `Slots` does."""


def worth_retrying(task: object, run: TaskRun, state: State) -> bool:
    """Only what can succeed on a retry: a wrong parameter stays wrong."""
    try:
        state.result()
    except stage_process.StageFailed as error:
        return error.transient
    except Exception:
        return False
    return False


AGAIN: Any = {
    "retries": 1, "retry_delay_seconds": 1, "retry_condition_fn": worth_retrying, "persist_result": False
}  # fmt: skip
"""Of a task that a kill may have cut short, and that takes up its work where it was."""


@task(task_run_name="{stage.address}", retry_delay_seconds=1, retry_condition_fn=worth_retrying, persist_result=False)
def run_stage(
    root: Path, stage: graph.Stage, slots: Slots, timeout_h: float, force: bool, settled: bool, history: Path | None
) -> State | None:
    """Brings one stage up to date; shown as cached when it was. `settled`: it is known that it is."""
    say = teller(stage.address)
    # Asked even when forced: it mends what a kill has torn.
    outdated = [] if settled else graph.changed(root, stage.address)
    if not outdated and not force:
        say("up to date")
        return Completed(name="Cached", message="unchanged according to dvc.lock")
    limit_s = 3600 * float(stage.meta.get("timeout_h", timeout_h))
    with slots.take(**{hint: bool(stage.meta.get(hint)) for hint in HINTS}, say=say) as place:
        restored = stage_process.repro(
            root, stage.address, force=force, say=say, place=place, timeout_s=limit_s,
            extra={} if history is None else workspaces.environment(history),
        )  # fmt: skip
    if restored:
        say("restored from DVC's run cache")
        return Completed(name="Cached", message="restored from DVC's run cache")
    return None


@task(task_run_name=PROMOTE, persist_result=False)
def promote(root: Path) -> None:
    """Decides about the new bundle. Not a DVC stage: it acts on the registry."""
    stage_process.verb(root, PROMOTE, say=teller(PROMOTE))


def _name() -> str:
    """A workspace of its own has a name that says what for."""
    root = Path(flow_run.parameters.get("root", "."))
    if root.parent.name == paths.RUNS.name:
        return f"pipeline in {root.name}"
    return run_name("pipeline", "" if flow_run.parameters.get("promotion", True) else "without promotion")


@flow(name="pipeline", flow_run_name=_name, task_runner=THREADS, persist_result=False)
def pipeline(
    root: str = ".", force: bool = False, promotion: bool = True, history: str | None = None
) -> dict[str, str]:
    """Runs what is not up to date, then (with `promotion`) decides about the bundle; returns stage -> state.

    `history`: another workspace, whose MLflow store is told instead. (Not the store's address: Prefect shows
    parameters, and it may hold a password.)

    Independent stages go on when one fails, and what they made is kept. Raises StageError naming those that failed.
    """
    place = Path(root).resolve()
    params = parameters.load(place)
    zombies.alive(place, flow_run.id)
    with turn(place, "pipeline", teller("pipeline")):
        return _pipeline(place, params, force, promotion, None if history is None else Path(history))


def _pipeline(place: Path, params: Params, force: bool, promotion: bool, history: Path | None) -> dict[str, str]:
    slots = Slots(params)
    futures: dict[str, PrefectFuture] = {}
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   console=console, transient=True, disable=not console.is_terminal)  # fmt: skip
    stages, settled = graph.plan(place)
    for stage in stages:
        tags = [ACCELERATOR_TAG] if stage.meta.get("accelerator") else []
        step: Any = run_stage.with_options(retries=params.run.retries, tags=tags)
        needs = [futures[need] for need in stage.needs]
        futures[stage.address] = step.submit(
            place, stage, slots, params.run.timeout_h, force, stage.address in settled and not force, history,
            wait_for=needs,
        )  # fmt: skip
    if promotion:
        last: Any = promote
        futures[PROMOTE] = last.submit(place, wait_for=list(futures.values()))
    with bar:
        counted = bar.add_task("stages", total=len(futures))
        for future in futures.values():
            future.add_done_callback(lambda _: bar.advance(counted))
        try:
            for future in futures.values():
                future.wait()
        except BaseException:  # told to end: cancelled, Ctrl-C, a schedule that goes down
            stage_process.end_all()
            raise

    states = {address: future.state for address, future in futures.items()}
    create_table_artifact(
        [{"stage": address, "state": state.name} for address, state in states.items()],
        key="pipeline-stages",
        description="What each stage did",
    )
    failed = [address for address, state in states.items() if state.is_failed() or state.is_crashed()]
    if failed:
        reasons = [_reason(states[address]) for address in failed]
        skipped = [address for address, state in states.items() if not state.is_completed() and address not in failed]
        note = [f"not run because of that: {', '.join(skipped)}"] if skipped else []
        raise StageError("\n".join([*reasons, *note]))
    return {address: str(state.name) for address, state in states.items()}


def _reason(state: State) -> str:
    try:
        state.result()
    except Exception as error:
        return str(error)
    return str(state.message)
