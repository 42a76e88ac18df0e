"""What becomes of runs when something dies, hangs or fills up: nothing is lost, and the next run completes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components import paths
from components.errors import StageError
from flows import turns, zombies
from whole_support import processes, wait_for

RUN = "import sys; from flows.pipeline import pipeline; print(pipeline(sys.argv[1], promotion=False))"
ONE = "stages:\n  one: {cmd: python one.py, outs: [out]}\n"
SLOW = "import pathlib, time\npathlib.Path('begun').touch(); time.sleep(3600)\n"
QUICK = "open('out', 'w').write('done')\n"
HOLDS_A_GPU = """
import pathlib, sys, time
from dataclasses import replace
from components import params
from flows.slots import Slots
own = params.load(pathlib.Path(sys.argv[1]))
own = replace(own, compute=replace(own.compute, device="cpu", cpu_slots=1))
with Slots(own).take(accelerator=True):
    print("has it", flush=True)
    time.sleep(float(sys.argv[2]))
"""
ROOT = Path(__file__).resolve().parents[2]


def started(code: str, *arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )


def graph_of_one(workspace, code: str, more: str = "") -> Path:
    root = workspace(ONE.replace("outs", f"{more}outs"))
    (root / "one.py").write_text(code)
    return root


def state_of(run: str) -> str:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(run).state_name


def test_a_run_whose_process_was_killed_is_marked_as_crashed_and_the_next_completes(api, pipeline, workspace) -> None:
    root = graph_of_one(workspace, SLOW)
    first = started(RUN, str(root))
    wait_for((root / "begun").exists, 60)
    (lock,) = (root / zombies.FOLDER).glob("*.lock")
    assert zombies.sweep(root) == [], "a run that lives is no zombie"
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert state_of(lock.stem) == "Running", "Prefect would have to be told"
    (name,) = zombies.sweep(root)
    assert name
    assert state_of(lock.stem) == "Crashed"
    assert zombies.sweep(root) == []
    wait_for(lambda: not processes(root, "one.py"), 15)
    (root / "one.py").write_text(QUICK)
    assert pipeline(str(root), promotion=False) == {"one": "Completed"}
    (held,) = (root / zombies.FOLDER).glob("*.lock")
    assert not zombies.is_dead(root, held.stem), "its process could still die before it has told Prefect how it ended"


def test_a_flow_that_is_told_to_end_ends_at_once_with_its_stage(api, workspace) -> None:
    """Cancelled, for one, or the schedule goes down."""
    root = graph_of_one(workspace, SLOW)
    flow = started(RUN, str(root))
    wait_for((root / "begun").exists, 60)
    flow.send_signal(signal.SIGTERM)
    assert flow.wait(20) != 0
    assert not processes(root, "one.py")


def test_a_stage_that_hangs_is_stopped_named_and_not_tried_again(pipeline, workspace) -> None:
    limit = 2.0
    root = graph_of_one(workspace, SLOW, more=f"meta: {{timeout_h: {limit / 3600}}}, ")
    began = time.monotonic()
    with pytest.raises(StageError, match=r"stage one was stopped: it had not ended after .* h \(run.timeout_h"):
        pipeline(str(root), promotion=False)
    assert time.monotonic() - began < 4 * limit + 20
    assert not processes(root, "one.py"), "what hangs goes on"
    (root / "one.py").write_text(QUICK)
    graph = root / "dvc.yaml"
    graph.write_text(graph.read_text().replace(f"{limit / 3600}", "1"))  # DVC alone may take two seconds
    assert pipeline(str(root), promotion=False) == {"one": "Completed"}


def test_a_full_disk_fails_the_stage_and_loses_nothing(pipeline, workspace) -> None:
    """A limit on the size of files stands for the disk: writing on fails as it does there."""
    root = workspace(
        "stages:\n"
        "  first: {cmd: python one.py, outs: [out]}\n"
        "  large: {cmd: python large.py, deps: [out], outs: [large]}\n"
    )
    (root / "one.py").write_text(QUICK)
    (root / "large.py").write_text(
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nopen('large', 'wb').write(bytes(8_000_000))\n"
    )
    small = started(
        RUN, str(root), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))
    )
    said = small.communicate(timeout=120)[0]
    assert small.returncode
    assert "stage large failed" in said
    assert "OSError: [Errno 27] File too large" in said
    assert pipeline(str(root), promotion=False) == {"first": "Cached", "large": "Completed"}


def test_a_gpu_belongs_to_one_flow_of_the_machine_and_comes_back_when_its_holder_is_killed(tmp_path) -> None:
    environment = {**os.environ, "GRAFT_SLOTS": str(tmp_path / "slots")}
    first = started(HOLDS_A_GPU, str(ROOT), "3600", env=environment)
    assert first.stdout is not None and first.stdout.readline() == "has it\n"
    second = started(HOLDS_A_GPU, str(ROOT), "0", env=environment)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=2)
    first.send_signal(signal.SIGKILL)
    assert second.communicate(timeout=10)[0] == "has it\n"
    first.wait()


def test_a_workspace_has_one_run_at_a_time_and_who_waits_is_told_for_whom(tmp_path) -> None:
    code = (
        "import pathlib, sys, time\nfrom flows.turns import turn\n"
        "with turn(pathlib.Path(sys.argv[1]), 'retrain', print):\n    print('mine', flush=True); time.sleep(3600)\n"
    )
    first = started(code, str(tmp_path))
    assert first.stdout is not None and first.stdout.readline() == "mine\n"
    told: list[str] = []
    killed_at: list[float] = []

    def tell(line: str) -> None:
        told.append(line)
        first.send_signal(signal.SIGKILL)
        killed_at.append(time.monotonic())

    with turns.turn(tmp_path, "pipeline", tell):
        assert json.loads((tmp_path / turns.LOCK).read_text())["run"] == "pipeline"
    assert time.monotonic() - killed_at[0] < 5
    assert told == [told[0]]
    assert f"(retrain, process {first.pid}, since 20" in told[0]
    first.wait()
    assert (tmp_path / paths.STATE).is_dir()


def test_a_place_stays_taken_until_the_stage_of_a_killed_flow_has_ended(api, workspace, tmp_path) -> None:
    """Otherwise the next training would meet the last one on its GPU."""
    stubborn = "import signal, pathlib, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLOW
    root = graph_of_one(workspace, stubborn, more="meta: {accelerator: true}, ")
    environment = {**os.environ, "GRAFT_SLOTS": str(tmp_path / "slots")}
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(
        text.replace("cpu_slots: 2", "cpu_slots: 1").replace("device: auto", "device: cpu")
    )
    flow = started(RUN, str(root), env=environment)
    wait_for((root / "begun").exists, 60)
    flow.send_signal(signal.SIGKILL)
    flow.wait()
    second = started(HOLDS_A_GPU, str(ROOT), "0", env=environment)
    assert second.communicate(timeout=30)[0] == "has it\n"
    assert not processes(root, "one.py"), "the place was given away while the stage still ran"
