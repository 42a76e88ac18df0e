"""How much may run at once: on this machine, whoever started it, and within one flow."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from components import machine
from components.params import Params

FOLDER_VARIABLE = "GRAFT_SLOTS"
POLL_S = 0.1


@dataclass(frozen=True)
class Place:
    """What a stage runs with: `environment`: variables of its own; `holding`: the open file of its place, which stays
    taken for as long as any process has it open."""

    environment: Mapping[str, str]
    holding: TextIO | None = None


class Slots:
    """A training for every GPU, each with one of its own (without any: `compute.cpu_slots`), and `run.max_concurrent`
    other stages; or one that measures time, and nothing beside it.

    Places for trainings are files that are locked, one for all flows and workspaces of a machine: the system gives them
    back however their holder ends. What belongs to one flow alone is counted in it.
    """

    def __init__(self, params: Params, folder: Path | None = None) -> None:
        self._company = threading.Condition()
        self._running, self._closed = 0, False
        self._stages = threading.BoundedSemaphore(params.run.max_concurrent)
        self._folder = folder or shared_folder()
        gpus = [] if params.compute.device == "cpu" else machine.gpus()
        self._accelerators: dict[str, dict[str, str]] = {
            f"gpu-{gpu.identifier.replace('/', '-')}": {"CUDA_VISIBLE_DEVICES": gpu.identifier} for gpu in gpus
        } or {f"cpu-{number}": {} for number in range(params.compute.cpu_slots)}

    @contextmanager
    def take(
        self, *, accelerator: bool = False, alone: bool = False, say: Callable[[str], None] | None = None
    ) -> Generator[Place]:
        """Waits for a place, and tells so once if it has to. `alone`: waits until nothing else of the flow runs, and
        keeps everything else waiting."""
        if not accelerator:
            with self._stages, self._among_others(alone):
                yield Place({})
            return
        with self._accelerator(say) as place, self._among_others(alone):
            yield place

    @contextmanager
    def _accelerator(self, say: Callable[[str], None] | None) -> Generator[Place]:
        self._folder.mkdir(parents=True, exist_ok=True)
        told = False
        while True:
            for name, environment in self._accelerators.items():
                stream = (self._folder / f"{name}.lock").open("a")
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    stream.close()
                    continue
                with stream:
                    yield Place(environment, stream)
                return
            if say is not None and not told:
                what = "GPU" if any(self._accelerators.values()) else "place of compute.cpu_slots"
                say(f"waits for a free {what}")
                told = True
            time.sleep(POLL_S)

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


def shared_folder() -> Path:
    """Where a user's flows on this machine meet: GRAFT_SLOTS, or a folder below the system's for temporary files."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path(tempfile.gettempdir()) / f"graft-slots-{os.getuid()}")
