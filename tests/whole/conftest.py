"""One disturbed and one undisturbed run of the small pipeline, shared by the tests here: they take a minute."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests_support import all_gone
from whole_support import Runs, environment, processes, small_workspace, start, wait_for

REFERENCE = ("audit", "explain", "export")
"""The last of the stages whose outputs are the same in every run: what follows measures times, or tells of them."""


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    place = tmp_path_factory.mktemp("whole")
    workspace, reference = small_workspace(place / "workspace"), small_workspace(place / "reference")
    undisturbed = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", *REFERENCE], cwd=reference, env=environment(),
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip

    first = start(workspace, "run")
    wait_for(lambda: processes(workspace, "components.stages."), within_s=180)
    time.sleep(random.uniform(0.0, 8.0))
    stages = processes(workspace, "components.stages.")
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert all_gone(stages, within_s=15), "a stage outlived the flow that was killed"
    wait_for(lambda: not processes(workspace, "prefect server"), within_s=30)
    second = start(workspace, "run")
    victims = wait_for(lambda: processes(workspace, "components.stages.train"), within_s=300)
    assert isinstance(victims, list)
    time.sleep(random.uniform(0.0, 3.0))
    for victim in victims[:1]:
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it was done by then
    output, _ = second.communicate(timeout=600)
    assert second.returncode == 0, output

    told, _ = undisturbed.communicate(timeout=600)
    assert undisturbed.returncode == 0, told
    return Runs(workspace, reference, output)
