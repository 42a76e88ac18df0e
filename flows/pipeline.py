"""The DVC graph as a Prefect flow: one task for each stage, concurrent where the graph allows, then the promotion.

DVC decides what is up to date and writes the lock, exactly as `dvc repro` would. Prefect decides when a stage runs, on
which GPU, and whether a failure is worth a second try.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from components import machine
from components import params as parameters
from components.errors import StageError
from components.params import Params
from flows import graph, stage_process

PROMOTE = "promote"
THREADS: Any = ThreadPoolTaskRunner(max_workers=256)
"""Enough that no stage waits for a thread: a waiting task holds one. `Slots` says how much really runs at once."""
HINTS = ("accelerator", "alone")
"""What dvc.yaml may say of a stage under `meta`."""
console = Console(highlight=False, soft_wrap=True)


class Slots:
    """How much may run at once: a training for every GPU, each with one of its own (without any: `compute.cpu_slots`),
    and `run.max_concurrent` other stages; or one that measures time, and nothing beside it."""

    def __init__(self, params: Params) -> None:
        self._company = threading.Condition()
        self._running, self._closed = 0, False
        self._stages = threading.BoundedSemaphore(params.run.max_concurrent)
        self._accelerators: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        gpus = [] if params.compute.device == "cpu" else machine.gpus()
        for gpu in gpus:
            self._accelerators.put({"CUDA_VISIBLE_DEVICES": gpu.identifier})
        for _ in range(params.compute.cpu_slots if not gpus else 0):
            self._accelerators.put({})

    @contextmanager
    def take(self, *, accelerator: bool = False, alone: bool = False) -> Generator[dict[str, str]]:
        """Waits for a place; yields environment variables that belong to it. `alone`: waits until nothing else runs,
        and keeps everything else waiting."""
        if not accelerator:
            with self._stages, self._among_others(alone):
                yield {}
            return
        environment = self._accelerators.get()
        try:
            with self._among_others(alone):
                yield environment
        finally:
            self._accelerators.put(environment)

    @contextmanager
    def _among_others(self, alone: bool) -> Generator[None]:
        with self._company:
            self._company.wait_for(lambda: not self._closed and not (alone and self._running))
            self._running, self._closed = self._running + 1, alone
        try:
            yield
        finally:
            with self._company:
                self._running, self._closed = self._running - 1, False
                self._company.notify_all()


def _worth_retrying(task: object, run: TaskRun, state: State) -> bool:
    """Only what can succeed on a retry: a wrong parameter stays wrong."""
    try:
        state.result()
    except stage_process.StageFailed as error:
        return error.transient
    except Exception:
        return False
    return False


@task(task_run_name="{stage.address}", retry_delay_seconds=1, retry_condition_fn=_worth_retrying, persist_result=False)
def run_stage(root: Path, stage: graph.Stage, slots: Slots, force: bool) -> State | None:
    """Brings one stage up to date; shown as cached when it was."""
    say = _teller(stage.address)
    outdated = graph.changed(root, stage.address)  # asked even when forced: it mends what a kill has torn
    if not outdated and not force:
        say("up to date")
        return Completed(name="Cached", message="unchanged according to dvc.lock")
    with slots.take(**{hint: bool(stage.meta.get(hint)) for hint in HINTS}) as environment:
        restored = stage_process.repro(root, stage.address, force=force, say=say, extra=environment)
    if restored:
        say("restored from DVC's run cache")
        return Completed(name="Cached", message="restored from DVC's run cache")
    return None


@task(task_run_name=PROMOTE, persist_result=False)
def promote(root: Path) -> None:
    """Decides about the new bundle. Not a DVC stage: it acts on the registry."""
    command = [sys.executable, "-m", "components.stages.promote"]
    code, lines = stage_process.run(root, command, say=_teller(PROMOTE), extra={})
    if code:
        raise StageError(f"promote failed (exit code {code}): {lines[-1] if lines else 'it printed nothing'}")


def _teller(name: str):
    """Prints and logs a stage's lines with its name before them."""
    logger = get_run_logger()

    def say(line: str) -> None:
        text = line.removeprefix(f"{name.partition('@')[2] or name}: ")
        console.print(f"{name:<30} {text}", markup=False)
        logger.info("%s", text)

    return say


@flow(name="pipeline", task_runner=THREADS, persist_result=False)
def pipeline(root: str = ".", force: bool = False, promotion: bool = True) -> dict[str, str]:
    """Runs what is not up to date, then (with `promotion`) decides about the bundle; returns stage -> state.

    Independent stages go on when one fails, and what they made is kept. Raises StageError naming those that failed.
    """
    place = Path(root).resolve()
    params = parameters.load(place)
    slots = Slots(params)
    futures: dict[str, PrefectFuture] = {}
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   console=console, transient=True, disable=not console.is_terminal)  # fmt: skip
    for stage in graph.read(place):
        step: Any = run_stage.with_options(retries=params.run.retries)
        needs = [futures[need] for need in stage.needs]
        futures[stage.address] = step.submit(place, stage, slots, force, wait_for=needs)
    if promotion:
        last: Any = promote
        futures[PROMOTE] = last.submit(place, wait_for=list(futures.values()))
    with bar:
        counted = bar.add_task("stages", total=len(futures))
        for future in futures.values():
            future.add_done_callback(lambda _: bar.advance(counted))
        for future in futures.values():
            future.wait()

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
