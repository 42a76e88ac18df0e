"""The flow over real DVC graphs, with a real Prefect API: concurrency, locks, kills, failures."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from components.errors import MachineError, StageError
from flows import graph, stage_process
from flows.server import Api
from tests_support import all_gone
from whole_support import processes, wait_for

EIGHT = """
stages:
  work:
    foreach: [1, 2, 3, 4, 5, 6, 7, 8]
    do: {cmd: "python work.py ${item} SECONDS", params: [run], outs: ["out/${item}"]}
  join: {cmd: cat out/1 out/8 > joined, deps: [out], outs: [joined]}
"""
WORK = """
import os, sys, time

name, seconds = sys.argv[1], float(sys.argv[2])
os.makedirs("out", exist_ok=True); os.makedirs("notes", exist_ok=True)
with open(f"notes/{name}.{os.getpid()}", "w") as note: note.write(str(time.time()))
time.sleep(seconds)
with open(f"out/{name}", "w") as out: out.write(f"result {name}")
with open(f"notes/{name}.{os.getpid()}", "a") as note: note.write(f" {time.time()}")
"""


def eight(workspace, seconds: float, name: str = "workspace", max_concurrent: int = 8, graph: str = EIGHT) -> Path:
    root = workspace(graph.replace("SECONDS", str(seconds)), name)
    (root / "work.py").write_text(WORK)
    text = (root / "params.yaml").read_text().replace("max_concurrent: 2", f"max_concurrent: {max_concurrent}")
    assert f"max_concurrent: {max_concurrent}" in text
    (root / "params.yaml").write_text(text)
    return root


def lock(root: Path) -> dict:
    return yaml.safe_load((root / "dvc.lock").read_text())["stages"]


def attempts(root: Path, name: str) -> list[Path]:
    return list((root / "notes").glob(f"{name}.*"))


def intervals(root: Path) -> list[tuple[float, float]]:
    return [tuple(map(float, note.read_text().split())) for note in (root / "notes").iterdir()]


def test_eight_stages_at_once_keep_eight_lock_entries_and_the_next_run_is_cached(pipeline, workspace) -> None:
    root = eight(workspace, seconds=1.0)
    states = pipeline(str(root), promotion=False)
    assert set(states.values()) == {"Completed"}
    assert {f"work@{i}" for i in range(1, 9)} | {"join"} == set(lock(root))
    spans = intervals(root)
    assert max(sum(a <= start < b for a, b in spans) for start, _ in spans) >= 2, "nothing ran at the same time"
    before = (root / "dvc.lock").read_bytes()
    assert set(pipeline(str(root), promotion=False).values()) == {"Cached"}
    assert (root / "dvc.lock").read_bytes() == before


def test_the_flow_leaves_the_lock_that_dvc_repro_leaves_and_keeps_to_the_limit(pipeline, workspace) -> None:
    four = EIGHT.replace("[1, 2, 3, 4, 5, 6, 7, 8]", "[1, 2, 3, 8]")
    by_flow = eight(workspace, seconds=0.3, name="flow", max_concurrent=2, graph=four)
    by_dvc = eight(workspace, seconds=0.3, name="dvc", max_concurrent=2, graph=four)
    pipeline(str(by_flow), promotion=False)
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=by_dvc, check=True)
    assert lock(by_flow) == lock(by_dvc)
    spans = intervals(by_flow)
    assert max(sum(a <= start < b for a, b in spans) for start, _ in spans) <= 2


def test_a_stage_that_is_killed_is_run_again(pipeline, workspace) -> None:
    root = workspace("stages:\n  once: {cmd: python once.py, outs: [out]}\n")
    (root / "once.py").write_text(
        "import os, pathlib\n"
        "first = not pathlib.Path('tried').exists(); pathlib.Path('tried').touch()\n"
        "os.kill(os.getpid(), 9) if first else pathlib.Path('out').write_text('done')\n"
    )
    assert pipeline(str(root), promotion=False) == {"once": "Completed"}
    assert (root / "out").read_text() == "done"


def test_a_flow_goes_on_where_dvcs_own_files_were_left_torn(pipeline, workspace) -> None:
    root = workspace("stages:\n  copy: {cmd: cp params.yaml out, deps: [params.yaml], outs: [out]}\n")
    assert pipeline(str(root), promotion=False) == {"copy": "Completed"}
    (root / "dvc.lock").write_bytes((root / "dvc.lock").read_bytes()[:40])
    (root / ".dvc" / "tmp" / "rwlock").write_text('{"wri')
    assert pipeline(str(root), promotion=False) == {"copy": "Cached"}, "it was run again, though DVC's cache has it"
    assert set(lock(root)) == {"copy"}


def test_a_failing_stage_is_named_explained_and_not_retried_and_others_finish(pipeline, workspace) -> None:
    root = workspace(
        "stages:\n"
        "  bad: {cmd: python bad.py, outs: [bad]}\n"
        "  after: {cmd: cp bad after, deps: [bad], outs: [after]}\n"
        "  good: {cmd: sleep 1 && echo good > good, outs: [good]}\n"
    )
    (root / "bad.py").write_text(
        "import sys; open('tries', 'a').write('x'); sys.exit('gamma is -1, but must be positive') \n"
    )
    with pytest.raises(StageError) as caught:
        pipeline(str(root), promotion=False)
    message = str(caught.value)
    assert "stage bad failed" in message
    assert "gamma is -1, but must be positive" in message
    assert "dvc repro --single-item bad" in message
    assert "not run because of that: after" in message
    assert (root / "tries").read_text() == "x"
    assert set(lock(root)) == {"good"}


def test_a_flow_killed_in_the_middle_leaves_no_orphan_and_no_corrupt_lock_and_the_next_goes_on(
    pipeline, workspace
) -> None:
    root = eight(workspace, seconds=2.0, max_concurrent=4)
    code = f"from flows.pipeline import pipeline; pipeline({str(root)!r}, promotion=False)"
    flow = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (root / "notes").exists():
        assert time.monotonic() < until and flow.poll() is None, "the flow did not start a stage"
        time.sleep(0.05)
    time.sleep(random.uniform(0.0, 3.0))
    os.kill(flow.pid, signal.SIGKILL)
    flow.wait()
    running = [int(note.name.split(".")[1]) for note in (root / "notes").iterdir()]
    assert all_gone(running, within_s=15), "a stage outlived its flow"
    wait_for(lambda: not processes(root, "dvc"), within_s=15)  # the DVC above a stage may take a moment longer to end
    graph.changed(root)  # mends what the kill has torn
    finished = set(lock(root)) if (root / "dvc.lock").exists() else set()
    states = pipeline(str(root), promotion=False)
    assert set(lock(root)) == {f"work@{i}" for i in range(1, 9)} | {"join"}
    assert {address for address, state in states.items() if state == "Cached"} >= finished
    assert graph.changed(root) == []


@pytest.mark.parametrize(
    ("lines", "transient"),
    [
        (["ERROR: failed to reproduce 'a': failed to run: x, exited with 2"], False),
        (["Traceback", "ERROR: failed to reproduce 'a': failed to run: x, exited with 1"], False),
        (["ERROR: failed to reproduce 'a': failed to run: x, exited with -9"], True),
        (["ERROR: failed to reproduce 'a': failed to run: x, exited with 137"], True),
        (["ERROR: '/x/out' is busy, it is being blocked by:"], True),
        (["ERROR: Unable to read RWLock-file '.dvc/tmp/rwlock'. JSON structure is corrupted"], True),
    ],
)
def test_only_what_a_second_try_may_mend_is_tried_again(lines: list[str], transient: bool) -> None:
    assert stage_process.is_transient(255, lines) is transient


def test_an_api_that_does_not_answer_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("flows.server.ANSWER_TIMEOUT_S", 0.5)
    with Api(tmp_path) as nowhere, pytest.raises(MachineError, match=r"127\.0\.0\.1:9.*PREFECT_API_URL"):
        nowhere.wait()


def test_the_runs_are_told_to_prefect(pipeline, workspace) -> None:
    from prefect.client.orchestration import get_client

    root = workspace("stages:\n  only: {cmd: echo told > out, outs: [out]}\n")
    pipeline(str(root), promotion=False)
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(limit=200)
        tasks = client.read_task_runs(limit=200)
    assert any(run.state_name == "Completed" for run in runs)
    assert "only" in {task.name for task in tasks}
    assert json.dumps([str(run.id) for run in runs])
